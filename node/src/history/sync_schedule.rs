//! Decides when the file is synced, so that a power cut costs no sample older than the interval, while no sync takes more
//! than twice as long as those before.

use std::time::{Duration, Instant};

/// Times of the syncs. A sync begins so early that it ends before the oldest sample has the age of the interval.
#[derive(Debug)]
pub(super) struct SyncSchedule {
    /// Zero: each transaction is synced by itself.
    interval: Duration,
    /// Duration of the slowest of the last syncs.
    takes: Duration,
    /// Time of the oldest sample, or the first transaction, that is not synced.
    oldest: Option<Instant>,
}

impl SyncSchedule {
    pub(super) fn new(interval: Duration) -> SyncSchedule {
        SyncSchedule { interval, takes: Duration::ZERO, oldest: None }
    }

    /// Records a transaction. `since`: time of its oldest sample.
    pub(super) fn on_written(&mut self, since: Instant) {
        if !self.interval.is_zero() {
            self.oldest = Some(self.oldest.map_or(since, |oldest| oldest.min(since)));
        }
    }

    /// Records a sync. After a failure the next attempt comes one interval later.
    pub(super) fn on_synced(&mut self, begin: Instant, end: Instant, succeeded: bool) {
        // A single slow sync is forgotten after some fast ones.
        self.takes = (end - begin).max(self.takes.mul_f64(0.75));
        self.oldest = (!succeeded).then_some(end);
    }

    pub(super) fn is_needed(&self) -> bool {
        self.oldest.is_some()
    }

    /// Returns the time until the next sync, if there is something to sync. It may take twice as long as those before, but
    /// begins after half of the interval at the earliest: a slow disk needs time for other work.
    pub(super) fn delay(&self, now: Instant) -> Option<Duration> {
        let wait = self.interval - (2 * self.takes).min(self.interval / 2);
        self.oldest.map(|oldest| wait.saturating_sub(now.saturating_duration_since(oldest)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    proptest! {
        /// Samples come at any rate, also while a sync runs. As long as no sync takes more than twice as long as those
        /// before, and none more than half of the interval, no sample is older than the interval when it is synced.
        #[test]
        fn no_sample_is_older_than_the_interval(
            gaps in prop::collection::vec(1_u64..20_000, 1..200),
            durations in prop::collection::vec(0_u64..5_000, 200),
        ) {
            let start = Instant::now();
            let mut schedule = SyncSchedule::new(INTERVAL);
            schedule.takes = Duration::from_millis(2_500);
            let mut now = start;
            let mut waiting: Vec<Instant> = Vec::new();
            let (mut taken, mut syncs) = (start, 0);
            for gap in gaps {
                taken += Duration::from_millis(gap);
                // Syncs before the next sample.
                while let Some(delay) = schedule.delay(now).filter(|delay| now + *delay <= taken) {
                    let begin = now + delay;
                    let end = begin + Duration::from_millis(durations[syncs % durations.len()]).min(2 * schedule.takes);
                    prop_assert!(waiting.iter().all(|sample| end - *sample <= INTERVAL));
                    waiting.clear();
                    schedule.on_synced(begin, end, true);
                    (now, syncs) = (end, syncs + 1);
                }
                // The sample was taken while a sync was running, or later.
                now = now.max(taken);
                waiting.push(taken);
                schedule.on_written(taken);
            }
        }
    }

    #[test]
    fn slow_syncs_leave_half_of_the_time_to_other_work() {
        let start = Instant::now();
        let mut schedule = SyncSchedule::new(INTERVAL);
        schedule.on_synced(start, start + 6 * INTERVAL, true);
        let now = start + 6 * INTERVAL;
        assert_eq!(schedule.delay(now), None);
        schedule.on_written(now);
        assert_eq!(schedule.delay(now), Some(INTERVAL / 2));
    }

    #[test]
    fn failed_sync_is_tried_again_one_interval_later() {
        let start = Instant::now();
        let mut schedule = SyncSchedule::new(INTERVAL);
        schedule.on_written(start);
        schedule.on_synced(start + INTERVAL, start + INTERVAL, false);
        assert_eq!(schedule.delay(start + INTERVAL), Some(INTERVAL));
    }

    #[test]
    fn zero_means_that_transactions_are_synced_by_themselves() {
        let mut schedule = SyncSchedule::new(Duration::ZERO);
        schedule.on_written(Instant::now());
        assert!(!schedule.is_needed());
    }
}
