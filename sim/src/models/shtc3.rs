//! A register-level model of the SHTC3.
//!
//! Datasheet: Sensirion "SHTC3", sections 5.1 to 5.11: sleep and wake-up, measurement commands (temperature or humidity
//! first, normal or low power, with and without clock stretching), soft reset, identity, checksum, conversion (of 65536
//! steps), and table 5 (the longest durations). While asleep it accepts "wake up" only.
//!
//! Choices that the datasheet leaves open: an unknown command is not acknowledged.

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::Environment;
use super::sensirion::{Response, code};
use crate::bus::{Answer, Device, Direction};

/// Measuring range, in °C.
pub const TEMPERATURE: [f64; 2] = [-40.0, 125.0];
/// Measuring range, in %.
pub const HUMIDITY: [f64; 2] = [0.0, 100.0];

const WAKE_UP: u16 = 0x3517;
/// Bits 11 and 5 to 0 identify an SHTC3.
const ID: u16 = 0x0887;
/// Duration of wake-up, reset and power-up.
const START_UP: Duration = Duration::from_micros(240);

/// A measurement in progress.
#[derive(Clone, Copy, Debug)]
struct Measuring {
    humidity_first: bool,
    stretches: bool,
}

/// Model of an SHTC3.
#[derive(Debug)]
pub struct Shtc3 {
    environment: Environment,
    asleep: bool,
    /// The chip does not acknowledge, or stretches the clock, before this time.
    busy: Duration,
    measuring: Option<Measuring>,
    command: u16,
    position: usize,
    now: Duration,
    response: Response,
}

impl Shtc3 {
    /// Creates a chip that was powered up long ago, awake.
    pub fn new(environment: Environment) -> Shtc3 {
        Shtc3 {
            environment,
            asleep: false,
            busy: Duration::ZERO,
            measuring: None,
            command: 0,
            position: 0,
            now: Duration::ZERO,
            response: Response::default(),
        }
    }

    fn measure(&mut self, humidity_first: bool) {
        let celsius = self.environment.at(Quantity::Temperature, self.now);
        let percent = self.environment.at(Quantity::Humidity, self.now);
        let temperature = code(celsius, -45.0, 175.0, 65_536.0, TEMPERATURE);
        let humidity = code(percent, 0.0, 100.0, 65_536.0, HUMIDITY);
        let words = if humidity_first { [humidity, temperature] } else { [temperature, humidity] };
        self.response = Response::words(&words);
    }

    fn execute(&mut self, command: u16) -> bool {
        if self.asleep && command != WAKE_UP {
            return false;
        }
        let (low_power, humidity_first, stretches) = match command {
            0x7ca2 => (false, false, true),
            0x5c24 => (false, true, true),
            0x7866 => (false, false, false),
            0x58e0 => (false, true, false),
            0x6458 => (true, false, true),
            0x44de => (true, true, true),
            0x609c => (true, false, false),
            0x401a => (true, true, false),
            WAKE_UP => {
                (self.asleep, self.busy) = (false, self.now + START_UP);
                return true;
            }
            0xb098 => {
                (self.asleep, self.response) = (true, Response::default());
                return true;
            }
            0x805d => {
                (self.busy, self.response) = (self.now + START_UP, Response::default());
                return true;
            }
            0xefc8 => {
                self.response = Response::words(&[ID]);
                return true;
            }
            _ => return false,
        };
        self.busy = self.now + Duration::from_micros(if low_power { 800 } else { 12_100 });
        self.measuring = Some(Measuring { humidity_first, stretches });
        self.response = Response::default();
        true
    }
}

impl Model for Shtc3 {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Shtc3::new(environment))
    }
}

impl Device for Shtc3 {
    fn power_up(&mut self, now: Duration) {
        (self.asleep, self.busy, self.measuring) = (false, now + START_UP, None);
        self.response = Response::default();
    }

    fn start(&mut self, direction: Direction, now: Duration) -> Answer {
        (self.now, self.position) = (now, 0);
        let left = self.busy.saturating_sub(now);
        if !left.is_zero() {
            let stretches = self.measuring.is_some_and(|measuring| measuring.stretches);
            if !(stretches && direction == Direction::Read) {
                return Answer::Refuse;
            }
        }
        if let Some(Measuring { humidity_first, .. }) = self.measuring.take() {
            self.measure(humidity_first);
        }
        self.busy = Duration::ZERO;
        self.response.start(direction, left)
    }

    fn write(&mut self, byte: u8) -> bool {
        self.position = self.position.saturating_add(1);
        match self.position {
            1 => {
                self.command = u16::from(byte) << 8;
                true
            }
            2 => self.execute(self.command | u16::from(byte)),
            _ => true,
        }
    }

    fn read(&mut self) -> u8 {
        self.response.next()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bus_with;
    use super::*;
    use crate::bus::{SimBus, SimError};
    use embedded_hal::i2c::I2c;

    const ADDRESS: u8 = 0x70;

    fn bus() -> SimBus {
        let around = [(Quantity::Temperature, 25.0), (Quantity::Humidity, 50.0)];
        bus_with(ADDRESS, Shtc3::new(Environment::constant(&around)))
    }

    #[test]
    fn asleep_it_only_wakes_up() {
        let mut bus = bus();
        bus.write(ADDRESS, &[0xb0, 0x98]).unwrap();
        assert_eq!(bus.write(ADDRESS, &[0x78, 0x66]), Err(SimError::Refused));
        bus.write(ADDRESS, &[0x35, 0x17]).unwrap();
        bus.write(ADDRESS, &[0x78, 0x66]).unwrap();
    }

    #[test]
    fn words_come_in_the_order_that_was_asked_for() {
        for (command, want) in [([0x78, 0x66], [0x66, 0x80]), ([0x58, 0xe0], [0x80, 0x66])] {
            let (mut bus, mut bytes) = (bus(), [0; 6]);
            bus.write(ADDRESS, &command).unwrap();
            assert_eq!(bus.read(ADDRESS, &mut bytes), Err(SimError::NoAcknowledge));
            bus.clock().advance(Duration::from_millis(12));
            bus.read(ADDRESS, &mut bytes).unwrap();
            assert_eq!([bytes[0], bytes[3]], want);
        }
    }

    #[test]
    fn a_stretched_clock_waits_for_the_result() {
        let (mut bus, mut bytes) = (bus(), [0; 6]);
        bus.write_read(ADDRESS, &[0x7c, 0xa2], &mut bytes).unwrap();
        assert!(bus.clock().now() >= Duration::from_millis(12));
        assert_eq!(bytes[0], 0x66);
    }

    #[test]
    fn its_identity_says_shtc3() {
        let (mut bus, mut bytes) = (bus(), [0; 3]);
        bus.write_read(ADDRESS, &[0xef, 0xc8], &mut bytes).unwrap();
        assert_eq!(u16::from_be_bytes([bytes[0], bytes[1]]) & 0x083f, 0x0807);
    }
}
