//! Schedule of the cycles: at whole multiples of the period by ZooKeeper's clock, so that a new leader keeps the
//! schedule of its predecessor, whatever the clocks of their machines show. No I/O.

use std::time::Duration;

use crate::zk::server_clock::{Millis, millis};

/// Schedule of the cycles. All times are ZooKeeper's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    period: Millis,
    next: Millis,
    /// True if cycles are due at multiples of the period, false if each is due one period after the previous one.
    aligned: bool,
}

impl Schedule {
    /// Returns a schedule. `last` is the time of the last cycle; without one, the first cycle is due at once.
    ///
    /// Cycles that start early when all nodes are ready are not `aligned`: each is due one whole period after the
    /// previous one, not at a multiple of the period, so that a slow node always has a whole period.
    pub(crate) fn new(last: Option<Millis>, now: Millis, period: Duration, aligned: bool) -> Schedule {
        let mut schedule = Schedule { period: millis(period).max(1), next: now, aligned };
        if let Some(last) = last {
            schedule.next = schedule.following(last);
        }
        schedule
    }

    /// Returns the time at which the cycle after one at `last` is due.
    fn following(&self, last: Millis) -> Millis {
        match self.aligned {
            true => last.div_euclid(self.period).saturating_add(1).saturating_mul(self.period),
            false => last.saturating_add(self.period),
        }
    }

    pub(crate) fn delay(&mut self, now: Millis) -> Duration {
        if self.next.saturating_sub(now) > self.period.saturating_add(self.period / 2) {
            // An early timer explains less: another server, with another clock, has become the ensemble's leader.
            self.next = self.following(now);
        }
        duration(self.next.saturating_sub(now))
    }

    /// Returns the delay of a cycle that starts at `now`; zero if it starts early.
    pub(crate) fn lateness(&self, now: Millis) -> Duration {
        duration(now.saturating_sub(self.next))
    }

    /// Records that a cycle started at `now`. Cycles that were missed before are skipped.
    pub(crate) fn on_started(&mut self, now: Millis) {
        // A timer may fire a little early, and must not start two cycles in one period.
        let due = if self.aligned { self.next.max(now) } else { now };
        self.next = self.following(due);
    }
}

/// Returns a number of milliseconds as a duration; zero if it is negative.
fn duration(millis: Millis) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn schedule_has_cycles_at_multiples_of_the_period() {
        let mut schedule = Schedule::new(Some(10_200), 10_300, SECOND, true);
        assert_eq!(schedule.delay(10_300), Duration::from_millis(700));
        schedule.on_started(11_005);
        assert_eq!(schedule.delay(11_010), Duration::from_millis(990));
        // A timer that fires a little early starts no second cycle in the same period.
        schedule.on_started(11_999);
        assert_eq!(schedule.delay(11_999), Duration::from_millis(1001));
    }

    #[test]
    fn schedule_of_a_new_leader_starts_with_the_missed_cycle_and_keeps_the_multiples() {
        let mut schedule = Schedule::new(Some(10_000), 12_300, SECOND, true);
        assert_eq!(schedule.delay(12_300), Duration::ZERO);
        schedule.on_started(12_310);
        assert_eq!(schedule.delay(12_310), Duration::from_millis(690));
        let mut first = Schedule::new(None, 12_300, SECOND, true);
        assert_eq!(first.delay(12_300), Duration::ZERO, "the first cycle of the fleet");
    }

    #[test]
    fn schedule_leaves_a_whole_period_after_a_cycle_that_starts_early() {
        let mut schedule = Schedule::new(Some(10_200), 10_300, SECOND, false);
        assert_eq!(schedule.delay(10_300), Duration::from_millis(900));
        for early in [10_400, 10_600, 10_990, 11_100] {
            schedule.on_started(early);
            assert_eq!(schedule.delay(early), SECOND);
        }
        // A node hangs in each cycle.
        schedule.on_started(12_100);
        assert_eq!(schedule.delay(12_150), Duration::from_millis(950));
        assert!(schedule.delay(5_300) <= SECOND, "a clock that was set back");
    }

    #[test]
    fn schedule_continues_when_the_clock_is_set_back() {
        let mut schedule = Schedule::new(Some(1_000_000), 1_000_100, SECOND, true);
        assert!(schedule.delay(5_300) <= SECOND);
        schedule.on_started(6_000);
        assert_eq!(schedule.delay(6_000), SECOND);
    }

    proptest! {
        #[test]
        fn schedule_never_overflows(times in prop::collection::vec(any::<i64>(), 1..6), period in any::<u64>()) {
            let mut schedule = Schedule::new(times.first().copied(), times[times.len() - 1], Duration::from_millis(period), true);
            for time in times {
                schedule.delay(time);
                schedule.lateness(time);
                schedule.on_started(time);
            }
        }

        #[test]
        fn schedule_has_one_cycle_in_each_period_unless_it_is_late(
            period in 1i64..5_000, start in 0i64..1_000_000, lateness in prop::collection::vec(0i64..20_000, 1..40)
        ) {
            let mut schedule = Schedule::new(Some(start), start, Duration::from_millis(period as u64), true);
            let (mut now, mut last) = (start, start.div_euclid(period));
            for late in lateness {
                let delay = schedule.delay(now);
                prop_assert!(delay <= Duration::from_millis(period as u64) * 3 / 2);
                now += i64::try_from(delay.as_millis()).unwrap() + late;
                schedule.on_started(now);
                let slot = now.div_euclid(period);
                prop_assert!(slot > last);
                prop_assert!(late >= period || slot == last + 1);
                last = slot;
            }
        }
    }
}
