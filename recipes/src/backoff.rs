//! Backoff for an operation that is repeated until it succeeds, and the log lines about its failures: one for each reason.
//!
//! An operation mostly takes several steps, such as looking and then writing. The success of one of them does not end a
//! [`Backoff`]: the write may be refused each time although the look before it succeeds. Only [`Backoff::over`] does, which
//! is for the step that matters.

use std::collections::BTreeSet;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tracing::{debug, warn};

use crate::wrong_znode::WrongZnodeReporter;
use crate::{Error, Session};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Steps in a row without progress that are followed by no pause: races with others take a few.
const FREE_DETOURS: u32 = 4;
/// Maximum number of reasons that are logged until the operation succeeds.
const MOST_REASONS: usize = 8;

/// The failures of one operation that is repeated until it succeeds.
#[derive(Debug, Default)]
pub struct Backoff {
    logged: BTreeSet<String>,
    pauses: Option<ExponentialBackoff>,
    detours: u32,
    wrong_znodes: WrongZnodeReporter,
}

impl Backoff {
    /// Ends the trouble: the operation has succeeded.
    pub fn over(&mut self) {
        self.logged.clear();
        self.pauses = None;
        self.detours = 0;
        self.wrong_znodes.clear();
    }

    /// Starts again with short pauses, because there is a new connection. Reasons that were logged are not logged again.
    pub fn reconnected(&mut self) {
        self.pauses = None;
        self.detours = 0;
    }

    /// Notes that the operation failed with `error`: logs a reason that is new, reports the znode in the way, and waits
    /// before the next try. Lost connections are logged by the session.
    ///
    /// # Cancellation safety
    /// Dropping the future ends the wait only.
    pub async fn pause(&mut self, session: &Session, error: &Error) {
        self.wrong_znodes.update(session, error.wrong_znode());
        self.wait(error).await;
    }

    async fn wait(&mut self, error: &Error) {
        let reason = error.to_string();
        // The registry logs znodes of the wrong type.
        let is_new = !error.is_connection_loss()
            && error.wrong_znode().is_none()
            && self.logged.len() < MOST_REASONS
            && !self.logged.contains(&reason);
        if is_new {
            warn!("{reason}; retrying");
            self.logged.insert(reason);
        } else {
            debug!(%error, "failed; retrying");
        }
        self.next_pause().await;
    }

    /// Notes that a step had no error, and led no further either: another client was faster, or the znode is gone. Waits if
    /// that has happened several times in a row.
    ///
    /// # Cancellation safety
    /// Dropping the future ends the wait only.
    pub async fn detour(&mut self) {
        self.detours = self.detours.saturating_add(1);
        if self.detours > FREE_DETOURS {
            self.next_pause().await;
        }
    }

    async fn next_pause(&mut self) {
        let pauses = self.pauses.get_or_insert_with(|| {
            ExponentialBuilder::new()
                .with_min_delay(FIRST_PAUSE)
                .with_max_delay(LONGEST_PAUSE)
                .without_max_times()
                .with_jitter()
                .build()
        });
        tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use zookeeper_client as zk;

    use super::*;

    fn refused(path: &str) -> Error {
        Error::Refused { operation: "create", path: path.into(), source: zk::Error::NoAuth }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound_and_begin_anew_when_it_works() {
        let error = Error::NotConnected { operation: "get", path: "/".into() };
        let mut trouble = Backoff::default();
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let begin = Instant::now();
            trouble.wait(&error).await;
            last = begin.elapsed();
            assert!(last <= LONGEST_PAUSE * 2 + FIRST_PAUSE, "{last:?}");
        }
        assert!(last >= LONGEST_PAUSE, "{last:?}");
        trouble.over();
        let begin = Instant::now();
        trouble.wait(&error).await;
        assert!(begin.elapsed() <= FIRST_PAUSE * 2 + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn reasons_that_alternate_are_logged_once_each_and_pauses_grow_across_them() {
        let mut trouble = Backoff::default();
        let begin = Instant::now();
        for _ in 0..10 {
            trouble.wait(&refused("/a/1")).await;
            trouble.wait(&refused("/b/1")).await;
        }
        assert_eq!(trouble.logged.len(), 2);
        assert!(begin.elapsed() > LONGEST_PAUSE * 12, "{:?}", begin.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn number_of_logged_reasons_is_bounded() {
        let mut trouble = Backoff::default();
        for number in 0..100 {
            trouble.wait(&refused(&format!("/a/{number}/1"))).await;
        }
        assert_eq!(trouble.logged.len(), MOST_REASONS);
    }

    #[tokio::test(start_paused = true)]
    async fn new_connection_shortens_the_pause_and_logs_nothing_again() {
        let mut trouble = Backoff::default();
        for _ in 0..20 {
            trouble.wait(&refused("/a/1")).await;
        }
        trouble.reconnected();
        let begin = Instant::now();
        trouble.wait(&refused("/a/1")).await;
        assert!(begin.elapsed() <= FIRST_PAUSE * 2 + Duration::from_millis(1));
        assert_eq!(trouble.logged.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn steps_without_progress_are_free_at_first_and_then_paused() {
        let mut trouble = Backoff::default();
        let begin = Instant::now();
        for _ in 0..FREE_DETOURS {
            trouble.detour().await;
        }
        assert!(begin.elapsed().is_zero());
        for _ in 0..20 {
            trouble.detour().await;
        }
        assert!(begin.elapsed() > LONGEST_PAUSE * 10, "{:?}", begin.elapsed());
    }
}
