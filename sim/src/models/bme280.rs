//! A register-level model of the BME280 and the BMP280.
//!
//! Datasheets: Bosch BST-BME280-DS002 and BST-BMP280-DS001: sleep, forced and normal mode (section 3.3), measurement
//! time (section 9.1: the maximum), memory map (sections 5.3 and 5.4), calibration (section 4.2.2). The raw values are
//! computed in `bosch.rs`. Temperature and pressure have 16 bits, one more with each doubling of the oversampling, and
//! 20 with the filter on.
//!
//! Choices that the datasheets leave open: an address without a register reads as 0; 0xff is followed by 0x00. Not
//! modelled: the filter's memory (every result is as if all inputs had been constant for a long time), noise, 3-wire
//! SPI.

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::bosch::{self, FULL};
use super::environment::Environment;
use crate::bus::{Answer, Device, Direction};

/// Measuring range, in °C.
pub const TEMPERATURE: [f64; 2] = [-40.0, 85.0];
/// Measuring range, in %.
pub const HUMIDITY: [f64; 2] = [0.0, 100.0];
/// Measuring range, in Pa.
pub const PRESSURE: [f64; 2] = [30_000.0, 110_000.0];

const CALIBRATION_LOW: u8 = 0x88;
const ID: u8 = 0xd0;
const RESET: u8 = 0xe0;
const CALIBRATION_HIGH: u8 = 0xe1;
const CTRL_HUM: u8 = 0xf2;
const STATUS: u8 = 0xf3;
const CTRL_MEAS: u8 = 0xf4;
const CONFIG: u8 = 0xf5;
const RESULTS: u8 = 0xf7;

const RESET_WORD: u8 = 0xb6;
const MEASURING: u8 = 1 << 3;
const COPYING: u8 = 1;
/// Values of pressure, temperature and humidity that were not measured.
const NOTHING: [u8; 8] = [0x80, 0, 0, 0x80, 0, 0, 0x80, 0];
const START_UP: Duration = Duration::from_millis(2);

/// Chip of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// BME280, with humidity.
    Bme280,
    /// BMP280, without humidity.
    Bmp280,
}

/// Model of a BME280 or BMP280.
#[derive(Debug)]
pub struct Bme280 {
    family: Family,
    environment: Environment,
    /// Address of the next byte read; also the register of the next data byte written.
    address: u8,
    /// Bytes written since the last start.
    written: usize,
    now: Duration,
    /// Value as written; takes effect with the next write to `ctrl_meas`.
    ctrl_hum_written: u8,
    ctrl_hum: u8,
    ctrl_meas: u8,
    config: u8,
    results: [u8; 8],
    /// End of the measurement in progress, or of the next one in normal mode.
    due: Option<Duration>,
    /// End of the time after power-up in which the calibration is copied.
    copying: Duration,
}

impl Bme280 {
    /// Creates a chip that was powered up long ago.
    pub fn new(family: Family, environment: Environment) -> Bme280 {
        Bme280 {
            family,
            environment,
            address: 0,
            written: 0,
            now: Duration::ZERO,
            ctrl_hum_written: 0,
            ctrl_hum: 0,
            ctrl_meas: 0,
            config: 0,
            results: NOTHING,
            due: None,
            copying: Duration::ZERO,
        }
    }

    fn reset(&mut self, now: Duration) {
        (self.ctrl_hum_written, self.ctrl_hum, self.ctrl_meas, self.config) = (0, 0, 0, 0);
        (self.results, self.due, self.copying) = (NOTHING, None, now + START_UP);
    }

    /// Returns the oversampling of temperature, pressure and humidity: 0 if skipped, otherwise 1, 2, 4, 8 or 16.
    fn oversampling(&self) -> [u32; 3] {
        let times = |bits: u8| [0, 1, 2, 4, 8, 16, 16, 16][usize::from(bits & 0b111)];
        let humidity = if self.family == Family::Bme280 { times(self.ctrl_hum) } else { 0 };
        [times(self.ctrl_meas >> 5), times(self.ctrl_meas >> 2), humidity]
    }

    /// Returns the maximum measurement time of section 9.1.
    fn measuring_time(&self) -> Duration {
        let [temperature, pressure, humidity] = self.oversampling().map(|times| 2_300 * u64::from(times));
        let also = |time: u64| if time > 0 { time + 575 } else { 0 };
        Duration::from_micros(1_250 + temperature + also(pressure) + also(humidity))
    }

    fn standby(&self) -> Duration {
        let longest = if self.family == Family::Bme280 { [10_000, 20_000] } else { [2_000_000, 4_000_000] };
        let index = usize::from(self.config >> 5);
        let micros = [500, 62_500, 125_000, 250_000, 500_000, 1_000_000, longest[0], longest[1]];
        Duration::from_micros(micros[index & 0b111])
    }

    /// Advances the state to `self.now`.
    fn advance(&mut self) {
        if self.due.is_none_or(|due| due > self.now) {
            return;
        }
        self.measure();
        self.due = match self.ctrl_meas & 0b11 {
            0b11 => Some(self.now + self.standby() + self.measuring_time()),
            _ => {
                self.ctrl_meas &= !0b11;
                None
            }
        };
    }

    fn measure(&mut self) {
        let [temperature, pressure, humidity] = self.oversampling();
        let mut at = |quantity, range: [f64; 2]| match self.environment.at(quantity, self.now) {
            finite if finite.is_finite() => finite.max(range[0]).min(range[1]),
            other => other,
        };
        let filtered = self.config & 0b0001_1100 != 0;
        // Twenty bits, of which the lowest are zero.
        let coarse = |raw: u32, times: u32| {
            let bits = if filtered { 20 } else { (16 + times.ilog2()).min(20) };
            let step = 1 << (20 - bits);
            ((raw + step / 2) / step * step).min(FULL & !(step - 1))
        };
        self.results = NOTHING;
        // Without a temperature the compensation has no input: drivers take 0x80000 as well.
        let mut fine = bosch::fine(0x80000);
        if temperature > 0 {
            let raw = coarse(bosch::raw_temperature(at(Quantity::Temperature, TEMPERATURE)), temperature);
            fine = bosch::fine(raw);
            self.results[3..6].copy_from_slice(&left_aligned(raw));
        }
        if pressure > 0 {
            let raw = coarse(bosch::raw_pressure(at(Quantity::Pressure, PRESSURE), fine), pressure);
            self.results[..3].copy_from_slice(&left_aligned(raw));
        }
        if humidity > 0 {
            let raw = bosch::raw_humidity(at(Quantity::Humidity, HUMIDITY), fine);
            // At most 16 bits.
            self.results[6..].copy_from_slice(&(raw as u16).to_be_bytes());
        }
    }

    fn status(&self) -> u8 {
        let copying = if self.now < self.copying { COPYING } else { 0 };
        let measuring = self.due.is_some_and(|due| due.saturating_sub(self.now) <= self.measuring_time());
        copying | if measuring { MEASURING } else { 0 }
    }

    fn register(&self, address: u8) -> u8 {
        let humid = self.family == Family::Bme280;
        let within = |first: u8, bytes: &[u8]| bytes.get(usize::from(address - first)).copied().unwrap_or(0);
        match address {
            0xa1 if !humid => 0,
            CALIBRATION_LOW..=0xa1 => within(CALIBRATION_LOW, &bosch::calibration_low()),
            ID => {
                if humid {
                    0x60
                } else {
                    0x58
                }
            }
            CALIBRATION_HIGH..=0xf0 if humid => within(CALIBRATION_HIGH, &bosch::calibration_high()),
            CTRL_HUM if humid => self.ctrl_hum_written,
            STATUS => self.status(),
            CTRL_MEAS => self.ctrl_meas,
            CONFIG => self.config,
            0xfd.. if !humid => 0,
            RESULTS.. => within(RESULTS, &self.results),
            _ => 0,
        }
    }

    fn store(&mut self, address: u8, byte: u8) {
        match address {
            RESET if byte == RESET_WORD => self.reset(self.now),
            CTRL_HUM => self.ctrl_hum_written = byte & 0b111,
            CTRL_MEAS => {
                self.ctrl_meas = byte;
                self.ctrl_hum = self.ctrl_hum_written;
                self.due = match byte & 0b11 {
                    0 => None,
                    _ => Some(self.now + self.measuring_time()),
                };
            }
            CONFIG => self.config = byte & 0b1111_1101,
            _ => {}
        }
    }
}

/// Returns twenty bits in the layout of the result registers.
fn left_aligned(raw: u32) -> [u8; 3] {
    let [_, high, middle, low] = (raw << 4).to_be_bytes();
    [high, middle, low]
}

impl Model for Bme280 {
    fn create(chip: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        let family = if chip == Chip::Bmp280 { Family::Bmp280 } else { Family::Bme280 };
        Box::new(Bme280::new(family, environment))
    }
}

impl Device for Bme280 {
    fn power_up(&mut self, now: Duration) {
        self.address = 0;
        self.reset(now);
    }

    fn start(&mut self, _: Direction, now: Duration) -> Answer {
        self.now = now;
        self.written = 0;
        // Only here, so that a burst read never mixes two measurements.
        self.advance();
        Answer::Acknowledge
    }

    fn write(&mut self, byte: u8) -> bool {
        // Register and data alternate.
        if self.written.is_multiple_of(2) {
            self.address = byte;
        } else {
            self.store(self.address, byte);
        }
        self.written = self.written.saturating_add(1);
        true
    }

    fn read(&mut self) -> u8 {
        let byte = self.register(self.address);
        self.address = self.address.wrapping_add(1);
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bus_with;
    use super::*;
    use crate::bus::SimBus;
    use embedded_hal::i2c::I2c;

    const ADDRESS: u8 = 0x76;

    fn bus(family: Family) -> SimBus {
        let around =
            [(Quantity::Temperature, 25.0), (Quantity::Humidity, 50.0), (Quantity::Pressure, 100_000.0)];
        bus_with(ADDRESS, Bme280::new(family, Environment::constant(&around)))
    }

    fn read<const N: usize>(bus: &mut SimBus, register: u8) -> [u8; N] {
        let mut bytes = [0; N];
        bus.write_read(ADDRESS, &[register], &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn registers_have_their_power_up_values() {
        for (family, id) in [(Family::Bme280, 0x60), (Family::Bmp280, 0x58)] {
            let mut bus = bus(family);
            assert_eq!(read(&mut bus, ID), [id]);
            assert_eq!(read(&mut bus, 0xf2), [0, 0, 0, 0]);
            assert_eq!(read(&mut bus, RESULTS), [0x80, 0, 0, 0x80, 0, 0]);
        }
        assert_eq!(read(&mut bus(Family::Bme280), 0xfd), [0x80, 0]);
    }

    #[test]
    fn the_calibration_is_where_drivers_look_for_it() {
        let mut bus = bus(Family::Bme280);
        let low: [u8; 26] = read(&mut bus, 0x88);
        assert_eq!(u16::from_le_bytes([low[0], low[1]]), 27_504);
        assert_eq!(i16::from_le_bytes([low[22], low[23]]), 6_000);
        assert_eq!(low[25], 75);
        let high: [u8; 7] = read(&mut bus, 0xe1);
        assert_eq!(i16::from_le_bytes([high[0], high[1]]), 370);
        assert_eq!((u16::from(high[3]) << 4) | u16::from(high[4] & 0xf), 305);
        assert_eq!((u16::from(high[5]) << 4) | u16::from(high[4] >> 4), 50);
    }

    #[test]
    fn a_forced_measurement_takes_its_time_and_ends_asleep() {
        let mut bus = bus(Family::Bme280);
        bus.write(ADDRESS, &[CTRL_HUM, 1, CTRL_MEAS, 0x25]).unwrap();
        assert_eq!(read(&mut bus, STATUS), [MEASURING]);
        assert_eq!(read(&mut bus, RESULTS), NOTHING);
        bus.clock().advance(Duration::from_micros(9_300));
        assert_eq!(read(&mut bus, STATUS), [0, 0x24]);
        assert_ne!(read(&mut bus, RESULTS), NOTHING);
    }

    #[test]
    fn humidity_is_measured_only_after_a_write_to_ctrl_meas() {
        let mut bus = bus(Family::Bme280);
        bus.write(ADDRESS, &[CTRL_MEAS, 0x27]).unwrap();
        bus.write(ADDRESS, &[CTRL_HUM, 1]).unwrap();
        bus.clock().advance(Duration::from_millis(20));
        assert_eq!(read(&mut bus, 0xfd), [0x80, 0]);
        bus.write(ADDRESS, &[CTRL_MEAS, 0x27]).unwrap();
        bus.clock().advance(Duration::from_millis(20));
        assert_ne!(read(&mut bus, 0xfd), [0x80, 0]);
    }

    #[test]
    fn sixteen_bits_without_oversampling_and_twenty_with_the_filter() {
        let mut bus = bus(Family::Bmp280);
        bus.write(ADDRESS, &[CTRL_MEAS, 0x25]).unwrap();
        bus.clock().advance(Duration::from_millis(20));
        let [_, _, pressure, _, _, temperature] = read(&mut bus, RESULTS);
        assert_eq!((pressure, temperature), (0, 0));
        bus.write(ADDRESS, &[CONFIG, 0b0000_0100, CTRL_MEAS, 0x25]).unwrap();
        bus.clock().advance(Duration::from_millis(20));
        let [_, _, pressure, _, _, temperature] = read(&mut bus, RESULTS);
        assert_ne!((pressure, temperature), (0, 0));
    }

    #[test]
    fn a_reset_copies_the_calibration_again() {
        let mut bus = bus(Family::Bme280);
        bus.write(ADDRESS, &[CONFIG, 0xff, RESET, RESET_WORD]).unwrap();
        assert_eq!(read(&mut bus, STATUS), [COPYING, 0, 0]);
        bus.clock().advance(Duration::from_millis(2));
        assert_eq!(read(&mut bus, STATUS), [0]);
    }
}
