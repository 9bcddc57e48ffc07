//! The fence: which epoch it is, and how many cycles the fleet has had. It stands at `/atalaya/term`; whoever leads has
//! written its epoch there, and every cycle is written at the version that was read. Pure.

use serde::{Deserialize, Serialize};

/// Where it stands.
pub const PATH: &str = "/atalaya/term";
/// Largest data that is read, in bytes. A leader writes less than 200; later versions may add fields.
const MAX_SIZE: usize = 4096;

/// Largest cycle that is believed. A fleet with a cycle every millisecond reaches it after 140,000 years; a larger
/// number is damage or an attack, and continuing from it would come close to the limits of the type.
pub const MAX_CYCLE: u64 = 1 << 52;
/// Largest epoch that is believed whatever a clock says: the last second of the year 9999.
pub const MAX_EPOCH: i64 = 253_402_300_799;
/// Seconds by which an epoch may be ahead of ZooKeeper's clock. Epochs begin with a clock and grow by one with each
/// leader, so they fall behind the clock; a collector has the same limit.
pub const EPOCH_SKEW: i64 = 86_400;
/// 2025-01-01, in seconds since 1970: a clock that shows an earlier time was never set and bounds nothing.
const CLOCK_NEVER_SET: i64 = 1_735_689_600;

/// Returns the largest epoch that a leader may have when a clock shows `now`, in milliseconds since 1970.
pub fn latest_epoch(now: i64) -> i64 {
    match now / 1000 {
        seconds if seconds < CLOCK_NEVER_SET => MAX_EPOCH,
        seconds => seconds.saturating_add(EPOCH_SKEW).min(MAX_EPOCH),
    }
}

/// Contents of `/atalaya/term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Goes up with every leader.
    pub epoch: i64,
    /// Goes up by one with every cycle that was written down, whoever leads.
    pub cycle: u64,
    /// First and last of the epochs that leaders of this fleet skipped because a collector knew one of them from
    /// elsewhere. A report that the collector refuses because of an epoch in this range is sent again in the current
    /// epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<(i64, i64)>,
}

impl Fence {
    /// Reads the data of the znode.
    ///
    /// # Errors
    /// It is not what a leader writes, or its numbers are beyond the limits above.
    pub fn read(data: &[u8]) -> Result<Fence, String> {
        if data.len() > MAX_SIZE {
            return Err(format!("it has {} bytes, and {MAX_SIZE} are the maximum", data.len()));
        }
        let term: Fence = serde_json::from_slice(data).map_err(|error| error.to_string())?;
        if !(0..=MAX_EPOCH).contains(&term.epoch) {
            return Err(format!("epoch {} is not between 0 and {MAX_EPOCH}", term.epoch));
        }
        if term.cycle > MAX_CYCLE {
            return Err(format!("cycle {} is above {MAX_CYCLE}", term.cycle));
        }
        Ok(term)
    }

    /// Reads the data of the znode; `None` if it is not what a leader writes.
    pub fn parse(data: &[u8]) -> Option<Fence> {
        Fence::read(data).ok()
    }

    /// Returns the data of the znode.
    pub fn data(&self) -> Vec<u8> {
        // Numbers only: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Returns the term of a new leader after `before`, or the first one.
    ///
    /// The first epoch is the second, since 1970, at which the leader took over by ZooKeeper's clock (`now`, in
    /// milliseconds): if ZooKeeper's data is lost, epochs continue above all that receivers have seen. `newest` is
    /// the highest cycle of which something is written down: cycles continue above that. `own` is what this leader
    /// wrote itself, in case the znode was deleted. The epoch is also above `collector`, the epoch of a report that a
    /// collector has from elsewhere, if any.
    pub fn next(
        before: Option<Fence>,
        own: Option<Fence>,
        now: i64,
        newest: u64,
        collector: Option<i64>,
    ) -> Fence {
        let own = own.filter(|own| own.cycle <= MAX_CYCLE);
        let usual = match before {
            Some(before) => before.epoch.saturating_add(1),
            None => (now / 1000).clamp(1, MAX_EPOCH),
        };
        let usual = usual.max(own.map_or(1, |own| own.epoch.saturating_add(1)));
        let cycle = [before, own].iter().flatten().map(|term| term.cycle).fold(newest, u64::max);
        let mut skipped = before.or(own).and_then(|term| term.skipped);
        let mut epoch = usual;
        if let Some(foreign) = collector.filter(|foreign| *foreign >= usual) {
            epoch = foreign.saturating_add(1);
            skipped = Some((skipped.map_or(usual, |(first, _)| first.min(usual)), foreign));
        }
        Fence { epoch, cycle, skipped }
    }

    /// Returns the term after one more cycle.
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
    fn what_is_written_is_read_and_nothing_else() {
        let term = Fence { epoch: 7, cycle: 41, skipped: None };
        assert_eq!(String::from_utf8(term.data()).unwrap(), r#"{"epoch":7,"cycle":41}"#);
        assert_eq!(Fence::parse(&term.data()), Some(term));
        assert_eq!(Fence::parse(br#"{"epoch":7,"cycle":41,"later":"versions"}"#), Some(term));
        for wrong in [
            &b""[..],
            b"7",
            b"{}",
            br#"{"epoch":-1,"cycle":1}"#,
            br#"{"epoch":9223372036854775807,"cycle":1}"#,
        ] {
            assert_eq!(Fence::parse(wrong), None, "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn epochs_and_cycles_go_up() {
        let term = |epoch, cycle| Fence { epoch, cycle, skipped: None };
        let before = term(7, 41);
        assert_eq!(Fence::next(Some(before), None, 0, 0, None), term(8, 41));
        assert_eq!(before.with_next_cycle(), term(7, 42));
        // A report is there that the fence does not know: somebody has deleted the fence.
        assert_eq!(Fence::next(None, None, 1_700_000_000_123, 55, None), term(1_700_000_000, 55));
        assert_eq!(Fence::next(None, Some(before), 5_000, 0, None), term(8, 41), "who leads knows");
        assert_eq!(Fence::next(None, None, 0, 0, None), term(1, 0), "a clock in 1970 is one, too");
    }

    #[test]
    fn a_takeover_above_a_collectors_epoch_remembers_the_epochs_between() {
        let before = Fence { epoch: 7, cycle: 41, skipped: None };
        let after = Fence::next(Some(before), Some(before), 0, 0, Some(20));
        assert_eq!(after, Fence { epoch: 21, cycle: 41, skipped: Some((8, 20)) });
        assert!(
            after.has_skipped(8) && after.has_skipped(20) && !after.has_skipped(7) && !after.has_skipped(21)
        );
        assert_eq!(Fence::parse(&after.data()), Some(after));
        let next = Fence::next(Some(after), None, 0, 0, None);
        assert_eq!(
            next,
            Fence { epoch: 22, cycle: 41, skipped: Some((8, 20)) },
            "later leaders remember them"
        );
        let again = Fence::next(Some(next), None, 0, 0, Some(30));
        assert_eq!((again.epoch, again.skipped), (31, Some((8, 30))));
        assert_eq!(
            Fence::next(Some(next), None, 0, 0, Some(22)).epoch,
            23,
            "it is below the next one anyway"
        );
    }

    #[test]
    fn fence_refuses_numbers_near_the_limits_of_their_types() {
        for wrong in [
            r#"{"epoch":9223372036854775806,"cycle":1}"#,
            r#"{"epoch":253402300800,"cycle":1}"#,
            r#"{"epoch":1,"cycle":18446744073709551615}"#,
            r#"{"epoch":1,"cycle":4503599627370497}"#,
            r#"{"epoch":1e300,"cycle":1}"#,
        ] {
            assert!(Fence::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let highest = Fence { epoch: MAX_EPOCH, cycle: MAX_CYCLE, skipped: None };
        assert_eq!(Fence::parse(&highest.data()), Some(highest));
        // What this leader wrote before cannot lead beyond the limits either.
        let own = Fence { cycle: u64::MAX, ..highest };
        assert_eq!(own.with_next_cycle().cycle, u64::MAX);
        assert_eq!(Fence::next(None, Some(own), 0, 3, None).cycle, 3);
    }

    #[test]
    fn epochs_are_bounded_by_a_clock_that_was_set() {
        let now = 1_795_000_000_000;
        assert_eq!(latest_epoch(now), 1_795_086_400);
        assert_eq!(latest_epoch(7_000), MAX_EPOCH, "a clock that was never set tells nothing");
        assert_eq!(latest_epoch(i64::MAX), MAX_EPOCH);
        assert_eq!(latest_epoch(i64::MIN), MAX_EPOCH);
    }

    proptest! {
        #[test]
        fn fence_reads_any_bytes_within_its_limits(
            data in crate::model::foreign_input::bytes(),
            before in any::<(i64, u64)>(), now in any::<i64>(), newest in 0..MAX_CYCLE, collector in any::<Option<i64>>(),
        ) {
            let began = std::time::Instant::now();
            let read = Fence::read(&data);
            prop_assert!(crate::model::foreign_input::in_time(began, data.len()));
            if let Ok(term) = read {
                prop_assert!((0..=MAX_EPOCH).contains(&term.epoch) && term.cycle <= MAX_CYCLE);
                let next = Fence::next(Some(term), None, now, newest, collector);
                prop_assert!(next.epoch > term.epoch && next.cycle >= term.cycle);
            }
            let own = Fence { epoch: before.0, cycle: before.1, skipped: None };
            let next = Fence::next(None, Some(own), now, newest, None);
            prop_assert!(next.epoch >= 1 && next.cycle <= MAX_CYCLE);
        }
    }
}
