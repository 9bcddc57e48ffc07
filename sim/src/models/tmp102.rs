//! A register-level model of the TMP102.
//!
//! Datasheet: Texas Instruments SBOS397, "TMP102 low-power digital temperature sensor", section 7.5 (pointer,
//! temperature, configuration of two bytes, T_LOW and T_HIGH with their power-up values): 12 bits, or 13 in extended
//! mode, whose flag is the lowest bit of the temperature register.
//!
//! The chip converts continuously; the model converts only when the result is observable. Not modelled: the alert pin;
//! the alert bit reads as its inactive state, the inverse of POL.

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::{Environment, steps};
use super::register_map::{RegisterMap, Registers};
use crate::bus::Device;

/// Resolution, in °C.
pub const LSB: f64 = 0.0625;
/// Minimum specified temperature, in °C.
pub const MIN: f64 = -40.0;
/// Maximum specified temperature, in °C.
pub const MAX: f64 = 125.0;

/// Four conversions per second, 12 bits; without the alert bit.
const CONFIGURATION: u16 = 0x6080;
const LIMITS: [u16; 2] = [0x4b00, 0x5000];
const ONE_SHOT: u16 = 1 << 15;
const RESOLUTION: u16 = 0x6000;
const POLARITY: u16 = 1 << 10;
const SHUTDOWN: u16 = 1 << 8;
const ALERT: u16 = 1 << 5;
const EXTENDED: u16 = 1 << 4;
/// Bits of the configuration that can be written and keep their value.
const WRITABLE: u16 = 0x1fd0;

/// Model of a TMP102.
#[derive(Debug)]
pub struct Tmp102 {
    environment: Environment,
    configuration: u16,
    temperature: u16,
    limits: [u16; 2],
}

impl Tmp102 {
    /// Creates a chip that was powered up long ago, ready for a bus.
    pub fn device(environment: Environment) -> Registers<Tmp102> {
        Registers::of(Tmp102 { environment, configuration: CONFIGURATION, temperature: 0, limits: LIMITS })
    }

    fn convert(&mut self, now: Duration) {
        let celsius = self.environment.at(Quantity::Temperature, now);
        let (bits, flag) = if self.configuration & EXTENDED == 0 { (12, 0) } else { (13, 1) };
        let full = 1 << (bits - 1);
        // With twelve bits the range ends at 127.9375 °C, beyond the specified range.
        let steps = steps(celsius, LSB, [MIN, MAX], [-full, full - 1]);
        self.temperature = ((steps << (16 - bits)) as u16) | flag;
    }

    fn running(&self) -> bool {
        self.configuration & SHUTDOWN == 0
    }
}

impl Model for Tmp102 {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Tmp102::device(environment))
    }
}

impl RegisterMap for Tmp102 {
    const POINTER_BITS: u8 = 0b11;

    fn power_up(&mut self, _: Duration) {
        (self.configuration, self.temperature, self.limits) = (CONFIGURATION, 0, LIMITS);
    }

    fn read(&mut self, register: u8, now: Duration) -> u16 {
        match register {
            0 => {
                if self.running() {
                    self.convert(now);
                }
                self.temperature
            }
            1 => {
                let alert = if self.configuration & POLARITY == 0 { ALERT } else { 0 };
                // In shutdown the one-shot bit means that a conversion has ended; here it ends immediately.
                let done = if self.running() { 0 } else { ONE_SHOT };
                self.configuration | RESOLUTION | alert | done
            }
            2 => self.limits[0],
            _ => self.limits[1],
        }
    }

    fn write(&mut self, register: u8, value: u16, now: Duration) {
        match register {
            1 => {
                // The last conversion before a shutdown stays readable.
                if self.running() {
                    self.convert(now);
                }
                self.configuration = value & WRITABLE;
                if value & ONE_SHOT != 0 && !self.running() {
                    self.convert(now);
                }
            }
            2 | 3 => self.limits[usize::from(register - 2)] = value,
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

    fn bus(celsius: f64) -> SimBus {
        bus_with(ADDRESS, Tmp102::device(Environment::constant(&[(Quantity::Temperature, celsius)])))
    }

    #[test]
    fn registers_have_their_power_up_values() {
        let mut bus = bus(0.0);
        let got: Vec<u16> = (0..4).map(|pointer| register(&mut bus, pointer)).collect();
        assert_eq!(got, [0, 0x60a0, 0x4b00, 0x5000]);
    }

    #[test]
    fn temperatures_are_coded_as_the_datasheet_says() {
        // Table 7-2 (12 bits) and table 7-3 (13 bits).
        let table = [
            (125.0, 0x7d00, 0x3e81),
            (100.0, 0x6400, 0x3201),
            (25.0, 0x1900, 0x0c81),
            (0.25, 0x0040, 0x0021),
            (0.0, 0x0000, 0x0001),
            (-0.25, 0xffc0, 0xffe1),
            (-25.0, 0xe700, 0xf381),
            (f64::INFINITY, 0x7ff0, 0x7ff9),
        ];
        for (celsius, twelve, thirteen) in table {
            let mut bus = bus(celsius);
            assert_eq!(register(&mut bus, 0), twelve, "{celsius}");
            bus.write(ADDRESS, &[1, 0x60, 0xb0]).unwrap();
            assert_eq!(register(&mut bus, 0), thirteen, "{celsius}");
        }
    }

    #[test]
    fn shut_down_it_converts_when_asked_to() {
        let mut celsius = 20.0;
        let mut bus = bus(0.0);
        let warmer = move |_, _| {
            celsius += 1.0;
            celsius
        };
        bus.attach(ADDRESS, Tmp102::device(Environment::new(warmer)));
        bus.write(ADDRESS, &[1, 0x61, 0xa0]).unwrap();
        assert_eq!([register(&mut bus, 0), register(&mut bus, 0)], [0x1500; 2]);
        bus.write(ADDRESS, &[1, 0xe1, 0xa0]).unwrap();
        assert_eq!(register(&mut bus, 1) & 0x8000, 0x8000);
        assert_eq!([register(&mut bus, 0), register(&mut bus, 0)], [0x1600; 2]);
    }
}
