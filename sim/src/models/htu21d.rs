//! A register-level model of the HTU21D.
//!
//! Datasheet: TE Connectivity HPC199, "HTU21D(F)", pages 10 to 15: commands, with and without clock stretching, user
//! register, soft reset, status bits, checksum, conversion, and the longest durations.
//!
//! Choices that the datasheet leaves open: an unknown command is not acknowledged; a measurement has the resolution of
//! the time at which it starts. Not modelled: the effect of the heater, the battery bit, and the serial number.

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::{Environment, steps};
use super::sensirion::{Response, crc8_with};
use crate::bus::{Answer, Device, Direction};

/// Measuring range, in °C.
const TEMPERATURE: [f64; 2] = [-40.0, 125.0];
/// Measuring range, in %.
const HUMIDITY: [f64; 2] = [0.0, 100.0];

/// User register after power-up: 12 bits of humidity, 14 of temperature, no OTP reload.
const REGISTER: u8 = 0x02;
/// Bits of the user register that can be written: resolution, heater, OTP reload.
const WRITABLE: u8 = 0b1000_0111;
/// Status bit of a humidity.
const IS_HUMIDITY: u16 = 0b10;
/// Duration of a reset or power-up.
const START_UP: Duration = Duration::from_millis(15);

/// Measurement in progress.
#[derive(Clone, Copy, Debug)]
struct Measuring {
    quantity: Quantity,
    stretches: bool,
}

/// Model of an HTU21D.
#[derive(Debug)]
pub struct Htu21d {
    environment: Environment,
    register: u8,
    /// The chip does not acknowledge, or stretches the clock, before this time.
    busy: Duration,
    measuring: Option<Measuring>,
    answer: Response,
    command: u8,
    position: usize,
    now: Duration,
}

impl Htu21d {
    /// Creates a chip that was powered up long ago.
    pub fn new(environment: Environment) -> Htu21d {
        Htu21d {
            environment,
            register: REGISTER,
            busy: Duration::ZERO,
            measuring: None,
            answer: Response::default(),
            command: 0,
            position: 0,
            now: Duration::ZERO,
        }
    }

    /// Returns the bits of humidity and temperature.
    fn bits(&self) -> [u32; 2] {
        match (self.register >> 7, self.register & 1) {
            (0, 0) => [12, 14],
            (0, _) => [8, 12],
            (_, 0) => [10, 13],
            _ => [11, 11],
        }
    }

    fn finish(&mut self, quantity: Quantity) {
        let value = self.environment.at(quantity, self.now);
        let [humidity_bits, temperature_bits] = self.bits();
        let code = match quantity {
            Quantity::Humidity => code(value, -6.0, 125.0, HUMIDITY, humidity_bits) | IS_HUMIDITY,
            _ => code(value, -46.85, 175.72, TEMPERATURE, temperature_bits),
        };
        let [high, low] = code.to_be_bytes();
        self.answer = Response::bytes(vec![high, low, crc8([high, low])]);
    }

    fn execute(&mut self, command: u8) -> bool {
        self.answer = Response::default();
        let (quantity, stretches) = match command {
            0xe3 => (Quantity::Temperature, true),
            0xe5 => (Quantity::Humidity, true),
            0xf3 => (Quantity::Temperature, false),
            0xf5 => (Quantity::Humidity, false),
            0xe6 => return true,
            0xe7 => {
                self.answer = Response::bytes(vec![self.register]);
                return true;
            }
            0xfe => {
                // The heater keeps its state.
                self.register = REGISTER | (self.register & 0b100);
                self.busy = self.now + START_UP;
                return true;
            }
            _ => return false,
        };
        self.busy = self.now + Duration::from_millis(if quantity == Quantity::Humidity { 16 } else { 50 });
        self.measuring = Some(Measuring { quantity, stretches });
        true
    }
}

/// Returns the code of `bits` bits nearest to `value` on a scale from `low` to `low + span`, in the upper bits of the
/// word. Finite values are clamped to `range`, infinite ones map to the first or last code.
fn code(value: f64, low: f64, span: f64, range: [f64; 2], bits: u32) -> u16 {
    let codes = 1 << bits;
    let steps = steps(value - low, span / f64::from(codes), range.map(|end| end - low), [0, codes - 1]);
    // At most sixteen bits.
    (steps << (16 - bits)) as u16
}

/// Computes the checksum of a word.
fn crc8(bytes: [u8; 2]) -> u8 {
    crc8_with(0x31, 0, &bytes)
}

impl Model for Htu21d {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Htu21d::new(environment))
    }
}

impl Device for Htu21d {
    fn power_up(&mut self, now: Duration) {
        (self.register, self.busy, self.measuring) = (REGISTER, now + START_UP, None);
        self.answer = Response::default();
    }

    fn start(&mut self, direction: Direction, now: Duration) -> Answer {
        (self.now, self.position) = (now, 0);
        let left = self.busy.saturating_sub(now);
        let stretches = self.measuring.is_some_and(|measuring| measuring.stretches);
        let waits = stretches && direction == Direction::Read;
        if !left.is_zero() && !waits {
            return Answer::Refuse;
        }
        if let Some(Measuring { quantity, .. }) = self.measuring.take() {
            self.finish(quantity);
        }
        self.busy = Duration::ZERO;
        self.answer.start(direction, left)
    }

    fn write(&mut self, byte: u8) -> bool {
        self.position = self.position.saturating_add(1);
        match (self.position, self.command) {
            (1, _) => {
                self.command = byte;
                self.execute(byte)
            }
            (2, 0xe6) => {
                self.register = (byte & WRITABLE) | (self.register & !WRITABLE);
                true
            }
            // Further bytes are ignored.
            _ => true,
        }
    }

    fn read(&mut self) -> u8 {
        self.answer.next()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bus_with;
    use super::*;
    use crate::bus::SimBus;
    use embedded_hal::i2c::I2c;

    const ADDRESS: u8 = 0x40;

    fn bus(celsius: f64, percent: f64) -> SimBus {
        let around = [(Quantity::Temperature, celsius), (Quantity::Humidity, percent)];
        bus_with(ADDRESS, Htu21d::new(Environment::constant(&around)))
    }

    #[test]
    fn measurement_without_stretching_is_refused_until_it_is_done() {
        let mut bus = bus(24.687, 54.8);
        for (command, millis, want) in [(0xf3, 50, 0x6838), (0xf5, 16, 0x7c82)] {
            let mut bytes = [0; 4];
            bus.write(ADDRESS, &[command]).unwrap();
            bus.clock().advance(Duration::from_millis(millis - 1));
            assert!(bus.read(ADDRESS, &mut bytes).is_err());
            bus.clock().advance(Duration::from_millis(1));
            bus.read(ADDRESS, &mut bytes).unwrap();
            assert_eq!(u16::from_be_bytes([bytes[0], bytes[1]]), want);
            assert_eq!([bytes[2], bytes[3]], [crc8([bytes[0], bytes[1]]), 0xff]);
        }
    }

    #[test]
    fn user_register_keeps_the_resolution_and_the_heater() {
        let mut bus = bus(25.0, 50.0);
        let mut register = [0];
        bus.write_read(ADDRESS, &[0xe7], &mut register).unwrap();
        assert_eq!(register, [0x02]);
        bus.write(ADDRESS, &[0xe6, 0xff]).unwrap();
        bus.write_read(ADDRESS, &[0xe7], &mut register).unwrap();
        assert_eq!(register, [0x87]);
        bus.write(ADDRESS, &[0xfe]).unwrap();
        bus.clock().advance(START_UP);
        bus.write_read(ADDRESS, &[0xe7], &mut register).unwrap();
        assert_eq!(register, [0x06], "the heater stays on");
    }

    #[test]
    fn codes_end_at_the_range_and_infinite_values_at_the_rail() {
        let temperature = |value| code(value, -46.85, 175.72, TEMPERATURE, 14);
        assert_eq!(
            [temperature(1e9), temperature(f64::INFINITY), temperature(f64::NEG_INFINITY)],
            [0xfa5c, 0xfffc, 0]
        );
    }
}
