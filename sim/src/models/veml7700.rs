//! A register-level model of the VEML7700.
//!
//! Datasheet: Vishay 84286, "VEML7700", command registers 0 to 7 (words, low byte first) with their power-up values,
//! and the resolution of each gain and integration time (0.0042 lx at gain 2 and 800 ms). Application note 84323,
//! "Designing the VEML7700 into an application": above 1000 lx the count is lower than proportional to the light; the
//! note's polynomial, which drivers apply at the small gains, is inverted here. Where the inverse is ambiguous (light
//! from 1000 to 1075 lx) the count is that of 1000 lx.
//!
//! Choices that the datasheet leaves open: a result is ready one integration time after power-on or a change of the
//! settings, and then after each integration time. Not modelled: interrupts, power saving (its register keeps the
//! written value), and the white channel's spectrum (it counts as the other channel).

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::{Environment, steps};
use super::register_map::{RegisterMap, Registers};
use crate::bus::Device;

/// Finest resolution, at gain 2 and 800 ms, in lux.
pub const FINEST: f64 = 0.004_2;

const SHUTDOWN: u16 = 1;
const ID: u16 = 0xc481;
const LINEAR_TO: f64 = 1_000.0;

/// Model of a VEML7700.
#[derive(Debug)]
pub struct Veml7700 {
    environment: Environment,
    /// Configuration, both thresholds and power saving: registers 0 to 3.
    registers: [u16; 4],
    result: u16,
    due: Option<Duration>,
}

/// Power-up values: shut down.
const POWER_UP: [u16; 4] = [SHUTDOWN, 0, 0, 0];

impl Veml7700 {
    /// Creates a chip that was powered up long ago, ready for a bus.
    pub fn device(environment: Environment) -> Registers<Veml7700> {
        Registers::of(Veml7700 { environment, registers: POWER_UP, result: 0, due: None })
    }

    /// Returns the integration time in units of 25 ms; undefined settings count as the usual 100 ms.
    fn integration(&self) -> u16 {
        match (self.registers[0] >> 6) & 0xf {
            0b1100 => 1,
            0b1000 => 2,
            0b0001 => 8,
            0b0010 => 16,
            0b0011 => 32,
            _ => 4,
        }
    }

    /// Returns the resolution of the count, in lux.
    fn step(&self) -> f64 {
        let less = [2.0, 1.0, 16.0, 8.0][usize::from((self.registers[0] >> 11) & 0b11)];
        FINEST * less * 32.0 / f64::from(self.integration())
    }

    fn takes(&self) -> Duration {
        Duration::from_millis(25) * self.integration().into()
    }

    /// Advances the state to `now`.
    fn advance(&mut self, now: Duration) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        let lux = uncorrected(self.environment.at(Quantity::Illuminance, now));
        // Clamped to 16 bits.
        self.result = steps(lux, self.step(), [0.0, f64::MAX], [0, u16::MAX.into()]) as u16;
        self.due = Some(now + self.takes());
    }
}

/// Returns the illuminance that the chip counts at `lux`.
fn uncorrected(lux: f64) -> f64 {
    if lux.is_nan() || lux <= LINEAR_TO || lux.is_infinite() {
        return lux;
    }
    let (mut low, mut high) = (0.0, lux);
    // Enough halvings for any double.
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if corrected(middle) < lux { low = middle } else { high = middle }
    }
    high.max(LINEAR_TO)
}

/// Returns the value of the application note's polynomial.
fn corrected(lux: f64) -> f64 {
    (((6.013_5e-13 * lux - 9.392_4e-9) * lux + 8.148_8e-5) * lux + 1.002_3) * lux
}

impl Model for Veml7700 {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Veml7700::device(environment))
    }
}

impl RegisterMap for Veml7700 {
    const LOW_BYTE_FIRST: bool = true;
    const POINTER_BITS: u8 = 0xff;

    fn power_up(&mut self, _: Duration) {
        (self.registers, self.result, self.due) = (POWER_UP, 0, None);
    }

    fn read(&mut self, register: u8, now: Duration) -> u16 {
        self.advance(now);
        match register {
            0..=3 => self.registers[usize::from(register)],
            4 | 5 => self.result,
            7 => ID,
            _ => 0,
        }
    }

    fn write(&mut self, register: u8, value: u16, now: Duration) {
        self.advance(now);
        let Some(known) = self.registers.get_mut(usize::from(register)) else { return };
        *known = value;
        if register == 0 {
            self.due = if value & SHUTDOWN == 0 { Some(now + self.takes()) } else { None };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bus_with;
    use super::*;
    use crate::bus::SimBus;
    use embedded_hal::i2c::I2c;
    use proptest::prelude::*;

    fn register(bus: &mut SimBus, register: u8) -> u16 {
        let mut bytes = [0; 2];
        bus.write_read(0x10, &[register], &mut bytes).unwrap();
        u16::from_le_bytes(bytes)
    }

    #[test]
    fn it_counts_by_gain_and_integration_time_once_it_is_on() {
        let mut bus =
            bus_with(0x10, Veml7700::device(Environment::constant(&[(Quantity::Illuminance, 100.0)])));
        assert_eq!([0, 1, 2, 3, 4, 7].map(|known| register(&mut bus, known)), [1, 0, 0, 0, 0, 0xc481]);
        // Gain 1, 100 ms; gain 1/8, 25 ms; gain 2, 800 ms.
        for (configuration, millis, want) in
            [(0x0000_u16, 100, 1_488), (0x1300, 25, 47), (0x08c0, 800, 23_810)]
        {
            let [low, high] = configuration.to_le_bytes();
            bus.write(0x10, &[0, low, high]).unwrap();
            bus.clock().advance(Duration::from_millis(millis));
            assert_eq!(register(&mut bus, 4), want, "{configuration:04x}");
        }
    }

    proptest! {
        #[test]
        fn the_correction_gives_back_the_light(lux in 1_080.0..120_000.0_f64) {
            prop_assert!((corrected(uncorrected(lux)) - lux).abs() < 1e-6 * lux);
        }
    }
}
