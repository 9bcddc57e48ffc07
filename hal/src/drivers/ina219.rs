//! INA219, on the published `ina219` crate. Built by [`super::build`].
//!
//! The current is the voltage across the shunt divided by its resistance, computed here: the chip's own current
//! register contains the same number rounded, and 0 without an error after a loss of power. A read is two transactions;
//! the settings are the power-up settings. Datasheet: Texas Instruments SBOS448, "INA219", sections 8.5 and 8.6.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use ina219::SyncIna219;
use ina219::address::Address;
use ina219::calibration::UnCalibrated;
use ina219::configuration::Configuration;
use ina219::errors::{BusVoltageReadError, ShuntVoltageReadError};
use smallvec::smallvec;

use super::DeviceContext;
use super::driver::{Driver, ReadChip};
use crate::error::{BusError, Cause, ReadError};
use crate::reading::{Quantity, Readings};
use crate::settings::Settings;

/// Maximum duration of both conversions, of 12 bits.
const DURATION_US: u32 = 1_200;

/// Last codes of the converters (8.6.3.1 and 8.6.3.2): ±320 mV across the shunt, 32 V on the bus. Larger values read
/// the same.
const FULL_SHUNT: u16 = 32_000;
const FULL_BUS: u16 = 8_000;

/// Shunt resistor of a power monitor.
#[derive(Clone, Copy)]
pub(super) struct Shunt {
    ohms: f64,
    /// Maximum expected current, in ampere.
    max_amperes: f64,
}

impl Shunt {
    pub(super) fn new(settings: &Settings) -> Shunt {
        Shunt { ohms: settings.number("shunt"), max_amperes: settings.number("max_current") }
    }
}

pub(super) type Ina219<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State {
    /// True if the chip has its settings. These are the power-up values, but another program may have changed them.
    ready: bool,
}

impl<I: I2c<Error: BusError>, D: DelayNs> ReadChip for Ina219<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        let context = &self.context;
        let resistor = Shunt::new(context.settings());
        let address = Address::from_byte(context.address())
            .map_err(|_| context.error(Cause::Other, "no address of an INA219"))?;
        let mut chip = SyncIna219::new_unchecked(&mut self.bus, address, UnCalibrated);
        if !std::mem::take(&mut self.state.ready) {
            chip.set_configuration(Configuration::default()).map_err(|error| context.bus(error))?;
            chip.calibrate(UnCalibrated).map_err(|error| context.bus(error))?;
            self.delay.delay_us(DURATION_US);
        }
        let too_high = || context.saturated(Quantity::Voltage, "32 V", "the chip is made for 26 V");
        let volts = match chip.bus_voltage() {
            // OVF. The setup cleared the calibration, and without one the chip computes no value that could overflow.
            Ok(voltage) if voltage.has_math_overflowed() => {
                let text = "current and power: the chip reports an overflow of its arithmetic; is another program using it?";
                return Err(context.error(Cause::OutOfRange, text));
            }
            Ok(voltage) if voltage.voltage_4mv() >= FULL_BUS => return Err(too_high()),
            Ok(voltage) => f64::from(voltage.voltage_mv()) / 1e3,
            Err(BusVoltageReadError::I2cError(error)) => return Err(context.bus(error)),
            Err(BusVoltageReadError::BusVoltageOutOfRange { .. }) => return Err(too_high()),
        };
        let shunt = match chip.shunt_voltage() {
            Ok(voltage) if voltage.shunt_voltage_10uv().unsigned_abs() >= FULL_SHUNT => {
                return Err(shunt_saturated(context, "320 mV", resistor));
            }
            Ok(voltage) => f64::from(voltage.shunt_voltage_uv()) / 1e6,
            Err(ShuntVoltageReadError::I2cError(error)) => return Err(context.bus(error)),
            Err(ShuntVoltageReadError::ShuntVoltageOutOfRange { .. }) => {
                return Err(shunt_saturated(context, "320 mV", resistor));
            }
        };
        self.state.ready = true;
        power(context, volts, shunt, resistor, 0.0..=32.0)
    }
}

/// Creates the error for a current at the end of the shunt converter's range.
pub(super) fn shunt_saturated(context: &DeviceContext, full_scale: &str, shunt: Shunt) -> ReadError {
    let value = format_args!("{full_scale} across {} ohm", shunt.ohms);
    context.saturated(Quantity::Current, value, "choose a shunt with less resistance")
}

/// Returns the three readings of a power monitor, from the voltage after the shunt and the voltage across it.
pub(super) fn power(
    context: &DeviceContext,
    volts: f64,
    across: f64,
    shunt: Shunt,
    range: std::ops::RangeInclusive<f64>,
) -> Result<Readings, ReadError> {
    let amperes = across / shunt.ohms;
    // The limit is slightly higher, because the maximum current is a rounded number.
    let most = shunt.max_amperes * 1.001;
    Ok(smallvec![
        context.reading(Quantity::Voltage, volts, range)?,
        context.reading(Quantity::Current, amperes, -most..=most)?,
        context.reading(Quantity::Power, volts * amperes, f64::MIN..=f64::MAX)?,
    ])
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const SHUNT: [(&str, f64); 2] = [("shunt", 0.1), ("max_current", 3.2)];

    /// Returns the transactions of the power-up settings: 32 V, 320 mV, 12 bits, both continuously; no calibration.
    fn setup() -> [Transaction; 2] {
        [writes(0x40, [0, 0x39, 0x9f]), writes(0x40, [5, 0, 0])]
    }

    fn registers(bus: [u8; 2], shunt: [u8; 2]) -> [Transaction; 2] {
        [reads(0x40, [2], bus), reads(0x40, [1], shunt)]
    }

    fn read(voltage: [u8; 2], across: [u8; 2], shunt: [(&str, f64); 2]) -> Result<Vec<f64>, ReadError> {
        let i2c = bus(setup().into_iter().chain(registers(voltage, across)));
        values(Ina219::new(i2c, Now, context_with("ina219", 0x40, &shunt)).read())
    }

    #[test]
    fn voltage_and_current_and_their_product() {
        // Table 7 of the datasheet (12 V, 20 mV across 2 mΩ are 10 A: registers 0x5d98 and 0x07d0), its table of shunt
        // voltages (-319.99 mV is 0x8301), and a current of zero.
        let ten = [("shunt", 0.002), ("max_current", 15.0)];
        assert_eq!(read([0x5d, 0x9a], [0x07, 0xd0], ten).unwrap(), [11.98, 10.0, 119.8]);
        assert_eq!(read([0x1f, 0x42], [0x83, 0x01], SHUNT).unwrap(), [4.0, -3.1999, -12.7996]);
        assert_eq!(read([0x1f, 0x42], [0x7c, 0xff], SHUNT).unwrap(), [4.0, 3.1999, 12.7996]);
        assert_eq!(read([0x00, 0x02], [0x00, 0x01], SHUNT).unwrap(), [0.0, 0.0001, 0.0]);
        assert_eq!(read([0x00, 0x02], [0xff, 0xff], SHUNT).unwrap(), [0.0, -0.0001, -0.0]);
    }

    #[test]
    fn refuses_what_neither_chip_nor_shunt_can_carry() {
        for (voltage, across, shunt) in [
            ([0xff, 0xfa], [0, 0], SHUNT),
            ([0x1f, 0x42], [0x7d, 0x00], SHUNT),
            ([0x1f, 0x42], [0x83, 0x00], SHUNT),
            ([0x1f, 0x42], [0x7d, 0x01], SHUNT),
            ([0x1f, 0x42], [0x82, 0xff], SHUNT),
            ([0x1f, 0x42], [0x7c, 0xff], [("shunt", 0.1), ("max_current", 2.0)]),
        ] {
            // An impossible voltage ends the read before the second register is read.
            let all = setup().into_iter().chain(registers(voltage, across));
            let i2c = bus(all.take(if voltage[0] == 0xff { 3 } else { 4 }));
            let error = Ina219::new(i2c, Now, context_with("ina219", 0x40, &shunt)).read().unwrap_err();
            assert_eq!(error.cause(), Cause::OutOfRange, "{error}");
        }
    }

    #[test]
    fn a_reported_overflow_is_no_reading_and_the_next_read_clears_the_calibration() {
        let refused = setup().into_iter().chain([reads(0x40, [2], [0x1f, 0x43])]);
        let later = setup().into_iter().chain(registers([0x1f, 0x42], [0x03, 0xe8]));
        let mut sensor = Ina219::new(bus(refused.chain(later)), Now, context_with("ina219", 0x40, &SHUNT));
        let error = sensor.read().unwrap_err();
        assert_eq!(error.cause(), Cause::OutOfRange);
        assert!(error.to_string().contains("overflow"), "{error}");
        assert_eq!(values(sensor.read()).unwrap(), [4.0, 0.1, 0.4]);
    }
}
