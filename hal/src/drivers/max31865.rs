//! MAX31865 with a PT100 or PT1000, on `embedded-devices`. Built by [`super::build_spi`].
//!
//! A read checks that the chip has its settings and writes them if not, measures once with the bias on, and waits for
//! the result. SPI has no acknowledge: a chip that does not keep the written settings is reported as absent. Datasheet:
//! Analog Devices 19-6478, "MAX31865 RTD-to-Digital Converter".

use embedded_devices::devices::analog_devices::max31865::registers::{
    Configuration, FaultStatus, FaultThresholdHigh, FaultThresholdLow, FilterMode, WiringMode,
};
use embedded_devices::devices::analog_devices::max31865::{MAX31865Sync, MeasurementError};
use embedded_devices::sensor::OneshotSensorSync;
use embedded_devices::uom::si::thermodynamic_temperature::degree_celsius;
use embedded_hal::delay::DelayNs;
use embedded_hal::spi::SpiDevice;
use embedded_interfaces::TransportError;
use smallvec::smallvec;

use super::DeviceContext;
use super::context::SlowDelay;
use super::driver::{Driver, ReadChip};
use crate::error::{Cause, ReadError, SpiError};
use crate::reading::{Quantity, Readings};

/// Thresholds: one that no resistance reaches, and one that distinguishes a chip from a line that is stuck high or low.
const HIGHEST: u16 = 0x7ffe;
const LOWEST: u16 = 0x0001;

pub(super) type Max31865<S, D> = Driver<State, S, D>;

#[derive(Default)]
pub(super) struct State {
    /// True if the chip has its thresholds.
    ready: bool,
}

impl<S: SpiDevice<Error: SpiError>, D: DelayNs> ReadChip for Max31865<S, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        let context = &self.context;
        let setting = |key| context.settings().number(key);
        let fault = |error| transport(context, error);
        let wires = if setting("wires") == 3.0 { WiringMode::ThreeWire } else { WiringMode::TwoOrFourWire };
        // The chip filters out the frequency of the mains.
        let filter = if setting("mains") == 60.0 { FilterMode::F_60Hz } else { FilterMode::F_50Hz };
        // The crate waits for the typical duration of a conversion, and the maximum is 5 % longer.
        let delay = SlowDelay(&mut self.delay);
        let mut chip = MAX31865Sync::new_spi(delay, &mut self.bus, setting("reference") / setting("nominal"));

        let settings = Configuration::default().with_wiring_mode(wires).with_filter_mode(filter);
        let found = chip.read_register::<Configuration>().map_err(fault)?;
        let kept = found.read_wiring_mode() == wires && found.read_filter_mode() == filter;
        if !std::mem::take(&mut self.state.ready) || !kept {
            chip.write_register(settings.with_clear_fault_status(true)).map_err(fault)?;
            chip.write_register(FaultThresholdHigh::default().with_resistance_ratio(HIGHEST))
                .map_err(fault)?;
            chip.write_register(FaultThresholdLow::default().with_resistance_ratio(LOWEST)).map_err(fault)?;
            let high = chip.read_register::<FaultThresholdHigh>().map_err(fault)?.read_resistance_ratio();
            let low = chip.read_register::<FaultThresholdLow>().map_err(fault)?.read_resistance_ratio();
            if (high, low) != (HIGHEST, LOWEST) {
                return Err(context.error(Cause::NotPresent, "the chip does not keep its settings"));
            }
        }
        let measured = match chip.measure() {
            Ok(measured) => measured,
            Err(MeasurementError::Transport(error)) => return Err(fault(error)),
            Err(MeasurementError::FaultDetected) => {
                let status = chip.read_register::<FaultStatus>().map_err(fault)?;
                return Err(context.error(Cause::OutOfRange, explain(status)));
            }
        };
        self.state.ready = true;
        // The thresholds reported these codes as faults, unless the chip has lost its power since: with two wires and
        // 60 Hz its settings do not show that.
        for code in [0, LOWEST, HIGHEST, HIGHEST + 1] {
            if chip.raw_resistance_ratio_to_temperature(code) == measured.temperature {
                let remedy = "check the wires, and whether `reference` and `nominal` fit the board";
                return Err(context.saturated(Quantity::Temperature, format_args!("{code:#06x}"), remedy));
            }
        }
        // One step of a PT100 is 0.03 °C; the error of the crate's polynomials is at most 0.0001 °C.
        let celsius = (measured.temperature.get::<degree_celsius>() * 1e3).round() / 1e3;
        Ok(smallvec![context.reading(Quantity::Temperature, celsius, -200.0..=850.0)?])
    }
}

fn transport<E: SpiError>(context: &DeviceContext, error: TransportError<(), E>) -> ReadError {
    match error {
        TransportError::Bus(error) => ReadError::from_spi(error, context.place()),
        TransportError::Codec(()) => context.error(Cause::Other, "the driver could not read the answer"),
        TransportError::Unexpected(text) => context.error(Cause::Other, text),
    }
}

/// Explains a fault: a summary of table 7 of the datasheet.
fn explain(status: FaultStatus) -> &'static str {
    if status.read_over_or_undervoltage() {
        "a voltage beyond the chip's supply at its inputs"
    } else if status.read_high_threshold() {
        "an open wire: is the thermometer connected?"
    } else if status.read_low_threshold() {
        "a short circuit at the thermometer"
    } else {
        "a wire of the thermometer is open or shorted"
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Now, Sensor, info};
    use super::*;
    use embedded_hal::spi::ErrorKind;
    use embedded_hal_mock::eh1::spi::{Mock, Transaction};

    /// Returns the context of a PT100 with three wires.
    fn pt100() -> DeviceContext {
        let given = [("wires", 3.0), ("reference", 400.0), ("nominal", 100.0), ("mains", 50.0)];
        let settings = crate::Chip::Max31865.settings(&given, None).unwrap();
        DeviceContext::unaddressed("/dev/spidev0.0", info("max31865")).with_settings(settings)
    }

    /// Settings for three wires and 50 Hz.
    const SETTINGS: u8 = 0x11;

    fn message(sent: Vec<u8>, got: Vec<u8>) -> [Transaction<u8>; 3] {
        [
            Transaction::transaction_start(),
            Transaction::transfer_in_place(sent, got),
            Transaction::transaction_end(),
        ]
    }

    fn reads(register: u8, got: &[u8]) -> [Transaction<u8>; 3] {
        message([&[register], &vec![0; got.len()][..]].concat(), [&[0], got].concat())
    }

    fn writes(bytes: &[u8]) -> Vec<Transaction<u8>> {
        vec![
            Transaction::transaction_start(),
            Transaction::write_vec(bytes.to_vec()),
            Transaction::transaction_end(),
        ]
    }

    fn setup(kept: [u8; 4]) -> Vec<Transaction<u8>> {
        let mut all = reads(0, &[0]).to_vec();
        all.extend(writes(&[0x80, SETTINGS | 0x02]));
        all.extend(writes(&[0x83, 0xff, 0xfc]));
        all.extend(writes(&[0x85, 0x00, 0x02]));
        all.extend(reads(3, &kept[..2]));
        all.extend(reads(5, &kept[2..]));
        all
    }

    fn measure(resistance: u16) -> Vec<Transaction<u8>> {
        let mut all = reads(0, &[SETTINGS]).to_vec();
        all.extend(writes(&[0x80, SETTINGS | 0x80]));
        all.extend(writes(&[0x80, SETTINGS | 0xa0]));
        all.extend(writes(&[0x80, SETTINGS]));
        all.extend(reads(1, &resistance.to_be_bytes()));
        all
    }

    const KEPT: [u8; 4] = [0xff, 0xfc, 0x00, 0x02];

    fn sensor(mock: &Mock<u8>) -> Max31865<Mock<u8>, Now> {
        Max31865::new(mock.clone(), Now, pt100())
    }

    fn read(transactions: Vec<Transaction<u8>>) -> Result<f64, ReadError> {
        let mut mock = Mock::new(&transactions);
        let result = sensor(&mock).read().map(|readings| readings[0].value());
        mock.done();
        result
    }

    /// Computes the resistance by IEC 60751, as in the datasheet ("Linearizing Temperature Data").
    fn ohms(t: f64) -> f64 {
        let below = if t < 0.0 { -4.183e-12 * (t - 100.0) * t.powi(3) } else { 0.0 };
        100.0 * (1.0 + 3.9083e-3 * t - 5.775e-7 * t * t + below)
    }

    #[test]
    fn the_whole_range_follows_callendar_and_van_dusen() {
        for celsius in [-199.0, -100.0, -50.0, -5.5, -0.5, 0.0, 0.5, 25.0, 100.0, 200.0, 266.0, 600.0, 845.0]
        {
            let code = (ohms(celsius) / 400.0 * 32_768.0).round() as u16;
            let got = read([setup(KEPT), measure(code << 1)].concat()).unwrap();
            // Tolerance: half a step of the chip, and the error of the crate's polynomials.
            assert!((got - celsius).abs() < 0.025, "{got} for {celsius}");
        }
        // Figure 1 of the datasheet: a quarter of the reference is 0 °C.
        assert_eq!(read([setup(KEPT), measure(0x4000)].concat()).unwrap(), 0.0);
    }

    #[test]
    fn refuses_what_a_thermometer_cannot_have() {
        for code in [0x0002, 0x0bd0, 0xfffe] {
            assert_eq!(read([setup(KEPT), measure(code)].concat()).unwrap_err().cause(), Cause::OutOfRange);
        }
    }

    #[test]
    fn a_chip_that_keeps_nothing_is_absent() {
        for kept in [[0x00; 4], [0xff; 4]] {
            let error = read(setup(kept)).unwrap_err();
            assert_eq!(error.cause(), Cause::NotPresent);
            assert!(error.to_string().contains("/dev/spidev0.0"), "{error}");
        }
    }

    #[test]
    fn a_fault_is_explained_and_cleared_by_the_next_read() {
        for (status, text) in
            [(0x80, "open wire"), (0x40, "short circuit"), (0x04, "voltage"), (0x20, "open or")]
        {
            let mut all = [setup(KEPT), measure(0x0001)].concat();
            all.extend(reads(7, &[status]));
            all.extend([setup(KEPT), measure(0x4000)].concat());
            let mut mock = Mock::new(&all);
            let mut sensor = sensor(&mock);
            let error = sensor.read().unwrap_err();
            assert_eq!(error.cause(), Cause::OutOfRange);
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(sensor.read().unwrap()[0].value(), 0.0);
            mock.done();
        }
    }

    #[test]
    fn a_chip_that_lost_its_power_gets_its_settings_again() {
        let later = [reads(0, &[SETTINGS]).to_vec(), measure(0x4000)].concat();
        let all = [setup(KEPT), measure(0x4000), later, setup(KEPT), measure(0x4000)].concat();
        let mut mock = Mock::new(&all);
        let mut sensor = sensor(&mock);
        for _ in 0..3 {
            assert_eq!(sensor.read().unwrap()[0].value(), 0.0);
        }
        mock.done();
    }

    /// Bus on which every transfer fails.
    struct Broken;

    impl embedded_hal::spi::ErrorType for Broken {
        type Error = ErrorKind;
    }

    impl SpiDevice for Broken {
        fn transaction(&mut self, _: &mut [embedded_hal::spi::Operation<'_, u8>]) -> Result<(), ErrorKind> {
            Err(ErrorKind::ModeFault)
        }
    }

    #[test]
    fn errors_of_the_bus_keep_their_text() {
        let error = Max31865::new(Broken, Now, pt100()).read().unwrap_err();
        assert_eq!(error.cause(), Cause::Bus);
        assert!(error.to_string().starts_with("bus error at /dev/spidev0.0: "), "{error}");
    }
}
