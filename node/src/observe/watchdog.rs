//! Liveness: decides whether a node makes progress. No I/O; time is passed in.
//!
//! * Sampling makes progress if each sample ends in time, whatever the sensors return: a restart cannot repair a dead
//!   sensor or a hanging bus.
//! * Publishing makes progress if ZooKeeper stores a measurement within two session timeouts (or the watchdog's
//!   interval, if that is longer) while this node owns its znode without interruption. While it does not own the znode,
//!   because ZooKeeper is unreachable or another process uses the id, waiting is correct, and the node is healthy.
//! * A leader makes progress if its cycles end in time, and if requests to the API are sent while reports are in the
//!   outbox.

use std::time::{Duration, Instant};

use atalaya_recipes::clock::BootInstant;

use crate::metrics::LeaderStats;
use crate::observe::node_status::NodeStatus;
use crate::sampling::read_timeout;
use crate::settings::Settings;

/// Maximum delay of a cycle of a leader, besides the timeouts of its requests.
const CYCLE_TOLERANCE: Duration = Duration::from_secs(10);
/// Maximum time without a request to the API or an answer while reports are in the outbox: the longest timeout of a
/// request, twice the longest backoff, and a margin.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// Upper bound of the tolerance, whatever the watchdog's interval.
const MAX_TOLERANCE: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(crate) struct Watchdog {
    /// Time by which the next sample ends.
    sample_expected_by: Instant,
    /// Maximum delay of a sample: a busy machine does not hang.
    tolerance: Duration,
    /// Maximum time in which ZooKeeper stores a measurement.
    publish_timeout: Duration,
    stored: u64,
    /// Time of the newest measurement at the last change of `stored`.
    stored_measurement: Option<Instant>,
    /// Time since which a newer measurement waits to be stored.
    waiting_since: Option<Instant>,
}

impl Watchdog {
    /// Returns a watchdog of a node that starts at `now`. `interval` is the time within which a supervisor expects a
    /// sign of life.
    pub(crate) fn new(now: Instant, settings: &Settings, interval: Duration) -> Watchdog {
        let tolerance = interval.min(MAX_TOLERANCE);
        Watchdog {
            sample_expected_by: now + read_timeout(settings.sampling_period),
            tolerance,
            publish_timeout: tolerance.max(settings.session_timeout * 2),
            stored: 0,
            stored_measurement: None,
            waiting_since: None,
        }
    }

    /// Records the state of the node at `now`. `next_by` is the time by which the next sample ends, if known.
    pub(crate) fn update(&mut self, status: &NodeStatus, next_by: Option<Instant>, now: Instant) {
        self.sample_expected_by = next_by.unwrap_or(self.sample_expected_by);
        let newest = status.measured.as_ref().map(|measured| measured.at);
        let stored = status.published.stored;
        if !status.published.held || stored != self.stored {
            self.stored = stored;
            self.stored_measurement = newest;
            self.waiting_since = None;
        } else if newest > self.stored_measurement {
            self.waiting_since = self.waiting_since.or(Some(now));
        }
    }

    /// Returns a message if sampling or publishing makes no progress.
    pub(crate) fn problem(&self, now: Instant) -> Option<&'static str> {
        if now > self.sample_expected_by + self.tolerance {
            return Some("sampling makes no progress");
        }
        let is_late = |since: Instant| now.duration_since(since) > self.publish_timeout;
        let is_stuck = self.waiting_since.is_some_and(is_late);
        is_stuck.then_some("measurements are not published although ZooKeeper is connected")
    }
}

/// Returns a message if cycles or deliveries make no progress. `has_api` is false if reports are only logged.
pub(crate) fn leader_problem(stats: &LeaderStats, has_api: bool, now: BootInstant) -> Option<&'static str> {
    if stats.cycle_expected_by.is_some_and(|by| now > by + CYCLE_TOLERANCE) {
        return Some("this node is the leader and completes no cycle");
    }
    let is_late = |at: BootInstant| now.since(at) > DELIVERY_TIMEOUT;
    let is_stuck = has_api && stats.outbox_reports > 0 && stats.last_delivery_activity.is_some_and(is_late);
    is_stuck.then_some("this node is the leader, reports are in the outbox, and none is sent")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use atalaya_recipes::persistent_node::NodeState;
    use proptest::prelude::*;

    use super::*;
    use crate::observe::node_status::Measured;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns a watchdog with a sampling period of 5 s, a session timeout of 10 s and an interval of 6 s: storing may
    /// take 20 s.
    fn watchdog(now: Instant) -> Watchdog {
        let settings = crate::settings::tests::defaults();
        Watchdog::new(now, &settings, 6 * SECOND)
    }

    fn status(held: bool, stored: u64, measured: Instant) -> NodeStatus {
        let measured = Some(Measured { data: Arc::from(&b"7"[..]), at: measured });
        NodeStatus { published: NodeState { held, stored, zxid: 1 }, measured, ..NodeStatus::default() }
    }

    #[test]
    fn watchdog_notices_a_first_sample_that_never_ends() {
        let start = Instant::now();
        let watchdog = watchdog(start);
        assert_eq!(watchdog.problem(start + 11 * SECOND), None);
        assert_eq!(watchdog.problem(start + 12 * SECOND), Some("sampling makes no progress"));
    }

    #[test]
    fn watchdog_notices_a_late_sample_and_recovers_when_it_ends() {
        let start = Instant::now();
        let mut watchdog = watchdog(start);
        let progress = |next| Some(start + next);
        watchdog.update(&NodeStatus::default(), progress(10 * SECOND), start);
        assert_eq!(watchdog.problem(start + 16 * SECOND), None);
        assert!(watchdog.problem(start + 17 * SECOND).is_some());
        watchdog.update(&NodeStatus::default(), progress(27 * SECOND), start + 17 * SECOND);
        assert_eq!(watchdog.problem(start + 17 * SECOND), None);
    }

    #[test]
    fn watchdog_notices_a_publisher_that_stores_nothing_over_a_live_connection() {
        let start = Instant::now();
        let mut watchdog = watchdog(start);
        let progress = Some(start + 1_000 * SECOND);
        watchdog.update(&status(true, 1, start), progress, start);
        assert_eq!(watchdog.problem(start + 100 * SECOND), None, "no newer measurement");
        watchdog.update(&status(true, 1, start + SECOND), progress, start + SECOND);
        watchdog.update(&status(true, 1, start + 6 * SECOND), progress, start + 6 * SECOND);
        assert_eq!(watchdog.problem(start + 21 * SECOND), None);
        assert!(watchdog.problem(start + 22 * SECOND).is_some());
        watchdog.update(&status(true, 2, start + 6 * SECOND), progress, start + 23 * SECOND);
        assert_eq!(watchdog.problem(start + 100 * SECOND), None);
    }

    fn at(second: u64) -> BootInstant {
        BootInstant::at(Duration::from_secs(second))
    }

    #[test]
    fn watchdog_notices_a_leader_without_cycles() {
        let stats = LeaderStats { cycle_expected_by: Some(at(20)), ..LeaderStats::default() };
        assert_eq!(leader_problem(&stats, true, at(30)), None);
        assert!(leader_problem(&stats, true, at(31)).unwrap().contains("no cycle"));
    }

    #[test]
    fn watchdog_notices_reports_that_are_not_sent_and_accepts_requests_that_fail() {
        let stats = LeaderStats {
            outbox_reports: 1,
            last_delivery_activity: Some(at(100)),
            ..LeaderStats::default()
        };
        assert_eq!(leader_problem(&stats, true, at(130)), None);
        assert!(leader_problem(&stats, true, at(131)).unwrap().contains("none is sent"));
        assert_eq!(leader_problem(&stats, false, at(131)), None, "without an API");
        let stats = LeaderStats { last_delivery_activity: Some(at(141)), ..stats };
        assert_eq!(leader_problem(&stats, true, at(171)), None);
        let stats = LeaderStats { outbox_reports: 0, ..stats };
        assert_eq!(leader_problem(&stats, true, at(900)), None);
    }

    proptest! {
        #[test]
        fn watchdog_accepts_a_node_that_samples_while_zookeeper_is_unreachable(
            stored in 0u64..5,
            seconds in 1u32..100_000,
        ) {
            let start = Instant::now();
            let mut watchdog = watchdog(start);
            for second in (0..seconds).step_by(5) {
                let now = start + SECOND * second;
                let progress = Some(now + 10 * SECOND);
                watchdog.update(&status(false, stored, now), progress, now);
                prop_assert_eq!(watchdog.problem(now + 5 * SECOND), None);
            }
        }
    }
}
