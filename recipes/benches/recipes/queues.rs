//! A queue, whose entries arrive in order.

use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use atalaya_recipes::queue::DEFAULT_PRIORITY;
use atalaya_recipes::{LockingQueue, Queue, Session};

/// A queue of either kind.
pub(crate) enum Either {
    Plain(Box<Queue>),
    Locking(LockingQueue),
}

impl Either {
    pub(crate) fn of(kind: &str, session: Session, path: &str) -> anyhow::Result<Either> {
        match kind {
            "plain" => Ok(Either::Plain(Box::new(Queue::new(session, path)))),
            "locking" => Ok(Either::Locking(LockingQueue::new(session, path))),
            _ => bail!("{kind}: no such queue"),
        }
    }

    pub(crate) async fn put(&self, value: &[u8]) -> anyhow::Result<()> {
        match self {
            Either::Plain(queue) => queue.put(value, DEFAULT_PRIORITY).await?,
            Either::Locking(queue) => queue.put(value, DEFAULT_PRIORITY).await?,
        }
        Ok(())
    }

    /// Takes and consumes one entry.
    pub(crate) async fn take(&self) -> anyhow::Result<Vec<u8>> {
        match self {
            Either::Plain(queue) => queue.take().await?.context("the queue is empty"),
            Either::Locking(queue) => {
                let taken = queue.take().await?.context("the queue is empty")?;
                let value = taken.data().to_vec();
                taken.consume().await?;
                Ok(value)
            }
        }
    }
}

/// Puts `batch` entries and takes them, `times` times, after one warm-up entry. Returns the nanoseconds of each batch
/// of puts and of takes.
pub(crate) async fn put_and_take(
    session: &Session,
    kind: &str,
    path: &str,
    batch: usize,
    times: usize,
) -> anyhow::Result<String> {
    let queue = Either::of(kind, session.clone(), path)?;
    queue.put(b"first").await?;
    queue.take().await?;
    let (mut put, mut taken) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let start = Instant::now();
        for number in 0..batch {
            queue.put(number.to_string().as_bytes()).await?;
        }
        let between = Instant::now();
        for number in 0..batch {
            let value = queue.take().await?;
            ensure!(value == number.to_string().as_bytes(), "entry {number} is another one");
        }
        put.push((between - start).as_nanos());
        taken.push(between.elapsed().as_nanos());
    }
    Ok(format!("{{\"put\":{put:?},\"take\":{taken:?}}}"))
}
