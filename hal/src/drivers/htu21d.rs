//! HTU21D, and the chips with the same commands: SI7021, SHT20, SHT21 and SHT25. Built by [`super::build`].
//!
//! The driver consists of commands and two formulas, because no published driver is usable: `htu21df-sensor` requires
//! an embedded-hal of 2018, `si70xx` uses clock stretching, which the Raspberry Pi's controller does not support, and
//! wraps below 6 %RH, and `si7021-t-rh` ignores the checksum.
//!
//! A read measures the temperature and then the humidity, and waits for each. The chip has no persistent settings, but
//! a heater that another program switched on stays on. The first read, and the first one after an error, therefore
//! also read the user register. Datasheets: TE Connectivity HPC199, "HTU21D(F)", pages 10 to 15; Silicon Labs,
//! "Si7021-A20", section 5. The wait is that of the slowest chip, an SHT21.

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use smallvec::smallvec;

use super::context::HUMIDITY;
use super::driver::{Driver, ReadChip};
use crate::error::{BusError, Cause, ReadError};
use crate::reading::{Quantity, Readings};

/// Measurements without clock stretching.
const MEASURE_TEMPERATURE: u8 = 0xf3;
const MEASURE_HUMIDITY: u8 = 0xf5;
const READ_REGISTER: u8 = 0xe7;
const WRITE_REGISTER: u8 = 0xe6;
/// Bit of the user register for the heater.
const HEATER: u8 = 1 << 2;
/// Maximum durations at 14 bits of temperature and 12 bits of humidity.
const TEMPERATURE_US: u32 = 85_000;
const HUMIDITY_US: u32 = 29_000;
/// First and last code of the humidity, of 12 bits.
const HUMIDITY_ENDS: [u16; 2] = [0, 0xfff0];

pub(super) type Htu21d<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State {
    /// True if the heater was off since the last error.
    heater_off: bool,
}

impl<I: I2c<Error: BusError>, D: DelayNs> Htu21d<I, D> {
    /// Measures, and returns the code without the status in its last two bits.
    fn measure(&mut self, command: u8, duration_us: u32) -> Result<u16, ReadError> {
        let address = self.context.address();
        self.bus.write(address, &[command]).map_err(|error| self.context.bus(error))?;
        self.delay.delay_us(duration_us);
        let mut answer = [0; 3];
        self.bus.read(address, &mut answer).map_err(|error| self.context.bus(error))?;
        let [high, low, checksum] = answer;
        if crc8([high, low]) != checksum {
            return Err(self.context.checksum());
        }
        Ok(u16::from_be_bytes([high, low]) & !0b11)
    }

    /// Switches off a heater that is on, and then returns an error: the chip is still warm.
    fn check_heater(&mut self) -> Result<(), ReadError> {
        let address = self.context.address();
        let mut register = [0];
        let read = self.bus.write_read(address, &[READ_REGISTER], &mut register);
        read.map_err(|error| self.context.bus(error))?;
        let [register] = register;
        if register & HEATER == 0 {
            return Ok(());
        }
        let written = self.bus.write(address, &[WRITE_REGISTER, register & !HEATER]);
        written.map_err(|error| self.context.bus(error))?;
        let text = "its heater was on, so temperature and humidity are wrong; it was switched off, and the chip cools \
                    for about a minute";
        Err(self.context.error(Cause::Other, text))
    }
}

/// Computes the CRC-8 with the polynomial 0x31 that begins with 0.
fn crc8(bytes: [u8; 2]) -> u8 {
    let bit = |crc: u8| if crc & 0x80 == 0 { crc << 1 } else { (crc << 1) ^ 0x31 };
    bytes.into_iter().fold(0, |crc, byte| (0..8).fold(crc ^ byte, |crc, _| bit(crc)))
}

impl<I: I2c<Error: BusError>, D: DelayNs> ReadChip for Htu21d<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        if !std::mem::take(&mut self.state.heater_off) {
            self.check_heater()?;
        }
        let temperature = self.measure(MEASURE_TEMPERATURE, TEMPERATURE_US)?;
        let humidity = self.measure(MEASURE_HUMIDITY, HUMIDITY_US)?;
        self.state.heater_off = true;
        let context = &self.context;
        // The range of the formula is -6 to 119 %RH, so the ends of the converter are not possible in air.
        if HUMIDITY_ENDS.contains(&(humidity & 0xfff0)) {
            let value = format_args!("{humidity:#06x}");
            return Err(context.saturated(Quantity::Humidity, value, "is the sensor damaged?"));
        }
        let celsius = 175.72 * f64::from(temperature) / 65_536.0 - 46.85;
        let percent = 125.0 * f64::from(humidity) / 65_536.0 - 6.0;
        Ok(smallvec![
            context.reading(Quantity::Temperature, celsius, -40.0..=125.0)?,
            context.reading(Quantity::Humidity, percent.clamp(0.0, 100.0), HUMIDITY)?,
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn answer(command: u8, code: u16) -> [Transaction; 2] {
        let [high, low] = code.to_be_bytes();
        [writes(0x40, [command]), gets(0x40, [high, low, crc8([high, low])])]
    }

    fn register(byte: u8) -> Transaction {
        reads(0x40, [0xe7], [byte])
    }

    fn read(temperature: u16, humidity: u16) -> Result<Vec<f64>, ReadError> {
        let measured = answer(0xf3, temperature).into_iter().chain(answer(0xf5, humidity));
        let i2c = bus([register(0x02)].into_iter().chain(measured));
        values(Htu21d::new(i2c, Now, context("htu21d", 0x40)).read())
    }

    #[test]
    fn temperature_and_humidity_are_computed_as_in_the_datasheet() {
        // Page 14: the checksums of 0x683a and 0x4e85 are 0x7c and 0x6b; these codes are 24.7 °C and 32.3 %RH. The last
        // two bits are the status.
        assert_eq!([crc8([0x68, 0x3a]), crc8([0x4e, 0x85])], [0x7c, 0x6b]);
        for ((temperature, humidity), want) in [
            ((0x683a, 0x4e86), [24.68, 32.34]),
            ((0x6838, 0x7c82), [24.68, 54.79]),
            ((0x09fc, 0x0c4a), [-39.996, 0.002]),
            ((0xfa5c, 0xd902), [124.99, 99.95]),
            ((0x683a, 0x0012), [24.68, 0.0]),
            ((0x683a, 0xffe2), [24.68, 100.0]),
        ] {
            assert_near(&read(temperature, humidity).unwrap(), &want, 0.01);
        }
    }

    #[test]
    fn impossible_temperature_and_end_of_the_humidity_are_refused() {
        for (temperature, humidity) in
            [(0x0000, 0x7c82), (0xfffc, 0x7c82), (0x09f0, 0x7c82), (0x683a, 0x0002), (0x683a, 0xfff2)]
        {
            assert_eq!(read(temperature, humidity).unwrap_err().cause(), Cause::OutOfRange);
        }
    }

    #[test]
    fn wrong_checksum_of_either_measurement_is_an_error() {
        let wrong = |command| [writes(0x40, [command]), gets(0x40, [0x68, 0x3a, 0x7d])];
        let first: Vec<_> = [register(0x02)].into_iter().chain(wrong(0xf3)).collect();
        let measured = answer(0xf3, 0x683a).into_iter().chain(wrong(0xf5));
        let second = [register(0x02)].into_iter().chain(measured).collect();
        for all in [first, second] {
            let error = Htu21d::new(bus(all), Now, context("htu21d", 0x40)).read().unwrap_err();
            assert_eq!(error.cause(), Cause::Checksum);
        }
    }

    #[test]
    fn heater_that_is_on_is_switched_off_and_the_read_fails() {
        let first = [register(0x06), writes(0x40, [0xe6, 0x02])];
        let measured = || answer(0xf3, 0x683a).into_iter().chain(answer(0xf5, 0x7c82));
        // Later reads do not read the register again.
        let all = first.into_iter().chain([register(0x02)]).chain(measured()).chain(measured());
        let mut sensor = Htu21d::new(bus(all), Now, context("htu21d", 0x40));
        let error = sensor.read().unwrap_err();
        assert_eq!(error.cause(), Cause::Other);
        assert!(error.to_string().contains("its heater was on"), "{error}");
        for _ in 0..2 {
            assert!(sensor.read().is_ok());
        }
    }
}
