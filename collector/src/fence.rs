//! The fence: decides whether a report was committed to ZooKeeper by a leader while it led. Pure.
//!
//! Cycles are numbered over all epochs, without gaps. Therefore all committed reports of a lower epoch have a cycle
//! below the first one of every higher epoch, however late they arrive; a report with a higher cycle is from a deposed
//! leader. The first known cycle of an epoch may be later than its actual first one. This makes the fence lenient,
//! never wrong: our nodes do not send reports that a deposed leader did not commit to ZooKeeper.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// Known facts about an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Epoch {
    /// Number of the epoch.
    pub epoch: i64,
    /// Lowest cycle that was reported.
    pub first_cycle: i64,
    /// Highest cycle that was reported.
    pub last_cycle: i64,
    /// Number of recorded reports of this epoch.
    pub reports: i64,
    /// Time at which its newest report was received.
    pub received: Timestamp,
    /// `User-Agent` of the sender of that report.
    pub reporter: Option<String>,
}

/// Reason for refusing a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Epoch of the later leader.
    pub epoch: i64,
    /// Lowest cycle that it reported.
    pub first_cycle: i64,
}

/// All known epochs.
#[derive(Clone, Debug, Default)]
pub struct Fence {
    epochs: BTreeMap<i64, Epoch>,
}

impl Fence {
    /// Checks whether a report may be recorded.
    ///
    /// # Errors
    /// Returns the later leader if it has reported that cycle or an earlier one.
    pub fn check(&self, epoch: i64, cycle: i64) -> Result<(), Stale> {
        let above = (std::ops::Bound::Excluded(epoch), std::ops::Bound::Unbounded);
        let lowest = self.epochs.range(above).map(|(_, later)| later).min_by_key(|later| later.first_cycle);
        match lowest {
            Some(later) if cycle >= later.first_cycle => {
                Err(Stale { epoch: later.epoch, first_cycle: later.first_cycle })
            }
            _ => Ok(()),
        }
    }

    /// Adds a recorded report.
    pub fn record(&mut self, epoch: i64, cycle: i64, received: Timestamp, reporter: Option<&str>) {
        let reporter = reporter.map(str::to_owned);
        self.epochs
            .entry(epoch)
            .and_modify(|known| {
                known.first_cycle = known.first_cycle.min(cycle);
                known.last_cycle = known.last_cycle.max(cycle);
                known.reports += 1;
                known.received = received;
                known.reporter.clone_from(&reporter);
            })
            .or_insert(Epoch {
                epoch,
                first_cycle: cycle,
                last_cycle: cycle,
                reports: 1,
                received,
                reporter,
            });
    }

    /// Removes an epoch. Reports of lower epochs are then checked against the remaining ones.
    pub fn forget(&mut self, epoch: i64) {
        self.epochs.remove(&epoch);
    }

    /// Returns at most `limit` epochs, newest first.
    pub fn newest(&self, limit: usize) -> Vec<Epoch> {
        self.epochs.values().rev().take(limit).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(fence: &mut Fence, epoch: i64, cycle: i64) {
        fence.record(epoch, cycle, Timestamp::UNIX_EPOCH, None);
    }

    #[test]
    fn report_of_a_deposed_leader_is_refused_unless_it_was_committed_before() {
        let mut fence = Fence::default();
        assert_eq!(fence.check(7, 1), Ok(()));
        record(&mut fence, 7, 1);
        record(&mut fence, 8, 5);
        assert_eq!(fence.check(7, 4), Ok(()), "rejected and sent again");
        assert_eq!(fence.check(7, 5), Err(Stale { epoch: 8, first_cycle: 5 }));
        assert_eq!(fence.check(7, 60), Err(Stale { epoch: 8, first_cycle: 5 }));
        assert_eq!(fence.check(8, 2), Ok(()), "every cycle of the newest epoch is accepted");
        assert_eq!(fence.check(900, 1), Ok(()), "the next leader, or one whose ZooKeeper lost its data");
        record(&mut fence, 900, 1);
        assert_eq!(fence.check(8, 6), Err(Stale { epoch: 900, first_cycle: 1 }));
    }

    #[test]
    fn fence_without_a_deleted_epoch_compares_with_the_others() {
        let mut fence = Fence::default();
        for (epoch, cycle) in [(7, 1), (8, 5), (900, 1)] {
            record(&mut fence, epoch, cycle);
        }
        fence.forget(900);
        assert_eq!(fence.check(8, 6), Ok(()));
        assert_eq!(fence.check(7, 5), Err(Stale { epoch: 8, first_cycle: 5 }));
        assert_eq!(fence.newest(1)[0].epoch, 8);
    }

    #[test]
    fn fence_compares_epochs_and_cycles_at_the_limits_of_their_type() {
        let mut fence = Fence::default();
        record(&mut fence, i64::MAX - 1, i64::MAX - 1);
        record(&mut fence, i64::MAX, i64::MAX);
        assert_eq!(fence.check(i64::MAX - 2, i64::MAX - 2), Ok(()));
        let stale = Stale { epoch: i64::MAX - 1, first_cycle: i64::MAX - 1 };
        assert_eq!(fence.check(i64::MAX - 2, i64::MAX - 1), Err(stale));
        assert_eq!(fence.check(i64::MAX, i64::MIN), Ok(()));
    }

    proptest! {
        /// No committed report of a fleet is refused, in whatever order the reports arrive.
        #[test]
        fn committed_reports_are_accepted_in_any_order(
            lengths in prop::collection::vec(0..6_i64, 1..6),
            seed in any::<prop::sample::Index>(),
            order in Just(()).prop_perturb(|(), mut random| (0..64).map(|_| random.random::<u32>()).collect::<Vec<_>>()),
        ) {
            let mut all = Vec::new();
            let mut cycle = 0;
            for (epoch, length) in (1..).zip(lengths) {
                for _ in 0..length {
                    cycle += 1;
                    all.push((epoch, cycle));
                }
            }
            let mut keyed: Vec<_> = all.into_iter().enumerate().map(|(at, report)| (order[at % order.len()], report)).collect();
            keyed.sort_unstable();
            let start = if keyed.is_empty() { 0 } else { seed.index(keyed.len()) };
            keyed.rotate_left(start);
            let mut fence = Fence::default();
            for (_, (epoch, cycle)) in keyed {
                prop_assert_eq!(fence.check(epoch, cycle), Ok(()));
                record(&mut fence, epoch, cycle);
            }
        }
    }
}
