//! TMP102, on the published `tmp1x2` crate. Built by [`super::build`].
//!
//! The chip converts automatically four times a second, so a read is one bus transaction and does not wait. Datasheet:
//! Texas Instruments SBOS397, "TMP102 Low-Power Digital Temperature Sensor".

use embedded_hal::i2c::I2c;
use smallvec::smallvec;
use tmp1x2::{SlaveAddr, Tmp1x2};

use super::context::decimal;
use super::driver::{Driver, ReadChip};
use crate::error::{BusError, ReadError};
use crate::reading::{Quantity, Readings};

/// Temperature of the last of the twelve-bit codes.
const HOTTEST: f64 = 127.9375;

pub(super) type Tmp102<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State;

impl<I: I2c<Error: BusError>, D> ReadChip for Tmp102<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        let address = self.context.address();
        let address = SlaveAddr::Alternative(address & 2 != 0, address & 1 != 0);
        let tmp1x2::Error::I2C(error) = match Tmp1x2::new(&mut self.bus, address).read_temperature() {
            // A temperature of 128 °C and more reads as 127.9375 °C, except in the extended mode, which this driver
            // does not select but supports (table 8-2).
            Ok(celsius) if decimal(celsius) == HOTTEST => {
                let value = format_args!("{HOTTEST} Cel");
                return Err(self.context.saturated(Quantity::Temperature, value, "let it cool down"));
            }
            Ok(celsius) => {
                return Ok(smallvec![self.context.exact(
                    Quantity::Temperature,
                    decimal(celsius),
                    -55.0..=150.0,
                )?]);
            }
            Err(error) => error,
        };
        Err(self.context.bus(error))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::Cause;

    fn read(register: [u8; 2]) -> Result<Vec<f64>, ReadError> {
        let i2c = bus([reads(0x49, [0], register)]);
        values(Tmp102::new(i2c, Now, context("tmp102", 0x49)).read())
    }

    #[test]
    fn reads_the_temperature_register_in_one_transaction() {
        // Tables 2 and 3 of the datasheet: 12 bits, and 13 bits in the extended mode (the last bit indicates the mode).
        let table = [
            ([0x7f, 0xe0], 127.875),
            ([0x50, 0x00], 80.0),
            ([0x19, 0x00], 25.0),
            ([0x00, 0x40], 0.25),
            ([0x00, 0x10], 0.0625),
            ([0x00, 0x00], 0.0),
            ([0xff, 0xc0], -0.25),
            ([0xe7, 0x00], -25.0),
            ([0xc9, 0x00], -55.0),
            ([0x4b, 0x01], 150.0),
            ([0xe4, 0x81], -55.0),
        ];
        for (register, celsius) in table {
            assert_eq!(read(register).unwrap(), [celsius], "{register:02x?}");
        }
    }

    #[test]
    fn refuses_what_the_chip_cannot_measure() {
        for register in [[0x7f, 0xf0], [0x80, 0x00], [0xc8, 0xf0], [0x4b, 0x09]] {
            assert_eq!(read(register).unwrap_err().cause(), Cause::OutOfRange);
        }
    }
}
