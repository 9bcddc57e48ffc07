//! A register-level model of the BH1750FVI.
//!
//! Datasheet: ROHM "BH1750FVI", instruction set and measurement flow charts: commands of one byte, a result of 16 bits
//! (lux = result / 1.2, times 69 / MTreg, halved in the modes called H-resolution 2), the longest measurement times
//! (180 ms, in low resolution 24 ms), which are proportional to MTreg.
//!
//! Choices that the datasheet leaves open: unknown commands are ignored; an MTreg outside 31 to 254 is clamped to this
//! range; a read beyond two bytes repeats them. Every 16-bit result is valid: none is out of range.

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::{Environment, steps};
use crate::bus::{Answer, Device, Direction};

/// Resolution at the default settings, in lux.
pub const LSB: f64 = 1.0 / 1.2;
/// Maximum at the default settings, in lux.
pub const MAX: f64 = 65_535.0 / 1.2;

const MEASURING_TIME: u8 = 69;

/// Model of a BH1750.
#[derive(Debug)]
pub struct Bh1750 {
    environment: Environment,
    powered: bool,
    /// Last measurement command.
    mode: u8,
    due: Option<Duration>,
    measuring_time: u8,
    result: u16,
    position: usize,
    now: Duration,
}

impl Bh1750 {
    /// Creates a chip that was powered up long ago: powered down, without a result.
    pub fn new(environment: Environment) -> Bh1750 {
        Bh1750 {
            environment,
            powered: false,
            mode: 0,
            due: None,
            measuring_time: MEASURING_TIME,
            result: 0,
            position: 0,
            now: Duration::ZERO,
        }
    }

    fn mtreg(&self) -> u32 {
        self.measuring_time.clamp(31, 254).into()
    }

    fn takes(&self) -> Duration {
        let longest = if self.mode & 0b11 == 0b11 { 24_000 } else { 180_000 };
        Duration::from_micros(longest) * self.mtreg() / u32::from(MEASURING_TIME)
    }

    /// Advances the state to `self.now`.
    fn advance(&mut self) {
        if self.due.is_none_or(|due| due > self.now) {
            return;
        }
        let lux = self.environment.at(Quantity::Illuminance, self.now);
        let mut step = LSB * f64::from(MEASURING_TIME) / f64::from(self.mtreg());
        if self.mode & 0b11 == 0b01 {
            step /= 2.0;
        }
        let mut result = steps(lux, step, [0.0, f64::MAX], [0, u16::MAX.into()]);
        if self.mode & 0b11 == 0b11 {
            // Low resolution: steps of 4 lux.
            result = result / 5 * 5;
        }
        // Clamped to 16 bits above.
        self.result = result as u16;
        let continuous = self.mode & 0b0001_0000 != 0;
        self.powered = continuous;
        self.due = continuous.then(|| self.now + self.takes());
    }

    fn execute(&mut self, command: u8) {
        match command {
            0x00 => (self.powered, self.due) = (false, None),
            0x01 => self.powered = true,
            0x07 if self.powered => self.result = 0,
            0x10 | 0x11 | 0x13 | 0x20 | 0x21 | 0x23 => {
                (self.powered, self.mode) = (true, command);
                self.due = Some(self.now + self.takes());
            }
            0x40..=0x47 => self.measuring_time = (self.measuring_time & 0b1_1111) | (command << 5),
            0x60..=0x7f => self.measuring_time = (self.measuring_time & 0b1110_0000) | (command & 0b1_1111),
            _ => {}
        }
    }
}

impl Model for Bh1750 {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Bh1750::new(environment))
    }
}

impl Device for Bh1750 {
    fn power_up(&mut self, _: Duration) {
        (self.powered, self.mode, self.due) = (false, 0, None);
        (self.measuring_time, self.result) = (MEASURING_TIME, 0);
    }

    fn start(&mut self, _: Direction, now: Duration) -> Answer {
        (self.now, self.position) = (now, 0);
        self.advance();
        Answer::Acknowledge
    }

    fn write(&mut self, byte: u8) -> bool {
        if self.position == 0 {
            self.execute(byte);
        }
        self.position = self.position.saturating_add(1);
        true
    }

    fn read(&mut self) -> u8 {
        let byte = self.result.to_be_bytes()[self.position % 2];
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

    fn read(bus: &mut SimBus) -> u16 {
        let mut bytes = [0; 2];
        bus.read(0x23, &mut bytes).unwrap();
        u16::from_be_bytes(bytes)
    }

    #[test]
    fn results_follow_mode_and_measuring_time() {
        let mut bus =
            bus_with(0x23, Bh1750::new(Environment::constant(&[(Quantity::Illuminance, 28_067.0)])));
        assert_eq!(read(&mut bus), 0);
        bus.write(0x23, &[0x20]).unwrap();
        bus.clock().advance(Duration::from_millis(170));
        assert_eq!(read(&mut bus), 0);
        bus.clock().advance(Duration::from_millis(11));
        // The datasheet's 0x8390 is 28067 lux.
        assert_eq!(read(&mut bus), 0x8390);
        bus.write(0x23, &[0x42]).unwrap();
        bus.write(0x23, &[0x6a]).unwrap();
        bus.write(0x23, &[0x10]).unwrap();
        bus.clock().advance(Duration::from_millis(300));
        // MTreg of 74: slightly more sensitive.
        assert_eq!(read(&mut bus), 36_121);
        bus.write(0x23, &[0x07]).unwrap();
        assert_eq!(read(&mut bus), 0);
    }
}
