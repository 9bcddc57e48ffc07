//! Figures: many values made into one with its spread, tables of them, and what was aimed at.

use std::fmt;

/// Values of one thing, in the order in which they were measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    values: Vec<f64>,
}

impl Sample {
    /// Takes more values in.
    pub(crate) fn extend(&mut self, values: impl IntoIterator<Item = f64>) {
        self.values.extend(values);
    }

    /// Takes one value in.
    pub(crate) fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The value in the middle, or between the two in the middle. NaN if there is none.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// NaN if there is none.
    pub(crate) fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    /// The value below which this part of them lies, interpolated.
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

    /// The middle half, from the first to the third quartile.
    pub(crate) fn middle(&self) -> String {
        format!("{} – {}", Short(self.quantile(0.25)), Short(self.quantile(0.75)))
    }

    /// The smallest and the largest. NaN if there is none.
    pub(crate) fn ends(&self) -> (f64, f64) {
        (self.quantile(0.0), self.quantile(1.0))
    }

    /// From the smallest to the largest.
    pub(crate) fn range(&self) -> String {
        format!("{} – {}", Short(self.quantile(0.0)), Short(self.quantile(1.0)))
    }
}

/// A number with three digits that count.
pub(crate) struct Short(pub(crate) f64);

impl fmt::Display for Short {
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

/// What was aimed at, and what came out.
#[derive(Clone, Debug)]
pub(crate) struct Aim {
    /// What is measured.
    pub(crate) what: String,
    /// The value to reach, in words.
    pub(crate) wanted: String,
    /// The value that came out, in words.
    pub(crate) came_out: String,
    /// Whether it was reached.
    pub(crate) reached: bool,
}

impl Aim {
    /// At most `limit`.
    pub(crate) fn at_most(what: &str, limit: f64, unit: &str, value: f64) -> Aim {
        Aim {
            what: what.to_owned(),
            wanted: format!("at most {limit}{unit}"),
            came_out: format!("{}{unit}", Short(value)),
            reached: value <= limit,
        }
    }

    /// At least `limit`.
    pub(crate) fn at_least(what: &str, limit: f64, unit: &str, value: f64) -> Aim {
        Aim {
            what: what.to_owned(),
            wanted: format!("at least {limit}{unit}"),
            came_out: format!("{}{unit}", Short(value)),
            reached: value >= limit,
        }
    }
}

/// What one subject has to tell.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) title: String,
    /// What was done, so that it can be judged.
    pub(crate) method: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// What the table does not show.
    pub(crate) notes: Vec<String>,
    pub(crate) aims: Vec<Aim>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(values: &[f64]) -> Sample {
        Sample { values: values.to_vec() }
    }

    #[test]
    fn the_middle_of_values() {
        assert_eq!(sample(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(sample(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert_eq!(sample(&[4.0, 1.0, 1.0, 2.0]).mean(), 2.0);
        assert!(sample(&[]).median().is_nan());
        assert_eq!(sample(&[5.0, 1.0, 2.0, 3.0, 4.0]).middle(), "2.00 – 4.00");
        assert_eq!(sample(&[5.0, 1.0, 2.0]).range(), "1.00 – 5.00");
    }

    #[test]
    fn three_digits_count() {
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
            assert_eq!(Short(value).to_string(), text);
        }
    }

    #[test]
    fn an_aim_is_reached_at_its_limit() {
        assert!(Aim::at_most("memory", 8.0, " MiB", 8.0).reached);
        assert!(!Aim::at_most("memory", 8.0, " MiB", 8.01).reached);
        assert!(Aim::at_least("speed", 100.0, " times", 100.0).reached);
    }
}
