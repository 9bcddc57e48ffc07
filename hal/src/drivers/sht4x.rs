//! SHT40, SHT41, SHT43 and SHT45, on the published `sht4x` crate. Built by [`super::build`].
//!
//! A read starts one measurement of high precision and waits for it; the chip has no persistent settings. Its heater
//! switches off automatically after at most one second, and the chip does not answer while it is on, so there is no
//! heater bit to read. Datasheet: Sensirion, "SHT4x", sections 4.4 to 4.6.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use sht4x::{Address, Error, Measurement, Precision};
use smallvec::smallvec;

use super::context::{HUMIDITY, decimal};
use super::driver::{Driver, ReadChip};
use crate::error::{BusError, Cause, ReadError};
use crate::reading::{Quantity, Readings};

pub(super) type Sht4x<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State;

impl<I: I2c<Error: BusError>, D: DelayNs> ReadChip for Sht4x<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        let address = match self.context.address() {
            0x45 => Address::Address0x45,
            0x46 => Address::Address0x46,
            _ => Address::Address0x44,
        };
        let mut chip = sht4x::Sht4x::new_with_address(&mut self.bus, address);
        let raw = chip.measure_raw(Precision::High, &mut self.delay).map_err(|error| match error {
            Error::I2c(error) => self.context.bus(error),
            Error::Crc => self.context.checksum(),
            _ => self.context.error(Cause::Other, "the driver gave up"),
        })?;
        // The range of the formula is -6 to 119 %RH. The datasheet (4.6) clips that to 0 to 100, as the accuracy around
        // dry and saturated air; the ends of the converter's range are not possible in air.
        if matches!(raw.humidity, 0 | u16::MAX) {
            let value = format_args!("{:#06x}", raw.humidity);
            return Err(self.context.saturated(Quantity::Humidity, value, "is the sensor damaged?"));
        }
        let measured = Measurement::from(raw);
        let humidity = decimal(measured.humidity_percent().to_num()).clamp(0.0, 100.0);
        let celsius = decimal(measured.temperature_celsius().to_num());
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

    fn read(answer: [u8; 6]) -> Result<Vec<f64>, ReadError> {
        let i2c = bus([writes(0x45, [0xfd]), gets(0x45, answer)]);
        values(Sht4x::new(i2c, Now, context("sht4x", 0x45)).read())
    }

    #[test]
    fn measures_once_and_reads_two_words() {
        // Section 4.6: T = -45 + 175 S / (2^16 - 1), RH = -6 + 125 S / (2^16 - 1), clipped to 0..100.
        let table = [
            ((0xbeef, 0xbeef), [85.523, 87.2307]),
            ((0x0751, 0x0001), [-39.9966, 0.0]),
            ((0x4000, 0x0c49), [-1.2493, 0.0]),
            ((0x6666, 0x72b0), [25.0, 50.0]),
            ((0xf8af, 0xd916), [125.0, 99.9996]),
            ((0x8000, 0xfffe), [42.5013, 100.0]),
        ];
        for ((temperature, humidity), want) in table {
            assert_near(&read(answer(temperature, humidity)).unwrap(), &want, 0.005);
        }
    }

    #[test]
    fn a_wrong_checksum_of_either_word_is_one() {
        for wrong in [2, 5] {
            let mut answer = answer(0x6666, 0x8000);
            answer[wrong] ^= 0x80;
            assert_eq!(read(answer).unwrap_err().cause(), Cause::Checksum);
        }
    }

    #[test]
    fn refuses_what_the_chip_cannot_measure() {
        for temperature in [0x0000, 0x0740, 0xf8c0, 0xffff] {
            assert_eq!(read(answer(temperature, 0x8000)).unwrap_err().cause(), Cause::OutOfRange);
        }
    }

    #[test]
    fn an_end_of_the_humidity_converter_is_no_reading() {
        for humidity in [0x0000, 0xffff] {
            let error = read(answer(0x6666, humidity)).unwrap_err();
            assert_eq!(error.cause(), Cause::OutOfRange);
            assert!(error.to_string().contains("humidity at the end of the converter's range"), "{error}");
        }
    }
}
