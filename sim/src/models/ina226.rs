//! A register-level model of the INA226.
//!
//! Datasheet: Texas Instruments SBOS547, "INA226 36-V, 16-bit, ultra-precise I2C output current, voltage, and power
//! monitor", sections 7.5 (current = shunt × calibration / 2048, power = current × bus / 20000) and 7.6 (registers with
//! their power-up values; the longest conversion times of section 6.5). The chip computes the power; it has no
//! waveform.
//!
//! Choices that the datasheet leaves open: divisions truncate; the power of a negative current is its magnitude. Not
//! modelled: the alert pin and the limits (the registers keep the written values).

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::{Environment, steps};
use super::register_map::{RegisterMap, Registers};
use crate::bus::Device;

/// Resolution of the bus voltage, in V.
pub const BUS_LSB: f64 = 0.001_25;
/// Resolution of the shunt voltage, in V.
pub const SHUNT_LSB: f64 = 0.000_002_5;
/// Maximum bus voltage, in V.
pub const MAX_VOLTS: f64 = 36.0;

/// One sample of 1.1 ms each, both continuously.
const CONFIGURATION: u16 = 0x4127;
const RESET: u16 = 1 << 15;
const CONVERTED: u16 = 1 << 3;
const OVERFLOW: u16 = 1 << 2;
const MANUFACTURER: u16 = 0x5449;
const DIE: u16 = 0x2260;

/// Model of an INA226 with its shunt resistor.
#[derive(Debug)]
pub struct Ina226 {
    environment: Environment,
    ohms: f64,
    configuration: u16,
    calibration: u16,
    mask: u16,
    limit: u16,
    shunt: i32,
    bus: u16,
    converted: bool,
    due: Option<Duration>,
}

impl Ina226 {
    /// Creates a chip that was powered up long ago, with a shunt of `ohms`, ready for a bus.
    pub fn device(ohms: f64, environment: Environment) -> Registers<Ina226> {
        Registers::of(Ina226 {
            environment,
            ohms,
            configuration: CONFIGURATION,
            calibration: 0,
            mask: 0,
            limit: 0,
            shunt: 0,
            bus: 0,
            converted: false,
            due: Some(Duration::ZERO),
        })
    }

    fn reset(&mut self, now: Duration) {
        (self.configuration, self.calibration, self.mask, self.limit) = (CONFIGURATION, 0, 0, 0);
        (self.shunt, self.bus, self.converted) = (0, 0, false);
        self.due = self.next(now);
    }

    /// Returns whether the mode measures the shunt, and whether it measures the bus.
    fn measures(&self) -> (bool, bool) {
        (self.configuration & 1 != 0, self.configuration & 2 != 0)
    }

    /// Returns the end of a conversion that begins at `now`; None if the mode measures nothing.
    fn next(&self, now: Duration) -> Option<Duration> {
        let micros =
            |setting: u16| [154, 224, 365, 646, 1_210, 2_328, 4_572, 9_068][usize::from(setting & 0b111)];
        let averages = [1, 4, 16, 64, 128, 256, 512, 1_024][usize::from((self.configuration >> 9) & 0b111)];
        let (shunt, bus) = self.measures();
        let mut each = 0;
        if shunt {
            each += micros(self.configuration >> 3);
        }
        if bus {
            each += micros(self.configuration >> 6);
        }
        (shunt || bus).then_some(now + Duration::from_micros(each * averages))
    }

    /// Advances the state to `now`.
    fn advance(&mut self, now: Duration) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let (shunt, bus) = self.measures();
        if shunt {
            let volts = self.environment.at(Quantity::Current, now) * self.ohms;
            let limit = 32_768.0 * SHUNT_LSB;
            self.shunt = steps(volts, SHUNT_LSB, [-limit, limit], [i16::MIN.into(), i16::MAX.into()]);
        }
        if bus {
            let volts = self.environment.at(Quantity::Voltage, now);
            self.bus = steps(volts, BUS_LSB, [0.0, MAX_VOLTS], [0, 0x7fff]) as u16;
        }
        self.converted = true;
        let continuous = self.configuration & 0b100 != 0;
        self.due = if continuous { self.next(now) } else { None };
    }

    fn current(&self) -> i32 {
        self.shunt * i32::from(self.calibration) / 2_048
    }

    fn power(&self) -> u64 {
        u64::from(self.current().unsigned_abs()) * u64::from(self.bus) / 20_000
    }

    fn overflows(&self) -> bool {
        i16::try_from(self.current()).is_err() || u16::try_from(self.power()).is_err()
    }
}

impl Model for Ina226 {
    fn create(_: Chip, settings: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Ina226::device(settings.number("shunt"), environment))
    }
}

impl RegisterMap for Ina226 {
    const POINTER_BITS: u8 = 0xff;

    fn power_up(&mut self, now: Duration) {
        self.reset(now);
    }

    fn read(&mut self, register: u8, now: Duration) -> u16 {
        self.advance(now);
        match register {
            0 => self.configuration,
            1 => (self.shunt as i16).cast_unsigned(),
            2 => self.bus,
            3 => self.power() as u16,
            4 => (self.current() as i16).cast_unsigned(),
            5 => self.calibration,
            6 => {
                let converted = if std::mem::take(&mut self.converted) { CONVERTED } else { 0 };
                let overflow = if self.overflows() { OVERFLOW } else { 0 };
                self.mask | converted | overflow
            }
            7 => self.limit,
            0xfe => MANUFACTURER,
            0xff => DIE,
            _ => 0,
        }
    }

    fn write(&mut self, register: u8, value: u16, now: Duration) {
        self.advance(now);
        match register {
            0 if value & RESET != 0 => self.reset(now),
            0 => {
                // Bits 12 to 14 read as 100.
                self.configuration = (value & 0x0fff) | 0x4000;
                (self.due, self.converted) = (self.next(now), false);
            }
            5 => self.calibration = value & 0x7fff,
            6 => self.mask = value & 0xfc03,
            7 => self.limit = value,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ADDRESS, bus_with, register};
    use super::*;
    use crate::bus::SimBus;
    use embedded_hal::i2c::I2c;

    fn bus(volts: f64, amperes: f64, ohms: f64) -> SimBus {
        let around = [(Quantity::Voltage, volts), (Quantity::Current, amperes)];
        bus_with(ADDRESS, Ina226::device(ohms, Environment::constant(&around)))
    }

    #[test]
    fn the_example_of_the_datasheet_comes_out() {
        // Table 7-1: 11.98 V, 10 A through 2 mΩ, calibration 0x0a00.
        let mut bus = bus(11.98, 10.0, 0.002);
        bus.write(ADDRESS, &[5, 0x0a, 0x00]).unwrap();
        let got = [1, 2, 4, 3].map(|pointer| register(&mut bus, pointer));
        assert_eq!(got, [0x1f40, 0x2570, 0x2710, 0x12b8]);
    }

    #[test]
    fn registers_have_their_power_up_values() {
        let mut bus = bus(5.0, 0.1, 0.1);
        bus.set_fault(ADDRESS, Some(crate::BusFault::NoAcknowledge));
        bus.set_fault(ADDRESS, None);
        let got = [0, 1, 2, 3, 4, 5, 6, 7, 0xfe, 0xff].map(|pointer| register(&mut bus, pointer));
        assert_eq!(got, [0x4127, 0, 0, 0, 0, 0, 0, 0, 0x5449, 0x2260]);
    }

    #[test]
    fn a_triggered_conversion_says_when_it_is_done() {
        let mut bus = bus(5.0, 0.1, 0.1);
        bus.write(ADDRESS, &[0, 0x41, 0x23]).unwrap();
        assert_eq!(register(&mut bus, 6), 0);
        bus.clock().advance(Duration::from_millis(3));
        assert_eq!([register(&mut bus, 6), register(&mut bus, 6)], [CONVERTED, 0]);
        assert_eq!([register(&mut bus, 2), register(&mut bus, 1)], [4_000, 4_000]);
    }
}
