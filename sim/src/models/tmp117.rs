//! A register-level model of the TMP117.
//!
//! Datasheet: Texas Instruments SNOSD82, "TMP117 high-accuracy, low-power, digital temperature sensor", sections 7.4
//! (continuous, one-shot and shutdown mode; conversion cycles by CONV and AVG) and 7.6 (register map with reset
//! values). The result is -256 °C until the first conversion has ended.
//!
//! Not modelled: the alert pin and its two flags; programming of the EEPROM (its registers keep the written values
//! while they have power, and the unlock register keeps its bit). Left open by the datasheet: a change of the cycle's
//! length counts from the end of the last conversion.

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::{Environment, steps};
use super::register_map::{RegisterMap, Registers};
use crate::bus::Device;

/// Resolution, in °C.
pub const LSB: f64 = 0.007_812_5;
/// Minimum temperature, in °C.
pub const MIN: f64 = -55.0;
/// Maximum temperature, in °C.
pub const MAX: f64 = 150.0;

/// Continuous conversions once per second, with eight averages.
const CONFIGURATION: u16 = 0x0220;
/// 192 °C, -256 °C.
const LIMITS: [u16; 2] = [0x6000, 0x8000];
const DEVICE_ID: u16 = 0x0117;
const NO_RESULT: u16 = 0x8000;

const DATA_READY: u16 = 1 << 13;
const SOFT_RESET: u16 = 1 << 1;
/// Bits of the configuration that can be written and keep their value: modes, cycle, averages, and the alert pin's
/// function.
const WRITABLE: u16 = 0x0ffc;
const SHUTDOWN: u16 = 0b01;
const ONE_SHOT: u16 = 0b11;

/// Duration of a soft reset.
const RESET: Duration = Duration::from_millis(2);

/// Model of a TMP117.
#[derive(Debug)]
pub struct Tmp117 {
    environment: Environment,
    configuration: u16,
    result: u16,
    ready: bool,
    /// End of the conversion in progress, if any.
    due: Option<Duration>,
    limits: [u16; 2],
    unlock: u16,
    /// EEPROM1, EEPROM2, EEPROM3 and the offset between them, registers 05 to 08.
    memory: [u16; 4],
}

impl Tmp117 {
    /// Creates a chip that was powered up long ago, ready for a bus.
    pub fn device(environment: Environment) -> Registers<Tmp117> {
        Registers::of(Tmp117 {
            environment,
            configuration: CONFIGURATION,
            result: NO_RESULT,
            ready: false,
            due: Some(Duration::ZERO),
            limits: LIMITS,
            unlock: 0,
            memory: [0; 4],
        })
    }

    fn reset(&mut self, now: Duration) {
        self.configuration = CONFIGURATION;
        (self.result, self.ready, self.limits, self.unlock) = (NO_RESULT, false, LIMITS, 0);
        self.due = Some(now + RESET + self.active());
    }

    fn mode(&self) -> u16 {
        (self.configuration >> 10) & 0b11
    }

    /// Returns the time that the averages of one result take: table 7-2 without standby.
    fn active(&self) -> Duration {
        let averages = [1, 8, 32, 64][usize::from((self.configuration >> 5) & 0b11)];
        Duration::from_micros(15_500) * averages
    }

    /// Returns the time from one result to the next: table 7-2.
    fn cycle(&self) -> Duration {
        let shortest = [15_500, 125_000, 250_000, 500_000, 1_000_000, 4_000_000, 8_000_000, 16_000_000]
            [usize::from((self.configuration >> 7) & 0b111)];
        Duration::from_micros(shortest).max(self.active())
    }

    /// Advances the state to `now`.
    fn advance(&mut self, now: Duration) {
        let Some(_) = self.due.filter(|due| *due <= now) else { return };
        let celsius = self.environment.at(Quantity::Temperature, now);
        let offset = self.memory[2].cast_signed();
        let steps = steps(celsius, LSB, [MIN, MAX], [i16::MIN.into(), i16::MAX.into()]) + i32::from(offset);
        self.result = (steps.clamp(i16::MIN.into(), i16::MAX.into()) as i16).cast_unsigned();
        self.ready = true;
        self.due = match self.mode() {
            SHUTDOWN => None,
            ONE_SHOT => {
                self.configuration = (self.configuration & !(0b11 << 10)) | (SHUTDOWN << 10);
                None
            }
            _ => Some(now + self.cycle()),
        };
    }
}

impl Model for Tmp117 {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Tmp117::device(environment))
    }
}

impl RegisterMap for Tmp117 {
    const POINTER_BITS: u8 = 0x0f;

    fn power_up(&mut self, now: Duration) {
        self.memory = [0; 4];
        self.reset(now);
    }

    fn read(&mut self, register: u8, now: Duration) -> u16 {
        self.advance(now);
        match register {
            0 => {
                self.ready = false;
                self.result
            }
            1 => {
                let ready = if std::mem::take(&mut self.ready) { DATA_READY } else { 0 };
                self.configuration | ready
            }
            2 | 3 => self.limits[usize::from(register - 2)],
            4 => self.unlock,
            5..=8 => self.memory[usize::from(register - 5)],
            0xf => DEVICE_ID,
            _ => 0,
        }
    }

    fn write(&mut self, register: u8, value: u16, now: Duration) {
        self.advance(now);
        match register {
            1 if value & SOFT_RESET != 0 => self.reset(now),
            1 => {
                let was = self.mode();
                self.configuration = value & WRITABLE;
                self.due = match self.mode() {
                    SHUTDOWN => None,
                    // Writing the same mode again starts another conversion.
                    ONE_SHOT => Some(now + self.active()),
                    _ if was == SHUTDOWN || was == ONE_SHOT => Some(now + self.active()),
                    _ => self.due,
                };
            }
            2 | 3 => self.limits[usize::from(register - 2)] = value,
            4 => self.unlock = value & 0x8000,
            5..=8 => self.memory[usize::from(register - 5)] = value,
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
        bus_with(ADDRESS, Tmp117::device(Environment::constant(&[(Quantity::Temperature, celsius)])))
    }

    #[test]
    fn registers_have_their_reset_values() {
        let mut bus = bus(25.0);
        bus.set_fault(ADDRESS, Some(crate::BusFault::NoAcknowledge));
        bus.set_fault(ADDRESS, None);
        let table = [(0, 0x8000), (1, 0x0220), (2, 0x6000), (3, 0x8000), (4, 0), (7, 0), (0xf, 0x0117)];
        for (pointer, want) in table {
            assert_eq!(register(&mut bus, pointer), want, "{pointer}");
        }
    }

    #[test]
    fn temperatures_are_coded_as_the_datasheet_says() {
        // Table 7-1.
        let table = [
            (-25.0, 0xf380),
            (-0.1250, 0xfff0),
            (-0.007_812_5, 0xffff),
            (0.0, 0x0000),
            (0.007_812_5, 0x0001),
            (0.1250, 0x0010),
            (1.0, 0x0080),
            (25.0, 0x0c80),
            (100.0, 0x3200),
            (1e9, 0x4b00),
            (f64::INFINITY, 0x7fff),
            (f64::NEG_INFINITY, 0x8000),
        ];
        for (celsius, want) in table {
            assert_eq!(register(&mut bus(celsius), 0), want, "{celsius}");
        }
    }

    #[test]
    fn a_one_shot_takes_its_time_and_ends_in_shutdown() {
        let mut bus = bus(25.0);
        assert_eq!(register(&mut bus, 0), 0x0c80);
        // One shot, no averages.
        bus.write(ADDRESS, &[1, 0x0c, 0x00]).unwrap();
        bus.clock().advance(Duration::from_millis(10));
        assert_eq!(register(&mut bus, 1), 0x0c00);
        bus.clock().advance(Duration::from_millis(6));
        assert_eq!(register(&mut bus, 1), 0x2400, "ready, and shut down");
        assert_eq!(register(&mut bus, 1), 0x0400, "reading the configuration clears the flag");
        assert_eq!(register(&mut bus, 0), 0x0c80);
    }

    #[test]
    fn there_is_no_result_before_the_first_conversion_after_a_reset() {
        let mut bus = bus(25.0);
        bus.write(ADDRESS, &[1, 0, 2]).unwrap();
        assert_eq!(register(&mut bus, 0), 0x8000);
        bus.clock().advance(Duration::from_millis(127));
        assert_eq!(register(&mut bus, 0), 0x0c80);
    }

    #[test]
    fn an_offset_moves_the_result() {
        let mut bus = bus(25.0);
        bus.write(ADDRESS, &[7, 0xff, 0x80]).unwrap();
        bus.clock().advance(Duration::from_secs(2));
        assert_eq!(register(&mut bus, 0), 0x0c00, "one degree less");
    }
}
