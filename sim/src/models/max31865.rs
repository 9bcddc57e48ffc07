//! A register-level model of the MAX31865 with a platinum thermometer, on SPI.
//!
//! Datasheet: Maxim 19-6478, "MAX31865 RTD-to-digital converter": register map with power-up values (table 1),
//! configuration (table 2), conversion times (the longest: 66 ms at 50 Hz, 55 ms at 60 Hz), ratio of 15 bits and the
//! fault bit below them. The thermometer follows Callendar and Van Dusen with the coefficients of IEC 60751.
//!
//! Choices that the datasheet leaves open: without the bias voltage a conversion results in 0; writes to read-only
//! registers are ignored. Not modelled: the fault detection cycles (they find nothing, and end immediately); the
//! thresholds are compared with every result.

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::SpiModel;
use super::environment::Environment;
use crate::spi::SpiChip;

/// Range of a platinum thermometer, in °C.
pub const TEMPERATURE: [f64; 2] = [-200.0, 850.0];

const BIAS: u8 = 1 << 7;
const AUTO: u8 = 1 << 6;
const ONE_SHOT: u8 = 1 << 5;
const CLEAR: u8 = 1 << 1;
const FIFTY_HERTZ: u8 = 1;
const HIGH: u8 = 1 << 7;
const LOW: u8 = 1 << 6;
const WRITE: u8 = 0x80;
/// High threshold, low threshold.
const THRESHOLDS: [u8; 4] = [0xff, 0xff, 0, 0];

/// Model of a MAX31865.
#[derive(Debug)]
pub struct Max31865 {
    environment: Environment,
    /// Resistance of the thermometer at 0 °C, in reference resistors.
    nominal_ratio: f64,
    configuration: u8,
    /// Ratio, fifteen bits.
    ratio: u16,
    thresholds: [u8; 4],
    faults: u8,
    due: Option<Duration>,
    now: Duration,
    /// Address byte of the transfer, once received.
    address: Option<u8>,
}

impl Max31865 {
    /// Creates a chip that was powered up long ago, with a thermometer of `nominal_ratio` reference resistors at 0 °C.
    pub fn new(nominal_ratio: f64, environment: Environment) -> Max31865 {
        Max31865 {
            environment,
            nominal_ratio,
            configuration: 0,
            ratio: 0,
            thresholds: THRESHOLDS,
            faults: 0,
            due: None,
            now: Duration::ZERO,
            address: None,
        }
    }

    fn takes(&self) -> Duration {
        Duration::from_millis(if self.configuration & FIFTY_HERTZ == 0 { 55 } else { 66 })
    }

    /// Advances the state to `self.now`.
    fn advance(&mut self) {
        if self.due.is_none_or(|due| due > self.now) {
            return;
        }
        self.ratio = if self.configuration & BIAS == 0 { 0 } else { self.measure() };
        let [high, low] =
            [[0, 1], [2, 3]].map(|[a, b]| u16::from_be_bytes([self.thresholds[a], self.thresholds[b]]));
        if self.ratio >= high >> 1 {
            self.faults |= HIGH;
        }
        if self.ratio <= low >> 1 {
            self.faults |= LOW;
        }
        self.due = if self.configuration & AUTO == 0 { None } else { Some(self.now + self.takes()) };
    }

    fn measure(&mut self) -> u16 {
        let ratio = match self.environment.at(Quantity::Temperature, self.now) {
            // A broken wire, and a short circuit.
            f64::INFINITY => 1.0,
            f64::NEG_INFINITY => 0.0,
            celsius => {
                let celsius = celsius.clamp(TEMPERATURE[0], TEMPERATURE[1]);
                self.nominal_ratio * resistance(celsius)
            }
        };
        // The cast saturates.
        ((ratio * 32_768.0).round() as u16).min(0x7fff)
    }

    fn register(&mut self, address: u8) -> u8 {
        let fault = u16::from(self.faults != 0);
        let [high, low] = ((self.ratio << 1) | fault).to_be_bytes();
        match address {
            0 => self.configuration,
            1 => high,
            2 => low,
            3..=6 => self.thresholds[usize::from(address - 3)],
            7 => self.faults,
            _ => 0xff,
        }
    }

    fn store(&mut self, address: u8, byte: u8) {
        match address {
            0 => {
                if byte & CLEAR != 0 {
                    self.faults = 0;
                }
                // The bits that trigger an action read as zero.
                self.configuration = byte & !(ONE_SHOT | CLEAR | 0b0000_1100);
                self.due = match byte & (AUTO | ONE_SHOT) {
                    0 => None,
                    _ => Some(self.now + self.takes()),
                };
            }
            3..=6 => self.thresholds[usize::from(address - 3)] = byte,
            _ => {}
        }
    }
}

/// Returns the resistance at a temperature in °C, as a multiple of the one at 0 °C: IEC 60751.
fn resistance(celsius: f64) -> f64 {
    const A: f64 = 3.908_3e-3;
    const B: f64 = -5.775e-7;
    const C: f64 = -4.183e-12;
    let above = 1.0 + A * celsius + B * celsius.powi(2);
    if celsius >= 0.0 { above } else { above + C * (celsius - 100.0) * celsius.powi(3) }
}

impl SpiModel for Max31865 {
    fn create(_: Chip, settings: &Settings, environment: Environment) -> Box<dyn SpiChip> {
        let nominal_ratio = settings.number("nominal") / settings.number("reference");
        Box::new(Max31865::new(nominal_ratio, environment))
    }
}

impl SpiChip for Max31865 {
    fn power_up(&mut self, _: Duration) {
        (self.configuration, self.ratio, self.thresholds, self.faults) = (0, 0, THRESHOLDS, 0);
        self.due = None;
    }

    fn select(&mut self, now: Duration) {
        (self.now, self.address) = (now, None);
        self.advance();
    }

    fn transfer(&mut self, byte: u8) -> u8 {
        let Some(address) = self.address else {
            self.address = Some(byte);
            return 0xff;
        };
        let register = address & !WRITE;
        // The last register is followed by the first.
        self.address = Some((address & WRITE) | (register.wrapping_add(1) & 0x7f));
        if address & WRITE == 0 {
            self.register(register)
        } else {
            self.store(register, byte);
            0xff
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::spi::SimSpi;
    use embedded_hal::spi::{Operation, SpiDevice};

    fn spi(celsius: f64) -> SimSpi {
        let chip = Max31865::new(100.0 / 400.0, Environment::constant(&[(Quantity::Temperature, celsius)]));
        SimSpi::new("spi-0.0", Clock::manual(), chip)
    }

    fn read<const N: usize>(spi: &mut SimSpi, register: u8) -> [u8; N] {
        let mut bytes = [0; N];
        spi.transaction(&mut [Operation::Write(&[register]), Operation::Read(&mut bytes)]).unwrap();
        bytes
    }

    #[test]
    fn registers_have_their_power_up_values() {
        assert_eq!(read(&mut spi(0.0), 0), [0, 0, 0, 0xff, 0xff, 0, 0, 0]);
    }

    #[test]
    fn ratios_are_those_of_the_resistances() {
        // A PT100 with a reference of 400 Ω; its resistances are from the tables of IEC 60751.
        let table = [(-200.0, 18.52), (-100.0, 60.26), (0.0, 100.0), (100.0, 138.51), (850.0, 390.48)];
        for (celsius, ohms) in table {
            let want = (ohms / 400.0 * 32_768.0_f64).round() as u16;
            let mut spi = spi(celsius);
            spi.write(&[0x80, 0xa0]).unwrap();
            assert_eq!(read(&mut spi, 1), [0, 0], "{celsius}");
            spi.clock().advance(Duration::from_millis(55));
            let ratio = u16::from_be_bytes(read(&mut spi, 1)) >> 1;
            assert!(ratio.abs_diff(want) <= 1, "{ratio}, not {want}, at {celsius}");
            assert_eq!(read(&mut spi, 0), [0x80], "one shot");
        }
    }

    #[test]
    fn a_broken_wire_is_a_fault_until_it_is_cleared() {
        let mut spi = spi(f64::INFINITY);
        spi.write(&[0x80, 0xa0]).unwrap();
        spi.clock().advance(Duration::from_millis(55));
        assert_eq!(read(&mut spi, 1), [0xff, 0xff]);
        assert_eq!(read(&mut spi, 7), [HIGH]);
        spi.write(&[0x80, 0x82]).unwrap();
        assert_eq!(read(&mut spi, 7), [0]);
    }
}
