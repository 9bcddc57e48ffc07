//! Backoff for an operation that is repeated until it succeeds. Each reason of failure is logged once.
//!
//! An operation mostly takes several steps, such as a read and then a write. The success of one step does not reset a
//! [`Backoff`], because the write may be refused each time although the read before it succeeds. Call
//! [`Backoff::reset`] when the operation as a whole has succeeded.

use std::time::Duration;

use tracing::{debug, warn};

use crate::delay::{Delays, ReasonLog};
use crate::session::WrongZnodeReporter;
use crate::{Error, Session};

const MIN_DELAY: Duration = Duration::from_millis(50);
const MAX_DELAY: Duration = Duration::from_secs(5);
/// Number of conflicts in a row that are not followed by a delay. Races between clients take a few.
const FREE_CONFLICTS: u32 = 4;

/// Backoff of one operation.
///
/// The delays grow from 50 ms to 5 s, and a random part of up to the delay itself is added to each.
#[derive(Debug)]
pub struct Backoff {
    logged: ReasonLog,
    delays: Delays,
    conflicts: u32,
    wrong_znodes: WrongZnodeReporter,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            logged: ReasonLog::default(),
            delays: Delays::new(MIN_DELAY, MAX_DELAY),
            conflicts: 0,
            wrong_znodes: WrongZnodeReporter::default(),
        }
    }
}

impl Backoff {
    /// Resets everything, because the operation has succeeded.
    pub fn reset(&mut self) {
        self.logged = ReasonLog::default();
        self.reconnected();
        self.wrong_znodes.clear();
    }

    /// Starts again with short delays, because there is a new connection. Reasons that were logged are not logged
    /// again.
    pub fn reconnected(&mut self) {
        self.delays = Delays::new(MIN_DELAY, MAX_DELAY);
        self.conflicts = 0;
    }

    /// Handles a failure of the operation: logs `error` if it is a new reason, reports the znode of the wrong type that
    /// caused it, and waits before the next attempt. Lost connections are logged by the session.
    ///
    /// # Cancel safety
    /// Dropping the future only ends the wait.
    pub async fn pause(&mut self, session: &Session, error: &Error) {
        self.wrong_znodes.update(session, error.wrong_znode());
        self.wait(error).await;
    }

    async fn wait(&mut self, error: &Error) {
        // The session logs lost connections and znodes of the wrong type.
        let is_logged_here = !error.is_connection_loss() && error.wrong_znode().is_none();
        if is_logged_here && self.logged.accepts(error.to_string()) {
            warn!("{error}; retrying");
        } else {
            debug!(%error, "failed; retrying");
        }
        tokio::time::sleep(self.delays.next_delay()).await;
    }

    /// Handles an attempt that had no error and no effect: another client was faster, or the znode was deleted. Waits
    /// only after several conflicts in a row.
    ///
    /// # Cancel safety
    /// Dropping the future only ends the wait.
    pub async fn conflict(&mut self) {
        self.conflicts = self.conflicts.saturating_add(1);
        if self.conflicts > FREE_CONFLICTS {
            tokio::time::sleep(self.delays.next_delay()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use zookeeper_client as zk;

    use super::*;
    use crate::delay::MAX_REASONS;

    fn refused(path: &str) -> Error {
        Error::Refused { operation: "create", path: path.into(), source: zk::Error::NoAuth }
    }

    #[tokio::test(start_paused = true)]
    async fn backoff_delays_grow_to_the_maximum_and_restart_after_success() {
        let error = Error::NotConnected { operation: "get", path: "/".into() };
        let mut backoff = Backoff::default();
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let begin = Instant::now();
            backoff.wait(&error).await;
            last = begin.elapsed();
            assert!(last <= MAX_DELAY * 2 + MIN_DELAY, "{last:?}");
        }
        assert!(last >= MAX_DELAY, "{last:?}");
        backoff.reset();
        let begin = Instant::now();
        backoff.wait(&error).await;
        assert!(begin.elapsed() <= MIN_DELAY * 2 + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn backoff_logs_alternating_reasons_once_and_its_delays_keep_growing() {
        let mut backoff = Backoff::default();
        let begin = Instant::now();
        for _ in 0..10 {
            backoff.wait(&refused("/a/1")).await;
            backoff.wait(&refused("/b/1")).await;
        }
        assert_eq!(backoff.logged.len(), 2);
        assert!(begin.elapsed() > MAX_DELAY * 12, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn backoff_logs_a_bounded_number_of_reasons() {
        let mut backoff = Backoff::default();
        for number in 0..100 {
            backoff.wait(&refused(&format!("/a/{number}/1"))).await;
        }
        assert_eq!(backoff.logged.len(), MAX_REASONS);
    }

    #[tokio::test(start_paused = true)]
    async fn backoff_restarts_delays_after_a_reconnect_without_logging_again() {
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            backoff.wait(&refused("/a/1")).await;
        }
        backoff.reconnected();
        let begin = Instant::now();
        backoff.wait(&refused("/a/1")).await;
        assert!(begin.elapsed() <= MIN_DELAY * 2 + Duration::from_millis(1));
        assert_eq!(backoff.logged.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn backoff_delays_only_repeated_conflicts() {
        let mut backoff = Backoff::default();
        let begin = Instant::now();
        for _ in 0..FREE_CONFLICTS {
            backoff.conflict().await;
        }
        assert!(begin.elapsed().is_zero());
        for _ in 0..20 {
            backoff.conflict().await;
        }
        assert!(begin.elapsed() > MAX_DELAY * 10, "{:?}", begin.elapsed());
    }
}
