//! Tests of the driver of every chip on its register model, by the table of chips: a driver reads the environment of the
//! chip within the limits of its row, over the whole range and with any settings; every error of the bus in every
//! transaction has the right cause, and the next read is good. With a manual clock, so that conversions take simulated
//! time and the tests do not wait.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod bench;

use std::time::Duration;

use atalaya_hal::catalogue::{BusKind, Measured};
use atalaya_hal::settings::{DefaultValue, Settings, Valid};
use atalaya_hal::{Cause, Chip, Quantity};
use atalaya_sim::BusFault;
use bench::{Bench, Values};
use proptest::prelude::*;

use Quantity::{Concentration, Current, Humidity, Illuminance, Power, Pressure, Temperature, Voltage};

/// Maximum rounding error of the computation of a reading, relative to the value.
const ROUNDING: f64 = 1e-8;

fn chips() -> impl Iterator<Item = Chip> {
    Chip::ALL.into_iter().filter(|chip| chip.needs_bus())
}

/// Values within the measuring range of every chip.
const CALM: [(Quantity, f64); 7] = [
    (Temperature, 21.5),
    (Humidity, 45.0),
    (Pressure, 101_300.0),
    (Concentration, 700.0),
    (Illuminance, 300.0),
    (Voltage, 1.5),
    (Current, 0.25),
];

fn calm(chip: Chip) -> Bench {
    Bench::new(chip, chip.default_settings(), &CALM)
}

/// Returns valid settings of `chip`, selected by `choices`; the defaults if the combination is invalid.
fn settings(chip: Chip, choices: &[f64]) -> Settings {
    let defaults = chip.default_settings();
    let spec = chip.spec();
    let mut given = Vec::new();
    for (setting, choice) in spec.settings.iter().zip(choices) {
        let default = defaults.get(setting.key);
        match (setting.valid, setting.default) {
            (Valid::OneOf(values), _) => {
                given.push((setting.key, values[(choice * (values.len() - 1) as f64).round() as usize]));
            }
            // Without `limits` the row does not describe other values than the computed ones.
            (_, DefaultValue::Computed(..)) if spec.limits.is_none() || *choice < 0.5 => {}
            (Valid::Positive, DefaultValue::Computed(_, compute)) => {
                let known = chip.settings(&given, None).unwrap();
                given.push((setting.key, compute(&known) * choice));
            }
            (Valid::Positive, _) => {
                given.push((setting.key, default.unwrap() * 10_f64.powf(2.0 * choice - 1.0)))
            }
            (Valid::Between(low, high), _) => {
                let (low, high) = default
                    .map_or((low, high), |default| (low.max(default / 100.0), high.min(default * 10.0)));
                // Round numbers, as in boards.toml.
                given.push((setting.key, ((low + choice * (high - low)) * 1e4).round() / 1e4));
            }
        }
    }
    let channel = choices.last().zip(spec.channels.len().checked_sub(1));
    let channel = channel.map(|(choice, last)| spec.channels[(choice * last as f64).round() as usize]);
    chip.settings(&given, channel).unwrap_or(defaults)
}

/// Returns the values at these `parts` of the ranges of the quantities; `None` if one of them is ambiguous.
fn environment(limits: &[Measured], parts: &[f64]) -> Option<Vec<(Quantity, f64)>> {
    let measured = limits.iter().filter(|limits| !limits.product).zip(parts);
    let values = measured.map(|(limits, part)| {
        let value = limits.min + part * (limits.max - limits.min);
        let value = value.clamp(limits.min, limits.max);
        let ambiguous = limits.ambiguous.is_some_and(|(from, to)| (from..=to).contains(&value));
        (!ambiguous).then_some((limits.quantity, value))
    });
    values.collect()
}

/// Returns true if a value is within the error of an end of its range, where the reading may be beyond the range. The
/// driver then refuses it.
fn is_at_end(limits: &[Measured], around: &[(Quantity, f64)]) -> bool {
    around.iter().any(|(quantity, value)| {
        let limits = limits.iter().find(|limits| limits.quantity == *quantity);
        limits.is_some_and(|limits| value - limits.min <= limits.error || limits.max - value <= limits.error)
    })
}

/// Checks the difference of each reading from the environment against the row of the chip.
fn check(
    chip: Chip,
    limits: &[Measured],
    around: &[(Quantity, f64)],
    got: &Values,
) -> Result<(), TestCaseError> {
    let value =
        |quantity| around.iter().find(|(known, _)| *known == quantity).map_or(0.0, |(_, value)| *value);
    let error = |quantity| {
        let limits = limits.iter().find(|limits| limits.quantity == quantity).unwrap();
        let value: f64 = value(quantity);
        limits.error + limits.relative_error * value.abs() + ROUNDING * value.abs().max(1.0)
    };
    prop_assert_eq!(got.len(), limits.len());
    for limits in limits {
        let quantity = limits.quantity;
        let (want, allowed) = if limits.product {
            let (volts, amperes) = (value(Voltage), value(Current));
            let (off_volts, off_amperes) = (error(Voltage), error(Current));
            let allowed = volts.abs() * off_amperes + amperes.abs() * off_volts + off_volts * off_amperes;
            (volts * amperes, allowed + ROUNDING)
        } else {
            (value(quantity), error(quantity))
        };
        let off = (got[&quantity] - want).abs();
        prop_assert!(off <= allowed, "{chip}: {} for {quantity} of {want}, off by {off}", got[&quantity]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn driver_of_every_chip_reads_the_environment_over_the_whole_range(
        parts in prop::array::uniform3(prop_oneof![8 => 0.0..=1.0_f64, 1 => Just(0.0), 1 => Just(1.0)]),
        choices in prop::collection::vec(0.0..=1.0_f64, 5),
        default in any::<bool>(),
    ) {
        for chip in chips() {
            let settings = if default { chip.default_settings() } else { settings(chip, &choices) };
            let limits = chip.measured(&settings);
            let Some(around) = environment(&limits, &parts) else { continue };
            let mut bench = Bench::new(chip, settings.clone(), &around);
            // A value whose code equals that of a skipped measurement is refused, as by Linux' driver: one of 65 536.
            let first = bench.sensor.read();
            if first.is_err_and(|error| error.to_string().contains("was not measured")) {
                continue;
            }
            // Twice, because a second read uses another code path.
            for _ in 0..2 {
                let got = match bench.read() {
                    Err(error) if error.cause() == Cause::OutOfRange && is_at_end(&limits, &around) => continue,
                    result => result.map_err(|error| {
                        TestCaseError::fail(format!("{chip} {settings:?} {around:?}: {error}"))
                    })?,
                };
                check(chip, &limits, &around, &got)?;
            }
        }
    }
}

#[test]
fn every_bus_error_in_every_transaction_of_every_read_has_its_cause_and_the_next_read_is_good() {
    let faults = [
        (BusFault::NoAcknowledge, Cause::NotPresent),
        (BusFault::Bus, Cause::Bus),
        (BusFault::Timeout, Cause::Timeout),
        (BusFault::Busy, Cause::Busy),
    ];
    for chip in chips() {
        // Three reads with a measurement, after those without one.
        let mut clean = calm(chip);
        let expected: Vec<Values> = (0..3).map(|_| clean.read().unwrap()).collect();
        assert!(expected.iter().all(|values| *values == expected[0]), "{chip}");
        let transactions = clean.transactions();
        assert!(transactions >= 3, "{chip}");
        for (fault, cause) in faults {
            if fault == BusFault::NoAcknowledge && chip.spec().bus == BusKind::Spi {
                // SPI has no acknowledge.
                continue;
            }
            for (failing, loses_power) in
                (1..=transactions).flat_map(|failing| [(failing, false), (failing, true)])
            {
                let mut bench = calm(chip);
                bench.fail_at(failing, fault);
                let row = format!("{chip}: {fault:?} in transaction {failing} of {transactions}");
                let error = bench.read_until_failure(failing).expect(&row);
                assert_eq!(error.cause(), cause, "{row}: {error}");
                assert!(error.place().bus.is_some(), "{row}: {error}");
                assert_eq!(error.place().address, chip.addresses().first().copied(), "{row}");
                assert_eq!(bench.transactions(), failing, "{row}: the driver continued");
                if loses_power {
                    bench.set_fault(Some(BusFault::NoAcknowledge));
                    bench.set_fault(None);
                    bench.wait(Duration::from_secs(2));
                }
                for _ in 0..2 {
                    assert_eq!(bench.read().expect(&row), expected[0], "{row}, loses power: {loses_power}");
                }
            }
        }
    }
}

#[test]
fn chip_that_was_unplugged_is_read_again() {
    for chip in chips() {
        let mut bench = calm(chip);
        let before = bench.read().unwrap();
        bench.set_fault(Some(BusFault::NoAcknowledge));
        for _ in 0..3 {
            let error = bench.sensor.read().unwrap_err();
            // A chip on SPI reads as ones.
            let absent = error.cause() == Cause::NotPresent || chip.spec().bus == BusKind::Spi;
            assert!(absent, "{chip}: {error}");
        }
        bench.set_fault(None);
        bench.wait(Duration::from_secs(1));
        assert_eq!(bench.read().unwrap(), before, "{chip}");
    }
}

#[test]
fn loss_of_power_between_two_reads_gives_no_wrong_reading() {
    for chip in chips() {
        let mut bench = calm(chip);
        let before = bench.read().unwrap();
        for _ in 0..3 {
            bench.set_fault(Some(BusFault::NoAcknowledge));
            bench.set_fault(None);
            bench.wait(Duration::from_secs(1));
            // The reads until the driver finds out may fail, but must not return other values.
            let mut good = false;
            for _ in 0..20 {
                if let Ok(values) = bench.read_once() {
                    assert_eq!(values, before, "{chip}");
                    good = true;
                }
                bench.wait(Duration::from_secs(1));
            }
            assert!(good, "{chip}");
        }
    }
}

#[test]
fn wrong_bit_is_found_by_every_chip_with_a_checksum() {
    for chip in chips().filter(|chip| chip.spec().has_checksum()) {
        let mut bench = calm(chip);
        let before = bench.read().unwrap();
        bench.wait(chip.spec().first_reading + Duration::from_secs(1));
        bench.set_fault(Some(BusFault::Checksum));
        assert_eq!(bench.sensor.read().unwrap_err().cause(), Cause::Checksum, "{chip}");
        bench.set_fault(None);
        assert_eq!(bench.read().unwrap(), before, "{chip}");
    }
}

#[test]
fn end_of_every_converter_is_refused_unless_the_quantity_ends_there() {
    for chip in chips() {
        for limits in chip.measured(&chip.default_settings()).iter().filter(|limits| !limits.product) {
            let (first, last) = limits.valid_ends;
            for (value, valid, end) in
                [(f64::NEG_INFINITY, first, limits.min), (f64::INFINITY, last, limits.max)]
            {
                let quantity = limits.quantity;
                let around = CALM.map(|(known, calm)| (known, if known == quantity { value } else { calm }));
                let mut bench = Bench::new(chip, chip.default_settings(), &around);
                let row = format!("{chip}: {quantity} of {value}");
                match bench.read() {
                    Ok(values) => {
                        assert!(valid, "{row}: {values:?}");
                        let allowed = limits.resolution + limits.error;
                        assert!((values[&quantity] - end).abs() <= allowed, "{row}: {values:?}");
                    }
                    Err(error) => {
                        assert!(!valid, "{row}: {error}");
                        assert_eq!(error.cause(), Cause::OutOfRange, "{row}: {error}");
                    }
                }
            }
        }
    }
}

#[test]
fn broken_elements_of_every_chip_are_out_of_range() {
    let broken = CALM.map(|(quantity, _)| (quantity, f64::INFINITY));
    for chip in chips() {
        let mut bench = Bench::new(chip, chip.default_settings(), &broken);
        assert_eq!(bench.read().unwrap_err().cause(), Cause::OutOfRange, "{chip}");
    }
    assert!(chips().any(|chip| chip.computes(Power)));
}
