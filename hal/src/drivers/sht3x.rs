//! SHT30, SHT31 and SHT35, on Sensirion's own `sensirion-i2c`. Built by [`super::build`].
//!
//! A command and two formulas, because no published driver is right: `sht31` reads temperatures above 42.5 °C as
//! negative and loses the cause of errors, `embedded-sht3x` has the chip stretch the clock, which the Raspberry Pi's
//! controller cannot stand, and `sht3x` is for an embedded-hal of 2018.
//!
//! A read starts one measurement of high repeatability and waits for it; the chip keeps no settings.
//! Datasheet: Sensirion, "SHT3x-DIS", sections 4.3 and 4.13.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use sensirion_i2c::i2c::{self, read_words_with_crc, write_command_u16};
use smallvec::smallvec;

use super::Mount;
use super::mount::HUMIDITY;
use crate::error::{BusError, ReadError};
use crate::reading::{Quantity, Readings};
use crate::sensor::{Sensor, SensorInfo};

/// Single shot, high repeatability, no clock stretching.
const MEASURE: u16 = 0x2400;
/// The longest such a measurement takes (table 4; 15.5 ms below 2.4 V).
const DURATION_US: u32 = 15_500;

pub(super) struct Sht3x<I, D> {
    i2c: I,
    delay: D,
    mount: Mount,
}

impl<I, D> Sht3x<I, D> {
    pub(super) fn new(i2c: I, delay: D, mount: Mount) -> Self {
        Sht3x { i2c, delay, mount }
    }
}

impl<I: I2c<Error: BusError> + Send, D: DelayNs + Send> Sensor for Sht3x<I, D> {
    fn info(&self) -> &SensorInfo {
        self.mount.info()
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let (address, mount) = (self.mount.address(), &self.mount);
        write_command_u16(&mut self.i2c, address, MEASURE).map_err(|error| mount.bus(error))?;
        self.delay.delay_us(DURATION_US);
        let mut words = [0; 6];
        read_words_with_crc(&mut self.i2c, address, &mut words).map_err(|error| match error {
            i2c::Error::I2cRead(error) | i2c::Error::I2cWrite(error) => mount.bus(error),
            i2c::Error::Crc => mount.checksum(),
        })?;
        let [t0, t1, _, h0, h1, _] = words;
        let part = |word| f64::from(u16::from_be_bytes(word)) / f64::from(u16::MAX);
        // Four decimals: the chip's own steps are 0.0027 °C and 0.0015 %RH.
        let digits = |value: f64| (value * 1e4).round() / 1e4;
        Ok(smallvec![
            mount.reading(Quantity::Temperature, digits(175.0 * part([t0, t1]) - 45.0), -40.0..=125.0)?,
            mount.reading(Quantity::Humidity, digits(100.0 * part([h0, h1])), HUMIDITY)?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::Cause;

    /// The six bytes with their checksums.
    fn answer(temperature: u16, humidity: u16) -> [u8; 6] {
        let ([a, b], [c, d]) = (temperature.to_be_bytes(), humidity.to_be_bytes());
        let crc = sensirion_i2c::crc8::calculate;
        [a, b, crc(&[a, b]), c, d, crc(&[c, d])]
    }

    fn read(answer: [u8; 6]) -> Result<Vec<f64>, ReadError> {
        let i2c = bus([writes(0x44, [0x24, 0x00]), gets(0x44, answer)]);
        values(Sht3x::new(i2c, Now, mount("sht3x", 0x44)).read())
    }

    #[test]
    fn measures_once_and_reads_two_words() {
        // Section 4.13: T = -45 + 175 S / (2^16 - 1), RH = 100 S / (2^16 - 1). The checksum of 0xbeef is 0x92 (4.12).
        assert_eq!(read([0xbe, 0xef, 0x92, 0xbe, 0xef, 0x92]).unwrap(), [85.523, 74.5846]);
        let table = [
            ((0x0751, 0x0000), [-39.9984, 0.0]),
            ((0x4189, 0x0001), [-0.2016, 0.0015]),
            ((0x6666, 0x8000), [25.0, 50.0008]),
            ((0x8000, 0xffff), [42.5013, 100.0]),
            ((0xf8ae, 0x3333), [124.9984, 20.0]),
        ];
        for ((temperature, humidity), want) in table {
            let got = read(answer(temperature, humidity)).unwrap();
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 0.003, "{got} is not {want}");
            }
        }
    }

    #[test]
    fn a_wrong_checksum_of_either_word_is_one() {
        for wrong in [2, 5] {
            let mut answer = answer(0x6666, 0x8000);
            answer[wrong] ^= 1;
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
    fn errors_keep_their_cause() {
        let driver = |i2c| Box::new(Sht3x::new(i2c, Now, mount("sht3x", 0x44))) as _;
        check_errors(driver, 2, &[writes(0x44, [0x24, 0x00]), gets(0x44, answer(0x6666, 0x8000))]);
    }
}
