//! What to do about calls that fail again and again: say each new failure once, and wait longer each time. Used by the
//! recipes' shells.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tracing::{debug, warn};

use crate::Error;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The failures of one thing that is tried until it works.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    said: Option<String>,
    pauses: Option<ExponentialBackoff>,
}

impl Trouble {
    /// It works, or has failed in a way that leads on.
    pub(crate) fn over(&mut self) {
        *self = Trouble::default();
    }

    /// It failed with `error`: logs that if it is news, and waits before the next try. A connection's own troubles are
    /// logged by whoever keeps the session.
    pub(crate) async fn pause(&mut self, error: &Error) {
        let text = error.to_string();
        if error.is_link_trouble() || self.said.as_ref() == Some(&text) {
            debug!(%error, "failed; trying again");
        } else {
            warn!(%error, "ZooKeeper refuses; trying on");
            self.said = Some(text);
        }
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

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound_and_begin_anew_when_it_works() {
        let error = Error::NotConnected { operation: "get", path: "/".into() };
        let mut trouble = Trouble::default();
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let begin = Instant::now();
            trouble.pause(&error).await;
            last = begin.elapsed();
            assert!(last <= LONGEST_PAUSE * 2 + FIRST_PAUSE, "{last:?}");
        }
        assert!(last >= LONGEST_PAUSE, "{last:?}");
        trouble.over();
        let begin = Instant::now();
        trouble.pause(&error).await;
        assert!(begin.elapsed() <= FIRST_PAUSE * 2 + Duration::from_millis(1));
    }
}
