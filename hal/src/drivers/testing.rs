//! Helpers for the tests of the drivers.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::ErrorKind;
pub(super) use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

use super::DeviceContext;
use crate::Chip;
use crate::error::ReadError;
use crate::reading::Readings;
pub(super) use crate::sensor::Sensor;
use crate::sensor::SensorInfo;

/// Delay that does not wait.
pub(super) struct Now;

impl DelayNs for Now {
    fn delay_ns(&mut self, _: u32) {}
}

pub(super) fn context(chip: &str, address: u8) -> DeviceContext {
    context_with(chip, address, &[])
}

pub(super) fn context_with(chip: &str, address: u8, given: &[(&str, f64)]) -> DeviceContext {
    let settings = Chip::from_name(chip).unwrap().settings(given, None).unwrap();
    DeviceContext::new("/dev/i2c-1", address, info(chip)).with_settings(settings)
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

/// Asserts that each value is nearer to the wanted one than `distance`.
#[track_caller]
pub(super) fn assert_near(got: &[f64], want: &[f64], distance: f64) {
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() < distance, "{got} is not {want}");
    }
}

/// Returns two words as a chip of Sensirion sends them, each with its checksum.
pub(super) fn answer(temperature: u16, humidity: u16) -> [u8; 6] {
    let ([a, b], [c, d]) = (temperature.to_be_bytes(), humidity.to_be_bytes());
    let crc = sensirion_i2c::crc8::calculate;
    [a, b, crc(&[a, b]), c, d, crc(&[c, d])]
}
