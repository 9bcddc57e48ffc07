//! Helpers for the tests of the drivers.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
pub(super) use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

use super::Mount;
use crate::Chip;
use crate::error::{Cause, ReadError};
use crate::reading::Readings;
use crate::sensor::{Sensor, SensorInfo};

/// Delay that does not wait.
pub(super) struct Now;

impl DelayNs for Now {
    fn delay_ns(&mut self, _: u32) {}
}

pub(super) fn mount(chip: &str, address: u8) -> Mount {
    Mount::new("/dev/i2c-1", address, info(chip))
}

pub(super) fn info(chip: &str) -> SensorInfo {
    let quantities = Chip::from_name(chip).and_then(Chip::quantities).unwrap_or_default().to_vec();
    SensorInfo { name: "s".into(), chip: chip.into(), bus: None, address: None, quantities }
}

/// Creates a bus that expects these transactions. Any other transaction, or dropping the bus with transactions left,
/// fails the test.
pub(super) fn bus(transactions: impl IntoIterator<Item = Transaction>) -> Strict {
    Strict(Mock::new(transactions.into_iter().collect::<Vec<_>>().iter()))
}

/// Mock that checks at drop that all transactions were used.
pub(super) struct Strict(Mock);

impl Drop for Strict {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.done();
        }
    }
}

impl embedded_hal::i2c::ErrorType for Strict {
    type Error = ErrorKind;
}

impl embedded_hal::i2c::I2c for Strict {
    fn transaction(
        &mut self,
        address: u8,
        operations: &mut [embedded_hal::i2c::Operation<'_>],
    ) -> Result<(), ErrorKind> {
        // The mock distinguishes `write_read` from a general transaction; a driver may use either.
        use embedded_hal::i2c::Operation::{Read, Write};
        match operations {
            [Write(bytes), Read(buffer)] => self.0.write_read(address, bytes, buffer),
            [Write(bytes)] => self.0.write(address, bytes),
            [Read(buffer)] => self.0.read(address, buffer),
            other => panic!("the Raspberry Pi cannot do {other:?}"),
        }
    }
}

pub(super) fn reads<const N: usize, const M: usize>(address: u8, sent: [u8; N], got: [u8; M]) -> Transaction {
    Transaction::write_read(address, sent.to_vec(), got.to_vec())
}

pub(super) fn writes<const N: usize>(address: u8, sent: [u8; N]) -> Transaction {
    Transaction::write(address, sent.to_vec())
}

pub(super) fn gets<const N: usize>(address: u8, got: [u8; N]) -> Transaction {
    Transaction::read(address, got.to_vec())
}

/// Returns the values alone; their quantities are checked by `tests/drivers_survive_any_bus.rs`.
pub(super) fn values(result: Result<Readings, ReadError>) -> Result<Vec<f64>, ReadError> {
    result.map(|readings| readings.iter().map(|reading| reading.value()).collect())
}

/// Runs [`check_errors_with`] for a driver whose later reads consist of the last `steady` transactions of a first read.
pub(super) fn check_errors(
    driver: impl Fn(Strict) -> Box<dyn Sensor>,
    steady: usize,
    transactions: &[Transaction],
) {
    check_errors_with(driver, &transactions[transactions.len() - steady..], transactions);
}

/// Reads a chip with `first` as its first read and `later` as the others. Each transaction of the first read fails once
/// in each way: the error must have the cause and the place, no transaction may follow the failure, and the next read
/// must succeed from its beginning, as with a chip in its power-up state.
pub(super) fn check_errors_with(
    driver: impl Fn(Strict) -> Box<dyn Sensor>,
    later: &[Transaction],
    first: &[Transaction],
) {
    let failures = [
        (ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address), Cause::NotPresent),
        (ErrorKind::Bus, Cause::Bus),
        (ErrorKind::ArbitrationLoss, Cause::Bus),
        (ErrorKind::Other, Cause::Other),
    ];
    for failing in 0..first.len() {
        for (kind, cause) in failures {
            let broken = first[failing].clone().with_error(kind);
            let begun = first[..failing].iter().cloned().chain([broken]);
            let all = begun.chain(first.iter().cloned()).chain(later.iter().cloned());
            let mut sensor = driver(bus(all));
            let error = sensor.read().unwrap_err();
            assert_eq!(error.cause(), cause, "{failing}: {error}");
            assert!(error.place().address.is_some() && error.place().bus.is_some(), "{error}");
            let again = values(sensor.read());
            assert!(again.is_ok(), "{failing}: {again:?}");
            assert_eq!(values(sensor.read()).unwrap(), again.unwrap(), "{failing}");
        }
    }
}
