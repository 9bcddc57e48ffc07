//! BME280 and BMP280, on `embedded-devices`. Built by [`super::build`].
//!
//! The first read identifies and resets the chip, reads its calibration and writes its settings; later reads check that
//! the settings are still present. Each read measures once, unfiltered, as the datasheet advises for weather stations,
//! and the chip sleeps between reads. The raw results are read a second time from the chip, because the crate returns
//! only the values computed from them: 0x80000 and 0x8000 mean that nothing was measured (sections 5.4.7 to 5.4.9;
//! Linux' driver refuses them, too), and would give 26 °C or 72 %RH. Datasheets: Bosch BST-BME280-DS002 and
//! BST-BMP280-DS001, sections 3 to 5.

use embedded_devices::devices::bosch::bme280::registers::{
    BurstMeasurementsPT, BurstMeasurementsPTH, Chip, ControlMeasurement, Id, Oversampling,
};
use embedded_devices::devices::bosch::bme280::{
    BME280CommonSync, BME280Sync, Configuration, InitError, MeasurementError, address::Address,
};
use embedded_devices::devices::bosch::bmp280::{self, BMP280Sync};
use embedded_devices::sensor::OneshotSensorSync;
use embedded_devices::uom::si::f64::{Pressure, ThermodynamicTemperature};
use embedded_devices::uom::si::{
    pressure::pascal, ratio::percent, thermodynamic_temperature::degree_celsius,
};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use embedded_interfaces::i2c::I2cDeviceSync;
use smallvec::smallvec;

use super::DeviceContext;
use super::context::HUMIDITY;
use crate::error::{BusError, Cause, ReadError};
use crate::reading::{Quantity, Reading, Readings};
use crate::sensor::{Sensor, SensorInfo};

type Wire<I> = I2cDeviceSync<I, u8>;

/// Step of the 20-bit results: without oversampling they have 16 bits (section 3.4 of both datasheets).
const STEP: u32 = 1 << 4;

/// Driver of the BME280.
pub(super) struct Bme280<I: I2c, D: DelayNs> {
    chip: BME280Sync<D, Wire<I>>,
    context: DeviceContext,
    /// True if the driver has the calibration, and the chip its settings.
    ready: bool,
}

impl<I: I2c, D: DelayNs> Bme280<I, D> {
    pub(super) fn new(i2c: I, delay: D, context: DeviceContext) -> Self {
        let chip = BME280Sync::new_i2c(delay, i2c, Address::Custom(context.address()));
        Bme280 { chip, context, ready: false }
    }
}

impl<I: I2c<Error: BusError> + Send, D: DelayNs + Send> Sensor for Bme280<I, D> {
    fn info(&self) -> &SensorInfo {
        self.context.info()
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let (chip, context) = (&mut self.chip, &self.context);
        if !std::mem::take(&mut self.ready) || lost_its_settings(chip, context)? {
            prepare(chip, context, Chip::BME280)?;
            chip.configure(Configuration::default()).map_err(|error| context.transport(error))?;
        }
        let measured = chip.measure().map_err(|error| measurement(error, context))?;
        let raw = chip.read_register::<BurstMeasurementsPTH>().map_err(|error| context.transport(error))?;
        self.ready = true;
        context.check_raw(Quantity::Temperature, raw.read_temperature_value(), 20, STEP)?;
        context.check_raw(Quantity::Humidity, raw.read_humidity_value().into(), 16, 1)?;
        context.check_raw(Quantity::Pressure, raw.read_pressure_value(), 20, STEP)?;
        let Some(humidity) = measured.humidity else { return Err(impossible(context)) };
        let humidity = (humidity.get::<percent>() * 1e4).round() / 1e4;
        Ok(smallvec![
            temperature(context, measured.temperature)?,
            context.reading(Quantity::Humidity, humidity, HUMIDITY)?,
            pressure(context, measured.pressure)?,
        ])
    }
}

/// Driver of the BMP280, a BME280 without humidity.
pub(super) struct Bmp280<I: I2c, D: DelayNs> {
    chip: BMP280Sync<D, Wire<I>>,
    context: DeviceContext,
    ready: bool,
}

impl<I: I2c, D: DelayNs> Bmp280<I, D> {
    pub(super) fn new(i2c: I, delay: D, context: DeviceContext) -> Self {
        let chip = BMP280Sync::new_i2c(delay, i2c, Address::Custom(context.address()));
        Bmp280 { chip, context, ready: false }
    }
}

impl<I: I2c<Error: BusError> + Send, D: DelayNs + Send> Sensor for Bmp280<I, D> {
    fn info(&self) -> &SensorInfo {
        self.context.info()
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let (chip, context) = (&mut self.chip, &self.context);
        if !std::mem::take(&mut self.ready) || lost_its_settings(chip, context)? {
            prepare(chip, context, Chip::BMP280)?;
            chip.configure(bmp280::Configuration::default()).map_err(|error| context.transport(error))?;
        }
        let measured = chip.measure().map_err(|error| measurement(error, context))?;
        let raw = chip.read_register::<BurstMeasurementsPT>().map_err(|error| context.transport(error))?;
        self.ready = true;
        context.check_raw(Quantity::Temperature, raw.read_temperature_value(), 20, STEP)?;
        context.check_raw(Quantity::Pressure, raw.read_pressure_value(), 20, STEP)?;
        Ok(smallvec![temperature(context, measured.temperature)?, pressure(context, measured.pressure)?])
    }
}

/// Returns true if the chip lost its measurement settings: after a loss of power it would return plausible but wrong
/// values.
fn lost_its_settings<I: I2c<Error: BusError>, D: DelayNs, const HUMID: bool>(
    chip: &mut BME280CommonSync<D, Wire<I>, HUMID>,
    context: &DeviceContext,
) -> Result<bool, ReadError> {
    let control = chip.read_register::<ControlMeasurement>().map_err(|error| context.transport(error))?;
    Ok(control.read_temperature_oversampling() == Oversampling::Disabled
        || control.read_pressure_oversampling() == Oversampling::Disabled)
}

/// Checks that the chip is the one in boards.toml, resets it and reads its calibration.
fn prepare<I: I2c<Error: BusError>, D: DelayNs, const HUMID: bool>(
    chip: &mut BME280CommonSync<D, Wire<I>, HUMID>,
    context: &DeviceContext,
    wanted: Chip,
) -> Result<(), ReadError> {
    let found = chip.read_register::<Id>().map_err(|error| context.transport(error))?.read_chip();
    // The samples of the BMP280 differ only in their id.
    let sample = matches!(found, Chip::BMP280Sample1 | Chip::BMP280Sample2) && wanted == Chip::BMP280;
    if found != wanted && !sample {
        let text = match found {
            Chip::BME280 => "this is a BME280: write chip = \"bme280\"".to_owned(),
            Chip::BMP280 => "this is a BMP280, without humidity: write chip = \"bmp280\"".to_owned(),
            Chip::Invalid(id) => format!("another chip: its id is {id:#04x}"),
            other => format!("another chip: {other:?}"),
        };
        return Err(context.error(Cause::Other, text));
    }
    chip.init().map_err(|error| match error {
        InitError::Transport(error) => context.transport(error),
        InitError::InvalidChip(id) => {
            context.error(Cause::Other, format!("another chip: its id is {id:#04x}"))
        }
    })
}

fn measurement<E: BusError>(error: MeasurementError<E>, context: &DeviceContext) -> ReadError {
    match error {
        MeasurementError::Transport(error) => context.transport(error),
        MeasurementError::NotCalibrated => context.error(Cause::Other, "the driver has no calibration"),
    }
}

fn temperature(context: &DeviceContext, value: ThermodynamicTemperature) -> Result<Reading, ReadError> {
    // The crate adds the half step with which an integer division would round, but divides in floating point: an error
    // of 0.005 °C.
    let celsius = ((value.get::<degree_celsius>() - 0.005) * 1e4).round() / 1e4;
    context.reading(Quantity::Temperature, celsius, -40.0..=85.0)
}

fn pressure(context: &DeviceContext, value: Option<Pressure>) -> Result<Reading, ReadError> {
    let Some(value) = value else { return Err(impossible(context)) };
    let pascals = (value.get::<pascal>() * 1e3).round() / 1e3;
    context.reading(Quantity::Pressure, pascals, 30_000.0..=110_000.0)
}

fn impossible(context: &DeviceContext) -> ReadError {
    context.error(Cause::OutOfRange, "its calibration gives no value")
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// Example in the BMP280's datasheet (section 3.12): its calibration, which gives 25.08 °C and 100 653.27 Pa.
    const CALIBRATION: [u8; 24] = [
        0x70, 0x6b, 0x43, 0x67, 0x18, 0xfc, 0x7d, 0x8e, 0x43, 0xd6, 0xd0, 0x0b, 0x27, 0x0b, 0x8c, 0x00, 0xf9,
        0xff, 0x8c, 0x3c, 0xf8, 0xc6, 0x70, 0x17,
    ];
    /// Calibration of a BME280 for humidity: H1 75, H2 370, H3 0, H4 313, H5 50, H6 30. The datasheet has no example.
    const HUMIDITY_CALIBRATION: [u8; 7] = [0x72, 0x01, 0x00, 0x13, 0x29, 0x03, 0x1e];
    const H1: u8 = 75;
    /// Raw values 415 148 and 519 888, and 28 000 for humidity.
    const MEASURED: [u8; 8] = [0x65, 0x5a, 0xc0, 0x7e, 0xed, 0x00, 0x6d, 0x60];

    fn control(byte: u8) -> Transaction {
        reads(0x76, [0xf4], [byte])
    }

    fn prepare(id: u8) -> [Transaction; 5] {
        let calibration = [&CALIBRATION[..], &[0, H1]].concat();
        [
            reads(0x76, [0xd0], [id]),
            writes(0x76, [0xe0, 0xb6]),
            reads(0x76, [0xd0], [id]),
            Transaction::write_read(0x76, vec![0x88], calibration),
            Transaction::write_read(0x76, vec![0xe1], HUMIDITY_CALIBRATION.to_vec()),
        ]
    }

    fn setup(humid: bool) -> Vec<Transaction> {
        let humidity = [writes(0x76, [0xf2, 0x01])];
        let rest =
            [control(0), writes(0x76, [0xf4, 0x24]), reads(0x76, [0xf5], [0]), writes(0x76, [0xf5, 0])];
        prepare(if humid { 0x60 } else { 0x58 })
            .into_iter()
            .chain(humidity.into_iter().filter(|_| humid))
            .chain(rest)
            .collect()
    }

    fn measure(humid: bool, answer: [u8; 8]) -> Vec<Transaction> {
        let start = [control(0x24), writes(0x76, [0xf4, 0x25])];
        let humidity = [reads(0x76, [0xf2], [1])].into_iter().filter(|_| humid);
        let data = match humid {
            true => reads(0x76, [0xf7], answer),
            false => Transaction::write_read(0x76, vec![0xf7], answer[..6].to_vec()),
        };
        start.into_iter().chain(humidity).chain([data.clone(), data]).collect()
    }

    fn driver(humid: bool) -> impl Fn(Strict) -> Box<dyn Sensor> {
        move |i2c| match humid {
            true => Box::new(Bme280::new(i2c, Now, context("bme280", 0x76))),
            false => Box::new(Bmp280::new(i2c, Now, context("bmp280", 0x76))),
        }
    }

    fn read(humid: bool, answer: [u8; 8]) -> Result<Vec<f64>, ReadError> {
        let all = setup(humid).into_iter().chain(measure(humid, answer));
        values(driver(humid)(bus(all)).read())
    }

    /// Computes humidity by the formula in the BME280's datasheet in floating point (section 8.1), as an independent
    /// check.
    fn humidity(raw: f64, t_fine: f64) -> f64 {
        let h = t_fine - 76_800.0;
        let h = (raw - (313.0 * 64.0 + 50.0 / 16_384.0 * h))
            * (370.0 / 65_536.0 * (1.0 + 30.0 / 67_108_864.0 * h));
        h * (1.0 - f64::from(H1) * h / 524_288.0)
    }

    #[test]
    fn the_example_of_the_datasheet_is_computed_as_there() {
        let close = |got: f64, want: f64, off: f64| assert!((got - want).abs() < off, "{got} is not {want}");
        let bmp280 = read(false, MEASURED).unwrap();
        close(bmp280[0], 128_422.0 / 5_120.0, 1e-4);
        close(bmp280[1], 100_653.27, 0.3);
        let bme280 = read(true, MEASURED).unwrap();
        assert_eq!((bme280[0], bme280[2]), (bmp280[0], bmp280[1]));
        close(bme280[1], humidity(28_000.0, 128_422.0), 0.05);
    }

    #[test]
    fn a_chip_of_the_other_kind_is_named() {
        for (humid, id, text) in [
            (true, 0x58, "a BMP280, without humidity: write chip = \"bmp280\""),
            (false, 0x60, "a BME280: write chip = \"bme280\""),
            (true, 0x61, "another chip: its id is 0x61"),
        ] {
            let error = driver(humid)(bus([reads(0x76, [0xd0], [id])])).read().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn a_chip_that_lost_its_power_gets_its_settings_again() {
        for humid in [true, false] {
            let first = || setup(humid).into_iter().chain(measure(humid, MEASURED));
            let lost = [control(0)].into_iter().chain(first());
            let second = [control(0x24)].into_iter().chain(measure(humid, MEASURED));
            let mut sensor = driver(humid)(bus(first().chain(lost).chain(second)));
            let values: Vec<_> = (0..3).map(|_| values(sensor.read()).unwrap()).collect();
            assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
        }
    }

    #[test]
    fn refuses_what_the_chip_cannot_measure() {
        // The value of the register without a measurement, hot and cold, no pressure and too much.
        for answer in [
            [0x65, 0x5a, 0xc0, 0xff, 0xff, 0xf0, 0x6d, 0x60],
            [0x65, 0x5a, 0xc0, 0x00, 0x00, 0x00, 0x6d, 0x60],
            [0xff, 0xff, 0xf0, 0x7e, 0xed, 0x00, 0x6d, 0x60],
            [0x00, 0x00, 0x00, 0x7e, 0xed, 0x00, 0x6d, 0x60],
        ] {
            for humid in [true, false] {
                assert_eq!(read(humid, answer).unwrap_err().cause(), Cause::OutOfRange, "{answer:02x?}");
            }
        }
    }
}
