//! What cannot have been yet. A report of the future is a mistake of whoever sends it, and a lasting one if it is kept: one with
//! such a time would be the newest for as long, and one with such an epoch would make a deposed leader of everybody
//! who leads from then on. Pure.

use jiff::{SignedDuration, Timestamp};

use crate::report::Invalid;

/// How far beyond the collector's clock something may be. Clocks of machines that were off for long are late.
const AHEAD: SignedDuration = SignedDuration::from_hours(366 * 24);
/// 2025-01-01, before there was a collector: a clock that shows less was not set since its machine started.
const NEVER_SET: i64 = 1_735_689_600;

/// The last moment that there can have been at `now`; `None`: the clock was never set, and tells nothing.
fn latest(now: Timestamp) -> Option<Timestamp> {
    (now.as_second() >= NEVER_SET).then(|| now.saturating_add(AHEAD).unwrap_or(Timestamp::MAX))
}

fn refused(what: &str, latest: &dyn std::fmt::Display) -> Invalid {
    Invalid::new(format!(
        "{what} is of the future: {latest} is the latest, a year beyond the collector's clock"
    ))
}

/// Whether a leader can have this epoch. The first leader of all takes the seconds since 1970 for it, and each one after it the
/// next number: that is slower than time.
///
/// # Errors
/// It cannot.
pub(crate) fn check_epoch(epoch: i64, now: Timestamp) -> Result<(), Invalid> {
    if epoch < 1 {
        return Err(Invalid::new("epoch counts from 1"));
    }
    match latest(now).map(Timestamp::as_second) {
        Some(latest) if epoch > latest => Err(refused(&format!("epoch {epoch}"), &latest)),
        _ => Ok(()),
    }
}

/// Whether a fleet can have been read then.
///
/// # Errors
/// It cannot.
pub(crate) fn check_time(time: Timestamp, now: Timestamp) -> Result<(), Invalid> {
    if time < Timestamp::UNIX_EPOCH {
        return Err(Invalid::new("time is before 1970"));
    }
    match latest(now) {
        Some(latest) if time > latest => Err(refused(&format!("time {time}"), &latest)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_epoch_of_the_future_is_a_mistake() {
        let now = at("2026-11-22T00:00:00Z");
        for can_be in [1, 7, now.as_second(), now.as_second() + 1_000_000] {
            assert_eq!(check_epoch(can_be, now), Ok(()));
        }
        for cannot in [i64::MIN, 0, now.as_millisecond(), i64::MAX] {
            assert!(check_epoch(cannot, now).is_err(), "{cannot}");
        }
        assert_eq!(check_epoch(now.as_second(), at("2026-01-01T00:00:00Z")), Ok(()), "its clock is late");
        assert_eq!(check_epoch(i64::MAX, at("1970-01-01T00:00:07Z")), Ok(()), "nobody has set it");
        assert!(check_epoch(i64::MAX, Timestamp::MAX).is_err());
    }

    #[test]
    fn so_is_a_time() {
        let now = at("2026-11-22T00:00:00Z");
        assert_eq!(check_time(at("1970-01-01T00:00:07Z"), now), Ok(()), "a node whose clock was never set");
        assert_eq!(check_time(at("2027-11-22T00:00:00Z"), now), Ok(()));
        assert!(check_time(at("2028-01-01T00:00:00Z"), now).is_err());
        assert!(check_time(at("1969-12-31T23:59:59Z"), now).is_err());
        assert_eq!(check_time(now, at("1970-01-01T00:00:07Z")), Ok(()));
        assert_eq!(check_time(Timestamp::MAX, Timestamp::MAX), Ok(()));
    }
}
