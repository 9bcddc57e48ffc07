//! Checks both ends of the raw range of every quantity, with bytes from the datasheets. Each row of the tables states
//! whether the driver refuses the value (the converter is saturated, or nothing was measured) or accepts it, and the
//! reason. A newer chip has these bytes in the tests of its driver; atalaya-sim checks the ends of every chip on its
//! register model, against the decision in its row of the catalogue.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod bus;
mod cases;
mod i2c;
#[cfg(target_os = "linux")]
mod kernel;

use std::collections::BTreeSet;

use atalaya_hal::catalogue::BusKind;
use atalaya_hal::{Cause, Chip, Quantity, ReadError, Readings};

/// End of the range of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Min,
    Max,
    /// Another value that is not a measurement: a skipped conversion, a status bit, a sentinel of a driver.
    Other,
}

/// Documented decision.
#[derive(Clone, Copy, Debug)]
enum Decision {
    /// The read fails, and the message contains this text.
    Refused(&'static str),
    /// The read returns this value.
    Believed {
        value: f64,
        #[expect(dead_code, reason = "documents the row")]
        why: &'static str,
    },
}

/// Fails unless `result` matches the `decision` about `quantity`.
fn check(row: &str, quantity: Quantity, decision: Decision, result: Result<Readings, ReadError>) {
    match (decision, result) {
        (Decision::Refused(text), Err(error)) => {
            assert!(matches!(error.cause(), Cause::OutOfRange | Cause::Other), "{row}: {error}");
            let message = error.to_string();
            assert!(message.contains(text), "{row}: {message}");
        }
        (Decision::Believed { value, .. }, Ok(readings)) => {
            let reading = readings.iter().find(|reading| reading.quantity() == quantity).unwrap();
            assert!((reading.value() - value).abs() < 0.01, "{row}: {reading}");
        }
        (decision, result) => panic!("{row}: {decision:?}, but the read gave {result:?}"),
    }
}

/// Returns the rows of both tables: chip, quantity, end.
fn rows() -> Vec<(Chip, Quantity, End)> {
    let mut rows: Vec<_> = cases::CASES.iter().map(|case| (case.chip, case.quantity, case.end)).collect();
    #[cfg(target_os = "linux")]
    rows.extend(kernel::CASES.iter().map(|case| (case.chip, case.quantity, case.end)));
    rows
}

#[test]
fn every_quantity_of_these_chips_on_a_bus_has_a_decision_for_both_ends() {
    let rows: BTreeSet<_> = rows().into_iter().collect();
    let chips: BTreeSet<Chip> = rows.iter().map(|row| row.0).filter(|chip| chip.needs_bus()).collect();
    assert!(chips.len() >= 20);
    for chip in chips {
        let quantities = chip.quantities().unwrap();
        for quantity in quantities {
            for end in [End::Min, End::Max] {
                assert!(
                    rows.contains(&(chip, *quantity, end)),
                    "no row for the {end:?} of {chip} {quantity}"
                );
            }
        }
    }
}

#[test]
fn every_other_source_of_readings_has_a_decision() {
    // These have no converter: the number comes from the program, the file, the message or the generator, and any finite
    // one may be valid.
    let without_converter = [Chip::Command, Chip::File, Chip::Mqtt, Chip::Random];
    let rows = rows();
    for chip in Chip::ALL.into_iter().filter(|chip| !chip.needs_bus()) {
        let kernel = chip.spec().bus == BusKind::Kernel;
        assert_eq!(kernel, !without_converter.contains(&chip), "{chip}");
        assert!(!kernel || cfg!(not(target_os = "linux")) || rows.iter().any(|row| row.0 == chip), "{chip}");
    }
}
