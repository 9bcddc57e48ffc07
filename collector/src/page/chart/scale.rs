//! Where the lines of a chart's grid are: numbers and times that people count in. Pure.

use jiff::{Timestamp, Zoned, tz};

/// Positions of about `wanted` lines from `least` to `most`, and how many decimals they need.
pub(super) fn numbers(least: f64, most: f64, wanted: usize) -> (Vec<f64>, usize) {
    let span = most - least;
    if !span.is_finite() || span <= 0.0 {
        return (Vec::new(), 0);
    }
    #[allow(clippy::cast_precision_loss, reason = "a handful")]
    let rough = span / wanted.max(1) as f64;
    let power = rough.log10().floor();
    let unit = 10f64.powf(power);
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|part| part * unit).find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 12")]
    let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
    let first = (least / step).ceil();
    let lines = (0..=wanted * 3).map(|line| {
        #[allow(clippy::cast_precision_loss, reason = "a handful")]
        let line = line as f64;
        (first + line) * step
    });
    (lines.take_while(|line| *line <= most).collect(), decimals)
}

/// A line of time: where, in microseconds, and what stands below.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    pub(super) at: i64,
    pub(super) label: String,
}

/// Lines of `[from, to]`, six or so, by a clock that is `ahead` of UTC.
pub(super) fn times(from: i64, to: i64, ahead: tz::Offset) -> Vec<Tick> {
    const STEPS: [i64; 20] = [
        1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600, 43_200,
        86_400, 172_800, 432_000,
    ];
    let span = (to - from) / 1_000_000;
    let zone = tz::TimeZone::fixed(ahead);
    let local =
        |micros: i64| Timestamp::from_microsecond(micros).ok().map(|time| time.to_zoned(zone.clone()));
    let Some(step) = STEPS.into_iter().find(|step| span / step <= 7) else {
        return months(from, to, span, local(from));
    };
    let shift = i64::from(ahead.seconds()) * 1_000_000;
    let step_micros = step * 1_000_000;
    let first = from + shift + (step_micros - (from + shift).rem_euclid(step_micros)) % step_micros;
    let mut ticks = Vec::new();
    let mut at = first - shift;
    while at <= to {
        let format = match step {
            ..60 => "%H:%M:%S",
            60..86_400 => "%H:%M",
            _ => "%d/%m",
        };
        let midnight = local(at).filter(|time| time.hour() == 0 && time.minute() == 0 && time.second() == 0);
        let label = match midnight {
            Some(day) => Some(day.strftime("%d/%m").to_string()),
            None => local(at).map(|time| time.strftime(format).to_string()),
        };
        ticks.extend(label.map(|label| Tick { at, label }));
        at += step_micros;
    }
    ticks
}

/// The firsts of months, or of every second, third … of them.
fn months(from: i64, to: i64, span: i64, first: Option<Zoned>) -> Vec<Tick> {
    let every = usize::try_from(span / (7 * 30 * 86_400)).unwrap_or(0).max(1);
    let Some(first) = first.and_then(|first| first.first_of_month().ok()?.start_of_day().ok()) else {
        return Vec::new();
    };
    let months =
        (0..).map_while(|month: i32| first.checked_add(jiff::Span::new().try_months(month).ok()?).ok());
    let within = months.map(|day| (day.timestamp().as_microsecond(), day)).take_while(|(at, _)| *at <= to);
    within
        .filter(|(at, _)| *at >= from)
        .step_by(every)
        .map(|(at, day)| Tick { at, label: day.strftime("%m/%Y").to_string() })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(from: &str, to: &str, hours: i8) -> Vec<String> {
        let micros = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        times(micros(from), micros(to), tz::offset(hours)).into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn times_that_people_count_in() {
        let hour = labels("2026-11-21T08:01:07Z", "2026-11-21T09:01:07Z", 0);
        assert_eq!(hour, ["08:10", "08:20", "08:30", "08:40", "08:50", "09:00"]);
        let day = labels("2026-11-20T09:01:00Z", "2026-11-21T09:01:00Z", 2);
        assert_eq!(day, ["12:00", "16:00", "20:00", "21/11", "04:00", "08:00"]);
        let month = labels("2026-10-22T09:00:00Z", "2026-11-21T09:00:00Z", 0);
        assert_eq!(month.len(), 6, "{month:?}");
        let year = labels("2025-11-21T09:00:00Z", "2026-11-21T09:00:00Z", 0);
        assert!((5..=12).contains(&year.len()) && year[0] == "12/2025", "{year:?}");
    }

    #[test]
    fn numbers_that_people_count_in() {
        assert_eq!(numbers(74.2, 86.1, 5), (vec![75.0, 80.0, 85.0], 0));
        assert_eq!(numbers(0.01, 0.05, 4), (vec![0.01, 0.02, 0.03, 0.04, 0.05], 2));
        assert_eq!(numbers(1.0, 1.0, 4).0, [0.0; 0]);
        assert_eq!(numbers(f64::MIN, f64::MAX, 4).0, [0.0; 0]);
    }

    proptest! {
        #[test]
        fn lines_are_few_and_within(least in -1e9..1e9f64, span in 1e-6..1e9f64, from in 0..2_000_000_000_000_000i64, length in 1_000_000..40_000_000_000_000i64, hours in -12i8..14) {
            let (lines, _) = numbers(least, least + span, 5);
            prop_assert!(lines.len() <= 8, "{lines:?}");
            prop_assert!(lines.iter().all(|line| *line >= least - span * 1e-6 && *line <= least + span));
            let ticks = times(from, from + length, tz::offset(hours));
            prop_assert!(ticks.len() <= 15, "{}", ticks.len());
            prop_assert!(ticks.iter().all(|tick| (from..=from + length).contains(&tick.at)));
        }
    }
}
