//! SHT30, SHT31 and SHT35, on Sensirion's own `sensirion-i2c`. Built by [`super::build`].
//!
//! The driver consists of a command and two formulas, because each published driver has a defect: `sht31` reads
//! temperatures above 42.5 °C as negative and loses the cause of errors, `embedded-sht3x` uses clock stretching, which
//! the Raspberry Pi's controller does not support, and `sht3x` requires an embedded-hal of 2018.
//!
//! A read starts one measurement of high repeatability and waits for it. The chip has no persistent settings, but a
//! heater that another program switched on stays on, warms the air by some degrees and dries it. The first read, and
//! the first one after an error, therefore also read the status: two more transactions. Later reads do not, because
//! only another program can switch the heater on. Datasheet: Sensirion, "SHT3x-DIS", sections 4.3, 4.10, 4.11 and 4.13.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use sensirion_i2c::i2c::{self, read_words_with_crc, write_command_u16};
use smallvec::smallvec;

use super::context::HUMIDITY;
use super::driver::{Driver, ReadChip};
use crate::error::{BusError, Cause, ReadError};
use crate::reading::{Quantity, Readings};

/// Single shot, high repeatability, no clock stretching.
const MEASURE: u16 = 0x2400;
const READ_STATUS: u16 = 0xf32d;
const HEATER_OFF: u16 = 0x3066;
/// Status bit of a heater that is on (table 18).
const HEATER: u16 = 1 << 13;
/// Maximum duration of such a measurement (table 4; 15.5 ms below 2.4 V).
const DURATION_US: u32 = 15_500;

pub(super) type Sht3x<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State {
    /// True if the heater was off since the last error.
    heater_off: bool,
}

impl<I: I2c<Error: BusError>, D> Sht3x<I, D> {
    /// Reads `N` bytes, consisting of words with checksums.
    fn words<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut words = [0; N];
        read_words_with_crc(&mut self.bus, self.context.address(), &mut words).map_err(
            |error| match error {
                i2c::Error::I2cRead(error) | i2c::Error::I2cWrite(error) => self.context.bus(error),
                i2c::Error::Crc => self.context.checksum(),
            },
        )?;
        Ok(words)
    }

    fn send(&mut self, command: u16) -> Result<(), ReadError> {
        let sent = write_command_u16(&mut self.bus, self.context.address(), command);
        sent.map_err(|error| self.context.bus(error))
    }

    /// Switches off a heater that is on, and then returns an error: the chip is still warm.
    fn check_heater(&mut self) -> Result<(), ReadError> {
        self.send(READ_STATUS)?;
        let [high, low, _] = self.words::<3>()?;
        if u16::from_be_bytes([high, low]) & HEATER == 0 {
            return Ok(());
        }
        self.send(HEATER_OFF)?;
        let text = "its heater was on, so temperature and humidity are wrong; it was switched off, and the chip cools for \
                    about a minute";
        Err(self.context.error(Cause::Other, text))
    }
}

impl<I: I2c<Error: BusError>, D: DelayNs> ReadChip for Sht3x<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        if !std::mem::take(&mut self.state.heater_off) {
            self.check_heater()?;
        }
        self.send(MEASURE)?;
        self.delay.delay_us(DURATION_US);
        let [t0, t1, _, h0, h1, _] = self.words::<6>()?;
        self.state.heater_off = true;
        let context = &self.context;
        let part = |word| f64::from(u16::from_be_bytes(word)) / f64::from(u16::MAX);
        // Four decimals: the chip's own steps are 0.0027 °C and 0.0015 %RH.
        let digits = |value: f64| (value * 1e4).round() / 1e4;
        Ok(smallvec![
            context.reading(Quantity::Temperature, digits(175.0 * part([t0, t1]) - 45.0), -40.0..=125.0)?,
            context.reading(Quantity::Humidity, digits(100.0 * part([h0, h1])), HUMIDITY)?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn status(word: u16) -> [Transaction; 2] {
        let [high, low] = word.to_be_bytes();
        let crc = sensirion_i2c::crc8::calculate(&[high, low]);
        [writes(0x44, [0xf3, 0x2d]), gets(0x44, [high, low, crc])]
    }

    fn measure(answer: [u8; 6]) -> [Transaction; 2] {
        [writes(0x44, [0x24, 0x00]), gets(0x44, answer)]
    }

    fn read(answer: [u8; 6]) -> Result<Vec<f64>, ReadError> {
        let i2c = bus(status(0x8010).into_iter().chain(measure(answer)));
        values(Sht3x::new(i2c, Now, context("sht3x", 0x44)).read())
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
            assert_near(&read(answer(temperature, humidity)).unwrap(), &want, 0.003);
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
    fn a_heater_that_is_on_is_switched_off_and_there_is_no_reading() {
        let calm = || answer(0x6666, 0x8000);
        let all = status(0xa010).into_iter().chain([writes(0x44, [0x30, 0x66])]);
        // Later reads do not read the status again.
        let all = all.chain(status(0x8010)).chain(measure(calm())).chain(measure(calm()));
        let mut sensor = Sht3x::new(bus(all), Now, context("sht3x", 0x44));
        let error = sensor.read().unwrap_err();
        assert_eq!(error.cause(), Cause::Other);
        assert!(error.to_string().contains("its heater was on"), "{error}");
        for _ in 0..2 {
            assert_eq!(values(sensor.read()).unwrap(), [25.0, 50.0008]);
        }
    }
}
