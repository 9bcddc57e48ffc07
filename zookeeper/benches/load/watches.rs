//! Watches: many connections watch one znode, another one changes it. The result counts the notifications.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::wire::{Connection, EVENT, Template};
use super::{Counted, during};

const PATH: &str = "/watched";

/// State shared by the connections of one measurement.
#[derive(Default)]
struct Shared {
    notifications: AtomicU64,
    /// Number of watches set again after a notification.
    set_again: AtomicU64,
    /// Wakes the task that changes the znode.
    resume: Notify,
    over: AtomicBool,
}

impl Shared {
    fn notifications(&self) -> u64 {
        self.notifications.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Measures one-shot watches: each notified watcher reads the znode again with a new watch, as clients do.
pub(crate) async fn once(server: &str, watchers: u64, ms: u64) -> io::Result<Counted> {
    let get = Template::get(PATH, true);
    let shared = Arc::new(Shared::default());
    let mut writer = Connection::open(server).await?;
    writer.make(PATH).await?;
    let mut tasks = JoinSet::new();
    for connection in watching(server, watchers, &get).await? {
        let (shared, get) = (shared.clone(), get.clone());
        tasks.spawn(receive_events(connection, shared.clone(), move |connection, number| {
            if number == EVENT {
                connection.queue(&get);
            } else if (shared.set_again.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(watchers) {
                shared.resume.notify_one();
            }
        }));
    }
    let changing = shared.clone();
    tasks.spawn(async move {
        let set = Template::set(PATH);
        while !changing.is_over() {
            writer.ask(&set).await?;
            changing.resume.notified().await;
        }
        writer.close().await
    });
    finish(ms, shared, tasks).await
}

/// Measures persistent watches: no watch is set again, and `changes` are in flight at the same time.
pub(crate) async fn stay(server: &str, watchers: u64, changes: u64, ms: u64) -> io::Result<Counted> {
    let shared = Arc::new(Shared::default());
    let mut writer = Connection::open(server).await?;
    writer.make(PATH).await?;
    let mut tasks = JoinSet::new();
    for connection in watching(server, watchers, &Template::watch(PATH)).await? {
        let shared = shared.clone();
        tasks.spawn(receive_events(connection, shared.clone(), move |_, _| shared.resume.notify_one()));
    }
    let changing = shared.clone();
    tasks.spawn(async move {
        let set = Template::set(PATH);
        let (mut changed, mut answered) = (0, 0);
        while !changing.is_over() {
            let over = answered.min(changing.notifications() / watchers);
            while changed < over + changes {
                writer.queue(&set);
                changed += 1;
            }
            writer.send().await?;
            tokio::select! {
                received = writer.receive() => received?,
                () = changing.resume.notified() => {}
            }
            while writer.next()?.is_some() {
                answered += 1;
            }
        }
        writer.close().await
    });
    finish(ms, shared, tasks).await
}

/// Returns connections that have set their watch.
async fn watching(server: &str, count: u64, request: &Template) -> io::Result<Vec<Connection>> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut connection = Connection::open(server).await?;
        connection.ask(request).await?;
        connections.push(connection);
    }
    Ok(connections)
}

/// Counts the notifications of one watcher, and calls `then` with each frame.
async fn receive_events(
    mut connection: Connection,
    shared: Arc<Shared>,
    mut then: impl FnMut(&mut Connection, i32),
) -> io::Result<()> {
    while !shared.is_over() {
        connection.receive().await?;
        while let Some(number) = connection.next()? {
            if number == EVENT {
                shared.notifications.fetch_add(1, Ordering::Relaxed);
            }
            then(&mut connection, number);
        }
        connection.send().await?;
    }
    connection.close().await
}

/// Counts for the duration of the measurement; then stops all tasks, including those that still wait for a frame.
async fn finish(ms: u64, shared: Arc<Shared>, mut tasks: JoinSet<io::Result<()>>) -> io::Result<Counted> {
    let counted = during(ms, || shared.notifications()).await;
    shared.over.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.try_join_next() {
        ended??;
    }
    tasks.shutdown().await;
    Ok(counted)
}
