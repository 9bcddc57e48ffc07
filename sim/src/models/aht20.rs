//! A register-level model of the AHT20.
//!
//! Datasheet: ASAIR "AHT20 product manuals", section 5.3 (status, initialisation 0xbe, trigger 0xac, soft reset 0xba,
//! data of 20 bits each with a checksum) and 6 (conversion). A measurement takes 80 ms, during which the status is
//! busy.
//!
//! Choices that the datasheet leaves open: bytes after an unknown command are ignored; a measurement without the
//! initialisation works; reads of more than seven bytes return ones. The calibrated bit is set after power-up, as in
//! chips on the market. Not modelled: the calibration by the initialisation.

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::{Environment, steps};
use super::sensirion::{Response, crc8};
use crate::bus::{Answer, Device, Direction};

/// Measuring range, in °C.
pub const TEMPERATURE: [f64; 2] = [-40.0, 85.0];
/// Measuring range, in %.
pub const HUMIDITY: [f64; 2] = [0.0, 100.0];
/// Resolution, in °C.
pub const TEMPERATURE_LSB: f64 = 200.0 / 1_048_576.0;
/// Resolution, in %.
pub const HUMIDITY_LSB: f64 = 100.0 / 1_048_576.0;

const BUSY: u8 = 1 << 7;
const READY: u8 = 0x18;
const FULL: i32 = (1 << 20) - 1;
const MEASURING_TIME: Duration = Duration::from_millis(80);
const RESET_TIME: Duration = Duration::from_millis(20);

/// Model of an AHT20.
#[derive(Debug)]
pub struct Aht20 {
    environment: Environment,
    /// Packed humidity and temperature.
    data: [u8; 5],
    /// End of the measurement in progress.
    due: Option<Duration>,
    /// The chip does not acknowledge before this time.
    resetting: Duration,
    command: [u8; 3],
    position: usize,
    now: Duration,
    response: Response,
}

impl Aht20 {
    /// Creates a chip that was powered up long ago.
    pub fn new(environment: Environment) -> Aht20 {
        Aht20 {
            environment,
            data: [0; 5],
            due: None,
            resetting: Duration::ZERO,
            command: [0; 3],
            position: 0,
            now: Duration::ZERO,
            response: Response::default(),
        }
    }

    fn measure(&mut self) {
        let celsius = self.environment.at(Quantity::Temperature, self.now);
        let percent = self.environment.at(Quantity::Humidity, self.now);
        let range = TEMPERATURE.map(|celsius| celsius + 50.0);
        let temperature = steps(celsius + 50.0, TEMPERATURE_LSB, range, [0, FULL]);
        let humidity = steps(percent, HUMIDITY_LSB, HUMIDITY, [0, FULL]);
        let packed = (i64::from(humidity) << 20) | i64::from(temperature);
        let [_, _, _, data @ ..] = packed.to_be_bytes();
        self.data = data;
    }

    fn reset(&mut self, now: Duration) {
        (self.data, self.due, self.resetting) = ([0; 5], None, now + RESET_TIME);
    }
}

impl Model for Aht20 {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Aht20::new(environment))
    }
}

impl Device for Aht20 {
    fn power_up(&mut self, now: Duration) {
        self.reset(now);
    }

    fn start(&mut self, direction: Direction, now: Duration) -> Answer {
        (self.now, self.position) = (now, 0);
        if now < self.resetting {
            return Answer::Refuse;
        }
        if self.due.is_some_and(|due| due <= now) {
            self.due = None;
            self.measure();
        }
        if direction == Direction::Read {
            let status = READY | if self.due.is_some() { BUSY } else { 0 };
            let mut bytes = vec![status];
            bytes.extend_from_slice(&self.data);
            bytes.push(crc8(&bytes));
            self.response = Response::bytes(bytes);
        }
        Answer::Acknowledge
    }

    fn write(&mut self, byte: u8) -> bool {
        if let Some(place) = self.command.get_mut(self.position) {
            *place = byte;
        }
        self.position = self.position.saturating_add(1);
        match (self.position, self.command) {
            (3, [0xac, 0x33, 0x00]) => self.due = Some(self.now + MEASURING_TIME),
            (1, [0xba, ..]) => self.reset(self.now),
            _ => {}
        }
        true
    }

    fn read(&mut self) -> u8 {
        self.response.next()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bus_with;
    use super::*;
    use embedded_hal::i2c::I2c;

    #[test]
    fn a_measurement_keeps_it_busy_for_80_ms_and_has_a_checksum() {
        let around = [(Quantity::Temperature, 25.0), (Quantity::Humidity, 50.0)];
        let mut bus = bus_with(0x38, Aht20::new(Environment::constant(&around)));
        let mut bytes = [0; 7];
        bus.write(0x38, &[0xac, 0x33, 0x00]).unwrap();
        bus.read(0x38, &mut bytes[..1]).unwrap();
        assert_eq!(bytes[0], 0x98);
        bus.clock().advance(Duration::from_millis(80));
        bus.read(0x38, &mut bytes).unwrap();
        // A half and three eighths of 2^20.
        assert_eq!(bytes[..6], [0x18, 0x80, 0x00, 0x06, 0x00, 0x00]);
        assert_eq!(bytes[6], crc8(&bytes[..6]));
    }

    #[test]
    fn it_does_not_answer_while_it_resets() {
        let mut bus = bus_with(0x38, Aht20::new(Environment::constant(&[])));
        bus.write(0x38, &[0xba]).unwrap();
        assert!(bus.read(0x38, &mut [0]).is_err());
        bus.clock().advance(Duration::from_millis(20));
        bus.read(0x38, &mut [0]).unwrap();
    }
}
