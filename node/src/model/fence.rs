//! The fence: the record `{epoch, cycle}` at `/atalaya/term`, through which only one leader can write.
//!
//! A new leader increments the epoch. Every cycle is committed in a transaction that checks the version of this
//! znode, so the writes of a deposed leader fail. No I/O.

use serde::{Deserialize, Serialize};

use crate::model::json::to_json;

/// Path of the fence, relative to the chroot. It keeps its first name: nodes of all versions share one fence.
pub const PATH: &str = "/atalaya/term";
/// Maximum size of the data that is read, in bytes. A leader writes less than 200 bytes; later versions may add fields.
const MAX_SIZE: usize = 4096;

/// Maximum cycle that is accepted. A fleet with one cycle per millisecond reaches it after 140,000 years. A larger
/// number is damage or an attack, and continuing from it would come close to the limits of the type.
pub const MAX_CYCLE: u64 = 1 << 52;
/// Maximum epoch that is accepted, independent of any clock: the last second of the year 9999.
pub const MAX_EPOCH: i64 = 253_402_300_799;
/// Maximum time in seconds by which an epoch may be ahead of ZooKeeper's clock. The first epoch is a time in seconds,
/// and each leader adds one, so epochs fall behind the clock. A collector has the same limit.
pub const EPOCH_SKEW: i64 = 86_400;
/// 2025-01-01 in seconds since 1970. A clock that shows an earlier time was never set, so it gives no limit.
const CLOCK_NEVER_SET: i64 = 1_735_689_600;

/// Returns the largest epoch that a leader may have when a clock shows `now`, in milliseconds since 1970.
pub fn latest_epoch(now: i64) -> i64 {
    match now / 1000 {
        seconds if seconds < CLOCK_NEVER_SET => MAX_EPOCH,
        seconds => seconds.saturating_add(EPOCH_SKEW).min(MAX_EPOCH),
    }
}

/// Epoch and cycle of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Increases with every leader.
    pub epoch: i64,
    /// Number of committed cycles, over all epochs.
    pub cycle: u64,
    /// First and last of the epochs that leaders of this fleet skipped, because the collector had a report of one of
    /// them that this fleet did not send. A report that the collector rejects because of an epoch in this range is
    /// sent again in the current epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<(i64, i64)>,
}

impl Fence {
    /// Parses the data of the znode and checks the limits.
    ///
    /// # Errors
    /// The data is not a fence, or a number exceeds its limit.
    pub fn parse(data: &[u8]) -> Result<Fence, String> {
        if data.len() > MAX_SIZE {
            return Err(format!("it has {} bytes, and {MAX_SIZE} are the maximum", data.len()));
        }
        let fence: Fence = serde_json::from_slice(data).map_err(|error| error.to_string())?;
        if !(0..=MAX_EPOCH).contains(&fence.epoch) {
            return Err(format!("epoch {} is not between 0 and {MAX_EPOCH}", fence.epoch));
        }
        if fence.cycle > MAX_CYCLE {
            return Err(format!("cycle {} is above {MAX_CYCLE}", fence.cycle));
        }
        Ok(fence)
    }

    /// Returns the data of the znode.
    pub fn data(&self) -> Vec<u8> {
        to_json(self)
    }

    /// Returns the fence of the next leader.
    ///
    /// - `stored`: the fence in ZooKeeper, if any.
    /// - `last_own`: the fence that this leader wrote last, in case the znode was deleted since.
    /// - `now`: the time of the takeover by ZooKeeper's clock, in milliseconds since 1970.
    /// - `newest_report`: the highest cycle in the outbox. Cycles continue above it.
    /// - `collector_epoch`: the epoch of a report that the collector has and this fleet did not send, if any. The new
    ///   epoch is above it.
    ///
    /// The first epoch is the time of the takeover in seconds, not 1: if ZooKeeper's data is lost, epochs must still
    /// continue above those that receivers have recorded.
    pub fn next(
        stored: Option<Fence>,
        last_own: Option<Fence>,
        now: i64,
        newest_report: u64,
        collector_epoch: Option<i64>,
    ) -> Fence {
        // Do not continue from a cycle beyond the limit.
        let last_own = last_own.filter(|fence| fence.cycle <= MAX_CYCLE);
        let after_stored = match stored {
            Some(fence) => fence.epoch.saturating_add(1),
            None => (now / 1000).clamp(1, MAX_EPOCH),
        };
        let mut epoch = after_stored.max(last_own.map_or(1, |fence| fence.epoch.saturating_add(1)));
        let cycle =
            [stored, last_own].iter().flatten().map(|fence| fence.cycle).fold(newest_report, u64::max);
        let mut skipped = stored.or(last_own).and_then(|fence| fence.skipped);
        if let Some(foreign) = collector_epoch.filter(|foreign| *foreign >= epoch) {
            skipped = Some((skipped.map_or(epoch, |(first, _)| first.min(epoch)), foreign));
            epoch = foreign.saturating_add(1);
        }
        Fence { epoch, cycle, skipped }
    }

    /// Returns the fence after one more cycle.
    pub fn with_next_cycle(self) -> Fence {
        Fence { cycle: self.cycle.saturating_add(1), ..self }
    }

    /// Returns true if leaders of this fleet skipped this epoch.
    pub fn has_skipped(&self, epoch: i64) -> bool {
        self.skipped.is_some_and(|(first, last)| (first..=last).contains(&epoch))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fence_parses_only_its_own_format() {
        let fence = Fence { epoch: 7, cycle: 41, skipped: None };
        assert_eq!(String::from_utf8(fence.data()).unwrap(), r#"{"epoch":7,"cycle":41}"#);
        assert_eq!(Fence::parse(&fence.data()), Ok(fence));
        assert_eq!(Fence::parse(br#"{"epoch":7,"cycle":41,"later":"versions"}"#), Ok(fence));
        for wrong in [
            &b""[..],
            b"7",
            b"{}",
            br#"{"epoch":-1,"cycle":1}"#,
            br#"{"epoch":9223372036854775807,"cycle":1}"#,
        ] {
            assert!(Fence::parse(wrong).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn next_fence_has_a_higher_epoch_and_continues_the_cycles() {
        let fence = |epoch, cycle| Fence { epoch, cycle, skipped: None };
        let before = fence(7, 41);
        let next = |stored, last_own, now, newest| Fence::next(stored, last_own, now, newest, None);
        assert_eq!(next(Some(before), None, 0, 0), fence(8, 41));
        assert_eq!(before.with_next_cycle(), fence(7, 42));
        // The outbox has a report, but the fence was deleted.
        assert_eq!(next(None, None, 1_700_000_000_123, 55), fence(1_700_000_000, 55));
        assert_eq!(next(None, Some(before), 5_000, 0), fence(8, 41), "the leader remembers its own fence");
        assert_eq!(next(None, None, 0, 0), fence(1, 0), "the first epoch with a clock that was never set");
    }

    #[test]
    fn takeover_above_the_epoch_of_a_collector_records_the_skipped_epochs() {
        let before = Fence { epoch: 7, cycle: 41, skipped: None };
        let after = Fence::next(Some(before), Some(before), 0, 0, Some(20));
        assert_eq!(after, Fence { epoch: 21, cycle: 41, skipped: Some((8, 20)) });
        assert_eq!([7, 8, 20, 21].map(|epoch| after.has_skipped(epoch)), [false, true, true, false]);
        assert_eq!(Fence::parse(&after.data()), Ok(after));
        let next = Fence::next(Some(after), None, 0, 0, None);
        assert_eq!(next, Fence { epoch: 22, ..after }, "later leaders keep the range");
        let again = Fence::next(Some(next), None, 0, 0, Some(30));
        assert_eq!((again.epoch, again.skipped), (31, Some((8, 30))));
        let lower = Fence::next(Some(next), None, 0, 0, Some(22));
        assert_eq!(lower.epoch, 23, "the collector's epoch is lower than the next one");
    }

    #[test]
    fn fence_rejects_numbers_near_the_limits_of_their_types() {
        for wrong in [
            r#"{"epoch":9223372036854775806,"cycle":1}"#,
            r#"{"epoch":253402300800,"cycle":1}"#,
            r#"{"epoch":1,"cycle":18446744073709551615}"#,
            r#"{"epoch":1,"cycle":4503599627370497}"#,
            r#"{"epoch":1e300,"cycle":1}"#,
        ] {
            assert!(Fence::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let highest = Fence { epoch: MAX_EPOCH, cycle: MAX_CYCLE, skipped: None };
        assert_eq!(Fence::parse(&highest.data()), Ok(highest));
        // The last own fence cannot lead beyond the limits either.
        let own = Fence { cycle: u64::MAX, ..highest };
        assert_eq!(own.with_next_cycle().cycle, u64::MAX);
        assert_eq!(Fence::next(None, Some(own), 0, 3, None).cycle, 3);
    }

    #[test]
    fn epochs_are_bounded_by_a_clock_that_was_set() {
        let now = 1_795_000_000_000;
        assert_eq!(latest_epoch(now), 1_795_086_400);
        assert_eq!(latest_epoch(7_000), MAX_EPOCH, "a clock that was never set gives no limit");
        assert_eq!(latest_epoch(i64::MAX), MAX_EPOCH);
        assert_eq!(latest_epoch(i64::MIN), MAX_EPOCH);
    }

    proptest! {
        #[test]
        fn fence_parses_any_bytes_within_its_limits(
            data in crate::model::foreign_input::bytes(),
            before in any::<(i64, u64)>(), now in any::<i64>(), newest in 0..MAX_CYCLE, collector in any::<Option<i64>>(),
        ) {
            let parsed = crate::model::foreign_input::in_time(data.len(), || Fence::parse(&data));
            if let Ok(fence) = parsed {
                prop_assert!((0..=MAX_EPOCH).contains(&fence.epoch) && fence.cycle <= MAX_CYCLE);
                let next = Fence::next(Some(fence), None, now, newest, collector);
                prop_assert!(next.epoch > fence.epoch && next.cycle >= fence.cycle);
            }
            let own = Fence { epoch: before.0, cycle: before.1, skipped: None };
            let next = Fence::next(None, Some(own), now, newest, None);
            prop_assert!(next.epoch >= 1 && next.cycle <= MAX_CYCLE);
        }
    }
}
