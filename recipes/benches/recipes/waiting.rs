//! Barriers and data watches: several waiters, and the client that wakes them.

use std::sync::Arc;

use anyhow::Context as _;
use atalaya_recipes::{Barrier, DataWatch, Session, WatchedData};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{all, begin, now};

/// Starts to wait at a barrier. The future returns the time at which each client passed.
pub(crate) fn wait(sessions: &[Session], path: &str) -> impl Future<Output = anyhow::Result<String>> + use<> {
    let path: Arc<str> = path.into();
    let waiting = sessions.iter().map(|session| {
        let barrier = Barrier::new(session.clone(), &*path);
        async move {
            barrier.wait().await?;
            Ok::<_, anyhow::Error>(now())
        }
    });
    let waiting = begin(waiting);
    async move { Ok(format!("{{\"passed\":{:?}}}", all(waiting).await?)) }
}

/// Opens a barrier with a single request. Returns the time at which it was sent.
pub(crate) async fn open(session: &Session, path: &str) -> anyhow::Result<String> {
    let connection = session.connection().await;
    let at = now();
    connection.delete(path, None).await?;
    Ok(format!("{{\"at\":{at}}}"))
}

/// Writes a znode and creates it if missing. Returns the time at which the request was sent.
pub(crate) async fn set(session: &Session, path: &str, value: &str) -> anyhow::Result<String> {
    let connection = session.connection().await;
    let mut at = now();
    match connection.set(path, value.as_bytes(), None).await {
        Err(error) if error.is_no_node() => {
            connection.ensure(path).await?;
            at = now();
            connection.set(path, value.as_bytes(), None).await?;
        }
        result => drop(result?),
    }
    Ok(format!("{{\"at\":{at}}}"))
}

/// The newest value and the time of its arrival.
type Newest = (Vec<u8>, i64);

/// Watchers of one znode. They end when this is dropped.
pub(crate) struct Watching {
    newest: Vec<watch::Receiver<Newest>>,
    _tasks: JoinSet<()>,
}

impl Watching {
    /// Starts the watchers. All have read the znode when this returns.
    pub(crate) async fn begin(sessions: &[Session], path: &str) -> anyhow::Result<Watching> {
        let mut tasks = JoinSet::new();
        let mut newest = Vec::new();
        for session in sessions {
            let watch = DataWatch::new(session.clone(), path);
            let mut states = watch.subscribe();
            let (sender, receiver) = watch::channel(Newest::default());
            tasks.spawn(async move { drop(watch.run().await) });
            tasks.spawn(async move {
                while states.changed().await.is_ok() {
                    let WatchedData::Present(value, _) = states.borrow_and_update().clone() else { continue };
                    sender.send_replace((value, now()));
                }
            });
            newest.push(receiver);
        }
        for newest in &mut newest {
            newest.changed().await.context("a watch has ended")?;
        }
        Ok(Watching { newest, _tasks: tasks })
    }

    /// Waits until each watcher has this value. Returns the times of arrival.
    pub(crate) async fn seen(&mut self, value: &str) -> anyhow::Result<String> {
        let mut seen = Vec::new();
        for newest in &mut self.newest {
            let found = newest.wait_for(|(newest, _)| newest == value.as_bytes()).await;
            seen.push(found.context("a watch has ended")?.1);
        }
        Ok(format!("{{\"seen\":{seen:?}}}"))
    }
}
