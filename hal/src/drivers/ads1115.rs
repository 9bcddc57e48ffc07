//! ADS1115, on the published `ads1x1x` crate. Built by [`super::build`].
//!
//! A read starts one conversion with the settings of its own input, and waits for it. Several sensors, one for each
//! input, can therefore share a chip, and a chip that lost its power needs no special handling. Datasheet: Texas
//! Instruments SBAS444, "ADS111x", sections 7.3 and 8.1.

use ads1x1x::{Ads1x1x, Error, FullScaleRange, TargetAddr, channel, ic, mode};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use smallvec::smallvec;

use super::DeviceContext;
use crate::error::{BusError, Cause, ReadError};
use crate::reading::{Quantity, Readings};
use crate::sensor::{Sensor, SensorInfo};

/// Duration of a conversion at 128 a second by a chip with a clock that is 10 % too slow, after wake-up.
const DURATION_US: u32 = 8_700;

type Chip<I> = Ads1x1x<I, ic::Ads1115, ic::Resolution16Bit, mode::OneShot>;

pub(super) struct Ads1115<I, D> {
    /// None only while the driver is being recreated.
    chip: Option<Chip<I>>,
    delay: D,
    context: DeviceContext,
    /// Full scale, in volt.
    full_scale: f64,
    /// True if the full scale is set in the driver.
    ready: bool,
}

impl<I: I2c<Error: BusError> + Send, D: DelayNs + Send> Ads1115<I, D> {
    pub(super) fn new(i2c: I, delay: D, context: DeviceContext) -> Self {
        let chip = Some(Ads1x1x::new_ads1115(i2c, pins(context.address())));
        let full_scale = context.settings().number("gain");
        Ads1115 { chip, delay, context, full_scale, ready: false }
    }

    fn convert(&mut self) -> Result<i16, ReadError> {
        let Some(chip) = &mut self.chip else {
            return Err(self.context.error(Cause::Other, "the driver lost its bus"));
        };
        let fault = |error| match error {
            Error::I2C(error) => self.context.bus(error),
            Error::InvalidInputData => self.context.error(Cause::Other, "the driver refused its input"),
        };
        if !self.ready {
            // With this call the crate starts a conversion of other pins, which must end before the driver's own
            // conversion can begin.
            chip.set_full_scale_range(full_scale(self.full_scale)).map_err(fault)?;
            self.delay.delay_us(DURATION_US);
        }
        // The first call starts the conversion, the second fetches it, and a third is for a chip that is slower than
        // specified.
        for _ in 0..3 {
            match poll(chip, self.context.settings().channel()) {
                Ok(counts) => return Ok(counts),
                Err(nb::Error::WouldBlock) => self.delay.delay_us(DURATION_US),
                Err(nb::Error::Other(error)) => return Err(fault(error)),
            }
        }
        Err(self.context.error(Cause::Timeout, "the conversion does not end"))
    }
}

impl<I: I2c<Error: BusError> + Send, D: DelayNs + Send> Sensor for Ads1115<I, D> {
    fn info(&self) -> &SensorInfo {
        self.context.info()
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let counts = self.convert();
        self.ready = counts.is_ok();
        if !self.ready {
            // Otherwise the crate would return a conversion started before the error as the result of the next one.
            let i2c = self.chip.take().map(Chip::destroy_ads1115);
            self.chip = i2c.map(|i2c| Ads1x1x::new_ads1115(i2c, pins(self.context.address())));
        }
        let counts = counts?;
        let full_scale = self.full_scale;
        if matches!(counts, i16::MIN | i16::MAX) {
            let value = format_args!("{full_scale} V");
            return Err(self.context.saturated(Quantity::Voltage, value, "choose a larger `gain`"));
        }
        let volts = f64::from(counts) * full_scale / 32_768.0;
        Ok(smallvec![self.context.reading(Quantity::Voltage, volts, -full_scale..=full_scale)?])
    }
}

fn poll<I: I2c>(chip: &mut Chip<I>, input: Option<&str>) -> nb::Result<i16, Error<I::Error>> {
    match input {
        Some("a1") => chip.read(channel::SingleA1),
        Some("a2") => chip.read(channel::SingleA2),
        Some("a3") => chip.read(channel::SingleA3),
        Some("a0-a1") => chip.read(channel::DifferentialA0A1),
        Some("a0-a3") => chip.read(channel::DifferentialA0A3),
        Some("a1-a3") => chip.read(channel::DifferentialA1A3),
        Some("a2-a3") => chip.read(channel::DifferentialA2A3),
        _ => chip.read(channel::SingleA0),
    }
}

fn pins(address: u8) -> TargetAddr {
    match address {
        0x49 => TargetAddr::Vdd,
        0x4a => TargetAddr::Sda,
        0x4b => TargetAddr::Scl,
        _ => TargetAddr::Gnd,
    }
}

fn full_scale(volts: f64) -> FullScaleRange {
    match volts {
        v if v > 5.0 => FullScaleRange::Within6_144V,
        v if v > 4.0 => FullScaleRange::Within4_096V,
        v if v > 2.0 => FullScaleRange::Within2_048V,
        v if v > 1.0 => FullScaleRange::Within1_024V,
        v if v > 0.5 => FullScaleRange::Within0_512V,
        _ => FullScaleRange::Within0_256V,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const IDLE: [u8; 2] = [0x85, 0x83];
    const BUSY: [u8; 2] = [0x05, 0x83];

    /// Returns the transactions of a first read: the full scale, then the conversion with `config`, each followed by a
    /// check for its end.
    fn first(scale: [u8; 2], config: [u8; 2], counts: i16) -> [Transaction; 5] {
        let [a, b] = config;
        [
            writes(0x48, [1, scale[0], scale[1]]),
            reads(0x48, [1], IDLE),
            writes(0x48, [1, a, b]),
            reads(0x48, [1], IDLE),
            reads(0x48, [0], counts.to_be_bytes()),
        ]
    }

    fn sensor(i2c: Strict, input: &str, full_scale: f64) -> Ads1115<Strict, Now> {
        let settings = crate::Chip::Ads1115.settings(&[("gain", full_scale)], Some(input)).unwrap();
        Ads1115::new(i2c, Now, context("ads1115", 0x48).with_settings(settings))
    }

    #[test]
    fn every_input_and_full_scale_has_its_bits_and_its_step() {
        // Table 8-3: the multiplexer in bits 14 to 12, the full scale in bits 11 to 9.
        for (index, input) in
            ["a0-a1", "a0-a3", "a1-a3", "a2-a3", "a0", "a1", "a2", "a3"].into_iter().enumerate()
        {
            let i2c = bus(first([0x85, 0x83], [0x85 | (index as u8) << 4, 0x83], 0x4000));
            assert_eq!(values(sensor(i2c, input, 2.048).read()).unwrap(), [1.024], "{input}");
        }
        for (index, full_scale) in [6.144, 4.096, 2.048, 1.024, 0.512, 0.256].into_iter().enumerate() {
            let high = 0x81 | (index as u8) << 1;
            let i2c = bus(first([high, 0x83], [high | 0x40, 0x83], -1));
            let step = -full_scale / 32_768.0;
            let got = values(sensor(i2c, "a0", full_scale).read()).unwrap()[0];
            assert!((got - step).abs() < 1e-9, "{got}");
        }
    }

    #[test]
    fn counts_are_volts() {
        // Table 7-3 of the datasheet.
        let table = [
            (0x7ffe, 2.047875),
            (0x4000, 1.024),
            (1, 0.0000625),
            (0, 0.0),
            (-1, -0.0000625),
            (-0x7fff, -2.0479375),
        ];
        for (counts, volts) in table {
            let i2c = bus(first([0x85, 0x83], [0x85, 0x83], counts));
            assert_eq!(values(sensor(i2c, "a0-a1", 2.048).read()).unwrap(), [volts]);
        }
    }

    #[test]
    fn an_end_of_the_scale_is_no_reading() {
        for counts in [i16::MIN, i16::MAX] {
            let i2c = bus(first([0x85, 0x83], [0x85, 0x83], counts));
            let error = sensor(i2c, "a0-a1", 2.048).read().unwrap_err();
            assert_eq!(error.cause(), Cause::OutOfRange);
            assert!(error.to_string().contains("larger `gain`"), "{error}");
        }
    }

    #[test]
    fn a_conversion_that_does_not_end_is_given_up() {
        let stuck = std::iter::repeat_with(|| reads(0x48, [1], BUSY)).take(3);
        let i2c = bus([writes(0x48, [1, 0x85, 0x83])].into_iter().chain(stuck));
        assert_eq!(sensor(i2c, "a0", 2.048).read().unwrap_err().cause(), Cause::Timeout);
    }
}
