//! Single operations, whose requests the server counts. The objects that they need are created once and kept.

use anyhow::{bail, ensure};
use atalaya_recipes::{Barrier, Counter, Lock, Semaphore, Session};

use super::counters::Kind;
use super::queues::Either;

/// Permits of the semaphore.
const PLACES: u32 = 3;

/// One object of each recipe, below a path.
pub(crate) struct Alone {
    lock: Lock,
    semaphore: Semaphore,
    exact: Counter,
    compatible: Counter,
    plain: Either,
    locking: Either,
    barrier: Barrier,
}

impl Alone {
    pub(crate) fn at(session: Session, path: &str) -> anyhow::Result<Alone> {
        let below = |name: &str| format!("{path}/{name}");
        Ok(Alone {
            lock: Lock::new(session.clone(), below("lock"), "bench"),
            semaphore: Semaphore::new(session.clone(), below("semaphore"), "bench", PLACES),
            exact: Kind::Exact.counter(session.clone(), &below("exact")),
            compatible: Kind::Compatible.counter(session.clone(), &below("compatible")),
            plain: Either::of("plain", session.clone(), &below("plain"))?,
            locking: Either::of("locking", session.clone(), &below("locking"))?,
            barrier: Barrier::new(session, below("barrier")),
        })
    }

    /// Performs an operation `times` times.
    pub(crate) async fn times(&self, what: &str, count: usize) -> anyhow::Result<String> {
        for _ in 0..count {
            match what {
                "lock" => ensure!(self.lock.acquire().await?.release().await, "a lock was not given back"),
                "semaphore" => {
                    ensure!(self.semaphore.acquire().await?.release().await, "a place was not given back")
                }
                "exact" => drop(self.exact.add(1).await?),
                "compatible" => drop(self.compatible.add(1).await?),
                "plain-put" => self.plain.put(b"entry").await?,
                "plain-take" => drop(self.plain.take().await?),
                "locking-put" => self.locking.put(b"entry").await?,
                "locking-take" => drop(self.locking.take().await?),
                "open-barrier" => self.barrier.wait().await?,
                _ => bail!("{what}: nothing that can be done"),
            }
        }
        Ok(format!("{{\"times\":{count}}}"))
    }
}
