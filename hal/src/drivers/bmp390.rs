//! BMP390 and BMP388, on the registers of `embedded-devices`. Built by [`super::build`].
//!
//! This module implements the compensation itself: that of embedded-devices 0.10 has a superfluous shift and is wrong
//! by tens of kPa, and the crate `bmp390` has not yet released a version without `defmt`.
//!
//! The first read identifies and resets the chip and reads its calibration; later reads check that its settings are
//! still present. Each read measures once, and the chip sleeps between reads. Datasheet: Bosch BST-BMP390-DS002,
//! sections 3 to 5 and 8.4 to 8.6.

use embedded_devices::device::ResettableDeviceSync;
use embedded_devices::devices::bosch::bmp390::registers::{
    BurstMeasurements, Chip, ChipId, PowerControl, SensorMode, TrimmingCoefficients,
    TrimmingCoefficientsUnpacked,
};
use embedded_devices::devices::bosch::bmp390::{BMP390Sync, Configuration, address::Address};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use smallvec::smallvec;

use super::driver::{Driver, ReadChip};
use crate::error::{BusError, Cause, ReadError};
use crate::reading::{Quantity, Readings};

/// Id of a BMP388; embedded-devices knows only that of the BMP390.
const BMP388: u8 = 0x50;
/// Duration of one measurement of both quantities, without oversampling (section 3.9.2), plus 10 %.
const DURATION_US: u32 = 5_400;

/// Step of the 24-bit results: without oversampling they have 16 bits (section 3.4.1 and 3.4.2).
const STEP: u32 = 1 << 8;

pub(super) type Bmp390<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State {
    /// Calibration of the chip; None until it was read, and after an error.
    calibration: Option<Calibration>,
}

impl<I: I2c<Error: BusError>, D: DelayNs> ReadChip for Bmp390<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        let context = &self.context;
        let fault = |error| context.transport(error);
        let address = Address::Custom(context.address());
        let mut chip = BMP390Sync::new_i2c(&mut self.delay, &mut self.bus, address);
        let mut control = chip.read_register::<PowerControl>().map_err(fault)?;
        // Both are off at power-up: a chip that lost its power would return plausible but wrong values.
        let has_settings = control.read_temperature_enable() && control.read_pressure_enable();
        let calibration = match self.state.calibration.take().filter(|_| has_settings) {
            Some(calibration) => calibration,
            None => {
                match chip.read_register::<ChipId>().map_err(fault)?.read_chip() {
                    Chip::BME390 | Chip::Invalid(BMP388) => {}
                    Chip::Invalid(id) => {
                        return Err(context.error(Cause::Other, format!("another chip: its id is {id:#04x}")));
                    }
                }
                chip.reset().map_err(fault)?;
                let coefficients = chip.read_register::<TrimmingCoefficients>().map_err(fault)?;
                chip.configure(Configuration::default()).map_err(fault)?;
                control = PowerControl::default().with_temperature_enable(true).with_pressure_enable(true);
                Calibration(coefficients.unpack())
            }
        };
        chip.write_register(control.with_sensor_mode(SensorMode::Forced)).map_err(fault)?;
        self.delay.delay_us(DURATION_US);
        let mut chip = BMP390Sync::new_i2c(&mut self.delay, &mut self.bus, address);
        let raw = chip.read_register::<BurstMeasurements>().map_err(fault)?;
        let (temperature, pressure) = (raw.read_temperature_value(), raw.read_pressure_value());
        let celsius = calibration.temperature(temperature);
        let pascals = calibration.pressure(pressure, celsius);
        self.state.calibration = Some(calibration);
        context.check_raw(Quantity::Temperature, temperature, 24, STEP)?;
        context.check_raw(Quantity::Pressure, pressure, 24, STEP)?;
        let digits = |value: f64| (value * 1e4).round() / 1e4;
        Ok(smallvec![
            context.reading(Quantity::Temperature, digits(celsius), -40.0..=85.0)?,
            context.reading(Quantity::Pressure, digits(pascals), 30_000.0..=125_000.0)?,
        ])
    }
}

/// Raw coefficients of the chip; each is scaled by its own power of two (section 8.4).
struct Calibration(TrimmingCoefficientsUnpacked);

impl Calibration {
    /// Computes the temperature in °C (section 8.5).
    fn temperature(&self, raw: u32) -> f64 {
        let c = &self.0;
        let t1 = f64::from(c.par_t1) * 2_f64.powi(8);
        let t2 = f64::from(c.par_t2) / 2_f64.powi(30);
        let t3 = f64::from(c.par_t3) / 2_f64.powi(48);
        let x = f64::from(raw) - t1;
        x * t2 + x * x * t3
    }

    /// Computes the pressure in Pa (section 8.6): three polynomials in the temperature `t` are the weights of the
    /// powers of the raw value.
    fn pressure(&self, raw: u32, t: f64) -> f64 {
        let c = &self.0;
        let x = f64::from(raw);
        let offset = f64::from(c.par_p5) * 2_f64.powi(3)
            + f64::from(c.par_p6) / 2_f64.powi(6) * t
            + f64::from(c.par_p7) / 2_f64.powi(8) * t.powi(2)
            + f64::from(c.par_p8) / 2_f64.powi(15) * t.powi(3);
        let slope = (f64::from(c.par_p1) - 2_f64.powi(14)) / 2_f64.powi(20)
            + (f64::from(c.par_p2) - 2_f64.powi(14)) / 2_f64.powi(29) * t
            + f64::from(c.par_p3) / 2_f64.powi(32) * t.powi(2)
            + f64::from(c.par_p4) / 2_f64.powi(37) * t.powi(3);
        let bend = f64::from(c.par_p9) / 2_f64.powi(48) + f64::from(c.par_p10) / 2_f64.powi(48) * t;
        offset + slope * x + bend * x.powi(2) + f64::from(c.par_p11) / 2_f64.powi(65) * x.powi(3)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// Coefficients and readings of a real BMP390: from the tests of the crate `bmp390`, whose authors read them from
    /// their chip.
    const COEFFICIENTS: [u8; 21] = [
        0x98, 0x6c, 0xa9, 0x4a, 0xf9, 0xe3, 0x1c, 0x61, 0x16, 0x06, 0x01, 0x51, 0x4a, 0xde, 0x5d, 0x03, 0xfa,
        0xf9, 0x0e, 0x06, 0xf5,
    ];
    const MEASURED: [u8; 6] = [0xcb, 0xb3, 0x6b, 0xd1, 0xba, 0x82];

    fn setup(id: u8) -> [Transaction; 6] {
        [
            reads(0x77, [0], [id]),
            writes(0x77, [0x7e, 0xb6]),
            Transaction::write_read(0x77, vec![0x31], COEFFICIENTS.to_vec()),
            writes(0x77, [0x1b, 0x03]),
            writes(0x77, [0x1c, 0x00]),
            writes(0x77, [0x1f, 0x00]),
        ]
    }

    fn control(byte: u8) -> Transaction {
        reads(0x77, [0x1b], [byte])
    }

    fn measure(answer: [u8; 6]) -> [Transaction; 2] {
        [writes(0x77, [0x1b, 0x13]), reads(0x77, [4], answer)]
    }

    fn sensor(all: impl IntoIterator<Item = Transaction>) -> Bmp390<Strict, Now> {
        Bmp390::new(bus(all), Now, context("bmp390", 0x77))
    }

    #[test]
    fn what_a_real_chip_measured_is_compensated_as_the_datasheet_says() {
        for id in [0x60, BMP388] {
            let all = [control(0)].into_iter().chain(setup(id)).chain(measure(MEASURED));
            let got = values(sensor(all).read()).unwrap();
            assert!((got[0] - 25.770_746).abs() < 1e-3 && (got[1] - 98_370.55).abs() < 0.1, "{got:?}");
        }
    }

    #[test]
    fn another_chip_is_left_alone() {
        let error = sensor([control(0), reads(0x77, [0], [0x58])]).read().unwrap_err();
        assert!(error.to_string().contains("another chip: its id is 0x58"), "{error}");
    }

    #[test]
    fn a_chip_that_lost_its_power_gets_its_settings_again() {
        let first = || [control(0)].into_iter().chain(setup(0x60)).chain(measure(MEASURED));
        let second = [control(3)].into_iter().chain(measure(MEASURED));
        let mut sensor = sensor(first().chain(second).chain(first()));
        let values: Vec<_> = (0..3).map(|_| values(sensor.read()).unwrap()).collect();
        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
    }

    #[test]
    fn refuses_what_the_chip_cannot_measure() {
        for answer in [[0xcb, 0xb3, 0x6b, 0, 0, 0], [0xcb, 0xb3, 0x6b, 0xff, 0xff, 0xff], [0xff; 6], [0; 6]] {
            let all = [control(0)].into_iter().chain(setup(0x60)).chain(measure(answer));
            assert_eq!(sensor(all).read().unwrap_err().cause(), Cause::OutOfRange, "{answer:?}");
        }
    }
}
