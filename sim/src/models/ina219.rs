//! A register-level model of the INA219.
//!
//! Datasheet: Texas Instruments SBOS448, "INA219 zero-drift, bidirectional current/power monitor", sections 8.5
//! (programming: current = shunt × calibration / 4096, power = current × bus / 5000) and 8.6 (registers with their
//! power-up values, converter times of table 5: the longest). The chip computes the power; it has no waveform.
//!
//! Choices that the datasheet leaves open: divisions truncate; a resolution below twelve bits clears the lowest bits;
//! the power of a negative current is its magnitude. Beyond the range of the gain the shunt register saturates.

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::{Environment, steps};
use super::register_map::{RegisterMap, Registers};
use crate::bus::Device;

/// Resolution of the bus voltage, in V.
pub const BUS_LSB: f64 = 0.004;
/// Resolution of the shunt voltage, in V.
pub const SHUNT_LSB: f64 = 0.000_01;
/// Maximum bus voltage, in V.
pub const MAX_VOLTS: f64 = 26.0;

/// 32 V, ±320 mV, twelve bits, both continuously.
const CONFIGURATION: u16 = 0x399f;
const RESET: u16 = 1 << 15;
const WIDE: u16 = 1 << 13;
const CONVERTED: u16 = 1 << 1;
const OVERFLOW: u16 = 1;

/// Model of an INA219 with its shunt resistor.
#[derive(Debug)]
pub struct Ina219 {
    environment: Environment,
    ohms: f64,
    configuration: u16,
    calibration: u16,
    /// Shunt voltage in steps of 10 µV.
    shunt: i32,
    /// Bus voltage in steps of 4 mV.
    bus: u16,
    converted: bool,
    due: Option<Duration>,
}

impl Ina219 {
    /// Creates a chip that was powered up long ago, with a shunt of `ohms`, ready for a bus.
    pub fn device(ohms: f64, environment: Environment) -> Registers<Ina219> {
        Registers::of(Ina219 {
            environment,
            ohms,
            configuration: CONFIGURATION,
            calibration: 0,
            shunt: 0,
            bus: 0,
            converted: false,
            due: Some(Duration::ZERO),
        })
    }

    fn reset(&mut self, now: Duration) {
        (self.configuration, self.calibration) = (CONFIGURATION, 0);
        (self.shunt, self.bus, self.converted) = (0, 0, false);
        self.due = self.next(now);
    }

    /// Returns the resolution in bits and the conversion time of a converter setting.
    fn converter(setting: u16) -> (u32, Duration) {
        let (bits, micros) = match setting & 0xf {
            0b0000 | 0b0100 => (9, 93),
            0b0001 | 0b0101 => (10, 163),
            0b0010 | 0b0110 => (11, 304),
            0b0011 | 0b0111 | 0b1000 => (12, 586),
            averages => (12, 586 << (averages & 0b111)),
        };
        (bits, Duration::from_micros(micros))
    }

    /// Returns whether the mode measures the shunt, and whether it measures the bus.
    fn measures(&self) -> (bool, bool) {
        // Mode 4 is "ADC off".
        let mode = self.configuration & 0b111;
        (mode != 4 && mode & 1 != 0, mode != 4 && mode & 2 != 0)
    }

    fn continuous(&self) -> bool {
        self.configuration & 0b100 != 0
    }

    /// Returns the end of a conversion that begins at `now`; None if the mode measures nothing.
    fn next(&self, now: Duration) -> Option<Duration> {
        let (shunt, bus) = self.measures();
        let mut time = Duration::ZERO;
        if shunt {
            time += Ina219::converter(self.configuration >> 3).1;
        }
        if bus {
            time += Ina219::converter(self.configuration >> 7).1;
        }
        (shunt || bus).then_some(now + time)
    }

    /// Advances the state to `now`.
    fn advance(&mut self, now: Duration) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let (shunt, bus) = self.measures();
        if shunt {
            let full = 4_000 << ((self.configuration >> 11) & 0b11);
            let volts = self.environment.at(Quantity::Current, now) * self.ohms;
            let limit = f64::from(full) * SHUNT_LSB;
            let steps = steps(volts, SHUNT_LSB, [-limit, limit], [-full, full]);
            self.shunt = clear(steps, Ina219::converter(self.configuration >> 3).0);
        }
        if bus {
            let volts = self.environment.at(Quantity::Voltage, now);
            let limit = if self.configuration & WIDE == 0 { 16.0 } else { MAX_VOLTS };
            let steps = steps(volts, BUS_LSB, [0.0, limit], [0, 0x1fff]);
            // At most thirteen bits.
            self.bus = clear(steps, Ina219::converter(self.configuration >> 7).0) as u16;
        }
        self.converted = true;
        self.due = if self.continuous() { self.next(now) } else { None };
    }

    fn current(&self) -> i32 {
        self.shunt * i32::from(self.calibration) / 4_096
    }

    fn power(&self) -> u32 {
        self.current().unsigned_abs() * u32::from(self.bus) / 5_000
    }

    fn overflows(&self) -> bool {
        i16::try_from(self.current()).is_err() || u16::try_from(self.power()).is_err()
    }
}

/// Truncates `steps` to the resolution of a converter with this number of bits.
fn clear(steps: i32, bits: u32) -> i32 {
    let step = 1 << (12 - bits);
    steps / step * step
}

impl Model for Ina219 {
    fn create(_: Chip, settings: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Ina219::device(settings.number("shunt"), environment))
    }
}

impl RegisterMap for Ina219 {
    const POINTER_BITS: u8 = 0b111;

    fn power_up(&mut self, now: Duration) {
        self.reset(now);
    }

    fn read(&mut self, register: u8, now: Duration) -> u16 {
        self.advance(now);
        match register {
            0 => self.configuration,
            1 => (self.shunt as i16).cast_unsigned(),
            2 => {
                let converted = if self.converted { CONVERTED } else { 0 };
                let overflow = if self.overflows() { OVERFLOW } else { 0 };
                (self.bus << 3) | converted | overflow
            }
            3 => {
                self.converted = false;
                self.power() as u16
            }
            4 => (self.current() as i16).cast_unsigned(),
            5 => self.calibration,
            _ => 0,
        }
    }

    fn write(&mut self, register: u8, value: u16, now: Duration) {
        self.advance(now);
        match register {
            0 if value & RESET != 0 => self.reset(now),
            0 => {
                self.configuration = value & 0x3fff;
                self.due = self.next(now);
                if self.due.is_some() {
                    self.converted = false;
                }
            }
            5 => self.calibration = value & 0xfffe,
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
        bus_with(ADDRESS, Ina219::device(ohms, Environment::constant(&around)))
    }

    #[test]
    fn the_example_of_the_datasheet_comes_out() {
        // Section 8.5.2 and table 8: 12 V, 10 A through 2 mΩ, calibration 0x5000.
        let mut bus = bus(11.98, 10.0, 0.002);
        bus.write(ADDRESS, &[5, 0x50, 0x00]).unwrap();
        assert_eq!(register(&mut bus, 1), 0x07d0);
        assert_eq!(register(&mut bus, 2) >> 3, 0x0bb3);
        assert_eq!(register(&mut bus, 4), 0x2710);
        assert_eq!(register(&mut bus, 3), 0x1766);
    }

    #[test]
    fn registers_have_their_power_up_values() {
        let mut bus = bus(5.0, 1.0, 0.1);
        bus.set_fault(ADDRESS, Some(crate::BusFault::NoAcknowledge));
        bus.set_fault(ADDRESS, None);
        let got: Vec<u16> = (0..6).map(|pointer| register(&mut bus, pointer)).collect();
        assert_eq!(got, [0x399f, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn without_a_calibration_there_is_no_current() {
        let mut bus = bus(5.0, 1.0, 0.1);
        assert_eq!([register(&mut bus, 1), register(&mut bus, 4), register(&mut bus, 3)], [10_000, 0, 0]);
    }

    #[test]
    fn negative_currents_are_in_twos_complement() {
        let mut bus = bus(5.0, -1.0, 0.1);
        bus.write(ADDRESS, &[5, 0x10, 0x00]).unwrap();
        assert_eq!(register(&mut bus, 1).cast_signed(), -10_000);
        assert_eq!(register(&mut bus, 4).cast_signed(), -10_000);
        assert_eq!(register(&mut bus, 3), 2_500);
    }

    #[test]
    fn a_narrow_gain_ends_at_its_range_and_an_overflow_is_told() {
        let mut bus = bus(5.0, 1.0, 0.1);
        bus.write(ADDRESS, &[0, 0x01, 0x9f]).unwrap();
        bus.clock().advance(Duration::from_millis(2));
        assert_eq!(register(&mut bus, 1), 4_000);
        bus.write(ADDRESS, &[0, 0x39, 0x9f]).unwrap();
        bus.write(ADDRESS, &[5, 0xff, 0xfe]).unwrap();
        bus.clock().advance(Duration::from_millis(2));
        assert_eq!(register(&mut bus, 2) & OVERFLOW, OVERFLOW);
    }

    #[test]
    fn a_triggered_conversion_says_when_it_is_done() {
        let mut bus = bus(5.0, 1.0, 0.1);
        bus.write(ADDRESS, &[0, 0x39, 0x9b]).unwrap();
        assert_eq!(register(&mut bus, 2) & CONVERTED, 0);
        bus.clock().advance(Duration::from_millis(2));
        assert_eq!(register(&mut bus, 2), (1_250 << 3) | CONVERTED);
        register(&mut bus, 3);
        assert_eq!(register(&mut bus, 2) & CONVERTED, 0, "reading the power clears it");
        bus.clock().advance(Duration::from_millis(20));
        assert_eq!(register(&mut bus, 2) & CONVERTED, 0, "and it converts once");
    }
}
