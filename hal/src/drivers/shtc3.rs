//! SHTC3, on the published `shtcx` crate. Built by [`super::build`].
//!
//! A read wakes the chip, measures once, and puts it to sleep again: an awake chip would warm itself. Datasheet:
//! Sensirion, "SHTC3", section 5.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use shtcx::{Error, LowPower, PowerMode};
use smallvec::smallvec;

use super::context::HUMIDITY;
use super::driver::{Driver, ReadChip};
use crate::error::{BusError, ReadError};
use crate::reading::{Quantity, Readings};

pub(super) type Shtc3<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State;

impl<I: I2c<Error: BusError>, D: DelayNs> ReadChip for Shtc3<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        let fault = |error| match error {
            Error::I2c(error) => self.context.bus(error),
            Error::Crc => self.context.checksum(),
        };
        let mut chip = shtcx::shtc3(&mut self.bus);
        chip.wakeup(&mut self.delay).map_err(fault)?;
        let measured = chip.measure(PowerMode::NormalMode, &mut self.delay).map_err(fault)?;
        chip.sleep().map_err(fault)?;
        let celsius = f64::from(measured.temperature.as_millidegrees_celsius()) / 1e3;
        let humidity = f64::from(measured.humidity.as_millipercent()) / 1e3;
        Ok(smallvec![
            self.context.reading(Quantity::Temperature, celsius, -40.0..=125.0)?,
            self.context.reading(Quantity::Humidity, humidity, HUMIDITY)?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::Cause;

    fn transactions(answer: [u8; 6]) -> [Transaction; 4] {
        [
            writes(0x70, [0x35, 0x17]),
            writes(0x70, [0x78, 0x66]),
            gets(0x70, answer),
            writes(0x70, [0xb0, 0x98]),
        ]
    }

    fn read(answer: [u8; 6]) -> Result<Vec<f64>, ReadError> {
        values(Shtc3::new(bus(transactions(answer)), Now, context("shtc3", 0x70)).read())
    }

    #[test]
    fn wakes_measures_and_sleeps() {
        // Section 5.11: T = -45 + 175 S / 2^16, RH = 100 S / 2^16. Its example: 0x648b, 0xa1a0... The tolerance 0.002
        // is one step.
        let table = [
            ((0x0751, 0x0000), [-39.998, 0.0]),
            ((0x4000, 0x8000), [-1.25, 50.0]),
            ((0x648b, 0x9c45), [23.731, 61.042]),
            ((0x8000, 0xffff), [42.5, 99.998]),
            ((0xf8af, 0x3333), [124.999, 19.999]),
        ];
        for ((temperature, humidity), want) in table {
            assert_near(&read(answer(temperature, humidity)).unwrap(), &want, 0.003);
        }
    }

    #[test]
    fn a_wrong_checksum_of_either_word_is_one() {
        for wrong in [2, 5] {
            let mut answer = answer(0x6666, 0x8000);
            answer[wrong] ^= 1;
            // The chip stays awake: the next read begins with the wake-up command, which is harmless.
            let i2c = bus(transactions(answer).into_iter().take(3));
            let error = Shtc3::new(i2c, Now, context("shtc3", 0x70)).read().unwrap_err();
            assert_eq!(error.cause(), Cause::Checksum);
        }
    }

    #[test]
    fn refuses_what_the_chip_cannot_measure() {
        for temperature in [0x0000, 0x0740, 0xf8c0, 0xffff] {
            assert_eq!(read(answer(temperature, 0x8000)).unwrap_err().cause(), Cause::OutOfRange);
        }
    }
}
