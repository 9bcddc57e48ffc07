//! INA226, on `embedded-devices`. Built by [`super::build`].
//!
//! As in the [INA219](super::ina219) driver, the current is computed here, from the voltage across the shunt, and the
//! settings are the power-up settings. Datasheet: Texas Instruments SBOS547, "INA226", section 7.6.

use embedded_devices::devices::texas_instruments::ina226::{
    INA226Sync,
    address::Address,
    registers::{AverageCount, BusVoltage, Configuration, ConversionTime, OperatingMode, ShuntVoltage},
};
use embedded_devices::uom::si::electric_potential::volt;
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;

use super::driver::{Driver, ReadChip};
use super::ina219::{Shunt, power, shunt_saturated};
use crate::error::{BusError, ReadError};
use crate::reading::Readings;

/// Maximum duration of both conversions of 1.1 ms.
const DURATION_US: u32 = 2_500;

/// Step of the shunt voltage, in V.
const STEP: f64 = 2.5e-6;

pub(super) type Ina226<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State {
    /// True if the chip has its settings. These are the power-up values, but another program may have changed them.
    ready: bool,
}

impl<I: I2c<Error: BusError>, D: DelayNs> ReadChip for Ina226<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        let resistor = Shunt::new(self.context.settings());
        let fault = |error| self.context.transport(error);
        let address = Address::Custom(self.context.address());
        if !std::mem::take(&mut self.state.ready) {
            let mut chip = INA226Sync::new_i2c(&mut self.delay, &mut self.bus, address);
            // Read first, because reserved bits must be left unchanged.
            let settings = chip
                .read_register::<Configuration>()
                .map_err(fault)?
                .with_average_count(AverageCount::X_1)
                .with_bus_conversion_time(ConversionTime::T_1100)
                .with_shunt_conversion_time(ConversionTime::T_1100)
                .with_operating_mode(OperatingMode::ShuntAndBusContinuous);
            chip.write_register(settings).map_err(fault)?;
            self.delay.delay_us(DURATION_US);
        }
        let mut chip = INA226Sync::new_i2c(&mut self.delay, &mut self.bus, address);
        let volts = chip.read_register::<BusVoltage>().map_err(fault)?.read_value().get::<volt>();
        let across = chip.read_register::<ShuntVoltage>().map_err(fault)?.read_value().get::<volt>();
        self.state.ready = true;
        // Section 7.6.2: more than ±81.92 mV reads as the last code. The math overflow flag (7.6.7) is not read: it
        // concerns the chip's own current and power registers, which this driver does not use.
        let code = (across / STEP).round();
        if code <= f64::from(i16::MIN) || code >= f64::from(i16::MAX) {
            return Err(shunt_saturated(&self.context, "81.92 mV", resistor));
        }
        power(&self.context, volts, across, resistor, 0.0..=36.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::Cause;

    const SHUNT: [(&str, f64); 2] = [("shunt", 0.1), ("max_current", 0.8192)];

    /// Returns the transactions of the power-up settings: no averaging, 1.1 ms each, both continuously; before that,
    /// powered down and averaging 16.
    fn setup() -> [Transaction; 2] {
        [reads(0x4f, [0], [0x44, 0x20]), writes(0x4f, [0, 0x41, 0x27])]
    }

    fn registers(bus: [u8; 2], shunt: [u8; 2]) -> [Transaction; 2] {
        [reads(0x4f, [2], bus), reads(0x4f, [1], shunt)]
    }

    fn read(voltage: [u8; 2], across: [u8; 2], shunt: [(&str, f64); 2]) -> Result<Vec<f64>, ReadError> {
        let i2c = bus(setup().into_iter().chain(registers(voltage, across)));
        values(Ina226::new(i2c, Now, context_with("ina226", 0x4f, &shunt)).read())
    }

    #[test]
    fn voltage_and_current_and_their_product() {
        // Table 8 of the datasheet: 12 V less the 20 mV of the shunt, 20 mV across 2 mΩ, 10 A: 0x2570 and 0x1f40; -80
        // mV is 0x8300 (7.6.2).
        let ten = [("shunt", 0.002), ("max_current", 15.0)];
        assert_eq!(read([0x25, 0x70], [0x1f, 0x40], ten).unwrap(), [11.98, 10.0, 119.8]);
        assert_eq!(read([0x0c, 0x80], [0x83, 0x00], SHUNT).unwrap(), [4.0, -0.8, -3.2]);
        assert_eq!(read([0x00, 0x01], [0x00, 0x01], SHUNT).unwrap(), [0.00125, 0.000025, 3.1e-8]);
        assert_eq!(read([0x70, 0x80], [0x00, 0x00], SHUNT).unwrap(), [36.0, 0.0, 0.0]);
        assert_eq!(read([0x00, 0x00], [0x7f, 0xfe], SHUNT).unwrap(), [0.0, 0.81915, 0.0]);
    }

    #[test]
    fn refuses_what_neither_chip_nor_shunt_can_carry() {
        for (voltage, across, max_amperes) in [
            ([0x70, 0x81], [0, 0], 0.8192),
            ([0xff, 0xff], [0, 0], 0.8192),
            ([0x0c, 0x80], [0x83, 0x00], 0.5),
        ] {
            let error = read(voltage, across, [("shunt", 0.1), ("max_current", max_amperes)]).unwrap_err();
            assert_eq!(error.cause(), Cause::OutOfRange, "{error}");
        }
    }

    #[test]
    fn a_saturated_shunt_converter_is_no_reading() {
        // A current of 100 A through 2 mΩ gives 200 mV, and reads as 81.92 mV.
        let shunt = [("shunt", 0.002), ("max_current", 40.96)];
        for across in [[0x7f, 0xff], [0x80, 0x00]] {
            let error = read([0x25, 0x70], across, shunt).unwrap_err();
            assert_eq!(error.cause(), Cause::OutOfRange);
            let text = "current at the end of the converter's range (81.92 mV across 0.002 ohm)";
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
