//! Collection of the fleet's measurements, and their averages. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use crate::leader::statistics::{mean, standard_deviation};
use crate::model::report::Average;
use crate::model::senml::{Value, quantity_of};

/// Collection of measurements, by unit.
#[derive(Clone, Debug, Default)]
pub struct Aggregate {
    pub(super) readings: BTreeMap<Option<String>, Vec<NodeReading>>,
}

/// Number that a node has measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct NodeReading {
    /// Position of the node in the list of members.
    pub(super) node: usize,
    pub(super) value: f64,
}

/// Maximum number of unknown units that are averaged: each is a report in every cycle. Units of known quantities and
/// bare numbers do not count.
pub const MAX_UNKNOWN_UNITS: usize = 64;

impl Aggregate {
    /// Returns true if all of these values can be added.
    pub fn has_room_for(&self, values: &[Value]) -> bool {
        let known = |unit: &Option<String>| unit.as_deref().is_none_or(|unit| quantity_of(unit).is_some());
        let mut foreign: BTreeSet<&Option<String>> =
            self.readings.keys().filter(|unit| !known(unit)).collect();
        let before = foreign.len();
        foreign.extend(values.iter().map(|value| &value.unit).filter(|unit| !known(unit)));
        foreign.len() == before || foreign.len() <= MAX_UNKNOWN_UNITS
    }

    /// Adds a measurement of the node at position `node` in the list of members. Nodes are added in that order.
    pub fn add(&mut self, node: usize, value: Value) {
        self.readings.entry(value.unit).or_default().push(NodeReading { node, value: value.value });
    }

    /// Returns the average of each unit: bare numbers first, then by unit.
    pub fn averages(&self) -> Vec<Average> {
        self.readings.iter().map(|(unit, readings)| average(unit.clone(), readings)).collect()
    }
}

/// Returns the average of readings in their order, on which the last bits of a sum depend.
pub(super) fn average(unit: Option<String>, readings: &[NodeReading]) -> Average {
    let values = readings.iter().map(|reading| reading.value);
    let mean = mean(values.clone());
    Average {
        quantity: unit.as_deref().and_then(quantity_of).map(|quantity| quantity.name().to_owned()),
        unit,
        mean,
        // Adding positive zero turns a negative zero into zero.
        min: values.clone().fold(f64::INFINITY, f64::min) + 0.0,
        max: values.clone().fold(f64::NEG_INFINITY, f64::max) + 0.0,
        stddev: standard_deviation(values, mean),
        count: readings.len(),
        details: None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[(Option<&str>, f64)]) -> Vec<Average> {
        let mut aggregate = Aggregate::default();
        for (unit, value) in values {
            aggregate.add(0, Value { unit: unit.map(str::to_owned), value: *value });
        }
        aggregate.averages()
    }

    #[test]
    fn aggregate_of_a_small_fleet_has_the_average_computed_by_hand() {
        assert_eq!(of(&[]), []);
        let [average] = &of(&[(None, 75.0), (None, 80.0), (None, 82.0)])[..] else { panic!() };
        assert_eq!((average.mean, average.min, average.max, average.count), (79.0, 75.0, 82.0, 3));
        // Variance (16 + 1 + 9) / 3.
        assert!((average.stddev.unwrap() - (26.0f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn aggregate_does_not_mix_units() {
        let averages = of(&[(Some("Cel"), 20.0), (None, 1.0), (Some("%RH"), 40.0), (Some("Cel"), 22.0)]);
        let short: Vec<_> = averages.iter().map(|s| (s.unit.as_deref(), s.mean, s.count)).collect();
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
            aggregate.add(0, value);
        }
        assert!(!aggregate.has_room_for(&[unit("Cel"), unit("one-more")]));
        assert!(aggregate.has_room_for(&[unit("u3"), unit("Cel"), Value { unit: None, value: 1.0 }]));
    }

    #[test]
    fn aggregate_has_a_finite_mean_of_numbers_with_an_infinite_sum() {
        let average = &of(&[(None, f64::MAX), (None, f64::MAX), (None, -1.0)])[0];
        assert!((average.mean / f64::MAX - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(average.stddev, None);
    }

    #[test]
    fn aggregate_has_no_negative_zero() {
        for values in
            [&[-0.0][..], &[-0.0, -0.0], &[-f64::MIN_POSITIVE / 4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
        {
            let values: Vec<_> = values.iter().map(|value| (None, *value)).collect();
            let average = &of(&values)[0];
            for number in [average.mean, average.min, average.max, average.stddev.unwrap()] {
                assert!(number.to_string() != "-0", "{average:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn aggregate_has_a_finite_mean_between_the_extremes(values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::ZERO, 1..50)) {
            let units: Vec<_> = values.iter().map(|value| (None, *value)).collect();
            let average = &of(&units)[0];
            let slack = average.min.abs().max(average.max.abs()) * 1e-12;
            prop_assert!(average.mean.is_finite());
            prop_assert!(average.mean >= average.min - slack && average.mean <= average.max + slack);
            prop_assert_eq!(average.count, values.len());
        }
    }
}
