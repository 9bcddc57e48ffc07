//! Value axis of a chart: its range and its labels. Pure.

use std::ops::Range;

use crate::page::i18n::Lang;
use crate::store::Point;

/// Value range of a chart, scaled to a unit in which the chart library can compute: it fails with values near 10⁻³⁰⁰
/// and 10³⁰⁰.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// Exponent of the unit, which is a power of ten.
    power: i32,
    min: f64,
    max: f64,
}

impl Values {
    /// Returns the range of the points with a margin above and below, or `None` without points.
    pub(super) fn of(points: &[Point]) -> Option<Values> {
        let min = points.iter().map(|point| point.min.min(point.mean)).fold(f64::INFINITY, f64::min);
        let max = points.iter().map(|point| point.max.max(point.mean)).fold(f64::NEG_INFINITY, f64::max);
        if !(min.is_finite() && max.is_finite()) {
            return None;
        }
        // Computes with halves, because the whole difference may overflow.
        let (middle, half) = (max / 2.0 + min / 2.0, max / 2.0 - min / 2.0);
        // A flat line is centred, and so is one that varies only by rounding errors.
        let half = match half {
            half if half > middle.abs() * 1e-9 => half,
            _ if middle == 0.0 => 1.0,
            _ => middle.abs() * 0.01,
        };
        let power = floor(half.log10()).clamp(-300, 308);
        let unit = 10f64.powi(power);
        let (middle, half) = (middle / unit, half / unit * 1.12);
        Some(Values { power, min: middle - half, max: middle + half })
    }

    /// Returns the range, in the unit.
    pub(super) fn range(&self) -> Range<f64> {
        self.min..self.max
    }

    /// Converts a value to the unit and clamps it to the range.
    pub(super) fn scaled(&self, value: f64) -> f64 {
        (value / 10f64.powi(self.power)).clamp(self.min, self.max)
    }

    /// Returns the label of one of `lines`, which are in the unit: with enough decimals to distinguish them, or as a
    /// power of ten.
    pub(super) fn label(&self, lang: Lang, line: f64, lines: &[f64]) -> String {
        let step = lines.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
        let step = if step.is_finite() && step > 0.0 { step } else { self.max - self.min };
        // Corrects rounding errors, such as 0.1999… instead of 0.2.
        let line = (line / step).round() * step;
        let size = |value: f64| floor(value.abs().log10() + 1e-9);
        let largest = lines.iter().fold(step, |largest, line| largest.max(line.abs()));
        let decimals = -(size(step) + self.power);
        if decimals > 6 || size(largest) + self.power >= 9 {
            if line == 0.0 {
                return "0".to_owned();
            }
            let digits = usize::try_from(size(line) - size(step)).unwrap_or(0);
            let text = format!("{line:.digits$e}");
            let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
            let power = power.parse::<i32>().unwrap_or(0).saturating_add(self.power);
            return format!("{digits}e{power}")
                .replace('-', "−")
                .replace('.', lang.messages().decimal_separator);
        }
        lang.number(line * 10f64.powi(self.power), usize::try_from(decimals).unwrap_or(0).min(6))
    }
}

#[allow(clippy::cast_possible_truncation, reason = "powers of ten")]
fn floor(value: f64) -> i32 {
    value.floor() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(min: f64, max: f64) -> Values {
        Values::of(&[Point { max, ..Point::of_one(0, min) }]).unwrap()
    }

    fn labels(min: f64, max: f64, lines: &[f64], lang: Lang) -> Vec<String> {
        let values = values(min, max);
        lines.iter().map(|line| values.label(lang, *line, lines)).collect()
    }

    #[test]
    fn labels_have_enough_decimals_to_differ() {
        assert_eq!(labels(74.2, 86.1, &[75.0, 80.0, 85.0], Lang::En), ["75", "80", "85"]);
        assert_eq!(labels(74.2, 86.1, &[79.5, 80.0, 80.5], Lang::Es), ["79,5", "80,0", "80,5"]);
        // The unit is 0.01.
        assert_eq!(labels(0.01, 0.05, &[2.0, 4.0], Lang::En), ["0.02", "0.04"]);
        let small = labels(-3e-9, 3e-9, &[-1.5, -1.0, 0.0, 0.5], Lang::Es);
        assert_eq!(small, ["−1,5e−9", "−1,0e−9", "0", "5e−10"]);
        assert_eq!(labels(1e300, 9e300, &[2.0, 4.0, 10.0], Lang::En), ["2e300", "4e300", "1.0e301"]);
        assert_eq!(labels(20.0, 20.0, &[], Lang::En), [""; 0]);
    }

    #[test]
    fn flat_line_is_in_the_middle() {
        for value in [0.0, 20.0, -1e300, 1e-300, f64::MAX, f64::MIN_POSITIVE] {
            let values = values(value, value);
            let Range { start, end } = values.range();
            let share = (values.scaled(value) - start) / (end - start);
            assert!((share - 0.5).abs() < 1e-6, "{value}: {share} of {start}..{end}");
        }
        let all = values(f64::MIN, f64::MAX).range();
        assert!(all.end - all.start < 100.0, "{all:?}");
    }
}
