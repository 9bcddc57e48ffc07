//! Time ranges of the chart. Pure.

use jiff::Timestamp;

use super::i18n::Lang;
use crate::params::default_step;

/// Time range of the chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// Name in the address.
    pub(super) name: &'static str,
    seconds: i64,
}

/// All ranges, in the order of their buttons.
pub(super) const RANGES: [Range; 6] = [
    Range { name: "5m", seconds: 300 },
    Range { name: "1h", seconds: 3_600 },
    Range { name: "24h", seconds: 86_400 },
    Range { name: "7d", seconds: 7 * 86_400 },
    Range { name: "30d", seconds: 30 * 86_400 },
    Range { name: "1y", seconds: 365 * 86_400 },
];

impl Range {
    /// Returns the range with this name, or one hour if the name is missing or unknown.
    pub(super) fn named(name: Option<&str>) -> Range {
        let usual = RANGES[1];
        RANGES.into_iter().find(|range| Some(range.name) == name).unwrap_or(usual)
    }

    pub(super) fn shortest() -> Range {
        RANGES[0]
    }

    /// Returns the title, such as `The last 24 hours`, and the label of the button.
    pub(super) fn texts(self, lang: Lang) -> (&'static str, &'static str) {
        let messages = lang.messages();
        match self.name {
            "5m" => (messages.last_5_minutes, "5 min"),
            "1h" => (messages.last_hour, "1 h"),
            "24h" => (messages.last_24_hours, "24 h"),
            "7d" => (messages.last_7_days, "7 d"),
            "30d" => (messages.last_30_days, "30 d"),
            _ => (messages.last_year, messages.one_year),
        }
    }

    /// Returns the microseconds from one point to the next.
    pub(super) fn step(self) -> i64 {
        default_step(self.seconds * 1_000_000)
    }

    /// Returns true for a range of small charts. For a shorter one there are too few sums of measurements, and for a
    /// longer one too many.
    pub(super) fn is_coarse(self) -> bool {
        (3_600..=30 * 86_400).contains(&self.seconds)
    }

    /// Returns the microseconds from one point of a small chart to the next: those of the sums of measurements.
    pub(super) fn coarse_step(self) -> i64 {
        match self.seconds {
            ..=3_600 => 60_000_000,
            3_601..=604_800 => 3_600_000_000,
            _ => 21_600_000_000,
        }
    }

    /// Returns the window that is displayed at `now`: whole steps, of which the last has not ended yet.
    pub(super) fn window(self, now: Timestamp) -> Window {
        self.window_of_steps(self.step(), now)
    }

    /// Returns the window at `now` with steps of this length.
    pub(super) fn window_of_steps(self, step: i64, now: Timestamp) -> Window {
        let end = now.as_microsecond();
        let from = end.saturating_sub(self.seconds * 1_000_000);
        let from = from - from.rem_euclid(step);
        Window { from, now: end, to: (end - end.rem_euclid(step)).saturating_add(step), step }
    }
}

/// Time window, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Beginning of the first step.
    pub(super) from: i64,
    /// Current time.
    pub(super) now: i64,
    /// End of the last step.
    pub(super) to: i64,
    /// Length of a step.
    pub(super) step: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_consists_of_whole_steps_up_to_now() {
        let now = Timestamp::from_microsecond(1_795_291_849_123_456).unwrap();
        for range in RANGES {
            let window = range.window(now);
            assert_eq!((window.from % window.step, window.to % window.step), (0, 0));
            assert!((window.to - window.step..window.to).contains(&window.now));
            assert!((window.to - window.from) / window.step <= 502, "{range:?}");
        }
        assert_eq!(Range::named(Some("24h")).name, "24h");
        assert_eq!(Range::named(Some("2h")), Range::named(None));
    }
}
