//! A register-level model of the ADS1115.
//!
//! Datasheet: Texas Instruments SBAS444, "ADS111x ultra-small, low-power 16-bit ADCs", sections 8.4 (single-shot and
//! continuous mode) and 8.6 (pointer, conversion, configuration, thresholds with their reset values). A conversion
//! takes the time of its data rate, plus ten percent because the oscillator may be slow, plus 50 µs of wake-up for a
//! single shot.
//!
//! Not modelled: the comparator and its pin (its bits and thresholds keep the written values), noise, and the limits of
//! the pins (an input accepts any voltage that its code can represent).

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::{Environment, steps};
use super::register_map::{RegisterMap, Registers};
use crate::bus::Device;

/// Ready, AIN0 against AIN1, ±2.048 V, single-shot, 128 per second, comparator off.
const CONFIGURATION: u16 = 0x8583;
const THRESHOLDS: [u16; 2] = [0x8000, 0x7fff];
const READY: u16 = 1 << 15;
const SINGLE_SHOT: u16 = 1 << 8;
const WAKE_UP: Duration = Duration::from_micros(50);

/// Model of an ADS1115.
#[derive(Debug)]
pub struct Ads1115 {
    /// Voltage between the pins of each multiplexer setting, by the names of the channels in boards.toml.
    environment: Environment,
    /// Configuration without the ready bit.
    configuration: u16,
    result: u16,
    due: Option<Duration>,
    thresholds: [u16; 2],
}

impl Ads1115 {
    /// Creates a chip that was powered up long ago, ready for a bus.
    pub fn device(environment: Environment) -> Registers<Ads1115> {
        Registers::of(Ads1115 {
            environment,
            configuration: CONFIGURATION & !READY,
            result: 0,
            due: None,
            thresholds: THRESHOLDS,
        })
    }

    /// Returns the full scale of the configuration, in volts.
    fn full_scale(&self) -> f64 {
        [6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256]
            [usize::from((self.configuration >> 9) & 0b111)]
    }

    fn input(&self) -> &'static str {
        ["a0-a1", "a0-a3", "a1-a3", "a2-a3", "a0", "a1", "a2", "a3"]
            [usize::from((self.configuration >> 12) & 0b111)]
    }

    fn conversion_time(&self) -> Duration {
        let rate = [8, 16, 32, 64, 128, 250, 475, 860][usize::from((self.configuration >> 5) & 0b111)];
        Duration::from_micros(1_100_000 / rate)
    }

    fn single_shot(&self) -> bool {
        self.configuration & SINGLE_SHOT != 0
    }

    /// Advances the state to `now`.
    fn advance(&mut self, now: Duration) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let input = self.input();
        let full = self.full_scale();
        let volts = self.environment.at_channel(input, Quantity::Voltage, now);
        let ends = [i32::from(i16::MIN), i32::from(i16::MAX)];
        self.result = (steps(volts, full / 32_768.0, [-full, full], ends) as i16).cast_unsigned();
        self.due = if self.single_shot() { None } else { Some(now + self.conversion_time()) };
    }
}

impl Model for Ads1115 {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Ads1115::device(environment))
    }
}

impl RegisterMap for Ads1115 {
    const POINTER_BITS: u8 = 0b11;

    fn power_up(&mut self, _: Duration) {
        self.configuration = CONFIGURATION & !READY;
        (self.result, self.due, self.thresholds) = (0, None, THRESHOLDS);
    }

    fn read(&mut self, register: u8, now: Duration) -> u16 {
        self.advance(now);
        match register {
            0 => self.result,
            1 if self.due.is_some() => self.configuration,
            1 => self.configuration | READY,
            2 => self.thresholds[0],
            _ => self.thresholds[1],
        }
    }

    fn write(&mut self, register: u8, value: u16, now: Duration) {
        self.advance(now);
        match register {
            1 => {
                let converting = self.due.is_some() && self.single_shot();
                self.configuration = value & !READY;
                if !self.single_shot() {
                    self.due = Some(now + self.conversion_time());
                } else if value & READY != 0 && !converting {
                    self.due = Some(now + WAKE_UP + self.conversion_time());
                } else if !converting {
                    self.due = None;
                }
            }
            2 | 3 => self.thresholds[usize::from(register - 2)] = value,
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

    fn bus(inputs: &[(&'static str, f64)]) -> SimBus {
        let inputs = inputs.to_vec();
        let environment = Environment::with_channels(move |channel, _, _| {
            inputs.iter().find(|(input, _)| channel == Some(*input)).map_or(0.0, |(_, volts)| *volts)
        });
        bus_with(ADDRESS, Ads1115::device(environment))
    }

    fn convert(bus: &mut SimBus, configuration: u16) -> u16 {
        let [high, low] = configuration.to_be_bytes();
        bus.write(ADDRESS, &[1, high, low]).unwrap();
        bus.clock().advance(Duration::from_millis(200));
        register(bus, 0)
    }

    #[test]
    fn registers_have_their_reset_values() {
        let mut bus = bus(&[]);
        let got: Vec<u16> = (0..4).map(|pointer| register(&mut bus, pointer)).collect();
        assert_eq!(got, [0, 0x8583, 0x8000, 0x7fff]);
    }

    #[test]
    fn codes_are_those_of_the_datasheet() {
        // Table 8-3: full scale, one step, zero, and values out of range.
        let table = [
            (2.048, 0x7fff),
            (2.048 / 32_768.0, 0x0001),
            (0.0, 0x0000),
            (-2.048 / 32_768.0, 0xffff),
            (-2.048, 0x8000),
            (5.0, 0x7fff),
            (f64::NEG_INFINITY, 0x8000),
        ];
        for (volts, want) in table {
            assert_eq!(convert(&mut bus(&[("a0-a1", volts)]), 0x8583), want, "{volts}");
        }
    }

    #[test]
    fn gains_and_inputs_are_chosen_by_the_configuration() {
        let mut bus = bus(&[("a0", 0.1), ("a3", 0.2), ("a2-a3", -0.1)]);
        // Gain of ±6.144 V, and of ±0.256 V.
        assert_eq!(convert(&mut bus, 0xc183), 533);
        assert_eq!(convert(&mut bus, 0xcb83), 12_800);
        assert_eq!(convert(&mut bus, 0xfb83), 25_600);
        assert_eq!(convert(&mut bus, 0xbb83).cast_signed(), -12_800);
        assert_eq!(convert(&mut bus, 0xdb83), 0, "nothing is connected to a1");
    }

    #[test]
    fn a_single_shot_is_not_ready_before_its_time_and_needs_to_be_asked() {
        let mut bus = bus(&[("a0", 0.1)]);
        bus.write(ADDRESS, &[1, 0xc5, 0x83]).unwrap();
        assert_eq!(register(&mut bus, 1), 0x4583);
        bus.clock().advance(Duration::from_millis(9));
        assert_eq!(register(&mut bus, 1), 0xc583);
        assert_eq!(register(&mut bus, 0), 1_600);
        bus.write(ADDRESS, &[1, 0x4b, 0x83]).unwrap();
        bus.clock().advance(Duration::from_millis(9));
        assert_eq!(register(&mut bus, 0), 1_600, "the gain is set, and nothing converted");
    }

    #[test]
    fn continuous_mode_converts_without_being_asked() {
        let mut volts = 0.0;
        let around = Environment::new(move |_, _| {
            volts += 0.062_5;
            volts
        });
        let mut bus = bus(&[]);
        bus.attach(ADDRESS, Ads1115::device(around));
        bus.write(ADDRESS, &[1, 0x44, 0x83]).unwrap();
        for want in [1_000, 2_000, 3_000] {
            bus.clock().advance(Duration::from_millis(9));
            assert_eq!(register(&mut bus, 0), want);
        }
    }
}
