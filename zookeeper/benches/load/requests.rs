//! Reads and writes: every connection keeps a fixed number of requests in flight. With one it is a closed loop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::task::JoinSet;

use super::wire::{Connection, Template};
use super::{Counted, during};

/// The parent of all znodes of the load.
const PARENT: &str = "/load";

/// State shared by the connections of one measurement.
#[derive(Default)]
struct Shared {
    replies: AtomicU64,
    over: AtomicBool,
}

pub(crate) async fn reads(server: &str, connections: u64, depth: u64, ms: u64) -> io::Result<Counted> {
    measure(server, connections, depth, ms, |path| Template::get(path, false)).await
}

pub(crate) async fn writes(server: &str, connections: u64, depth: u64, ms: u64) -> io::Result<Counted> {
    measure(server, connections, depth, ms, Template::set).await
}

async fn measure(
    server: &str,
    connections: u64,
    depth: u64,
    ms: u64,
    request: impl Fn(&str) -> Template,
) -> io::Result<Counted> {
    let shared = Arc::new(Shared::default());
    let mut ready = Vec::new();
    for number in 0..connections {
        let mut connection = Connection::open(server).await?;
        let path = format!("{PARENT}/{number}");
        connection.make(PARENT).await?;
        connection.make(&path).await?;
        ready.push((connection, request(&path)));
    }
    let mut tasks = JoinSet::new();
    for (connection, request) in ready {
        tasks.spawn(drive(connection, request, depth, shared.clone()));
    }
    let counted = during(ms, || shared.replies.load(Ordering::Relaxed)).await;
    shared.over.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(counted)
}

/// Sends requests until the measurement is over, and then waits for the outstanding replies.
async fn drive(
    mut connection: Connection,
    request: Template,
    depth: u64,
    shared: Arc<Shared>,
) -> io::Result<()> {
    (0..depth).for_each(|_| connection.queue(&request));
    let mut under_way = depth;
    while under_way > 0 {
        connection.send().await?;
        connection.receive().await?;
        let mut replies = 0;
        while connection.next()?.is_some() {
            replies += 1;
        }
        shared.replies.fetch_add(replies, Ordering::Relaxed);
        if shared.over.load(Ordering::Relaxed) {
            under_way -= replies;
        } else {
            (0..replies).for_each(|_| connection.queue(&request));
        }
    }
    connection.close().await
}
