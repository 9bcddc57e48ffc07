//! Number, mean and spread of readings, which can be combined without the readings themselves: the parallel formula of
//! Chan, Golub and LeVeque ("Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979). It
//! equals a computation over all readings up to rounding, and unlike a sum of squares it loses no digits if the spread
//! is small beside the mean. Pure.

use crate::report::Report;

/// Length of the stored form, in bytes.
const BYTES: usize = 24;

/// Number, mean and spread of at least one reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// Number of readings.
    pub readings: i64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sum of the squared distances from the mean. `None`: it is not known, or exceeds the range of a number.
    pub squares: Option<f64>,
}

impl Moments {
    /// Returns the moments of the readings of a report. `None` if they cannot be computed from it: it has no number of
    /// readings, or its main value is not their mean.
    pub(crate) fn of(report: &Report) -> Option<Moments> {
        Moments::new(report.count, report.mean, report.stddev, report.aggregate.is_none())
    }

    /// Returns the moments of `count` readings with this mean and population standard deviation.
    pub(crate) fn new(count: Option<i64>, mean: f64, stddev: Option<f64>, is_mean: bool) -> Option<Moments> {
        let readings = count.filter(|count| *count > 0 && is_mean)?;
        let squares = match (readings, stddev) {
            (1, _) => Some(0.0),
            (_, stddev) => finite(stddev.map(|stddev| stddev * stddev * real(readings))),
        };
        Some(Moments { readings, mean, squares })
    }

    /// Returns the moments of the readings of both.
    #[must_use]
    pub fn merge(self, other: Moments) -> Moments {
        let (own, others) = (real(self.readings), real(other.readings));
        let all = own + others;
        let distance = other.mean - self.mean;
        let mean = match distance.is_finite() {
            true => self.mean + distance * (others / all),
            false => self.mean * (own / all) + other.mean * (others / all),
        };
        let between = distance * distance * (own * (others / all));
        Moments {
            readings: self.readings.saturating_add(other.readings),
            mean: mean.clamp(self.mean.min(other.mean), self.mean.max(other.mean)),
            squares: finite(self.squares.zip(other.squares).map(|(own, others)| own + others + between)),
        }
    }

    /// Returns the population standard deviation.
    pub fn stddev(&self) -> Option<f64> {
        self.squares.map(|squares| (squares / real(self.readings)).sqrt())
    }

    /// Returns the stored form.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let squares = self.squares.unwrap_or(f64::NAN);
        [self.readings.to_be_bytes(), self.mean.to_be_bytes(), squares.to_be_bytes()].concat()
    }

    /// Parses the stored form. `None` if it is not one.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Moments> {
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if bytes.len() != BYTES {
            return None;
        }
        let mean = f64::from_bits(number(8)?);
        let squares = finite(Some(f64::from_bits(number(16)?)));
        Moments { readings: number(0)?.cast_signed(), mean, squares }.checked()
    }

    /// Parses the words of the scripts of the Redis store.
    #[cfg(any(feature = "redis", test))]
    pub(crate) fn from_words<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<Moments> {
        let readings = words.next()?.parse().ok()?;
        let mean = words.next()?.parse().ok()?;
        let squares = finite(words.next()?.parse().ok());
        Moments { readings, mean, squares }.checked()
    }

    fn checked(self) -> Option<Moments> {
        Some(self).filter(|moments| moments.readings > 0 && moments.mean.is_finite())
    }
}

/// Returns the moments of the readings of both; of one, if the other has none.
pub(crate) fn merge(own: Option<Moments>, other: Option<Moments>) -> Option<Moments> {
    match (own, other) {
        (Some(own), Some(other)) => Some(own.merge(other)),
        (own, other) => own.or(other),
    }
}

fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite())
}

#[allow(clippy::cast_precision_loss, reason = "counts above 2^53 are rounded")]
fn real(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(readings: &[f64]) -> Option<Moments> {
        let count = real(i64::try_from(readings.len()).unwrap());
        let mean = readings.iter().map(|reading| reading / count).sum::<f64>();
        let variance = readings.iter().map(|reading| (reading - mean).powi(2) / count).sum::<f64>();
        Moments::new(i64::try_from(readings.len()).ok(), mean, Some(variance.sqrt()), true)
    }

    #[test]
    fn report_without_a_count_or_with_another_main_value_has_no_moments() {
        for (count, is_mean) in [(None, true), (Some(0), true), (Some(3), false)] {
            assert_eq!(Moments::new(count, 1.0, Some(0.0), is_mean), None);
        }
        assert_eq!(Moments::new(Some(1), 1.0, None, true).unwrap().squares, Some(0.0), "of one reading");
        let unknown = Moments::new(Some(2), 1.0, None, true).unwrap();
        assert_eq!(unknown.merge(of(&[1.0, 2.0]).unwrap()).stddev(), None);
    }

    #[test]
    fn numbers_at_their_limits_are_merged() {
        let most = |mean| Moments { readings: i64::MAX, mean, squares: Some(0.0) };
        let both = most(f64::MAX).merge(most(f64::MIN));
        assert_eq!((both.readings, both.squares), (i64::MAX, None));
        assert!(both.mean.abs() <= f64::MAX * 1e-12, "{both:?}");
        assert_eq!(most(f64::MAX).merge(most(f64::MAX)).mean, f64::MAX);
    }

    proptest! {
        /// However readings are divided, the merged moments are those of a computation over all of them.
        #[test]
        fn merged_moments_are_those_of_all_readings(
            parts in prop::collection::vec(prop::collection::vec(-1.0..1.0, 1..20), 1..20),
            offset in prop::sample::select(vec![0.0, 20.0, 101_325.0, 1e9]),
        ) {
            let parts: Vec<Vec<f64>> =
                parts.iter().map(|part| part.iter().map(|reading: &f64| reading + offset).collect()).collect();
            let merged = parts.iter().fold(None, |all, part| merge(all, of(part))).unwrap();
            let flat = of(&parts.concat()).unwrap();
            prop_assert_eq!(merged.readings, flat.readings);
            let slack = 1e-12 * (1.0 + offset);
            prop_assert!((merged.mean - flat.mean).abs() <= slack, "{:?} {:?}", merged, flat);
            let (own, all) = (merged.stddev().unwrap(), flat.stddev().unwrap());
            prop_assert!((own - all).abs() <= slack + 1e-9, "{} {}", own, all);
        }

        #[test]
        fn stored_form_is_parsed(readings in 1..i64::MAX, mean in prop::num::f64::NORMAL, squares in prop::option::of(0.0..1e300)) {
            let moments = Moments { readings, mean, squares };
            prop_assert_eq!(Moments::from_bytes(&moments.to_bytes()), Some(moments));
            let words = format!("{readings} {mean:?} {:?}", squares.unwrap_or(f64::NAN));
            prop_assert_eq!(Moments::from_words(words.split(' ')), Some(moments));
        }

        #[test]
        fn arbitrary_bytes_and_words_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), text in ".*") {
            let _ = (Moments::from_bytes(&bytes), Moments::from_words(text.split(' ')));
        }
    }
}
