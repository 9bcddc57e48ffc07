//! VEML7700, on the published `veml7700` crate. Built by [`super::build`].
//!
//! A read wakes the chip, writes its settings, waits for one integration, reads the result and puts the chip to sleep:
//! a chip that lost its power would otherwise report darkness indefinitely. At the lowest gain and 100 ms it measures
//! from 0.5 lx to full sunlight, the limit of the correction that Vishay specifies for bright light. Datasheet: Vishay
//! 84286, "VEML7700", and its application note 84323 (with the resolution of 2022: 0.0042 lx; the crate `veml6030` has
//! the older one).

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use smallvec::smallvec;
use veml7700::{Error, Gain, IntegrationTime, convert_raw_als_to_lux};

use super::context::decimal;
use super::driver::{Driver, ReadChip};
use crate::error::{BusError, ReadError};
use crate::reading::{Quantity, Readings};

const GAIN: Gain = Gain::OneEighth;
const TIME: IntegrationTime = IntegrationTime::_100ms;
/// Illuminance of full sunlight, in lx.
const BRIGHTEST: f64 = 120_000.0;

pub(super) type Veml7700<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State;

impl<I: I2c<Error: BusError>, D: DelayNs> ReadChip for Veml7700<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        let mut chip = veml7700::Veml7700::new(&mut self.bus);
        let mut measure = || -> Result<u16, Error<I::Error>> {
            chip.set_gain(GAIN)?;
            chip.set_integration_time(TIME)?;
            chip.enable()?;
            // The integration may take 10 % longer, after 2.5 ms of wake-up time.
            self.delay.delay_us(TIME.as_us() + TIME.as_us() / 10 + 4_000);
            let raw = chip.read_raw()?;
            chip.disable()?;
            Ok(raw)
        };
        let raw = measure().map_err(|Error::I2C(error)| self.context.bus(error))?;
        if raw == u16::MAX {
            let remedy = "it is brighter than the chip can measure: shade it";
            return Err(self.context.saturated(Quantity::Illuminance, "0xffff", remedy));
        }
        let lux = decimal(convert_raw_als_to_lux(TIME, GAIN, raw));
        Ok(smallvec![self.context.reading(Quantity::Illuminance, lux, 0.0..=BRIGHTEST)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::Cause;

    /// Returns the transactions. Configuration register: gain 1/8 is 10 in bits 12 and 11, 100 ms 0000 in bits 9 to 6,
    /// asleep 1 in bit 0.
    fn transactions(raw: u16) -> [Transaction; 5] {
        let [low, high] = raw.to_le_bytes();
        let asleep = || writes(0x10, [0, 0x01, 0x10]);
        [asleep(), asleep(), writes(0x10, [0, 0x00, 0x10]), reads(0x10, [4], [low, high]), asleep()]
    }

    fn read(raw: u16) -> Result<Vec<f64>, ReadError> {
        let i2c = bus(transactions(raw));
        values(Veml7700::new(i2c, Now, context("veml7700", 0x10)).read())
    }

    #[test]
    fn counts_are_lux_and_bright_light_is_corrected() {
        // Application note: 0.5376 lx a count at gain 1/8 and 100 ms; from 1000 lx on lux = 6.0135e-13 x^4 - 9.3924e-9
        // x^3 + 8.1488e-5 x^2 + 1.0023 x. The crate approximates powers, to a thousandth.
        let corrected =
            |x: f64| 6.0135e-13 * x.powi(4) - 9.3924e-9 * x.powi(3) + 8.1488e-5 * x.powi(2) + 1.0023 * x;
        let table = [
            (0, 0.0),
            (1, 0.5376),
            (1_000, 537.6),
            (1_860, 999.936),
            (10_000, corrected(5_376.0)),
            (42_500, corrected(22_848.0)),
        ];
        for (raw, lux) in table {
            let got = read(raw).unwrap()[0];
            assert!((got - lux).abs() <= 1e-3 + lux * 1e-3, "{got} for {lux}");
        }
    }

    #[test]
    fn brighter_than_the_sun_is_no_reading() {
        for raw in [43_500, u16::MAX] {
            assert_eq!(read(raw).unwrap_err().cause(), Cause::OutOfRange);
        }
    }
}
