//! Estimate of ZooKeeper's clock. No I/O.
//!
//! ZooKeeper has no request for its time, but the stat of each znode has the time of its last write, by the clock of
//! the server that was the ensemble's leader then. [`ServerClock`] learns from both kinds of observations:
//!
//! - An own write happened between its request and its response ([`ServerClock::record_write`]).
//! - A write of another client, seen in a read, bounds the clock from both sides ([`ServerClock::record_read`]): it
//!   happened before the read ended, and, if the previous read did not see it, after that read started.

use std::time::{Duration, SystemTime};

use atalaya_recipes::clock::BootInstant;
use tracing::warn;

/// A time in milliseconds since 1970.
pub(crate) type Millis = i64;

/// Differences between two own writes that network delays explain, in milliseconds. Larger ones mean that a clock was
/// set, or that another server, with another clock, has become the ensemble's leader.
const MAX_NETWORK_DELAY: Millis = 200;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerClock {
    /// A time of this machine, and the time of ZooKeeper's clock then.
    known: Option<(BootInstant, Millis)>,
    /// Newest write that the last read saw, and the start of that read.
    last_read: Option<(Millis, BootInstant)>,
}

impl ServerClock {
    /// Records that an own write, whose request was sent at `sent` and answered at `answered`, has the time `time` in
    /// its stat.
    pub(crate) fn record_write(&mut self, time: Millis, sent: BootInstant, answered: BootInstant) {
        let middle = sent + answered.since(sent) / 2;
        let estimate = match self.now(middle) {
            // Network delays vary, so a small difference moves the estimate by a quarter only.
            Some(guess) if time.saturating_sub(guess).saturating_abs() < MAX_NETWORK_DELAY => {
                guess + (time - guess) / 4
            }
            _ => time,
        };
        self.known = Some((middle, estimate));
    }

    /// Records that a read, which took from `started` to `ended`, saw writes up to the time `newest` in stats.
    /// `local_time` is the clock of this machine at `ended`: it is the first estimate, and is corrected as far as the
    /// reads require.
    pub(crate) fn record_read(
        &mut self,
        newest: Millis,
        started: BootInstant,
        ended: BootInstant,
        local_time: Millis,
    ) {
        let mut estimate = self.now(ended).unwrap_or(local_time);
        if let Some((newest_before, started_before)) = self.last_read
            && newest > newest_before
        {
            estimate = estimate.min(newest.saturating_add(millis(ended.since(started_before))));
        }
        self.known = Some((ended, estimate.max(newest)));
        self.last_read = Some((newest, started));
    }

    /// Returns the time of ZooKeeper's clock at `now`; `None` before the first observation.
    pub(crate) fn now(&self, now: BootInstant) -> Option<Millis> {
        let (then, time) = self.known?;
        Some(time.saturating_add(millis(now.since(then))).saturating_sub(millis(then.since(now))))
    }
}

/// Returns the time of this machine's clock.
pub(crate) fn local_time() -> Millis {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_else(|_| {
        warn!("this machine's clock shows a time before 1970");
        Duration::ZERO
    });
    millis(since_1970)
}

/// Returns a duration in milliseconds; the maximum of the type if it is longer.
pub(crate) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> BootInstant {
        BootInstant::at(Duration::from_millis(millis))
    }

    #[test]
    fn server_clock_follows_the_stats_of_own_writes() {
        let mut clock = ServerClock::default();
        assert_eq!(clock.now(at(5)), None);
        clock.record_write(1_000_000, at(10), at(20));
        assert_eq!(clock.now(at(15)), Some(1_000_000));
        assert_eq!(clock.now(at(115)), Some(1_000_100));
        assert_eq!(clock.now(at(5)), Some(999_990));
        // A small difference counts by a quarter; a difference of an hour means another server.
        clock.record_write(1_000_108, at(110), at(120));
        assert_eq!(clock.now(at(115)), Some(1_000_102));
        clock.record_write(500, at(210), at(220));
        assert_eq!(clock.now(at(215)), Some(500));
    }

    #[test]
    fn server_clock_is_ahead_of_a_machine_that_sees_a_write_from_the_future() {
        let mut clock = ServerClock::default();
        clock.record_read(9_000, at(0), at(10), 10_010);
        assert_eq!(clock.now(at(10)), Some(10_010), "the write may be old");
        clock.record_read(13_010, at(1_000), at(1_010), 11_010);
        assert_eq!(clock.now(at(1_010)), Some(13_010));
    }

    #[test]
    fn server_clock_is_behind_a_machine_that_sees_a_new_write_with_an_old_time() {
        let mut clock = ServerClock::default();
        clock.record_read(4_000, at(0), at(10), 10_010);
        assert_eq!(clock.now(at(10)), Some(10_010), "the write is old, or this machine is six seconds fast");
        clock.record_read(5_500, at(1_000), at(1_010), 11_010);
        assert_eq!(clock.now(at(1_010)), Some(6_510), "the write happened after the start of the first read");
    }

    #[test]
    fn server_clock_follows_a_clock_that_is_set() {
        let mut clock = ServerClock::default();
        clock.record_read(4_000, at(0), at(10), 10_010);
        clock.record_read(5_500, at(1_000), at(1_010), 11_010);
        clock.record_read(12_100, at(2_000), at(2_010), 12_010);
        assert_eq!(clock.now(at(2_010)), Some(12_100));
        clock.record_read(3_000, at(3_000), at(3_010), 13_010);
        clock.record_read(3_900, at(4_000), at(4_010), 14_010);
        assert_eq!(clock.now(at(4_010)), Some(4_910));
    }

    proptest! {
        #[test]
        fn server_clock_never_overflows(times in prop::collection::vec((any::<bool>(), any::<i64>()), 1..6)) {
            let mut clock = ServerClock::default();
            for (turn, (is_read, time)) in (0..).zip(times) {
                match is_read {
                    true => clock.record_read(time, at(turn), at(turn + 1), i64::MAX),
                    false => clock.record_write(time, at(turn), at(turn + 1)),
                }
                prop_assert!(clock.now(at(turn)).is_some() && clock.now(at(u64::MAX / 2)).is_some());
            }
        }

        /// A write that a read has just seen has no negative age. Where this machine's clock is fast, its age exceeds
        /// the real one by the time between two reads at most.
        #[test]
        fn server_clock_gives_ages_that_are_not_negative_and_not_far_off(
            ahead in -10_000_000i64..10_000_000,
            reads in prop::collection::vec((100u64..5_000, 0u64..500), 2..30),
        ) {
            let mut clock = ServerClock::default();
            let server_time = |now: u64| 1_000_000_000 + now as i64 + ahead;
            let (mut now, mut longest, mut took_before) = (0, 0, 0);
            for (wait, took) in reads {
                now += wait;
                // Another client writes just before each read.
                clock.record_read(server_time(now), at(now), at(now + took), 1_000_000_000 + (now + took) as i64);
                prop_assert!(clock.now(at(now + took)).unwrap() >= server_time(now));
                longest = longest.max(took_before + wait);
                took_before = took;
                now += took;
            }
            let error = clock.now(at(now)).unwrap() - server_time(now);
            prop_assert!(ahead > 0 || error <= longest as i64, "{} {}", error, longest);
        }
    }
}
