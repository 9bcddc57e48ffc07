//! Tests of each filter by a table of inputs and outputs, and property tests of all filters.

use proptest::prelude::*;

use super::*;
use crate::error::{Cause, Place};

/// Returns the result for each value; None if it was dropped.
fn run(filters: &[Filter], values: &[f64]) -> Vec<Option<f64>> {
    let mut chain = Chain::new(filters);
    values.iter().map(|&value| chain.apply(value)).collect()
}

#[test]
fn every_filter_does_what_it_says() {
    let linear = Filter::Linear { measured: [10.0, 20.0], actual: [0.0, 100.0] };
    let all = |values: &[f64]| values.iter().copied().map(Some).collect::<Vec<_>>();
    let table = [
        (Filter::Offset(-0.5), vec![1.0, 2.0], all(&[0.5, 1.5])),
        (Filter::Scale(-2.0), vec![1.0, 2.0], all(&[-2.0, -4.0])),
        (linear, vec![10.0, 15.0, 20.0, 30.0], all(&[0.0, 50.0, 100.0, 200.0])),
        (Filter::Median(3), vec![1.0, 9.0, 2.0, 3.0, 100.0], all(&[1.0, 5.0, 2.0, 3.0, 3.0])),
        (Filter::Mean(2), vec![1.0, 3.0, 5.0], all(&[1.0, 2.0, 4.0])),
        (Filter::Exponential(0.5), vec![4.0, 8.0, 0.0], all(&[4.0, 6.0, 3.0])),
        (Filter::Exponential(1.0), vec![4.0, 8.0], all(&[4.0, 8.0])),
        (Filter::Clamp(0.0, 1.0), vec![-5.0, 0.5, 5.0], all(&[0.0, 0.5, 1.0])),
        (Filter::Range(0.0, 1.0), vec![-5.0, 0.0, 1.0, 5.0], vec![None, Some(0.0), Some(1.0), None]),
        (
            Filter::Delta(1.0),
            vec![5.0, 5.5, 5.9, 6.0, 5.5, 5.0],
            vec![Some(5.0), None, None, Some(6.0), None, Some(5.0)],
        ),
        (Filter::Delta(0.0), vec![5.0, 5.0], all(&[5.0, 5.0])),
        (Filter::Round(1), vec![1.26, -1.26, 1e308], all(&[1.3, -1.3, 1e308])),
        (Filter::Round(0), vec![1.5, 2.4], all(&[2.0, 2.0])),
    ];
    for (filter, values, want) in table {
        assert_eq!(run(std::slice::from_ref(&filter), &values), want, "{filter:?}");
    }
}

#[test]
fn filters_apply_in_order() {
    let (offset, scale) = (Filter::Offset(1.0), Filter::Scale(10.0));
    assert_eq!(run(&[offset.clone(), scale.clone()], &[1.0]), [Some(20.0)]);
    assert_eq!(run(&[scale, offset], &[1.0]), [Some(11.0)]);
}

#[test]
fn a_dropped_value_does_not_reach_the_filters_behind() {
    let filters = [Filter::Range(0.0, 10.0), Filter::Mean(2)];
    assert_eq!(run(&filters, &[2.0, 1000.0, 4.0]), [Some(2.0), None, Some(3.0)]);
}

#[test]
fn results_that_are_not_finite_are_dropped_and_leave_no_trace() {
    assert_eq!(run(&[Filter::Scale(1e300)], &[1e300, 1.0]), [None, Some(1e300)]);
    assert_eq!(
        run(&[Filter::Exponential(0.5)], &[f64::NAN, 1.0, f64::INFINITY, 1.0]),
        [None, Some(1.0), None, Some(1.0)]
    );
    assert_eq!(run(&[Filter::Mean(2)], &[f64::MAX, f64::MAX]), [Some(f64::MAX), Some(f64::MAX)]);
    assert_eq!(run(&[Filter::Median(2)], &[f64::MAX, f64::MAX]), [Some(f64::MAX), Some(f64::MAX)]);
}

/// Sensor that returns these results in order: temperature and humidity, or a fault.
struct Script(SensorInfo, std::vec::IntoIter<Option<(f64, f64)>>);

impl Sensor for Script {
    fn info(&self) -> &SensorInfo {
        &self.0
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let fault = || ReadError::new(Cause::NotPresent, Place::new("i2c-1", 0x48));
        let (temperature, humidity) = self.1.next().flatten().ok_or_else(fault)?;
        let reading = |quantity, value| Reading::new(quantity, value).unwrap();
        Ok(Readings::from_iter([
            reading(Quantity::Temperature, temperature),
            reading(Quantity::Humidity, humidity),
        ]))
    }
}

fn scripted(filters: &[Filter], script: Vec<Option<(f64, f64)>>) -> Box<dyn Sensor> {
    let info = SensorInfo {
        name: "s".into(),
        chip: "script".into(),
        bus: None,
        address: None,
        quantities: vec![Quantity::Temperature, Quantity::Humidity],
    };
    Filtered::wrap(Box::new(Script(info, script.into_iter())), filters)
}

#[test]
fn each_quantity_has_a_past_of_its_own_and_a_fault_ends_it() {
    let script = vec![Some((10.0, 50.0)), Some((20.0, 70.0)), None, Some((30.0, 90.0))];
    let mut sensor = scripted(&[Filter::Mean(5)], script);
    let mut values = || sensor.read().map(|readings| readings.iter().map(Reading::value).collect::<Vec<_>>());
    assert_eq!(values().unwrap(), [10.0, 50.0]);
    assert_eq!(values().unwrap(), [15.0, 60.0]);
    let fault = values().unwrap_err();
    assert_eq!(fault.to_string(), "no acknowledge at 0x48 on i2c-1");
    assert_eq!(values().unwrap(), [30.0, 90.0]);
}

#[test]
fn a_dropped_quantity_leaves_the_other() {
    let mut sensor = scripted(&[Filter::Range(0.0, 60.0)], vec![Some((10.0, 70.0)), Some((70.0, 70.0))]);
    assert_eq!(sensor.read().unwrap()[..], [Reading::new(Quantity::Temperature, 10.0).unwrap()]);
    assert!(sensor.read().unwrap().is_empty());
    assert_eq!(sensor.info().name, "s");
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let number = || any::<f64>();
    prop_oneof![
        number().prop_map(Filter::Offset),
        number().prop_map(Filter::Scale),
        (any::<[f64; 2]>(), any::<[f64; 2]>())
            .prop_map(|(measured, actual)| Filter::Linear { measured, actual }),
        (0_usize..20).prop_map(Filter::Median),
        (0_usize..20).prop_map(Filter::Mean),
        number().prop_map(Filter::Exponential),
        (number(), number()).prop_map(|(low, high)| Filter::Clamp(low, high)),
        (number(), number()).prop_map(|(low, high)| Filter::Range(low, high)),
        number().prop_map(Filter::Delta),
        any::<u8>().prop_map(Filter::Round),
    ]
}

/// Generates values around zero, where sign errors are likely.
fn around_zero() -> impl Strategy<Value = f64> {
    prop_oneof![Just(-0.0), Just(0.0), -1.0..1.0_f64, -1e-300..1e-300_f64, Just(-f64::MIN_POSITIVE / 2.0)]
}

proptest! {
    #[test]
    fn no_filter_gives_negative_zero(
        filters in proptest::collection::vec(any_filter(), 0..4),
        parameter in around_zero(),
        values in proptest::collection::vec(around_zero(), 1..20),
    ) {
        let near = [
            Filter::Offset(parameter),
            Filter::Scale(parameter),
            Filter::Scale(-1.0),
            Filter::Linear { measured: [0.0, 1.0], actual: [-0.0, parameter] },
            Filter::Median(2),
            Filter::Mean(2),
            Filter::Exponential(parameter.abs()),
            Filter::Clamp(-0.0, -0.0),
            Filter::Range(-1.0, 1.0),
            Filter::Delta(0.0),
            Filter::Round(0),
        ];
        for filter in near {
            let chain: Vec<_> = filters.iter().cloned().chain([filter]).collect();
            for value in run(&chain, &values).into_iter().flatten() {
                prop_assert!(value != 0.0 || value.is_sign_positive(), "{chain:?}");
            }
        }
    }

    /// Includes filters that boards.toml would refuse.
    #[test]
    fn what_comes_out_is_finite_and_nothing_panics(
        filters in proptest::collection::vec(any_filter(), 0..6),
        values in proptest::collection::vec(any::<f64>(), 0..50),
    ) {
        for value in run(&filters, &values).into_iter().flatten() {
            prop_assert!(value.is_finite());
        }
    }

    #[test]
    fn after_a_reset_a_chain_is_as_new(
        filters in proptest::collection::vec(any_filter(), 0..6),
        before in proptest::collection::vec(any::<f64>(), 0..30),
        after in proptest::collection::vec(any::<f64>(), 0..30),
    ) {
        let mut chain = Chain::new(&filters);
        for value in before {
            chain.apply(value);
        }
        chain.reset();
        let got: Vec<_> = after.iter().map(|&value| chain.apply(value)).collect();
        prop_assert_eq!(got, run(&filters, &after));
    }

    #[test]
    fn windows_give_what_lies_between_their_values(
        window in 1_usize..20, values in proptest::collection::vec(-1e6..1e6_f64, 1..60),
    ) {
        for filter in [Filter::Median(window), Filter::Mean(window)] {
            for (index, got) in run(std::slice::from_ref(&filter), &values).into_iter().enumerate() {
                let seen = &values[(index + 1).saturating_sub(window)..=index];
                let low = seen.iter().copied().fold(f64::INFINITY, f64::min);
                let high = seen.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let got = got.unwrap();
                prop_assert!(low - 1e-6 <= got && got <= high + 1e-6, "{filter:?}: {got} of {seen:?}");
            }
        }
    }

    #[test]
    fn the_median_is_the_middle_of_an_odd_window(values in proptest::collection::vec(-1e6..1e6_f64, 7)) {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        prop_assert_eq!(run(&[Filter::Median(7)], &values).pop().unwrap(), Some(sorted[3]));
    }
}
