//! A register-level model of the MCP9808.
//!
//! Datasheet: Microchip DS25095A, "MCP9808 ±0.5 °C maximum accuracy digital temperature sensor", section 5.1: pointer
//! (four bits), configuration (0001), three limits (0010 to 0100), ambient temperature (0101: three flags, sign, and
//! twelve bits in two's complement), manufacturer (0110), device (0111), resolution (1000, one byte).
//!
//! The chip converts continuously; the model converts only when the result is observable. Not modelled: the alert pin,
//! and its hysteresis (the flags compare without it); the lock bits have no effect.

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::{Environment, steps};
use super::register_map::{RegisterMap, Registers};
use crate::bus::Device;

/// Resolution after power-up, in °C.
pub const LSB: f64 = 0.0625;
/// Minimum temperature, in °C.
pub const MIN: f64 = -40.0;
/// Maximum temperature, in °C.
pub const MAX: f64 = 125.0;

const SHUTDOWN: u16 = 1 << 8;
const MANUFACTURER: u16 = 0x0054;
const DEVICE: u16 = 0x0400;
const FINEST: u8 = 0b11;

/// Model of an MCP9808.
#[derive(Debug)]
pub struct Mcp9808 {
    environment: Environment,
    configuration: u16,
    /// T_UPPER, T_LOWER and T_CRIT.
    limits: [u16; 3],
    /// Temperature in sixteenths of a degree.
    steps: i32,
    resolution: u8,
}

impl Mcp9808 {
    /// Creates a chip that was powered up long ago, ready for a bus.
    pub fn device(environment: Environment) -> Registers<Mcp9808> {
        Registers::of(Mcp9808 { environment, configuration: 0, limits: [0; 3], steps: 0, resolution: FINEST })
    }

    fn convert(&mut self, now: Duration) {
        if self.configuration & SHUTDOWN != 0 {
            return;
        }
        let celsius = self.environment.at(Quantity::Temperature, now);
        let coarser = FINEST - self.resolution;
        let full = 4096 >> coarser;
        let steps = steps(celsius, LSB * f64::from(1 << coarser), [MIN, MAX], [-full, full - 1]);
        self.steps = steps << coarser;
    }

    fn ambient(&self) -> u16 {
        let limit = |index: usize| {
            // Thirteen bits in two's complement, shifted up so that the sign is the top bit.
            i32::from((self.limits[index] << 3).cast_signed()) >> 3
        };
        let flag = |set: bool, bit: u16| if set { 1 << bit } else { 0 };
        let flags = flag(self.steps >= limit(2), 15)
            | flag(self.steps > limit(0), 14)
            | flag(self.steps < limit(1), 13);
        flags | ((self.steps as u16) & 0x1fff)
    }
}

impl Model for Mcp9808 {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Mcp9808::device(environment))
    }
}

impl RegisterMap for Mcp9808 {
    const POINTER_BITS: u8 = 0x0f;

    fn power_up(&mut self, _: Duration) {
        (self.configuration, self.limits, self.steps, self.resolution) = (0, [0; 3], 0, FINEST);
    }

    fn read(&mut self, register: u8, now: Duration) -> u16 {
        match register {
            1 => self.configuration,
            2..=4 => self.limits[usize::from(register - 2)],
            5 => {
                self.convert(now);
                self.ambient()
            }
            6 => MANUFACTURER,
            7 => DEVICE,
            8 => u16::from_be_bytes([self.resolution; 2]),
            _ => 0,
        }
    }

    fn write(&mut self, register: u8, value: u16, now: Duration) {
        match register {
            1 => {
                // The last conversion before a shutdown stays readable.
                self.convert(now);
                self.configuration = value & 0x07ff;
            }
            2..=4 => self.limits[usize::from(register - 2)] = value & 0x1ffc,
            _ => {}
        }
    }

    fn write_byte(&mut self, register: u8, value: u8, _: Duration) {
        if register == 8 {
            self.resolution = value & FINEST;
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
        bus_with(ADDRESS, Mcp9808::device(Environment::constant(&[(Quantity::Temperature, celsius)])))
    }

    #[test]
    fn registers_have_their_power_up_values() {
        let mut bus = bus(0.0);
        let got: Vec<u16> = (1..=8).map(|pointer| register(&mut bus, pointer)).collect();
        assert_eq!(got, [0, 0, 0, 0, 0x8000, 0x0054, 0x0400, 0x0303]);
    }

    #[test]
    fn temperatures_are_thirteen_bits_with_flags_above_them() {
        let table = [
            (25.25, 0xc194),
            (-0.0625, 0x3fff),
            (-25.25, 0x3e6c),
            (125.0, 0xc7d0),
            (f64::INFINITY, 0xcfff),
            (f64::NEG_INFINITY, 0x3000),
        ];
        for (celsius, want) in table {
            assert_eq!(register(&mut bus(celsius), 5), want, "{celsius}");
        }
    }

    #[test]
    fn a_coarser_resolution_drops_bits() {
        let mut bus = bus(25.3);
        for (resolution, want) in [(3, 0x0195), (2, 0x0194), (1, 0x0194), (0, 0x0198)] {
            bus.write(ADDRESS, &[8, resolution]).unwrap();
            assert_eq!(register(&mut bus, 5) & 0x0fff, want, "{resolution}");
        }
    }
}
