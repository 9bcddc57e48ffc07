//! A register-level model of the SHT40, SHT41 and SHT45.
//!
//! Datasheet: Sensirion "SHT4x", sections 4.4 (checksum), 4.5 (commands of one byte), 4.6 (conversion), 4.7 (serial
//! number), 4.8 (reset), 4.9 (heater), and table 5 (the longest durations). There is no clock stretching: a read that
//! comes too early is not acknowledged.
//!
//! Choices that the datasheet leaves open: an unknown command is not acknowledged. Not modelled: the heater's effect on
//! the readings; it only takes its time.

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

const SERIAL: [u16; 2] = [0x0a7a, 0x1a7a];
const RESET_TIME: Duration = Duration::from_millis(1);

/// Model of an SHT4x.
#[derive(Debug)]
pub struct Sht4x {
    environment: Environment,
    /// The chip does not acknowledge before this time.
    busy: Duration,
    /// True if the chip measures when `busy` ends.
    measuring: bool,
    position: usize,
    now: Duration,
    response: Response,
}

impl Sht4x {
    /// Creates a chip that was powered up long ago.
    pub fn new(environment: Environment) -> Sht4x {
        Sht4x {
            environment,
            busy: Duration::ZERO,
            measuring: false,
            position: 0,
            now: Duration::ZERO,
            response: Response::default(),
        }
    }

    fn measure(&mut self) {
        let celsius = self.environment.at(Quantity::Temperature, self.now);
        let percent = self.environment.at(Quantity::Humidity, self.now);
        let temperature = code(celsius, -45.0, 175.0, 65_535.0, TEMPERATURE);
        let humidity = code(percent, -6.0, 125.0, 65_535.0, HUMIDITY);
        self.response = Response::words(&[temperature, humidity]);
    }

    fn execute(&mut self, command: u8) -> bool {
        let micros = match command {
            0xfd => 8_300,
            0xf6 => 4_500,
            0xe0 => 1_700,
            // The heater for a second or a tenth, then a measurement.
            0x39 | 0x2f | 0x1e => 1_108_300,
            0x32 | 0x24 | 0x15 => 118_300,
            0x89 => {
                self.response = Response::words(&SERIAL);
                return true;
            }
            0x94 => {
                (self.busy, self.response) = (self.now + RESET_TIME, Response::default());
                return true;
            }
            _ => return false,
        };
        (self.busy, self.measuring) = (self.now + Duration::from_micros(micros), true);
        self.response = Response::default();
        true
    }
}

impl Model for Sht4x {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Sht4x::new(environment))
    }
}

impl Device for Sht4x {
    fn power_up(&mut self, now: Duration) {
        (self.busy, self.measuring, self.response) = (now + RESET_TIME, false, Response::default());
    }

    fn start(&mut self, direction: Direction, now: Duration) -> Answer {
        (self.now, self.position) = (now, 0);
        if now < self.busy {
            return Answer::Refuse;
        }
        if std::mem::take(&mut self.measuring) {
            self.measure();
        }
        self.response.start(direction, Duration::ZERO)
    }

    fn write(&mut self, byte: u8) -> bool {
        self.position = self.position.saturating_add(1);
        self.position > 1 || self.execute(byte)
    }

    fn read(&mut self) -> u8 {
        self.response.next()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bus_with;
    use super::*;
    use crate::bus::SimError;
    use embedded_hal::i2c::I2c;

    #[test]
    fn a_measurement_is_there_after_its_time_and_humidity_has_room_below_zero() {
        let around = [(Quantity::Temperature, 130.0), (Quantity::Humidity, 0.0)];
        let mut bus = bus_with(0x44, Sht4x::new(Environment::constant(&around)));
        let mut bytes = [0; 6];
        assert_eq!(bus.write(0x44, &[0x00]), Err(SimError::Refused));
        bus.write(0x44, &[0xfd]).unwrap();
        bus.clock().advance(Duration::from_millis(8));
        assert_eq!(bus.read(0x44, &mut bytes), Err(SimError::NoAcknowledge));
        bus.clock().advance(Duration::from_millis(1));
        bus.read(0x44, &mut bytes).unwrap();
        // 170/175 and 6/125 of 65535.
        assert_eq!([bytes[0], bytes[1], bytes[3], bytes[4]], [0xf8, 0xaf, 0x0c, 0x4a]);
    }

    #[test]
    fn the_serial_number_comes_at_once() {
        let mut bus = bus_with(0x44, Sht4x::new(Environment::constant(&[])));
        let mut bytes = [0; 6];
        bus.write_read(0x44, &[0x89], &mut bytes).unwrap();
        assert_eq!([bytes[0], bytes[1], bytes[3], bytes[4]], [0x0a, 0x7a, 0x1a, 0x7a]);
    }
}
