//! A register-level model of the MLX90614.
//!
//! Datasheet: Melexis 3901090614, "MLX90614 family", sections 8.3 (EEPROM and RAM), 8.4 (SMBus with its checksum, the
//! commands, the flags, sleep) and table 5 (start-up). The measured temperatures are those of the channels `object1`,
//! `object2` and `ambient`.
//!
//! Choices that the datasheet leaves open: an infinite temperature sets the error flag, or reads as 0; a byte after the
//! checksum reads as ones. Not modelled: the filters; the emissivity; writes to the EEPROM, which are acknowledged and
//! ignored; the PWM output; the end of the sleep by a pulse on the bus, which ends with a loss of power only.

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::{Environment, steps};
use super::sensirion::crc8_with;
use crate::bus::{Answer, Device, Direction};

/// Step of the temperatures, in kelvin.
const LSB: f64 = 0.02;
/// 0 °C, in kelvin.
const ZERO: f64 = 273.15;
/// Measuring ranges of the objects and of the chip, in °C.
const OBJECT: [f64; 2] = [-70.0, 380.0];
const AMBIENT: [f64; 2] = [-40.0, 125.0];
/// Error flag of a temperature.
const ERROR: i32 = 0x8000;

const FLAGS: u8 = 0xf0;
const SLEEP: u8 = 0xff;
/// Flag "initialised"; active low until the first measurement.
const INITIALISED: u16 = 1 << 4;
/// Time from power-up to the first measurement.
const START_UP: Duration = Duration::from_millis(250);

/// Model of an MLX90614.
#[derive(Debug)]
pub struct Mlx90614 {
    environment: Environment,
    address: u8,
    asleep: bool,
    /// Time of the first measurement.
    ready: Duration,
    command: u8,
    answer: [u8; 3],
    position: usize,
    now: Duration,
}

impl Mlx90614 {
    /// Creates a chip that was powered up long ago.
    pub fn new(environment: Environment) -> Mlx90614 {
        Mlx90614 {
            environment,
            address: 0x5a,
            asleep: false,
            ready: Duration::ZERO,
            command: 0,
            answer: [0xff; 3],
            position: 0,
            now: Duration::ZERO,
        }
    }

    fn temperature(&mut self, channel: &str, range: [f64; 2]) -> u16 {
        if self.now < self.ready {
            return 0;
        }
        let kelvin = self.environment.at_channel(channel, Quantity::Temperature, self.now) + ZERO;
        // At most sixteen bits.
        steps(kelvin, LSB, range.map(|celsius| celsius + ZERO), [0, ERROR]) as u16
    }

    fn register(&mut self) -> u16 {
        match self.command {
            0x06 => self.temperature("ambient", AMBIENT),
            0x07 => self.temperature("object1", OBJECT),
            0x08 => self.temperature("object2", OBJECT),
            // Limits of the PWM output, emissivity, configuration, address, identity.
            0x20 => 0x9993,
            0x21 => 0x62e3,
            0x22 => 0x0201,
            0x24 => 0xffff,
            0x25 => 0xb7f4,
            0x2e => 0xbe00 | u16::from(self.address),
            0x3c..=0x3f => 0x1a2b,
            FLAGS if self.now >= self.ready => INITIALISED,
            _ => 0,
        }
    }
}

/// Computes the checksum of SMBus.
fn pec(bytes: &[u8]) -> u8 {
    crc8_with(0x07, 0, bytes)
}

impl Model for Mlx90614 {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Mlx90614::new(environment))
    }
}

impl Device for Mlx90614 {
    fn set_address(&mut self, address: u8) {
        self.address = address;
    }

    fn power_up(&mut self, now: Duration) {
        (self.asleep, self.ready, self.command) = (false, now + START_UP, 0);
    }

    fn start(&mut self, direction: Direction, now: Duration) -> Answer {
        (self.now, self.position) = (now, 0);
        if self.asleep {
            return Answer::Refuse;
        }
        if direction == Direction::Read {
            let [low, high] = self.register().to_le_bytes();
            let address = self.address << 1;
            self.answer = [low, high, pec(&[address, self.command, address | 1, low, high])];
        }
        Answer::Acknowledge
    }

    fn write(&mut self, byte: u8) -> bool {
        match (self.position, self.command) {
            (0, _) => self.command = byte,
            (1, SLEEP) => self.asleep = byte == pec(&[self.address << 1, SLEEP]),
            // A write to the EEPROM is ignored.
            _ => {}
        }
        self.position = self.position.saturating_add(1);
        true
    }

    fn read(&mut self) -> u8 {
        let byte = self.answer.get(self.position).copied().unwrap_or(0xff);
        self.position = self.position.saturating_add(1);
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bus_with;
    use super::*;
    use crate::bus::SimBus;
    use embedded_hal::i2c::I2c;

    fn bus(address: u8) -> SimBus {
        let environment = Environment::with_channels(|channel, _, _| match channel {
            Some("object1") => 28.01,
            Some("ambient") => f64::INFINITY,
            _ => f64::NEG_INFINITY,
        });
        bus_with(address, Mlx90614::new(environment))
    }

    fn word(bus: &mut SimBus, command: u8) -> [u8; 3] {
        let mut bytes = [0; 3];
        bus.write_read(0x5a, &[command], &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn example_of_the_datasheet_is_read_with_its_checksum() {
        // Figure 8.
        assert_eq!(word(&mut bus(0x5a), 0x07), [0xd2, 0x3a, 0x30]);
    }

    #[test]
    fn infinite_temperatures_set_the_error_flag_or_read_as_zero() {
        let mut bus = bus(0x5a);
        assert_eq!(word(&mut bus, 0x06)[..2], [0x00, 0x80]);
        assert_eq!(word(&mut bus, 0x08)[..2], [0x00, 0x00]);
    }

    #[test]
    fn checksum_and_eeprom_contain_the_address() {
        let mut bus = bus(0x5b);
        let mut bytes = [0; 3];
        bus.write_read(0x5b, &[0x2e], &mut bytes).unwrap();
        assert_eq!(bytes, [0x5b, 0xbe, pec(&[0xb6, 0x2e, 0xb7, 0x5b, 0xbe])]);
    }

    #[test]
    fn sleeping_chip_does_not_answer_until_it_loses_its_power() {
        let mut bus = bus(0x5a);
        // Section 8.4.8: the checksum of the command is 0xe8.
        bus.write(0x5a, &[0xff, 0xe8]).unwrap();
        assert!(bus.write(0x5a, &[0x07]).is_err());
        bus.set_fault(0x5a, Some(crate::BusFault::NoAcknowledge));
        bus.set_fault(0x5a, None);
        assert_eq!(word(&mut bus, 0x07)[..2], [0, 0], "no measurement yet");
        assert_eq!(word(&mut bus, 0xf0)[..2], [0, 0]);
        bus.clock().advance(START_UP);
        assert_eq!(word(&mut bus, 0x07)[..2], [0xd2, 0x3a]);
        assert_eq!(word(&mut bus, 0xf0)[..2], [0x10, 0]);
    }
}
