//! A register-level model of the LM75 and of the TMP105. Attached to a [`crate::SimBus`] by [`crate::simulator`].
//!
//! Datasheets: Texas Instruments SNIS153, "LM75B, LM75C Digital Temperature Sensor", sections on the internal register
//! structure: pointer register (the low two bits of the first byte written), temperature (00, read only), configuration
//! (01), T_HYST (10) and T_OS (11), with their power-up values; bytes are sent most significant first. SBOS648,
//! "TMP105", section 7.5: the same registers, where bits 5 and 6 of the configuration select 9 to 12 bits and bit 7
//! starts one conversion during shutdown.
//!
//! Both chips convert continuously; the model converts only when the result is observable. Not modelled: the alert pin.

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::{Environment, steps};
use crate::bus::{Answer, Device, Direction};

/// Resolution of the LM75, and of the TMP105 after power-up, in °C.
pub const LSB: f64 = 0.5;
/// Minimum temperature of the LM75, in °C.
pub const MIN: f64 = -55.0;
/// Maximum temperature, in °C.
pub const MAX: f64 = 125.0;
/// Minimum temperature of the TMP105, in °C.
pub const TMP105_MIN: f64 = -40.0;

/// 75 °C, the power-up value.
const T_HYST: u16 = 0x4b00;
/// 80 °C, the power-up value.
const T_OS: u16 = 0x5000;
/// Shutdown bit of the configuration: the temperature register keeps its last value.
const SHUTDOWN: u8 = 0b0000_0001;
/// Resolution bits of the TMP105.
const RESOLUTION: u8 = 0b0110_0000;
/// One-shot bit of the TMP105; reads as zero.
const ONE_SHOT: u8 = 0b1000_0000;

/// Chip of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// LM75, LM75A, LM75B, LM75C.
    Lm75,
    /// TMP105.
    Tmp105,
}

/// Model of an LM75 or TMP105.
#[derive(Debug)]
pub struct Lm75 {
    family: Family,
    /// Queried once per conversion.
    environment: Environment,
    /// Register of the next byte read or written.
    pointer: u8,
    temperature: u16,
    configuration: u8,
    limits: [u16; 2],
    /// Bytes since the last start.
    position: usize,
    /// Data of the read in progress: a conversion that ends during a read must not mix two values.
    latched: u16,
    /// Time of the last start.
    now: Duration,
}

impl Lm75 {
    /// Creates a chip that was powered up long ago.
    pub fn new(family: Family, environment: Environment) -> Lm75 {
        Lm75 {
            family,
            environment,
            pointer: 0,
            temperature: 0,
            configuration: 0,
            limits: [T_HYST, T_OS],
            position: 0,
            latched: 0,
            now: Duration::ZERO,
        }
    }

    /// Returns the number of bits below the ninth in the registers.
    fn extra_bits(&self) -> u8 {
        match self.family {
            Family::Lm75 => 0,
            Family::Tmp105 => (self.configuration & RESOLUTION) >> 5,
        }
    }

    /// Converts the temperature, as the real chip does continuously.
    fn convert(&mut self) {
        let extra = self.extra_bits();
        let celsius = self.environment.at(Quantity::Temperature, self.now);
        let min = if self.family == Family::Lm75 { MIN } else { TMP105_MIN };
        let full = 256 << extra;
        let steps = steps(celsius, LSB / f64::from(1 << extra), [min, MAX], [-full, full - 1]);
        // At most twelve bits, so the shift loses none.
        self.temperature = (steps << (7 - extra)) as u16;
    }

    fn configure(&mut self, byte: u8) {
        let running = |configuration: u8| configuration & SHUTDOWN == 0;
        // The last conversion before a shutdown stays readable.
        if running(self.configuration) {
            self.convert();
        }
        match self.family {
            Family::Lm75 => self.configuration = byte & 0b0001_1111,
            Family::Tmp105 => {
                self.configuration = byte & !ONE_SHOT;
                if byte & ONE_SHOT != 0 && !running(byte) {
                    self.convert();
                }
            }
        }
    }

    /// Returns the register that a read sends, as 16 bits.
    fn register(&mut self) -> u16 {
        match self.pointer {
            0 => {
                if self.configuration & SHUTDOWN == 0 {
                    self.convert();
                }
                self.temperature
            }
            // The register has one byte, and a second read repeats it.
            1 => u16::from_be_bytes([self.configuration; 2]),
            2 => self.limits[0],
            _ => self.limits[1],
        }
    }

    /// Returns the implemented bits of the limits; the others read as zero.
    fn limit_bits(&self) -> u16 {
        match self.family {
            Family::Lm75 => 0xff80,
            Family::Tmp105 => 0xfff0,
        }
    }
}

impl Model for Lm75 {
    fn create(chip: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        let family = if chip == Chip::Tmp105 { Family::Tmp105 } else { Family::Lm75 };
        Box::new(Lm75::new(family, environment))
    }
}

impl Device for Lm75 {
    fn power_up(&mut self, _: Duration) {
        (self.pointer, self.temperature, self.configuration) = (0, 0, 0);
        self.limits = [T_HYST, T_OS];
    }

    fn start(&mut self, _: Direction, now: Duration) -> Answer {
        self.position = 0;
        self.now = now;
        Answer::Acknowledge
    }

    fn write(&mut self, byte: u8) -> bool {
        match (self.position, self.pointer) {
            // Bits 2 to 7 of the pointer must be zero; the chip decodes the others only.
            (0, _) => self.pointer = byte & 0b11,
            (1, 1) => self.configure(byte),
            (position @ (1 | 2), pointer @ (2 | 3)) => {
                let bits = self.limit_bits();
                let limit = &mut self.limits[usize::from(pointer - 2)];
                let [high, low] = limit.to_be_bytes();
                let bytes = if position == 1 { [byte, low] } else { [high, byte] };
                *limit = u16::from_be_bytes(bytes) & bits;
            }
            // The temperature is read-only, and bytes after a register are ignored.
            _ => {}
        }
        self.position = self.position.saturating_add(1);
        true
    }

    fn read(&mut self) -> u8 {
        if self.position == 0 {
            self.latched = self.register();
        }
        let byte = self.latched.to_be_bytes()[self.position % 2];
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

    const ADDRESS: u8 = 0x48;

    fn celsius_around(celsius: f64) -> Environment {
        Environment::constant(&[(Quantity::Temperature, celsius)])
    }

    fn bus(celsius: f64) -> SimBus {
        bus_with(ADDRESS, Lm75::new(Family::Lm75, celsius_around(celsius)))
    }

    fn register(bus: &mut SimBus, pointer: u8) -> [u8; 2] {
        let mut bytes = [0; 2];
        bus.write_read(ADDRESS, &[pointer], &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn registers_have_their_power_up_values() {
        let mut bus = bus(25.0);
        let mut bytes = [0; 2];
        bus.read(ADDRESS, &mut bytes).unwrap();
        assert_eq!(bytes, [0x19, 0x00], "the pointer starts at the temperature");
        assert_eq!(register(&mut bus, 1), [0x00, 0x00]);
        assert_eq!(register(&mut bus, 2), [0x4b, 0x00]);
        assert_eq!(register(&mut bus, 3), [0x50, 0x00]);
    }

    #[test]
    fn temperatures_are_coded_as_the_datasheet_says_and_end_at_its_range() {
        let table = [
            (125.0, [0x7d, 0x00]),
            (25.0, [0x19, 0x00]),
            (0.5, [0x00, 0x80]),
            (0.0, [0x00, 0x00]),
            (-0.5, [0xff, 0x80]),
            (-25.0, [0xe7, 0x00]),
            (-55.0, [0xc9, 0x00]),
            (0.3, [0x00, 0x80]),
            (0.2, [0x00, 0x00]),
            (1e9, [0x7d, 0x00]),
            (-1e9, [0xc9, 0x00]),
            // The ends of the nine-bit range.
            (f64::INFINITY, [0x7f, 0x80]),
            (f64::NEG_INFINITY, [0x80, 0x00]),
        ];
        for (celsius, want) in table {
            assert_eq!(register(&mut bus(celsius), 0), want, "{celsius}");
        }
    }

    #[test]
    fn limits_and_configuration_keep_what_is_written_as_far_as_bits_exist() {
        let mut bus = bus(25.0);
        bus.write(ADDRESS, &[1, 0xfe]).unwrap();
        assert_eq!(register(&mut bus, 1), [0x1e, 0x1e]);
        bus.write(ADDRESS, &[2, 0x12, 0xff]).unwrap();
        assert_eq!(register(&mut bus, 2), [0x12, 0x80]);
        bus.write(ADDRESS, &[3, 0xe7]).unwrap();
        assert_eq!(register(&mut bus, 3), [0xe7, 0x00], "one byte leaves the other");
        bus.write(ADDRESS, &[0, 0x7f, 0xff]).unwrap();
        assert_eq!(register(&mut bus, 0), [0x19, 0x00], "the temperature is read only");
    }

    #[test]
    fn the_pointer_stays_for_later_reads() {
        let mut bus = bus(25.0);
        bus.write(ADDRESS, &[3]).unwrap();
        for _ in 0..2 {
            let mut bytes = [0; 2];
            bus.read(ADDRESS, &mut bytes).unwrap();
            assert_eq!(bytes, [0x50, 0x00]);
        }
    }

    #[test]
    fn shut_down_it_keeps_the_last_temperature() {
        let bus = SimBus::new("i2c-1");
        let mut celsius = 20.0;
        bus.attach(
            ADDRESS,
            Lm75::new(
                Family::Lm75,
                Environment::new(move |_, _| {
                    celsius += 1.0;
                    celsius
                }),
            ),
        );
        let mut driver = bus.clone();
        assert_eq!(register(&mut driver, 0), [21, 0]);
        driver.write(ADDRESS, &[1, SHUTDOWN]).unwrap();
        assert_eq!(register(&mut driver, 0), [22, 0]);
        assert_eq!(register(&mut driver, 0), [22, 0]);
        driver.write(ADDRESS, &[1, 0]).unwrap();
        assert_eq!(register(&mut driver, 0), [23, 0]);
    }

    #[test]
    fn a_tmp105_has_up_to_twelve_bits_and_converts_once_on_demand() {
        let mut bus = bus_with(ADDRESS, Lm75::new(Family::Tmp105, celsius_around(25.0625)));
        // SBOS648, table 5: 25 °C and 0.0625 °C in twelve bits.
        for (resolution, want) in [(0, [0x19, 0x00]), (1, [0x19, 0x00]), (2, [0x19, 0x20]), (3, [0x19, 0x10])]
        {
            bus.write(ADDRESS, &[1, resolution << 5]).unwrap();
            assert_eq!(register(&mut bus, 0), want, "{resolution}");
        }
        bus.write(ADDRESS, &[1, 0x01]).unwrap();
        assert_eq!(register(&mut bus, 0), [0x19, 0x10], "shut down, it keeps the last one");
        bus.write(ADDRESS, &[1, 0x81]).unwrap();
        assert_eq!(register(&mut bus, 0), [0x19, 0x00]);
        assert_eq!(register(&mut bus, 1), [0x01, 0x01], "the bit that asked for it reads as zero");
    }
}
