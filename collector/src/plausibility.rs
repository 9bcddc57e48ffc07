//! Limits on times and epochs of foreign clocks. A time ahead of the collector's clock would remain the newest until
//! then, and an epoch ahead of it would outrank every leader that follows, so both are refused beyond a small skew.
//! Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::invalid::Invalid;

/// Default of [`crate::Limits::max_clock_skew`]: one day.
pub(crate) const MAX_CLOCK_SKEW: Duration = Duration::from_secs(86_400);
/// Highest epoch and highest cycle. Every higher number is refused, so that a next one always exists.
pub(crate) const MAX_NUMBER: i64 = 1 << 62;
/// 2025-01-01, before the first release: a clock that shows less was not set since its machine started.
const NEVER_SET: i64 = 1_735_689_600;

/// The collector's clock at the arrival of a request, and the permitted skew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    now: Timestamp,
    max_skew: Duration,
}

/// Epoch that is ahead of the collector's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// Epoch of the report.
    pub(crate) epoch: i64,
    /// Highest epoch that would be accepted.
    pub(crate) max_epoch: i64,
}

impl Clock {
    pub(crate) fn new(now: Timestamp, max_skew: Duration) -> Clock {
        Clock { now, max_skew }
    }

    /// Returns the latest plausible time, or `None` if the clock was never set and proves nothing.
    fn latest(&self) -> Option<Timestamp> {
        (self.now.as_second() >= NEVER_SET)
            .then(|| self.now.saturating_add(self.max_skew).unwrap_or(Timestamp::MAX))
    }

    /// Checks whether a leader can have this epoch. The first leader takes the seconds since 1970 by ZooKeeper's
    /// clock, each later one the next number, which is slower than time. `highest` is the highest epoch that the
    /// store has recorded: the next number after it is accepted in any case, so that a fleet continues after its
    /// epochs were driven ahead.
    pub(crate) fn check_epoch(&self, epoch: i64, highest: Option<i64>) -> Result<(), Ahead> {
        let Some(latest) = self.latest() else { return Ok(()) };
        let next = highest.map_or(0, |highest| highest.saturating_add(1));
        let max_epoch = latest.as_second().max(next);
        if epoch > max_epoch { Err(Ahead { epoch, max_epoch }) } else { Ok(()) }
    }

    /// Checks that `time` is not ahead of the clock by more than the skew.
    pub(crate) fn check_time(&self, time: Timestamp) -> Result<(), Invalid> {
        match self.latest() {
            Some(latest) if time > latest => Err(Invalid::new(format!(
                "time {time} is in the future: the latest accepted time is {latest}, the collector's clock plus {}",
                self.skew()
            ))),
            _ => Ok(()),
        }
    }

    /// Returns the allowed skew as text, for messages.
    pub(crate) fn skew(&self) -> String {
        format!("{} s", self.max_skew.as_secs())
    }
}

/// Checks that an epoch is from 1 to [`MAX_NUMBER`].
pub(crate) fn check_epoch_range(epoch: i64) -> Result<(), Invalid> {
    match epoch {
        1..=MAX_NUMBER => Ok(()),
        ..1 => Err(Invalid::new("epoch is below 1")),
        _ => Err(Invalid::new(format!("epoch {epoch} is in the future: the maximum is 2^62"))),
    }
}

/// Checks that a cycle is from 0 to [`MAX_NUMBER`].
pub(crate) fn check_cycle_range(cycle: i64) -> Result<(), Invalid> {
    match cycle {
        0..=MAX_NUMBER => Ok(()),
        ..0 => Err(Invalid::new("cycle is negative")),
        _ => Err(Invalid::new(format!("cycle {cycle} is above 2^62"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn clock(now: &str) -> Clock {
        Clock::new(now.parse().unwrap(), MAX_CLOCK_SKEW)
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn epoch_ahead_of_the_clock_is_refused() {
        let now = at("2026-11-22T00:00:00Z");
        let check = |epoch| Clock::new(now, MAX_CLOCK_SKEW).check_epoch(epoch, None);
        for can_be in [1, 7, now.as_second(), now.as_second() + DAY] {
            assert_eq!(check(can_be), Ok(()));
        }
        for cannot in [now.as_second() + DAY + 1, now.as_second() + 300 * DAY, now.as_millisecond(), i64::MAX]
        {
            let max_epoch = now.as_second() + DAY;
            assert_eq!(check(cannot), Err(Ahead { epoch: cannot, max_epoch }), "{cannot}");
        }
        let slow = Clock::new(at("2026-01-01T00:00:00Z"), Duration::from_secs(400 * 86_400));
        assert_eq!(slow.check_epoch(now.as_second(), None), Ok(()), "a larger skew is a setting");
        assert_eq!(clock("1970-01-01T00:00:07Z").check_epoch(i64::MAX, None), Ok(()), "never set");
        assert!(Clock::new(Timestamp::MAX, MAX_CLOCK_SKEW).check_epoch(i64::MAX, None).is_err());
    }

    #[test]
    fn epoch_after_the_highest_recorded_one_is_accepted_although_it_is_ahead() {
        let clock = clock("2026-11-22T00:00:00Z");
        let ahead = clock.now.as_second() + 300 * DAY;
        assert_eq!(clock.check_epoch(ahead + 1, Some(ahead)), Ok(()));
        assert_eq!(clock.check_epoch(ahead, Some(ahead)), Ok(()));
        let refused = Err(Ahead { epoch: ahead + 2, max_epoch: ahead + 1 });
        assert_eq!(clock.check_epoch(ahead + 2, Some(ahead)), refused);
        assert_eq!(clock.check_epoch(i64::MAX, Some(i64::MAX)), Ok(()));
    }

    #[test]
    fn epochs_and_cycles_are_below_their_maximum() {
        for (number, epoch, cycle) in [
            (i64::MIN, false, false),
            (-1, false, false),
            (0, false, true),
            (1, true, true),
            (MAX_NUMBER, true, true),
        ] {
            assert_eq!(check_epoch_range(number).is_ok(), epoch, "{number}");
            assert_eq!(check_cycle_range(number).is_ok(), cycle, "{number}");
        }
        for number in [MAX_NUMBER + 1, i64::MAX - 1, i64::MAX] {
            assert!(check_epoch_range(number).is_err() && check_cycle_range(number).is_err());
        }
    }

    #[test]
    fn time_ahead_of_the_clock_is_refused() {
        let clock = clock("2026-11-22T00:00:00Z");
        assert_eq!(clock.check_time(at("1970-01-01T00:00:07Z")), Ok(()), "a node whose clock was never set");
        assert_eq!(clock.check_time(at("2026-11-23T00:00:00Z")), Ok(()));
        assert!(clock.check_time(at("2026-11-23T00:00:01Z")).is_err());
        let unset = Clock::new(at("1970-01-01T00:00:07Z"), MAX_CLOCK_SKEW);
        assert_eq!(unset.check_time(at("2026-11-22T00:00:00Z")), Ok(()));
        assert_eq!(Clock::new(Timestamp::MAX, MAX_CLOCK_SKEW).check_time(Timestamp::MAX), Ok(()));
    }
}
