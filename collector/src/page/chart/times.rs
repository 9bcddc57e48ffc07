//! Time axis of a chart: ticks at round times of the clock and the calendar. Pure.

use jiff::civil::DateTime;
use jiff::{Span, Timestamp, ToSpan, tz};

/// Tick of the time axis: its position in microseconds since 1970, and its label.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) at: i64,
    pub(super) label: String,
}

/// Returns the possible steps: the distance between two ticks, its approximate length in seconds, and the format of the
/// labels.
fn steps() -> impl Iterator<Item = (Span, i64, &'static str)> {
    let seconds = [1, 5, 10, 15, 30].map(|count: i64| (count.seconds(), count, "%H:%M:%S"));
    let minutes = [1, 2, 5, 10, 15, 30].map(|count: i64| (count.minutes(), count * 60, "%H:%M"));
    let hours = [1, 2, 3, 4, 6, 12].map(|count: i64| (count.hours(), count * 3_600, "%H:%M"));
    let days = [1, 2, 5, 10].map(|count: i64| (count.days(), count * 86_400, "%d/%m"));
    let months = [1, 2, 3, 6].map(|count: i64| (count.months(), count * 2_592_000, "%m/%Y"));
    let years = [1, 10, 100, 1_000].map(|count: i64| (count.years(), count * 31_536_000, "%Y"));
    seconds.into_iter().chain(minutes).chain(hours).chain(days).chain(months).chain(years)
}

/// Returns at most `max + 1` ticks in `[from, to]`, by a clock that is `ahead` of UTC.
pub(super) fn times(from: i64, to: i64, ahead: tz::Offset, max: i64) -> Vec<Tick> {
    let local = |micros: i64| Timestamp::from_microsecond(micros).ok().map(|time| ahead.to_datetime(time));
    let wanted = steps().find(|(_, seconds, _)| (to - from) / 1_000_000 / seconds <= max);
    let (Some((step, seconds, format)), Some(begin), Some(end)) = (wanted, local(from), local(to)) else {
        return Vec::new();
    };
    let Some(first) = start(begin, seconds) else { return Vec::new() };
    let tick = |time: DateTime| {
        let at = ahead.to_timestamp(time).ok()?.as_microsecond();
        let midnight = seconds < 86_400 && time == time.date().to_datetime(jiff::civil::Time::midnight());
        let label = time.strftime(if midnight { "%d/%m" } else { format }).to_string();
        (from..=to).contains(&at).then_some(Tick { at, label })
    };
    first.series(step).take_while(|time| *time <= end).filter_map(tick).collect()
}

/// Returns the origin of the ticks: the beginning of the hour, the day, the year or the millennium.
fn start(begin: DateTime, seconds: i64) -> Option<DateTime> {
    let date = match seconds {
        ..60 => return begin.with().minute(0).second(0).subsec_nanosecond(0).build().ok(),
        60..86_400 => begin.date(),
        86_400..31_536_000 => begin.date().first_of_year(),
        _ => begin.date().with().year(begin.year() - begin.year() % 1_000).month(1).day(1).build().ok()?,
    };
    Some(date.to_datetime(jiff::civil::Time::midnight()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(from: &str, to: &str, hours: i8) -> Vec<String> {
        let micros = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        times(micros(from), micros(to), tz::offset(hours), 7).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn ticks_are_at_round_times() {
        let hour = labels("2026-11-21T08:01:07Z", "2026-11-21T09:01:07Z", 0);
        assert_eq!(hour, ["08:10", "08:20", "08:30", "08:40", "08:50", "09:00"]);
        let day = labels("2026-11-20T09:01:00Z", "2026-11-21T09:01:00Z", 2);
        assert_eq!(day, ["12:00", "16:00", "20:00", "21/11", "04:00", "08:00"]);
        let month = labels("2026-10-22T09:00:00Z", "2026-11-21T09:00:00Z", 0);
        assert_eq!(month.len(), 6, "{month:?}");
        let year = labels("2025-11-21T09:00:00Z", "2026-11-21T09:00:00Z", 0);
        assert_eq!(year, ["01/2026", "03/2026", "05/2026", "07/2026", "09/2026", "11/2026"]);
    }

    proptest! {
        #[test]
        fn ticks_are_few_and_within_the_range(from in 0..2_000_000_000_000_000i64, length in 1_000_000..40_000_000_000_000i64, hours in -12i8..14, max in 3..9i64) {
            let ticks = times(from, from + length, tz::offset(hours), max);
            prop_assert!((1..=max + 2).contains(&i64::try_from(ticks.len()).unwrap()), "{ticks:?}");
            prop_assert!(ticks.iter().all(|tick| (from..=from + length).contains(&tick.at)));
            prop_assert!(ticks.is_sorted_by_key(|tick| tick.at));
        }
    }
}
