//! A register-level model of the BMP390.
//!
//! Datasheet: Bosch BST-BMP390-DS002: modes (section 3.3), measurement time (section 3.9.2), memory map with reset
//! values (section 4), trimming coefficients (section 3.11.1) and compensation in floating point (section 8.4 to 8.6),
//! inverted here: from the physical values to the chip's raw values. The coefficients have typical magnitudes.
//! Temperature and pressure have 16 bits, one more with each doubling of the oversampling.
//!
//! Choices that the datasheet leaves open: an address without a register reads as 0; 0xff is followed by 0x00. Not
//! modelled: FIFO, interrupts, sensor time, and the filter's memory (every result is as if all inputs had been constant
//! for a long time).

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::bosch::nearest;
use super::environment::Environment;
use crate::bus::{Answer, Device, Direction};

/// Measuring range, in °C.
pub const TEMPERATURE: [f64; 2] = [-40.0, 85.0];
/// Measuring range, in Pa.
pub const PRESSURE: [f64; 2] = [30_000.0, 125_000.0];

const FULL: u32 = (1 << 24) - 1;
const ID: u8 = 0x60;
const STATUS: u8 = 0x03;
const RESULTS: u8 = 0x04;
const EVENT: u8 = 0x10;
const CONTROL: u8 = 0x1b;
const OVERSAMPLING: u8 = 0x1c;
const TRIMMING: u8 = 0x31;
const COMMAND: u8 = 0x7e;
const RESET: u8 = 0xb6;

const COMMAND_READY: u8 = 1 << 4;
const PRESSURE_READY: u8 = 1 << 5;
const TEMPERATURE_READY: u8 = 1 << 6;
/// 0x19 to 0x1f: interrupts, interface, control, oversampling, data rate, (nothing), filter.
const SETTINGS: [u8; 7] = [0x02, 0, 0, 0x02, 0, 0, 0];
const NOTHING: [u8; 6] = [0, 0, 0x80, 0, 0, 0x80];
const START_UP: Duration = Duration::from_millis(2);

/// T1, T2, P5 and P6 of the trimming coefficients.
const UNSIGNED: [u16; 4] = [28_000, 19_000, 25_000, 30_000];
/// P1, P2 and P9.
const SIGNED: [i16; 3] = [-300, -1_500, 14_000];
/// T3, P3, P4, P7, P8, P10 and P11.
const SMALL: [i8; 7] = [-7, 35, 1, 3, -6, 5, -60];

/// Returns the trimming coefficients at 0x31 to 0x45.
fn trimming() -> [u8; 21] {
    let [t1, t2, p5, p6] = UNSIGNED.map(u16::to_le_bytes);
    let [p1, p2, p9] = SIGNED.map(i16::to_le_bytes);
    let [t3, p3, p4, p7, p8, p10, p11] = SMALL.map(i8::cast_unsigned);
    [
        t1[0], t1[1], t2[0], t2[1], t3, p1[0], p1[1], p2[0], p2[1], p3, p4, p5[0], p5[1], p6[0], p6[1], p7,
        p8, p9[0], p9[1], p10, p11,
    ]
}

/// Returns the temperature in °C of a raw temperature.
fn temperature(raw: u32) -> f64 {
    let [t1, t2, ..] = UNSIGNED.map(f64::from);
    let away = f64::from(raw) - t1 * 256.0;
    away * (t2 / 2_f64.powi(30)) + away * away * (f64::from(SMALL[0]) / 2_f64.powi(48))
}

/// Returns the pressure in Pa of a raw pressure at a temperature in °C.
fn pressure(raw: u32, celsius: f64) -> f64 {
    let ([_, _, p5, p6], [p1, p2, p9]) = (UNSIGNED.map(f64::from), SIGNED.map(f64::from));
    let [_, p3, p4, p7, p8, p10, p11] = SMALL.map(f64::from);
    let cubic = |terms: [f64; 4]| terms.iter().rev().fold(0.0, |sum, term| sum * celsius + term);
    let offset = cubic([p5 * 8.0, p6 / 64.0, p7 / 256.0, p8 / 32_768.0]);
    let slope = cubic([
        (p1 - 16_384.0) / 2_f64.powi(20),
        (p2 - 16_384.0) / 2_f64.powi(29),
        p3 / 2_f64.powi(32),
        p4 / 2_f64.powi(37),
    ]);
    let bend = (p9 + p10 * celsius) / 2_f64.powi(48);
    let raw = f64::from(raw);
    offset + raw * (slope + raw * (bend + raw * (p11 / 2_f64.powi(65))))
}

/// Model of a BMP390.
#[derive(Debug)]
pub struct Bmp390 {
    environment: Environment,
    /// Address of the next byte read; also the register of the next data byte written.
    address: u8,
    /// Bytes written since the last start.
    written: usize,
    now: Duration,
    settings: [u8; 7],
    results: [u8; 6],
    ready: u8,
    /// Power-on flag, cleared by reading.
    event: u8,
    due: Option<Duration>,
    /// The chip does not acknowledge before this time.
    starting: Duration,
}

impl Bmp390 {
    /// Creates a chip that was powered up long ago.
    pub fn new(environment: Environment) -> Bmp390 {
        Bmp390 {
            environment,
            address: 0,
            written: 0,
            now: Duration::ZERO,
            settings: SETTINGS,
            results: NOTHING,
            ready: 0,
            event: 1,
            due: None,
            starting: Duration::ZERO,
        }
    }

    fn reset(&mut self, now: Duration) {
        (self.settings, self.results, self.ready, self.event) = (SETTINGS, NOTHING, 0, 1);
        (self.due, self.starting) = (None, now + START_UP);
    }

    fn setting(&mut self, register: u8) -> &mut u8 {
        // All callers pass a register of the range.
        &mut self.settings[usize::from(register - 0x19) % 7]
    }

    /// Returns the oversampling of pressure and temperature as powers of two; None if not measured.
    fn oversampling(&mut self) -> [Option<u32>; 2] {
        let (control, times) = (*self.setting(CONTROL), *self.setting(OVERSAMPLING));
        let power = |bits: u8| u32::from(bits & 0b111).min(5);
        [(control & 1 != 0).then(|| power(times)), (control & 2 != 0).then(|| power(times >> 3))]
    }

    /// Returns the measurement time of section 3.9.2.
    fn measuring_time(&mut self) -> Duration {
        let [pressure, temperature] = self.oversampling();
        let part = |power: Option<u32>, also| power.map_or(0, |power| also + (2_020_u64 << power));
        Duration::from_micros(234 + part(pressure, 392) + part(temperature, 163))
    }

    /// Returns the time between two results in normal mode.
    fn period(&mut self) -> Duration {
        let halvings = u32::from(*self.setting(0x1d) & 0x1f).min(17);
        (Duration::from_millis(5) * (1 << halvings)).max(self.measuring_time())
    }

    /// Advances the state to `self.now`.
    fn advance(&mut self) {
        if self.due.is_none_or(|due| due > self.now) {
            return;
        }
        self.measure();
        self.due = match *self.setting(CONTROL) & 0x30 {
            0x30 => Some(self.now + self.period()),
            _ => {
                *self.setting(CONTROL) &= 0x03;
                None
            }
        };
    }

    fn measure(&mut self) {
        let [for_pressure, for_temperature] = self.oversampling();
        let mut at = |quantity, range: [f64; 2]| match self.environment.at(quantity, self.now) {
            finite if finite.is_finite() => finite.max(range[0]).min(range[1]),
            other => other,
        };
        // Twenty-four bits, of which the lowest are zero.
        let coarse = |raw: u32, power: u32| {
            let step = 1 << (8 - power);
            ((raw + step / 2) / step * step).min(FULL & !(step - 1))
        };
        let mut celsius = 25.0;
        if let Some(power) = for_temperature {
            let raw = coarse(nearest(at(Quantity::Temperature, TEMPERATURE), FULL, temperature), power);
            celsius = temperature(raw);
            self.results[3..].copy_from_slice(&raw.to_le_bytes()[..3]);
            self.ready |= TEMPERATURE_READY;
        }
        if let Some(power) = for_pressure {
            // The converter counts down as the pressure rises.
            let pascal = at(Quantity::Pressure, PRESSURE);
            let raw = FULL - nearest(pascal, FULL, |down| pressure(FULL - down, celsius));
            self.results[..3].copy_from_slice(&coarse(raw, power).to_le_bytes()[..3]);
            self.ready |= PRESSURE_READY;
        }
    }

    fn register(&mut self, address: u8) -> u8 {
        match address {
            0x00 => ID,
            0x01 => 0x01,
            STATUS => COMMAND_READY | self.ready,
            RESULTS..=0x09 => {
                self.ready &= if address < 0x07 { !PRESSURE_READY } else { !TEMPERATURE_READY };
                self.results[usize::from(address - RESULTS)]
            }
            EVENT => std::mem::take(&mut self.event),
            0x19..=0x1f => *self.setting(address),
            TRIMMING..=0x45 => trimming()[usize::from(address - TRIMMING)],
            _ => 0,
        }
    }

    fn store(&mut self, address: u8, byte: u8) {
        match address {
            COMMAND if byte == RESET => self.reset(self.now),
            CONTROL => {
                *self.setting(CONTROL) = byte & 0x33;
                self.due = match byte & 0x30 {
                    0 => None,
                    _ => Some(self.now + self.measuring_time()),
                };
            }
            0x19..=0x1f => *self.setting(address) = byte,
            _ => {}
        }
    }
}

impl Model for Bmp390 {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Bmp390::new(environment))
    }
}

impl Device for Bmp390 {
    fn power_up(&mut self, now: Duration) {
        self.address = 0;
        self.reset(now);
    }

    fn start(&mut self, _: Direction, now: Duration) -> Answer {
        (self.now, self.written) = (now, 0);
        if now < self.starting {
            return Answer::Refuse;
        }
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
    use proptest::prelude::*;

    const ADDRESS: u8 = 0x76;

    fn read<const N: usize>(bus: &mut SimBus, register: u8) -> [u8; N] {
        let mut bytes = [0; N];
        bus.write_read(ADDRESS, &[register], &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_forced_measurement_takes_its_time_and_ends_asleep() {
        let around = [(Quantity::Temperature, 25.0), (Quantity::Pressure, 100_000.0)];
        let mut bus = bus_with(ADDRESS, Bmp390::new(Environment::constant(&around)));
        assert_eq!(read(&mut bus, 0x00), [0x60]);
        assert_eq!(read(&mut bus, 0x19), SETTINGS);
        bus.write(ADDRESS, &[OVERSAMPLING, 0, CONTROL, 0x13]).unwrap();
        assert_eq!(read(&mut bus, RESULTS), NOTHING);
        bus.clock().advance(Duration::from_micros(4_829));
        assert_eq!(read(&mut bus, STATUS), [COMMAND_READY | PRESSURE_READY | TEMPERATURE_READY]);
        assert_eq!(read(&mut bus, CONTROL), [0x03]);
        let [p0, p1, p2, t0, t1, t2] = read(&mut bus, RESULTS);
        assert_eq!((p0, t0), (0, 0), "sixteen bits without oversampling");
        let celsius = temperature(u32::from_le_bytes([t0, t1, t2, 0]));
        assert!((celsius - 25.0).abs() < 0.003, "{celsius}");
        let pascal = pressure(u32::from_le_bytes([p0, p1, p2, 0]), celsius);
        assert!((pascal - 100_000.0).abs() < 2.5, "{pascal}");
        assert_eq!(read(&mut bus, STATUS), [COMMAND_READY]);
    }

    proptest! {
        #[test]
        fn the_compensation_can_be_turned_around(raw in 0..FULL, celsius in -40.0..85.0_f64) {
            prop_assert!(temperature(raw) < temperature(raw + 1));
            prop_assert!(pressure(raw, celsius) > pressure(raw + 1, celsius));
        }
    }
}
