//! Averages of the fleet's measurements. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::senml::{Value, quantity_of};

/// Average of the measurements with one unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// SenML name of the unit; `None` for measurements that are a bare number.
    pub unit: Option<String>,
    /// Arithmetic mean.
    pub mean: f64,
    /// Minimum.
    pub min: f64,
    /// Maximum.
    pub max: f64,
    /// Standard deviation. The measurements are the whole fleet and not a sample, so the divisor is their number. `None` if it is not a
    /// finite number.
    pub stddev: Option<f64>,
    /// Number of measurements.
    pub count: usize,
}

/// Collection of measurements, by unit.
#[derive(Clone, Debug, Default)]
pub struct Aggregate {
    values: BTreeMap<Option<String>, Vec<f64>>,
}

/// Maximum number of unknown units that are averaged: each is a report in every cycle. Units of known quantities and bare numbers do not
/// count.
pub const MAX_UNKNOWN_UNITS: usize = 64;

impl Aggregate {
    /// Returns true if all of these values can be added.
    pub fn has_room_for(&self, values: &[Value]) -> bool {
        let known = |unit: &Option<String>| unit.as_deref().is_none_or(|unit| quantity_of(unit).is_some());
        let mut foreign: BTreeSet<&Option<String>> = self.values.keys().filter(|unit| !known(unit)).collect();
        let before = foreign.len();
        foreign.extend(values.iter().map(|value| &value.unit).filter(|unit| !known(unit)));
        foreign.len() == before || foreign.len() <= MAX_UNKNOWN_UNITS
    }

    /// Adds a measurement.
    pub fn add(&mut self, value: Value) {
        match self.values.get_mut(&value.unit) {
            Some(values) => values.push(value.value),
            None => {
                self.values.insert(value.unit, vec![value.value]);
            }
        }
    }

    /// Returns the average of each unit: bare numbers first, then by unit.
    pub fn summaries(&self) -> Vec<Summary> {
        self.values.iter().map(|(unit, values)| summarise(unit.clone(), values)).collect()
    }
}

fn summarise(unit: Option<String>, values: &[f64]) -> Summary {
    let mean = mean(values);
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    Summary {
        unit,
        // Adding positive zero turns a negative zero into zero.
        mean: mean + 0.0,
        min: values.iter().copied().fold(f64::INFINITY, f64::min) + 0.0,
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max) + 0.0,
        stddev: Some(variance.sqrt()).filter(|stddev| stddev.is_finite()),
        count: values.len(),
    }
}

/// Returns the sum divided by the count, as the other programs of the fleet compute it. If the sum of finite numbers is not finite, each
/// is divided first.
fn mean(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    if mean.is_finite() { mean } else { values.iter().map(|value| value / count).sum() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[(Option<&str>, f64)]) -> Vec<Summary> {
        let mut aggregate = Aggregate::default();
        for (unit, value) in values {
            aggregate.add(Value { unit: unit.map(str::to_owned), value: *value });
        }
        aggregate.summaries()
    }

    #[test]
    fn aggregate_of_nothing_has_no_average() {
        assert_eq!(of(&[]), []);
    }

    #[test]
    fn aggregate_of_a_small_fleet_has_the_average_computed_by_hand() {
        let [summary] = &of(&[(None, 75.0), (None, 80.0), (None, 82.0)])[..] else { panic!() };
        assert_eq!((summary.mean, summary.min, summary.max, summary.count), (79.0, 75.0, 82.0, 3));
        // Variance (16 + 1 + 9) / 3.
        assert!((summary.stddev.unwrap() - (26.0f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn aggregate_does_not_mix_units() {
        let summaries = of(&[(Some("Cel"), 20.0), (None, 1.0), (Some("%RH"), 40.0), (Some("Cel"), 22.0)]);
        let short: Vec<_> = summaries.iter().map(|s| (s.unit.as_deref(), s.mean, s.count)).collect();
        assert_eq!(short, [(None, 1.0, 1), (Some("%RH"), 40.0, 1), (Some("Cel"), 21.0, 2)]);
    }

    #[test]
    fn aggregate_bounds_unknown_units_and_has_room_for_known_ones() {
        let unit = |unit: &str| Value { unit: Some(unit.to_owned()), value: 1.0 };
        let mut aggregate = Aggregate::default();
        for n in 0..MAX_UNKNOWN_UNITS {
            let values = [unit(&format!("u{n}"))];
            assert!(aggregate.has_room_for(&values));
            let [value] = values;
            aggregate.add(value);
        }
        assert!(!aggregate.has_room_for(&[unit("Cel"), unit("one-more")]));
        assert!(aggregate.has_room_for(&[unit("u3"), unit("Cel"), Value { unit: None, value: 1.0 }]));
    }

    #[test]
    fn aggregate_has_a_finite_mean_of_numbers_with_an_infinite_sum() {
        let summary = &of(&[(None, f64::MAX), (None, f64::MAX), (None, -1.0)])[0];
        assert!((summary.mean / f64::MAX - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(summary.stddev, None);
    }

    #[test]
    fn aggregate_has_no_negative_zero() {
        for values in
            [&[-0.0][..], &[-0.0, -0.0], &[-f64::MIN_POSITIVE / 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
        {
            let values: Vec<_> = values.iter().map(|value| (None, *value)).collect();
            let summary = &of(&values)[0];
            for number in [summary.mean, summary.max, summary.stddev.unwrap()] {
                assert!(number.to_string() != "-0", "{summary:?}");
            }
            assert!(summary.min.to_string() != "-0", "{summary:?}");
        }
    }

    proptest! {
        #[test]
        fn aggregate_has_a_finite_mean_between_the_extremes(values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::ZERO, 1..50)) {
            let units: Vec<_> = values.iter().map(|value| (None, *value)).collect();
            let summary = &of(&units)[0];
            let slack = summary.min.abs().max(summary.max.abs()) * 1e-12;
            prop_assert!(summary.mean.is_finite());
            prop_assert!(summary.mean >= summary.min - slack && summary.mean <= summary.max + slack);
            prop_assert_eq!(summary.count, values.len());
        }
    }
}
