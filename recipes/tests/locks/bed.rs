//! A server in memory, sessions to it, and a look at what stands in line.

use std::future::Future;
use std::time::Duration;

use atalaya_recipes::{Connection, Session, SessionOptions};
use atalaya_sim::zookeeper::{Armed, AtRequest, Cut, Faults, Operation, Server};
use tokio::time::Instant;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);
/// No condition takes longer, on however busy a machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const PATH: &str = "/locks/crane";

pub(crate) struct Bed {
    server: Server,
    pub(crate) faults: Faults,
    /// A session that no fault is meant for.
    pub(crate) witness: Connection,
}

impl Bed {
    pub(crate) async fn start() -> Bed {
        // Shown only when a test fails. A second test in the same process finds it set up.
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::DEBUG).try_init();
        let server = Server::builder().tick(TIMEOUT / 4).start().await.unwrap();
        let faults = server.faults();
        let witness = session_to(&server).connection().await;
        Bed { server, faults, witness }
    }

    /// A session of its own, connected.
    pub(crate) async fn session(&self) -> Session {
        let session = session_to(&self.server);
        soon("a connection", session.connection()).await;
        session
    }

    /// Arms the loss of the session's connection at its next request of this kind.
    pub(crate) async fn cut(&self, session: &Session, cut: Cut, kind: Operation) -> Armed {
        let at = AtRequest::next().of_session(session.state().session).of_kind(kind);
        self.faults.cut(cut, at).await
    }

    pub(crate) async fn expire(&self, session: &Session) {
        assert!(self.faults.expire(session.state().session).await, "there is no such session");
    }

    /// The names of what stands at a path, sorted.
    pub(crate) async fn children(&self, path: &str) -> Vec<String> {
        match self.witness.children(path).await {
            Ok(mut children) => {
                children.sort_unstable();
                children
            }
            Err(error) if error.is_no_node() => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until so many stand in line.
    #[track_caller]
    pub(crate) fn until_in_line(&self, path: &str, count: usize) -> impl Future<Output = Vec<String>> {
        let place = std::panic::Location::caller();
        async move {
            let end = Instant::now() + SOON;
            loop {
                let connection = soon("a connection", self.witness.session().connection()).await;
                let (watched, changed) = match connection.children_and_watch(path).await {
                    Ok((children, watcher)) => (children, Some(watcher)),
                    Err(error) if error.is_no_node() => (Vec::new(), None),
                    Err(error) if error.is_connection_loss() => continue,
                    Err(error) => panic!("{error}"),
                };
                if watched.len() == count {
                    return watched;
                }
                let change = async {
                    match changed {
                        Some(watcher) => drop(watcher.changed().await),
                        None => tokio::task::yield_now().await,
                    }
                };
                let late = tokio::time::timeout_at(end, change).await.is_err();
                assert!(!late, "{place}: {count} should be in line, not {watched:?}");
            }
        }
    }

    /// How many children were ever made and deleted there.
    pub(crate) async fn changes(&self, path: &str) -> i32 {
        self.witness.stat(path).await.unwrap().map_or(0, |stat| stat.cversion)
    }
}

fn session_to(server: &Server) -> Session {
    let servers = server.connect_string().parse().unwrap();
    Session::start(SessionOptions { servers, timeout: TIMEOUT })
}

/// Runs a future to its end, which has to come soon.
#[track_caller]
pub(crate) fn soon<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(SOON, future).await {
            Ok(value) => value,
            Err(_) => panic!("{place}: {what} takes for ever"),
        }
    }
}

/// Polls a future once: it begins, and must not be done.
pub(crate) async fn begin<F: Future + Unpin>(future: &mut F) {
    let done = std::future::poll_fn(|cx| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_ready())
    });
    assert!(!done.await, "it is done already");
}

/// Lets everybody have so many turns, and drops the future. Whether it was done by then.
pub(crate) async fn is_done_after<F: Future + Unpin>(turns: usize, mut future: F) -> bool {
    for _ in 0..turns {
        tokio::select! {
            biased;
            _ = &mut future => return true,
            () = tokio::task::yield_now() => {}
        }
    }
    false
}
