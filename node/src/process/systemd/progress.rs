//! Whether a node goes on. Pure: time comes from outside.
//!
//! Measuring goes on when each sample ends in time, whatever the sensors say: a dead sensor, or a bus that hangs, is not
//! healed by a restart. Publishing goes on when ZooKeeper has taken some measurement within two session timeouts (or the
//! watchdog's time, if that is longer) while this node held its znode without a break. While it does not hold it, because
//! ZooKeeper is away or another process has the id, waiting is all that there is to do, and the node is well.

use std::time::{Duration, Instant};

use crate::observe::node_status::NodeStatus;
use crate::sampling::{SampleProgress, read_timeout};
use crate::settings::Settings;

/// What a node has done lately.
#[derive(Debug)]
pub struct Progress {
    /// When the sample that is due next has ended at the latest.
    sampled_by: Instant,
    /// How late anything may be before it counts: a busy machine is none that hangs.
    slack: Duration,
    /// How long a measurement may wait to be stored.
    storing: Duration,
    stored: u64,
    /// The newest measurement when something was stored last.
    measured: Option<Instant>,
    /// Since when a newer one waits, over a connection that stands.
    waiting_since: Option<Instant>,
}

impl Progress {
    /// Nothing yet, at `now`; a watchdog wants to hear `every` so often.
    pub fn new(now: Instant, settings: &Settings, every: Duration) -> Progress {
        let slack = every.min(Duration::from_secs(3600));
        Progress {
            sampled_by: now + read_timeout(settings.sampling_period),
            slack,
            storing: slack.max(settings.session_timeout * 2),
            stored: 0,
            measured: None,
            waiting_since: None,
        }
    }

    /// Takes note of what is at `now`.
    pub fn look(&mut self, node_status: &NodeStatus, turn: Option<SampleProgress>, now: Instant) {
        if let Some(turn) = turn {
            self.sampled_by = turn.next_by;
        }
        let newest = node_status.measured.as_ref().map(|measured| measured.at);
        let stored = node_status.published.stored;
        if !node_status.published.held || stored != self.stored {
            self.stored = stored;
            self.measured = newest;
            self.waiting_since = None;
        } else if newest > self.measured {
            self.waiting_since = self.waiting_since.or(Some(now));
        }
    }

    /// What does not go on.
    pub fn problem(&self, now: Instant) -> Option<&'static str> {
        if now > self.sampled_by + self.slack {
            return Some("the measuring stands still");
        }
        let waits = self.waiting_since.is_some_and(|since| now.duration_since(since) > self.storing);
        waits.then_some("measurements are not published although ZooKeeper is connected")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use atalaya_recipes::persistent_node::NodeState;
    use proptest::prelude::*;

    use super::*;
    use crate::observe::node_status::Measured;

    const SECOND: Duration = Duration::from_secs(1);

    /// Every 5 s a sample, a session timeout of 10 s, a watchdog of 6 s: storing may take 20 s.
    fn progress(now: Instant) -> Progress {
        let settings = crate::settings::tests::defaults();
        Progress::new(now, &settings, 6 * SECOND)
    }

    fn node_status(held: bool, stored: u64, measured: Instant) -> NodeStatus {
        let measured = Some(Measured { data: Arc::from(&b"7"[..]), at: measured });
        NodeStatus { published: NodeState { held, stored, zxid: 1 }, measured, ..NodeStatus::default() }
    }

    #[test]
    fn a_first_sample_that_never_ends_is_noticed() {
        let start = Instant::now();
        let progress = progress(start);
        assert_eq!(progress.problem(start + 11 * SECOND), None);
        assert_eq!(progress.problem(start + 12 * SECOND), Some("the measuring stands still"));
    }

    #[test]
    fn a_sample_that_is_late_is_noticed_and_forgiven_when_it_comes() {
        let start = Instant::now();
        let mut progress = progress(start);
        let turn = |next| Some(SampleProgress { samples: 1, next_by: start + next });
        progress.look(&NodeStatus::default(), turn(10 * SECOND), start);
        assert_eq!(progress.problem(start + 16 * SECOND), None);
        assert!(progress.problem(start + 17 * SECOND).is_some());
        progress.look(&NodeStatus::default(), turn(27 * SECOND), start + 17 * SECOND);
        assert_eq!(progress.problem(start + 17 * SECOND), None);
    }

    #[test]
    fn a_publisher_that_stores_nothing_over_a_connection_that_stands_is_noticed() {
        let start = Instant::now();
        let mut progress = progress(start);
        let turn = Some(SampleProgress { samples: 1, next_by: start + 1_000 * SECOND });
        progress.look(&node_status(true, 1, start), turn, start);
        assert_eq!(progress.problem(start + 100 * SECOND), None, "nothing new was measured");
        progress.look(&node_status(true, 1, start + SECOND), turn, start + SECOND);
        progress.look(&node_status(true, 1, start + 6 * SECOND), turn, start + 6 * SECOND);
        assert_eq!(progress.problem(start + 21 * SECOND), None);
        assert!(progress.problem(start + 22 * SECOND).is_some());
        progress.look(&node_status(true, 2, start + 6 * SECOND), turn, start + 23 * SECOND);
        assert_eq!(progress.problem(start + 100 * SECOND), None);
    }

    proptest! {
        #[test]
        fn a_node_whose_zookeeper_is_away_is_well_for_as_long_as_it_measures(
            stored in 0u64..5,
            away in 1u32..100_000,
        ) {
            let start = Instant::now();
            let mut progress = progress(start);
            for second in (0..away).step_by(5) {
                let now = start + SECOND * second;
                let turn = Some(SampleProgress { samples: u64::from(second), next_by: now + 10 * SECOND });
                progress.look(&node_status(false, stored, now), turn, now);
                prop_assert_eq!(progress.problem(now + 5 * SECOND), None);
            }
        }
    }
}
