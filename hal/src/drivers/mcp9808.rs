//! MCP9808, on `embedded-devices`. Built by [`super::build`].
//!
//! The chip converts continuously, so a read is one bus transaction and does not wait. Datasheet: Microchip DS25095,
//! "MCP9808 ±0.5 °C Maximum Accuracy Digital Temperature Sensor".

use embedded_devices::devices::microchip::mcp9808::{
    MCP9808Sync, address::Address, registers::AmbientTemperature,
};
use embedded_devices::uom::si::thermodynamic_temperature::degree_celsius;
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use smallvec::smallvec;

use super::driver::{Driver, ReadChip};
use crate::error::{BusError, ReadError};
use crate::reading::{Quantity, Readings};

pub(super) type Mcp9808<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State;

impl<I: I2c<Error: BusError>, D: DelayNs> ReadChip for Mcp9808<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        let address = Address::Custom(self.context.address());
        let mut chip = MCP9808Sync::new_i2c(&mut self.delay, &mut self.bus, address);
        let register =
            chip.read_register::<AmbientTemperature>().map_err(|error| self.context.transport(error))?;
        let celsius = register.read_temperature().get::<degree_celsius>();
        Ok(smallvec![self.context.reading(Quantity::Temperature, celsius, -40.0..=125.0)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::Cause;

    fn read(register: [u8; 2]) -> Result<Vec<f64>, ReadError> {
        values(Mcp9808::new(bus([reads(0x18, [5], register)]), Now, context("mcp9808", 0x18)).read())
    }

    #[test]
    fn reads_the_ambient_temperature_without_its_alert_bits() {
        // Register 5-4 of the datasheet: three alert bits, a sign, and steps of 1/16 °C.
        let table = [
            ([0xc1, 0x94], 25.25),
            ([0x01, 0x94], 25.25),
            ([0x07, 0xd0], 125.0),
            ([0x00, 0x01], 0.0625),
            ([0x00, 0x00], 0.0),
            ([0x1f, 0xff], -0.0625),
            ([0xff, 0xf8], -0.5),
            ([0x3e, 0x6c], -25.25),
            ([0x1d, 0x80], -40.0),
        ];
        for (register, celsius) in table {
            assert_eq!(read(register).unwrap(), [celsius], "{register:02x?}");
        }
    }

    #[test]
    fn refuses_what_the_chip_cannot_measure() {
        for register in [[0x07, 0xd1], [0x1d, 0x7f], [0x0f, 0xff], [0x10, 0x00]] {
            assert_eq!(read(register).unwrap_err().cause(), Cause::OutOfRange);
        }
    }
}
