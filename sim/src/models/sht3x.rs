//! A register-level model of the SHT30, SHT31 and SHT35.
//!
//! Datasheet: Sensirion "SHT3x-DIS", sections 4.3 (single shot, with and without clock stretching), 4.5 to 4.8
//! (periodic measurement, fetch, ART, break), 4.9 (resets), 4.10 (heater), 4.11 (status), 4.12 (checksum), 4.13
//! (conversion), and table 4 (the longest durations at 3.3 V).
//!
//! Choices that the datasheet leaves open: an unknown command is not acknowledged, and sets the command bit of the
//! status; bytes after a command are ignored. Not modelled: alert limits, the general call reset, self-heating, a
//! checksum sent with a command.

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

/// The alert and reset bits.
const STATUS_AT_POWER_UP: u16 = 0x8010;
const HEATER: u16 = 1 << 13;
const UNKNOWN_COMMAND: u16 = 1 << 1;
/// Bits that "clear status" clears.
const CLEARED: u16 = 0x8c10;
const RESET_TIME: Duration = Duration::from_micros(1_500);

/// High, medium and low repeatability.
const DURATIONS: [Duration; 3] =
    [Duration::from_millis(15), Duration::from_millis(6), Duration::from_millis(4)];

#[derive(Debug)]
enum State {
    Idle,
    /// A single shot, ready at that time; it may stretch the clock until then.
    Shot {
        ready: Duration,
        stretches: bool,
    },
    /// Periodic measurement; the next result is ready at that time.
    Periodic {
        next: Duration,
        every: Duration,
        takes: Duration,
    },
}

/// Model of an SHT3x.
#[derive(Debug)]
pub struct Sht3x {
    environment: Environment,
    state: State,
    /// The chip does not acknowledge before this time.
    resetting: Duration,
    status: u16,
    command: u16,
    /// Bytes since the last start.
    position: usize,
    now: Duration,
    response: Response,
}

impl Sht3x {
    /// Creates a chip that was powered up long ago.
    pub fn new(environment: Environment) -> Sht3x {
        Sht3x {
            environment,
            state: State::Idle,
            resetting: Duration::ZERO,
            status: STATUS_AT_POWER_UP,
            command: 0,
            position: 0,
            now: Duration::ZERO,
            response: Response::default(),
        }
    }

    fn measure(&mut self) {
        let celsius = self.environment.at(Quantity::Temperature, self.now);
        let percent = self.environment.at(Quantity::Humidity, self.now);
        let temperature = code(celsius, -45.0, 175.0, 65_535.0, TEMPERATURE);
        let humidity = code(percent, 0.0, 100.0, 65_535.0, HUMIDITY);
        self.response = Response::words(&[temperature, humidity]);
    }

    fn reset(&mut self) {
        self.state = State::Idle;
        self.status = STATUS_AT_POWER_UP;
        self.response = Response::default();
        self.resetting = self.now + RESET_TIME;
    }

    fn shot(&mut self, repeatability: usize, stretches: bool) {
        let takes = DURATIONS[repeatability];
        self.response = Response::default();
        self.state = State::Shot { ready: self.now + takes, stretches };
    }

    fn periodic(&mut self, every: Duration, repeatability: usize) {
        let takes = DURATIONS[repeatability];
        self.response = Response::default();
        self.state = State::Periodic { next: self.now + takes, every, takes };
    }

    /// Executes a complete command; returns false if it is unknown.
    fn execute(&mut self, command: u16) -> bool {
        let [high, low] = command.to_be_bytes();
        match (high, low) {
            (0x2c, 0x06) => self.shot(0, true),
            (0x2c, 0x0d) => self.shot(1, true),
            (0x2c, 0x10) => self.shot(2, true),
            (0x24, 0x00) => self.shot(0, false),
            (0x24, 0x0b) => self.shot(1, false),
            (0x24, 0x16) => self.shot(2, false),
            (0x2b, 0x32) => self.periodic(Duration::from_millis(250), 0),
            (0x20..=0x23 | 0x27, _) => {
                let (millis, lows) = match high {
                    0x20 => (2_000, [0x32, 0x24, 0x2f]),
                    0x21 => (1_000, [0x30, 0x26, 0x2d]),
                    0x22 => (500, [0x36, 0x20, 0x2b]),
                    0x23 => (250, [0x34, 0x22, 0x29]),
                    _ => (100, [0x37, 0x21, 0x2a]),
                };
                let Some(repeatability) = lows.iter().position(|known| *known == low) else { return false };
                self.periodic(Duration::from_millis(millis), repeatability);
            }
            (0xe0, 0x00) => self.fetch(),
            (0x30, 0x93) => self.state = State::Idle,
            (0x30, 0xa2) => self.reset(),
            (0x30, 0x6d) => self.status |= HEATER,
            (0x30, 0x66) => self.status &= !HEATER,
            (0x30, 0x41) => self.status &= !CLEARED,
            (0xf3, 0x2d) => self.response = Response::words(&[self.status]),
            _ => return false,
        }
        true
    }

    /// Provides the result of the periodic measurement, once.
    fn fetch(&mut self) {
        self.response = Response::default();
        if let State::Periodic { next, every, takes } = self.state
            && next <= self.now
        {
            self.measure();
            self.state = State::Periodic { next: self.now + every.max(takes), every, takes };
        }
    }
}

impl Model for Sht3x {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Sht3x::new(environment))
    }
}

impl Device for Sht3x {
    fn power_up(&mut self, now: Duration) {
        self.now = now;
        self.reset();
    }

    fn start(&mut self, direction: Direction, now: Duration) -> Answer {
        (self.now, self.position) = (now, 0);
        if now < self.resetting {
            return Answer::Refuse;
        }
        let mut left = Duration::ZERO;
        if let State::Shot { ready, stretches } = self.state {
            left = ready.saturating_sub(now);
            let waits = stretches && direction == Direction::Read;
            if !left.is_zero() && !waits {
                return Answer::Refuse;
            }
            self.state = State::Idle;
            self.measure();
        }
        self.response.start(direction, left)
    }

    fn write(&mut self, byte: u8) -> bool {
        self.position = self.position.saturating_add(1);
        match self.position {
            1 => {
                self.command = u16::from(byte) << 8;
                true
            }
            2 => {
                let known = self.execute(self.command | u16::from(byte));
                self.status =
                    if known { self.status & !UNKNOWN_COMMAND } else { self.status | UNKNOWN_COMMAND };
                known
            }
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

    const ADDRESS: u8 = 0x44;

    fn bus(celsius: f64, percent: f64) -> SimBus {
        let around = [(Quantity::Temperature, celsius), (Quantity::Humidity, percent)];
        bus_with(ADDRESS, Sht3x::new(Environment::constant(&around)))
    }

    fn millis(bus: &SimBus, millis: u64) {
        bus.clock().advance(Duration::from_millis(millis));
    }

    #[test]
    fn a_single_shot_refuses_to_be_read_before_it_is_ready() {
        let mut bus = bus(25.0, 50.0);
        let mut bytes = [0; 6];
        assert_eq!(bus.read(ADDRESS, &mut bytes), Err(SimError::NoAcknowledge), "nothing was asked for");
        bus.write(ADDRESS, &[0x24, 0x00]).unwrap();
        millis(&bus, 14);
        assert_eq!(bus.read(ADDRESS, &mut bytes), Err(SimError::NoAcknowledge));
        millis(&bus, 1);
        bus.read(ADDRESS, &mut bytes).unwrap();
        // (25 + 45) / 175 and 50 / 100 of 65535, with checksums.
        assert_eq!(bytes, [0x66, 0x66, 0x93, 0x80, 0x00, 0xa2]);
    }

    #[test]
    fn a_stretched_clock_waits_for_the_result() {
        let mut bus = bus(25.0, 50.0);
        let mut bytes = [0; 6];
        bus.write(ADDRESS, &[0x2c, 0x06]).unwrap();
        let before = bus.clock().now();
        bus.read(ADDRESS, &mut bytes).unwrap();
        assert_eq!(bytes[..2], [0x66, 0x66]);
        assert!(bus.clock().now() - before >= Duration::from_millis(15));
    }

    #[test]
    fn periodic_results_are_there_once_a_period_until_the_break() {
        let mut bus = bus(25.0, 50.0);
        let mut bytes = [0; 6];
        bus.write(ADDRESS, &[0x21, 0x30]).unwrap();
        for _ in 0..3 {
            assert_eq!(bus.write_read(ADDRESS, &[0xe0, 0x00], &mut bytes), Err(SimError::NoAcknowledge));
            millis(&bus, 1_000);
            bus.write_read(ADDRESS, &[0xe0, 0x00], &mut bytes).unwrap();
        }
        bus.write(ADDRESS, &[0x30, 0x93]).unwrap();
        millis(&bus, 1_000);
        assert_eq!(bus.write_read(ADDRESS, &[0xe0, 0x00], &mut bytes), Err(SimError::NoAcknowledge));
    }

    #[test]
    fn the_status_tells_of_resets_heater_and_unknown_commands() {
        let mut bus = bus(25.0, 50.0);
        let status = |bus: &mut SimBus| {
            let mut bytes = [0; 3];
            bus.write_read(ADDRESS, &[0xf3, 0x2d], &mut bytes).unwrap();
            u16::from_be_bytes([bytes[0], bytes[1]])
        };
        assert_eq!(status(&mut bus), 0x8010);
        bus.write(ADDRESS, &[0x30, 0x41]).unwrap();
        bus.write(ADDRESS, &[0x30, 0x6d]).unwrap();
        assert_eq!(status(&mut bus), 0x2000);
        assert_eq!(bus.write(ADDRESS, &[0x12, 0x34]), Err(SimError::Refused));
        // The status is read as it was before the command that reads it.
        assert_eq!(status(&mut bus), 0x2002);
        bus.write(ADDRESS, &[0x30, 0xa2]).unwrap();
        assert_eq!(bus.write(ADDRESS, &[0xf3, 0x2d]), Err(SimError::NoAcknowledge), "it resets");
        millis(&bus, 2);
        assert_eq!(status(&mut bus), 0x8010);
    }
}
