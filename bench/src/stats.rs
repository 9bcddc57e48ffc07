//! Statistics of repeated measurements.

use std::fmt;

/// Head of a table in milliseconds with [`Sample::quartile_cells`].
pub(crate) const QUARTILES_HEAD: [&str; 4] = ["ms", "median", "middle half", "smallest – largest"];

/// Repeated measurements of one value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    values: Vec<f64>,
}

impl Sample {
    pub(crate) fn extend(&mut self, values: impl IntoIterator<Item = f64>) {
        self.values.extend(values);
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns the median, or NaN if the sample is empty.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Returns the value below which `part` of the values lie, with linear interpolation. NaN if the sample is empty.
    fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let at = part * sorted.len().saturating_sub(1) as f64;
        let (below, above) = (sorted.get(at.floor() as usize), sorted.get(at.ceil() as usize));
        match (below, above) {
            (Some(below), Some(above)) => below + (above - below) * at.fract(),
            _ => f64::NAN,
        }
    }

    /// Formats the middle half: the first and the third quartile.
    pub(crate) fn middle_half(&self) -> String {
        format!("{} – {}", ThreeDigits(self.quantile(0.25)), ThreeDigits(self.quantile(0.75)))
    }

    /// Formats the median, and the middle half.
    pub(crate) fn with_middle_half(&self) -> String {
        format!("**{}** ({})", ThreeDigits(self.median()), self.middle_half())
    }

    /// Formats the median, and the minimum and the maximum.
    pub(crate) fn with_range(&self) -> String {
        format!("**{}** ({})", ThreeDigits(self.median()), self.range())
    }

    /// Formats the cells below [`QUARTILES_HEAD`].
    pub(crate) fn quartile_cells(&self) -> [String; 3] {
        [format!("**{}**", ThreeDigits(self.median())), self.middle_half(), self.range()]
    }

    /// Returns the minimum and the maximum. NaN if the sample is empty.
    pub(crate) fn min_max(&self) -> (f64, f64) {
        (self.quantile(0.0), self.quantile(1.0))
    }

    pub(crate) fn range(&self) -> String {
        let (min, max) = self.min_max();
        format!("{} – {}", ThreeDigits(min), ThreeDigits(max))
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self { values: values.into_iter().collect() }
    }
}

/// Displays a number with three significant digits; from 100 on, with all digits before the decimal point.
pub(crate) struct ThreeDigits(pub(crate) f64);

impl fmt::Display for ThreeDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        let decimals = match size {
            _ if size == 0.0 || size >= 99.95 => 0,
            _ if size >= 9.995 => 1,
            _ if size >= 0.9995 => 2,
            _ => 3,
        };
        write!(f, "{:.decimals$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        values.iter().copied().collect()
    }

    #[test]
    fn sample_median_quartiles_and_range() {
        assert_eq!(sample(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(sample(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert!(sample(&[]).median().is_nan());
        assert_eq!(sample(&[5.0, 1.0, 2.0, 3.0, 4.0]).middle_half(), "2.00 – 4.00");
        assert_eq!(sample(&[5.0, 1.0, 2.0]).range(), "1.00 – 5.00");
    }

    #[test]
    fn numbers_have_three_significant_digits() {
        let table = [
            (0.0, "0"),
            (0.1234, "0.123"),
            (1.234, "1.23"),
            (9.999, "10.0"),
            (12.34, "12.3"),
            (99.96, "100"),
            (2734.2, "2734"),
        ];
        for (value, text) in table {
            assert_eq!(ThreeDigits(value).to_string(), text);
        }
    }
}
