//! AHT20, on the published `embedded-aht20` crate. Built by [`super::build`].
//!
//! A read checks that the chip is calibrated (and calibrates it if not), measures once and waits for the result. The
//! crate would poll a chip that reports "busy" indefinitely, so the driver limits the transactions on the bus.
//! Datasheet: Aosong, "AHT20", section 5.4.

use std::fmt;

use embedded_aht20::{Aht20 as Chip, Error};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{self, ErrorKind, I2c, Operation};
use smallvec::smallvec;

use super::context::{HUMIDITY, decimal};
use super::driver::{Driver, ReadChip};
use crate::error::{BusError, Cause, ReadError};
use crate::reading::{Quantity, Readings};

/// Maximum number of transactions of a read. A healthy chip needs fewer: it is ready after three or four polls.
const TRANSACTIONS: u8 = 20;

pub(super) type Aht20<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State;

impl<I: I2c<Error: BusError>, D: DelayNs> ReadChip for Aht20<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        let i2c = BoundedBus { i2c: &mut self.bus, left: TRANSACTIONS };
        let measured =
            Chip::new(i2c, self.context.address(), &mut self.delay).and_then(|mut chip| chip.measure());
        let measured = measured.map_err(|error| match error {
            Error::I2c(Halt::Bus(error)) => self.context.bus(error),
            Error::I2c(Halt::Limit) | Error::UnexpectedBusy => {
                self.context.error(Cause::Timeout, "the chip stays busy")
            }
            Error::InvalidCrc => self.context.checksum(),
        })?;
        let celsius = decimal(measured.temperature.0);
        let humidity = decimal(measured.relative_humidity.value());
        Ok(smallvec![
            self.context.reading(Quantity::Temperature, celsius, -40.0..=85.0)?,
            self.context.reading(Quantity::Humidity, humidity, HUMIDITY)?,
        ])
    }
}

/// Bus with a limited number of transactions.
struct BoundedBus<'a, I> {
    i2c: &'a mut I,
    left: u8,
}

/// Error of a [`BoundedBus`] bus.
#[derive(Debug)]
enum Halt<E> {
    /// Error of the bus itself.
    Bus(E),
    /// Transaction limit reached.
    Limit,
}

impl<E> fmt::Display for Halt<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bus gave up")
    }
}

impl<E: i2c::Error> i2c::Error for Halt<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Halt::Bus(error) => error.kind(),
            Halt::Limit => ErrorKind::Other,
        }
    }
}

impl<I: I2c> i2c::ErrorType for BoundedBus<'_, I> {
    type Error = Halt<I::Error>;
}

impl<I: I2c> I2c for BoundedBus<'_, I> {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Self::Error> {
        self.left = self.left.checked_sub(1).ok_or(Halt::Limit)?;
        self.i2c.transaction(address, operations).map_err(Halt::Bus)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const READY: u8 = 0x1c;
    const BUSY: u8 = 0x9c;

    fn answer(humidity: u32, temperature: u32) -> [u8; 7] {
        let [_, h, i, j] = (humidity << 4).to_be_bytes();
        let [_, t, u, v] = temperature.to_be_bytes();
        let mut answer = [READY, h, i, j | t, u, v, 0];
        answer[6] = sensirion_i2c::crc8::calculate(&answer[..6]);
        answer
    }

    fn status(byte: u8) -> Transaction {
        reads(0x38, [0x71], [byte])
    }

    fn transactions(answer: [u8; 7]) -> [Transaction; 4] {
        [status(READY), writes(0x38, [0xac, 0x33, 0x00]), status(READY), gets(0x38, answer)]
    }

    fn read(transactions: impl IntoIterator<Item = Transaction>) -> Result<Vec<f64>, ReadError> {
        values(Aht20::new(bus(transactions), Now, context("aht20", 0x38)).read())
    }

    #[test]
    fn measures_once_and_reads_twenty_bits_each() {
        // Section 6: RH = S / 2^20 * 100, T = S / 2^20 * 200 - 50.
        let table = [
            ((0x80000, 0x60000), [25.0, 50.0]),
            ((0x00000, 0x0cccd), [-40.0, 0.0]),
            ((0xfffff, 0xacccc), [85.0, 99.9999]),
            ((0x40000, 0x3ffff), [-0.0002, 25.0]),
        ];
        for ((humidity, temperature), want) in table {
            assert_near(&read(transactions(answer(humidity, temperature))).unwrap(), &want, 0.0003);
        }
    }

    #[test]
    fn a_chip_that_is_not_calibrated_is_told_to_be() {
        let first = [status(0x10), writes(0x38, [0xbe, 0x08, 0x00])];
        let got = read(first.into_iter().chain(transactions(answer(0x80000, 0x60000)))).unwrap();
        assert_eq!(got, [25.0, 50.0]);
    }

    #[test]
    fn a_chip_that_stays_busy_is_given_up() {
        let busy = std::iter::repeat_with(|| status(BUSY)).take(18);
        let error =
            read([status(READY), writes(0x38, [0xac, 0x33, 0x00])].into_iter().chain(busy)).unwrap_err();
        assert_eq!(error.cause(), Cause::Timeout);
    }

    #[test]
    fn a_wrong_checksum_is_one() {
        let mut answer = answer(0x80000, 0x60000);
        answer[6] ^= 1;
        assert_eq!(read(transactions(answer)).unwrap_err().cause(), Cause::Checksum);
    }

    #[test]
    fn refuses_what_the_chip_cannot_measure() {
        for temperature in [0, 0x0c000, 0xad000, 0xfffff] {
            let error = read(transactions(answer(0x80000, temperature))).unwrap_err();
            assert_eq!(error.cause(), Cause::OutOfRange);
        }
    }
}
