//! TMP117, on `embedded-devices`. Built by [`super::build`].
//!
//! The chip converts automatically once a second, averaging eight conversions, so a read is one bus transaction and
//! does not wait. Before its first conversion the register contains -256 °C, which is refused. Datasheet: Texas
//! Instruments SNOSD82, "TMP117 High-Accuracy, Low-Power, Digital Temperature Sensor".

use embedded_devices::devices::texas_instruments::tmp117::{
    TMP117Sync, address::Address, registers::Temperature,
};
use embedded_devices::uom::si::thermodynamic_temperature::degree_celsius;
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use smallvec::smallvec;

use super::driver::{Driver, ReadChip};
use crate::error::{BusError, ReadError};
use crate::reading::{Quantity, Readings};

pub(super) type Tmp117<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State;

impl<I: I2c<Error: BusError>, D: DelayNs> ReadChip for Tmp117<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        let address = Address::Custom(self.context.address());
        let mut chip = TMP117Sync::new_i2c(&mut self.delay, &mut self.bus, address);
        let register = chip.read_register::<Temperature>().map_err(|error| self.context.transport(error))?;
        let celsius = register.read_temperature().get::<degree_celsius>();
        Ok(smallvec![self.context.reading(Quantity::Temperature, celsius, -55.0..=150.0)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::Cause;

    fn read(register: [u8; 2]) -> Result<Vec<f64>, ReadError> {
        values(Tmp117::new(bus([reads(0x48, [0], register)]), Now, context("tmp117", 0x48)).read())
    }

    #[test]
    fn reads_the_temperature_register_in_one_transaction() {
        // Table 7-1 of the datasheet, and the ends of its range.
        let table = [
            ([0x4b, 0x00], 150.0),
            ([0x32, 0x00], 100.0),
            ([0x0c, 0x80], 25.0),
            ([0x00, 0x80], 1.0),
            ([0x00, 0x01], 0.0078125),
            ([0x00, 0x00], 0.0),
            ([0xff, 0xff], -0.0078125),
            ([0xff, 0x80], -1.0),
            ([0xf3, 0x80], -25.0),
            ([0xe4, 0x80], -55.0),
        ];
        for (register, celsius) in table {
            assert_eq!(read(register).unwrap(), [celsius], "{register:02x?}");
        }
    }

    #[test]
    fn refuses_the_value_before_the_first_conversion_and_what_the_chip_cannot_measure() {
        for register in [[0x80, 0x00], [0x7f, 0xff], [0x4b, 0x01], [0xe4, 0x7f]] {
            assert_eq!(read(register).unwrap_err().cause(), Cause::OutOfRange);
        }
    }
}
