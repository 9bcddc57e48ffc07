//! A lock with several contenders.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_recipes::{AcquireError, Guard, Lock, Session};
use tokio::task::JoinHandle;

use super::{all, begin, now};

/// Acquires and releases for a time span. Returns for each contender the times at which it held the lock: from, to,
/// from, to, …
pub(crate) async fn contend(sessions: &[Session], path: &str, time: Duration) -> anyhow::Result<String> {
    let end = Instant::now() + time;
    let contenders = sessions.iter().map(|session| {
        let lock = Lock::new(session.clone(), path, "bench");
        async move {
            let mut held = Vec::new();
            while Instant::now() < end {
                let guard = lock.acquire().await?;
                held.push(now());
                ensure!(guard.holds(), "a lock was lost");
                held.push(now());
                ensure!(guard.release().await, "a lock was not given back");
            }
            Ok::<_, anyhow::Error>(held)
        }
    });
    let held = all(begin(contenders)).await?;
    Ok(format!("{{\"held\":{held:?}}}"))
}

/// A queue for a lock: one holder and its waiters.
pub(crate) struct InLine {
    holds: Option<Guard>,
    wait: Vec<JoinHandle<Result<Guard, AcquireError>>>,
}

impl InLine {
    /// Queues the contenders one after the other.
    pub(crate) async fn stand(sessions: &[Session], path: &str) -> anyhow::Result<InLine> {
        let (first, others) = sessions.split_first().context("nobody")?;
        let witness = first.connection().await;
        let holds = Some(Lock::new(first.clone(), path, "bench").acquire().await?);
        let mut wait = Vec::new();
        for session in others {
            let lock = Lock::new(session.clone(), path, "bench");
            wait.push(tokio::spawn(async move { lock.acquire().await }));
            loop {
                let (children, changed) = witness.children_and_watch(path).await?;
                if children.len() > wait.len() {
                    break;
                }
                changed.changed().await;
            }
        }
        Ok(InLine { holds, wait })
    }

    pub(crate) fn len(&self) -> usize {
        self.wait.len() + 1
    }

    /// Each holder passes the lock to the next one, and the last keeps it until the next queue. Returns the number of
    /// hand-overs.
    pub(crate) async fn pass(&mut self) -> anyhow::Result<usize> {
        let count = self.wait.len();
        for next in self.wait.drain(..) {
            let holds = self.holds.take().context("the lock is free")?;
            ensure!(holds.release().await, "a lock was not given back");
            self.holds = Some(next.await??);
        }
        Ok(count)
    }
}
