//! MLX90614, on the published `mlx9061x` crate. Built by [`super::build`].
//!
//! The chip converts continuously, so a read is one bus transaction with a checksum and does not wait. `channel`
//! selects the temperature: of the object, of the second object (only in chips with two zones), or of the chip itself.
//! Datasheet: Melexis 3901090614, "MLX90614 family", sections 8.4.5 and 8.4.6.

use embedded_hal::i2c::I2c;
use mlx9061x::{Error, Mlx9061x, SlaveAddr};
use smallvec::smallvec;

use super::driver::{Driver, ReadChip};
use crate::error::{BusError, Cause, ReadError};
use crate::reading::{Quantity, Readings};

pub(super) type Mlx90614<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State;

impl<I: I2c<Error: BusError>, D> ReadChip for Mlx90614<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        let context = &self.context;
        let fault = |error| match error {
            Error::I2C(error) => context.bus(error),
            Error::ChecksumMismatch => context.checksum(),
            Error::InvalidInputData => context.error(Cause::Other, "the driver refused its input"),
        };
        let address = SlaveAddr::Alternative(context.address());
        // The delay is for writes to the EEPROM, which this driver does not use.
        let mut chip = Mlx9061x::new_mlx90614(&mut self.bus, address, 0).map_err(fault)?;
        let (celsius, range) = match context.settings().channel() {
            Some("ambient") => (chip.ambient_temperature(), -40.0..=125.0),
            Some("object2") => (chip.object2_temperature(), -70.0..=380.0),
            _ => (chip.object1_temperature(), -70.0..=380.0),
        };
        // The steps are 0.02 °C, on a scale that begins at -273.15 °C.
        let celsius = (f64::from(celsius.map_err(fault)?) * 100.0).round() / 100.0;
        Ok(smallvec![context.reading(Quantity::Temperature, celsius, range)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// Returns the checksum of a read of `register` at 0x5a: SMBus, CRC-8 with the polynomial 0x07.
    fn pec(register: u8, low: u8, high: u8) -> u8 {
        let bit = |crc: u8| if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x07 };
        let bytes = [0xb4, register, 0xb5, low, high];
        bytes.into_iter().fold(0, |crc, byte| (0..8).fold(crc ^ byte, |crc, _| bit(crc)))
    }

    fn read(channel: &str, register: u8, raw: u16) -> Result<Vec<f64>, ReadError> {
        let [low, high] = raw.to_le_bytes();
        let i2c = bus([reads(0x5a, [register], [low, high, pec(register, low, high)])]);
        let settings = crate::Chip::Mlx90614.settings(&[], Some(channel)).unwrap();
        values(Mlx90614::new(i2c, Now, context("mlx90614", 0x5a).with_settings(settings)).read())
    }

    #[test]
    fn codes_are_fiftieths_of_a_kelvin() {
        // Figure 8 of the datasheet: object 1 is 0x3ad2 with the checksum 0x30. Section 8.4.5: the range is 0x27ad to
        // 0x7fff, -70.01 to 382.19 °C.
        assert_eq!(pec(0x07, 0xd2, 0x3a), 0x30);
        for (channel, register, raw, celsius) in [
            ("object1", 0x07, 0x3ad2, 28.01),
            ("object2", 0x08, 0x27ae, -69.99),
            ("object1", 0x07, 0x7f91, 379.99),
            ("ambient", 0x06, 0x355a, 0.01),
            ("ambient", 0x06, 0x3559, -0.01),
        ] {
            assert_eq!(read(channel, register, raw).unwrap(), [celsius], "{channel} {raw:#06x}");
        }
    }

    #[test]
    fn error_flag_and_codes_beyond_the_range_are_refused() {
        for (channel, register, raw) in [
            ("object1", 0x07, 0x0000),
            ("object1", 0x07, 0x27ac),
            ("object1", 0x07, 0x7fff),
            ("object1", 0x07, 0x8000),
            ("object1", 0x07, 0xbad2),
            ("ambient", 0x06, 0x7fff),
            ("ambient", 0x06, 0x2d88),
        ] {
            assert_eq!(read(channel, register, raw).unwrap_err().cause(), Cause::OutOfRange, "{raw:#06x}");
        }
    }

    #[test]
    fn wrong_checksum_is_an_error() {
        let i2c = bus([reads(0x5a, [0x07], [0xd2, 0x3a, 0x31])]);
        let error = Mlx90614::new(i2c, Now, context("mlx90614", 0x5a)).read().unwrap_err();
        assert_eq!(error.cause(), Cause::Checksum);
    }
}
