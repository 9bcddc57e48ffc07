//! Recurrence of a fault: start, duration and interval. The time is an argument.

use std::time::Duration;

/// Times of one fault, counted from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recurrence {
    after: Duration,
    lasts: Option<Duration>,
    every: Option<Duration>,
}

/// An active fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    /// Time since the fault became active.
    pub since: Duration,
    /// Remaining duration; None for a permanent fault.
    pub left: Option<Duration>,
}

impl Recurrence {
    /// Creates the times of a fault that starts at `after`, lasts for `lasts` (None: indefinitely), and recurs with the period
    /// `every` (None: once).
    pub fn new(after: Duration, lasts: Option<Duration>, every: Option<Duration>) -> Recurrence {
        Recurrence { after, lasts, every: every.filter(|every| !every.is_zero()) }
    }

    /// Returns the state of the fault if it is active at `now`.
    pub fn at(&self, now: Duration) -> Option<Active> {
        let since_first = now.checked_sub(self.after)?;
        let since = self.every.map_or(since_first, |every| remainder(since_first, every));
        match self.lasts {
            None => Some(Active { since, left: None }),
            Some(lasts) if since < lasts => Some(Active { since, left: Some(lasts - since) }),
            Some(_) => None,
        }
    }

    /// Returns the time at which the fault last ended, up to `now`.
    pub fn ended(&self, now: Duration) -> Option<Duration> {
        let lasts = self.lasts.filter(|lasts| self.every.is_none_or(|every| *lasts < every))?;
        let since_first = now.checked_sub(self.after)?;
        let began = now - self.every.map_or(since_first, |every| remainder(since_first, every));
        match (began.checked_add(lasts), self.every) {
            (Some(end), _) if end <= now => Some(end),
            // The fault is active at `now`; an earlier occurrence may have ended before.
            (_, Some(every)) if began > self.after => Some(began - (every - lasts)),
            _ => None,
        }
    }
}

/// Returns `time` modulo `every`.
fn remainder(time: Duration, every: Duration) -> Duration {
    let nanos = time.as_nanos() % every.as_nanos().max(1);
    // Both parts are smaller than those of `every`, which is a Duration.
    let seconds = u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX);
    let rest = u32::try_from(nanos % 1_000_000_000).unwrap_or_default();
    Duration::new(seconds, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn windows_open_and_close_when_they_should() {
        let once = Recurrence::new(s(30), Some(s(10)), None);
        let again = Recurrence::new(s(60), Some(s(2)), Some(s(60)));
        let for_ever = Recurrence::new(s(5), None, None);
        let there = |since, left: Option<u64>| Some(Active { since: s(since), left: left.map(s) });
        let table = [
            (once, 0, None),
            (once, 29, None),
            (once, 30, there(0, Some(10))),
            (once, 39, there(9, Some(1))),
            (once, 40, None),
            (once, 100_000, None),
            (again, 59, None),
            (again, 60, there(0, Some(2))),
            (again, 61, there(1, Some(1))),
            (again, 62, None),
            (again, 120, there(0, Some(2))),
            (for_ever, 4, None),
            (for_ever, 1_000_000, there(999_995, None)),
        ];
        for (recurrence, now, want) in table {
            assert_eq!(recurrence.at(s(now)), want, "{recurrence:?} at {now} s");
        }
        let ended = |recurrence: Recurrence, now| recurrence.ended(s(now)).map(|end| end.as_secs());
        let table = [
            (once, 39, None),
            (once, 40, Some(40)),
            (once, 99, Some(40)),
            (again, 61, None),
            (again, 62, Some(62)),
            (again, 121, Some(62)),
            (again, 122, Some(122)),
            (for_ever, 99, None),
        ];
        for (recurrence, now, want) in table {
            assert_eq!(ended(recurrence, now), want, "{recurrence:?} at {now} s");
        }
    }

    fn duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            (0..1_000_u64, 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n)),
            (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n)),
        ]
    }

    proptest! {
        #[test]
        fn an_open_window_began_in_the_past_and_closes_when_it_says(
            after in duration(), lasts in proptest::option::of(duration()),
            every in proptest::option::of(duration()), now in duration(),
        ) {
            let recurrence = Recurrence::new(after, lasts, every);
            if let Some(end) = recurrence.ended(now) {
                prop_assert!(end <= now && recurrence.at(end).is_none());
                // The fault has not ended and recurred since then.
                prop_assert!(recurrence.at(now).is_some() || recurrence.ended(end) == Some(end));
            }
            if let Some(Active { since, left }) = recurrence.at(now) {
                prop_assert!(since <= now - after);
                prop_assert_eq!(recurrence.at(now - since), Some(Active { since: Duration::ZERO, left: lasts }));
                prop_assert_eq!(left, lasts.map(|lasts| lasts - since));
                // The fault ends then, unless the next occurrence follows immediately.
                if let (Some(left), None) = (left, every)
                    && let Some(end) = now.checked_add(left)
                {
                    prop_assert_eq!(recurrence.at(end), None);
                }
            }
        }

        #[test]
        fn what_comes_again_looks_the_same_one_period_later(
            after in 0..100_u64, lasts in 1..100_u64, every in 1..100_u64, now in 0..1_000_u64,
        ) {
            let recurrence = Recurrence::new(s(after), Some(s(lasts)), Some(s(every)));
            if now >= after {
                prop_assert_eq!(recurrence.at(s(now)), recurrence.at(s(now + every)));
                let ended = recurrence.ended(s(now + every));
                prop_assert!(lasts >= every || recurrence.ended(s(now)).is_none_or(|end| ended == Some(end + s(every))));
            }
        }
    }
}
