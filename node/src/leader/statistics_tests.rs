use proptest::prelude::*;

use super::*;
use crate::model::measurement;

fn sorted(values: &[f64]) -> Sorted {
    Sorted::new(values.iter().copied()).unwrap()
}

fn is_close(one: f64, other: f64, scale: f64) -> bool {
    (one - other).abs() <= 1e-9 * scale.abs().max(1e-300)
}

#[test]
fn statistics_of_a_small_fleet_are_those_computed_by_hand() {
    let values = sorted(&[82.0, 75.0, 80.0, 100.0]);
    assert_eq!((values.min(), values.max(), values.count()), (75.0, 100.0, 4));
    assert_eq!((values.median(), values.quantile(0.0), values.quantile(1.0)), (81.0, 75.0, 100.0));
    // Position 0.1 · 3 = 0.3: 75 + 0.3 · 5.
    assert_eq!(values.quantile(0.1), 76.5);
    assert_eq!((values.trimmed_mean(0.25), values.trimmed_mean(0.2)), (81.0, 84.25));
    assert_eq!(mean([75.0, 80.0, 82.0].into_iter()), 79.0);
}

#[test]
fn statistics_of_one_reading_are_that_reading() {
    let one = sorted(&[-3.5]);
    for value in [one.min(), one.max(), one.median(), one.quantile(0.9), one.trimmed_mean(0.49)] {
        assert_eq!(value, -3.5);
    }
    assert_eq!((one.bounds(), standard_deviation([7.0].into_iter(), 7.0)), (None, Some(0.0)));
}

#[test]
fn numbers_that_are_not_finite_are_left_out() {
    assert_eq!(sorted(&[f64::NAN, 1.0, f64::INFINITY, f64::NEG_INFINITY]), sorted(&[1.0]));
    assert_eq!(Sorted::new([f64::NAN]), None);
    assert_eq!(Sorted::new([]), None);
    assert_eq!(sorted(&[-0.0]).median().to_string(), "0");
}

/// The readings of Iglewicz and Hoaglin's example have the scores -0.59 to 5.27 in NIST's handbook; these are simpler.
#[test]
fn bounds_are_those_of_the_modified_z_score() {
    // Median 20, absolute deviations 0, 1, 1, 2, 65: their median is 1.
    let (low, high) = sorted(&[19.0, 20.0, 21.0, 22.0, 85.0]).bounds().unwrap();
    let reach = 3.5 / 0.6745;
    assert!(is_close(low, 21.0 - reach, 21.0) && is_close(high, 21.0 + reach, 21.0), "{low} {high}");
    // More than half are equal: the mean absolute deviation is 64 / 6.
    let (low, high) = sorted(&[21.0, 21.0, 21.0, 21.0, 21.0, 85.0]).bounds().unwrap();
    let reach = 3.5 * 1.253_314 * 64.0 / 6.0;
    assert!(is_close(low, 21.0 - reach, 21.0) && is_close(high, 21.0 + reach, 21.0), "{low} {high}");
    assert!(high < 85.0);
    let (low, high) = sorted(&[21.0; 5]).bounds().unwrap();
    assert!(low < 21.0 && high > 21.0 && high - low < 1e-9, "equal readings have no outlier");
    assert_eq!(sorted(&[20.0, 85.0]).bounds(), None, "either may be wrong");
    assert_eq!(sorted(&[f64::MIN, 0.0, 1.0, f64::MAX]).bounds(), None, "beyond the range of numbers");
}

#[test]
fn statistics_of_the_largest_numbers_are_finite() {
    let values = sorted(&[f64::MIN, f64::MAX, f64::MAX]);
    for value in [values.quantile(0.1), values.quantile(0.25), values.median(), values.trimmed_mean(0.1)] {
        assert!(value.is_finite(), "{value}");
    }
    assert_eq!(standard_deviation([f64::MIN, f64::MAX].into_iter(), 0.0), None);
}

/// The table has the values of numpy and scipy for random fleets; `tests/statistics/reference.py` writes it. `cargo xtask
/// statistics` sets the variable to the path of a new one.
#[test]
fn statistics_are_those_of_numpy_and_scipy() {
    let table = match std::env::var_os("ATALAYA_STATISTICS_TABLE") {
        Some(path) => std::fs::read_to_string(path).unwrap(),
        None => include_str!("../../tests/statistics/reference.json").to_owned(),
    };
    let table: serde_json::Value = serde_json::from_str(&table).unwrap();
    let fleets = table.as_array().unwrap();
    assert!(fleets.len() >= 40);
    for fleet in fleets {
        let number = |value: &serde_json::Value| value.as_f64().unwrap();
        let data = fleet["data"].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
        // As the leader reads znodes: NaN and infinities are excluded.
        let read = data.map(|text| measurement::parse(text.as_bytes()));
        let numbers: Vec<f64> = read.flatten().map(|values| values[0].value).collect();
        assert_eq!(numbers.len() as u64, fleet["count"].as_u64().unwrap(), "{fleet}");
        let values = sorted(&numbers);
        let scale = values.max().abs().max(values.min().abs());
        let check = |name: &str, value: f64| {
            let expected = number(&fleet[name]);
            assert!(is_close(value, expected, scale), "{name}: {value}, not {expected}: {numbers:?}");
        };
        let mean = mean(numbers.iter().copied());
        check("mean", mean);
        check("std", standard_deviation(numbers.iter().copied(), mean).unwrap());
        for (name, value) in [("min", values.min()), ("max", values.max()), ("median", values.median())] {
            check(name, value);
        }
        for (name, p) in [("q0.1", 0.1), ("q0.25", 0.25), ("q0.9", 0.9), ("q0.99", 0.99)] {
            check(name, values.quantile(p));
        }
        for (name, share) in [("trim0.1", 0.1), ("trim0.25", 0.25)] {
            check(name, values.trimmed_mean(share));
        }
        let outliers = numbers
            .iter()
            .filter(|value| values.bounds().is_some_and(|(low, high)| !(low..=high).contains(*value)))
            .count();
        assert_eq!(outliers as u64, fleet["outliers"].as_u64().unwrap(), "{numbers:?}");
    }
}

/// Returns the quantile by its definition: the number at position `p (n - 1)` of the piecewise linear function through
/// the ordered numbers.
fn naive_quantile(values: &[f64], p: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(|one, other| one.partial_cmp(other).unwrap());
    let position = p * (values.len() - 1) as f64;
    let weight = |index: usize| (1.0 - (position - index as f64).abs()).max(0.0);
    values.iter().enumerate().map(|(index, value)| value * weight(index)).sum()
}

fn naive_trimmed_mean(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(|one, other| one.partial_cmp(other).unwrap());
    for _ in 0..(share * values.len() as f64) as usize {
        values.pop();
        values.remove(0);
    }
    values.iter().sum::<f64>() / values.len() as f64
}

fn naive_outliers(values: &[f64]) -> Vec<f64> {
    let median = naive_quantile(values, 0.5);
    let deviations: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
    let mad = naive_quantile(&deviations, 0.5);
    let mean_deviation = deviations.iter().sum::<f64>() / deviations.len() as f64;
    let score = |value: f64| match (mad > 0.0, mean_deviation > 0.0) {
        (true, _) => 0.6745 * (value - median) / mad,
        (false, true) => (value - median) / (1.253_314 * mean_deviation),
        (false, false) => 0.0,
    };
    values.iter().copied().filter(|value| values.len() > 2 && score(*value).abs() > 3.5).collect()
}

fn outliers(values: &[f64]) -> Vec<f64> {
    let Some((low, high)) = sorted(values).bounds() else { return Vec::new() };
    values.iter().copied().filter(|value| !(low..=high).contains(value)).collect()
}

/// Readings with ties: whole numbers of a small range, and a few far ones.
fn readings() -> impl Strategy<Value = Vec<f64>> {
    let reading = prop_oneof![9 => -40i32..40, 1 => -100_000i32..100_000].prop_map(f64::from);
    prop::collection::vec(reading, 1..60)
}

proptest! {
    #[test]
    fn quantiles_are_between_the_extremes_and_increase_with_their_probability(
        values in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::ZERO, 1..60),
        p in 0.0..=1.0, q in 0.0..=1.0, share in 0.0..0.5,
    ) {
        let values = sorted(&values);
        let (low, high) = if p < q { (p, q) } else { (q, p) };
        prop_assert!(values.quantile(low) <= values.quantile(high));
        for value in [values.quantile(p), values.median(), values.trimmed_mean(share)] {
            prop_assert!((values.min()..=values.max()).contains(&value));
        }
        if let Some((low, high)) = values.bounds() {
            prop_assert!((low..=high).contains(&values.median()));
        }
    }

    #[test]
    fn statistics_do_not_depend_on_the_order(
        (values, shuffled) in readings().prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle())),
    ) {
        let (one, other) = (sorted(&values), sorted(&shuffled));
        prop_assert_eq!(&one, &other);
        prop_assert_eq!(one.bounds(), other.bounds());
    }

    #[test]
    fn statistics_equal_those_of_a_naive_implementation(values in readings(), p in 0.0..=1.0, share in 0.0..0.49) {
        let fast = sorted(&values);
        let scale = fast.max().abs().max(fast.min().abs());
        prop_assert!(is_close(fast.quantile(p), naive_quantile(&values, p), scale));
        prop_assert!(is_close(fast.median(), naive_quantile(&values, 0.5), scale));
        prop_assert!(is_close(fast.trimmed_mean(share), naive_trimmed_mean(&values, share), scale));
        prop_assert_eq!(outliers(&values), naive_outliers(&values));
    }

    /// With whole numbers and powers of two the translated and scaled numbers are exact.
    #[test]
    fn statistics_follow_translation_and_scale(values in readings(), shift in -1000i32..1000, power in -8i32..8, p in 0.0..=1.0) {
        let scale = 2f64.powi(power);
        let change = |value: f64| (value + f64::from(shift)) * scale;
        let changed: Vec<f64> = values.iter().copied().map(change).collect();
        let (before, after) = (sorted(&values), sorted(&changed));
        let size = after.max().abs().max(after.min().abs()).max(1e5 * scale);
        prop_assert!(is_close(after.quantile(p), change(before.quantile(p)), size));
        prop_assert!(is_close(after.trimmed_mean(0.1), change(before.trimmed_mean(0.1)), size));
        let expected: Vec<f64> = outliers(&values).into_iter().map(change).collect();
        prop_assert_eq!(outliers(&changed), expected);
        let negated: Vec<f64> = values.iter().map(|value| -value).collect();
        prop_assert_eq!(sorted(&negated).bounds(), before.bounds().map(|(low, high)| (-high, -low)));
    }

    #[test]
    fn less_than_half_of_the_readings_are_outliers(values in readings()) {
        prop_assert!(outliers(&values).len() * 2 < values.len());
    }
}
