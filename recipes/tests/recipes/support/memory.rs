//! An in-memory server, sessions to it, and the list of contenders.

use std::future::Future;
use std::time::Duration;

use atalaya_recipes::{Connection, Session, SessionOptions};
use atalaya_zookeeper::{Disconnect, Faults, Operation, PendingDisconnect, RequestFilter, Server};
use tokio::time::Instant;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(6);
/// Deadline of every condition, long enough for a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const PATH: &str = "/locks/crane";

pub(crate) struct TestBed {
    server: Server,
    pub(crate) faults: Faults,
    /// A session without injected faults, for observation.
    pub(crate) observer: Connection,
}

impl TestBed {
    pub(crate) async fn start() -> TestBed {
        // Shown only when a test fails. A second test of the same process finds it set up.
        let _ = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::DEBUG).try_init();
        let server = Server::builder().tick(TIMEOUT / 4).start().await.unwrap();
        let faults = server.faults();
        let observer = session_to(&server).connection().await;
        TestBed { server, faults, observer }
    }

    pub(crate) async fn with_session() -> (TestBed, Session) {
        let bed = TestBed::start().await;
        let session = bed.session().await;
        (bed, session)
    }

    pub(crate) fn connect_string(&self) -> String {
        self.server.connect_string()
    }

    /// Starts a session and waits until it is connected.
    pub(crate) async fn session(&self) -> Session {
        let session = session_to(&self.server);
        soon("a connection", session.connection()).await;
        session
    }

    /// Cuts the session's connection at its next request of this kind.
    pub(crate) async fn cut(&self, session: &Session, cut: Disconnect, kind: Operation) -> PendingDisconnect {
        let at = RequestFilter::any().session(session.state().session).operation(kind);
        self.faults.disconnect_at(cut, at).await
    }

    pub(crate) async fn expire(&self, session: &Session) {
        assert!(self.faults.expire(session.state().session).await, "no such session");
    }

    pub(crate) async fn children(&self, path: &str) -> Vec<String> {
        match self.observer.children(path).await {
            Ok(mut children) => {
                children.sort_unstable();
                children
            }
            Err(error) if error.is_no_node() => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    pub(crate) fn wait_for_contenders(&self, path: &str, count: usize) -> impl Future<Output = Vec<String>> {
        let caller = std::panic::Location::caller();
        async move {
            let end = Instant::now() + DEADLINE;
            loop {
                let connection = soon("a connection", self.observer.session().connection()).await;
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
                assert!(!late, "{caller}: {count} contenders expected, found {watched:?}");
            }
        }
    }

    /// Returns the number of children that were ever created or deleted at `path`.
    pub(crate) async fn changes(&self, path: &str) -> i32 {
        self.observer.stat(path).await.unwrap().map_or(0, |stat| stat.cversion)
    }
}

fn session_to(server: &Server) -> Session {
    let servers = server.connect_string().parse().unwrap();
    Session::start(SessionOptions::new(servers, TIMEOUT))
}

#[track_caller]
pub(crate) fn soon<T>(what: &str, future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(value) => value,
            Err(_) => panic!("{caller}: {what} timed out"),
        }
    }
}

/// Polls a future once. It must not complete.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) {
    let done = std::future::poll_fn(|cx| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_ready())
    });
    assert!(!done.await, "the future completed at its first poll");
}

/// Lets all tasks run for `turns` turns, then drops the future. Returns true if it completed before.
pub(crate) async fn completes_within<F: Future + Unpin>(turns: usize, mut future: F) -> bool {
    for _ in 0..turns {
        tokio::select! {
            biased;
            _ = &mut future => return true,
            () = tokio::task::yield_now() => {}
        }
    }
    false
}
