//! Tests of the drivers of the real chips on the models: a driver reads the chip's surroundings with an error of at
//! most half a step, over the chip's whole range. With a manual clock, so that conversions take simulated time and the
//! tests do not wait.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeMap;

use atalaya_hal::settings::{Analogue, Input, Rtd, Shunt};
use atalaya_hal::{BusAddress, Cause, Chip, Quantity, Sensor, SensorSpec, Settings, drivers};
use atalaya_sim::models::ads1115::Ads1115;
use atalaya_sim::models::max31865::{self, Max31865};
use atalaya_sim::models::{
    self, Surroundings, aht20, bme280, bmp390, ina219, ina226, lm75, mcp9808, scd4x, sht3x, sht4x, shtc3,
    tmp102, tmp117, veml7700,
};
use atalaya_sim::{BusFault, Clock, SimBus, SimSpi};
use proptest::prelude::*;

use Quantity::{Concentration, Current, Humidity, Illuminance, Power, Pressure, Temperature, Voltage};

/// Maximum rounding error of drivers: they return four decimals.
const DECIMALS: f64 = 0.000_051;

fn spec(chip: Chip) -> SensorSpec {
    let bus_address = match chip.addresses() {
        [] => BusAddress::Spi { bus: "spi-0.0".to_owned() },
        [first, ..] => BusAddress::I2c { bus: "i2c-1".to_owned(), address: *first },
    };
    SensorSpec::new("s", chip, bus_address)
}

fn with(chip: Chip, settings: Settings) -> SensorSpec {
    SensorSpec { settings, ..spec(chip) }
}

/// Returns a chip in constant surroundings, with its driver.
fn sensor(spec: &SensorSpec, around: &[(Quantity, f64)]) -> (SimBus, Box<dyn Sensor>) {
    let bus = SimBus::with_clock("i2c-1", Clock::manual());
    let address = spec.address().unwrap();
    let surroundings = Surroundings::constant(around);
    match spec.settings {
        Settings::Analogue(analogue) => {
            bus.attach(address, Ads1115::device(BTreeMap::from([(analogue.input, surroundings)])));
        }
        _ => bus.attach(address, models::of(spec, surroundings).unwrap()),
    }
    let sensor = drivers::build(spec, bus.clone(), bus.clock().clone(), "i2c-1").unwrap();
    (bus, sensor)
}

/// Reads until a value is available: an SCD4x needs five seconds for its first.
fn read(bus: &SimBus, sensor: &mut dyn Sensor) -> BTreeMap<Quantity, f64> {
    for _ in 0..7 {
        match sensor.read() {
            Ok(readings) if !readings.is_empty() => {
                return readings.iter().map(|reading| (reading.quantity(), reading.value())).collect();
            }
            Ok(_) => {}
            Err(error) if sensor.info().chip == "scd4x" => assert_eq!(error.cause(), Cause::Other, "{error}"),
            Err(error) => panic!("{error}"),
        }
        bus.clock().advance(std::time::Duration::from_secs(1));
    }
    panic!("no reading");
}

/// Checks that each of `around` is read to within its tolerance; twice, because a second read uses another code path.
fn reads(spec: &SensorSpec, around: &[(Quantity, f64, f64)]) -> Result<(), TestCaseError> {
    let values: Vec<_> = around.iter().map(|(quantity, value, _)| (*quantity, *value)).collect();
    let (bus, mut sensor) = sensor(spec, &values);
    // A value whose code equals that of a skipped measurement is refused, as by Linux' driver: one of 65 536.
    let skipped = sensor.read().is_err_and(|error| error.to_string().contains("was not measured"));
    prop_assume!(!skipped);
    for _ in 0..2 {
        let got = read(&bus, sensor.as_mut());
        prop_assert_eq!(got.len(), spec.quantities.len());
        for (quantity, want, tolerance) in around {
            let value = got[quantity];
            let off = (value - want).abs();
            prop_assert!(off <= *tolerance, "{value} for {quantity} of {want} on {}", spec.chip);
        }
    }
    Ok(())
}

fn within(range: [f64; 2]) -> std::ops::RangeInclusive<f64> {
    range[0]..=range[1]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn lm75(celsius in lm75::MIN..=lm75::MAX) {
        for chip in [Chip::Lm75, Chip::Lm75a] {
            reads(&spec(chip), &[(Temperature, celsius, lm75::LSB / 2.0 + DECIMALS)])?;
        }
    }

    #[test]
    fn tmp105(celsius in lm75::TMP105_MIN..=lm75::MAX) {
        reads(&spec(Chip::Tmp105), &[(Temperature, celsius, lm75::LSB / 2.0 + DECIMALS)])?;
    }

    #[test]
    fn tmp102(celsius in tmp102::MIN..=tmp102::MAX) {
        reads(&spec(Chip::Tmp102), &[(Temperature, celsius, tmp102::LSB / 2.0 + DECIMALS)])?;
    }

    #[test]
    fn tmp117(celsius in tmp117::MIN..=tmp117::MAX) {
        reads(&spec(Chip::Tmp117), &[(Temperature, celsius, tmp117::LSB / 2.0 + DECIMALS)])?;
    }

    #[test]
    fn mcp9808(celsius in mcp9808::MIN..=mcp9808::MAX) {
        reads(&spec(Chip::Mcp9808), &[(Temperature, celsius, mcp9808::LSB / 2.0 + DECIMALS)])?;
    }

    /// The tolerance is a step of 16 bits, plus the error of Bosch's integer arithmetic.
    #[test]
    fn bme280_and_bmp280(
        celsius in within(bme280::TEMPERATURE), pascal in within(bme280::PRESSURE),
        percent in within(bme280::HUMIDITY),
    ) {
        let air = [(Temperature, celsius, 0.01), (Pressure, pascal, 3.0), (Humidity, percent, 0.02)];
        reads(&spec(Chip::Bme280), &air)?;
        reads(&spec(Chip::Bmp280), &air[..2])?;
    }

    /// The tolerance is a step of 16 bits.
    #[test]
    fn bmp390(celsius in within(bmp390::TEMPERATURE), pascal in within(bmp390::PRESSURE)) {
        reads(&spec(Chip::Bmp390), &[(Temperature, celsius, 0.01), (Pressure, pascal, 3.0)])?;
    }

    #[test]
    fn sht3x(celsius in within(sht3x::TEMPERATURE), percent in within(sht3x::HUMIDITY)) {
        let steps = [sht3x::TEMPERATURE_LSB / 2.0 + DECIMALS, sht3x::HUMIDITY_LSB / 2.0 + DECIMALS];
        reads(&spec(Chip::Sht3x), &[(Temperature, celsius, steps[0]), (Humidity, percent, steps[1])])?;
    }

    #[test]
    fn sht4x(celsius in within(sht4x::TEMPERATURE), percent in within(sht4x::HUMIDITY)) {
        // The published driver truncates the code's fraction at 2^-16: up to a step too low.
        let steps = [1.6 * sht4x::TEMPERATURE_LSB, 1.6 * sht4x::HUMIDITY_LSB];
        reads(&spec(Chip::Sht4x), &[(Temperature, celsius, steps[0]), (Humidity, percent, steps[1])])?;
    }

    #[test]
    fn shtc3(celsius in within(shtc3::TEMPERATURE), percent in within(shtc3::HUMIDITY)) {
        // The published driver computes in thousandths; 100 % is one step above the last code.
        let steps = [shtc3::TEMPERATURE_LSB / 2.0 + 0.001, shtc3::HUMIDITY_LSB + 0.001];
        reads(&spec(Chip::Shtc3), &[(Temperature, celsius, steps[0]), (Humidity, percent, steps[1])])?;
    }

    #[test]
    fn aht20(celsius in within(aht20::TEMPERATURE), percent in within(aht20::HUMIDITY)) {
        // 100 % is one step above the last code.
        let steps = [aht20::TEMPERATURE_LSB / 2.0 + DECIMALS, aht20::HUMIDITY_LSB + DECIMALS];
        reads(&spec(Chip::Aht20), &[(Temperature, celsius, steps[0]), (Humidity, percent, steps[1])])?;
    }

    #[test]
    fn scd4x(
        ppm in 400.0..=5_000.0_f64, celsius in within(scd4x::TEMPERATURE), percent in within(scd4x::HUMIDITY),
    ) {
        let air = [
            (Concentration, ppm, 0.5),
            (Temperature, celsius, scd4x::TEMPERATURE_LSB / 2.0 + DECIMALS),
            (Humidity, percent, scd4x::HUMIDITY_LSB / 2.0 + DECIMALS),
        ];
        reads(&spec(Chip::Scd4x), &air)?;
        reads(&with(Chip::Scd4x, Settings::Altitude(Some(650))), &air)?;
    }

    #[test]
    fn bh1750(lux in 0.0..=models::bh1750::MAX) {
        // The driver returns one decimal.
        reads(&spec(Chip::Bh1750), &[(Illuminance, lux, models::bh1750::LSB / 2.0 + 0.051)])?;
    }

    /// The driver reads at gain 1/8 and 100 ms, and its correction is accurate to a thousandth; from 1000 to 1075 lx
    /// the chip is ambiguous.
    #[test]
    fn veml7700(lux in prop_oneof![0.0..1_000.0_f64, 1_080.0..100_000.0_f64]) {
        reads(&spec(Chip::Veml7700), &[(Illuminance, lux, veml7700::FINEST * 128.0 / 2.0 + 0.002 * lux + DECIMALS)])?;
    }

    #[test]
    fn ina219(volts in 0.0..=ina219::MAX_VOLTS, part in -0.999..=0.999_f64, index in 0..3_usize) {
        // The full 3.2 A is the end of the converter's range, which is refused.
        let (ohms, most) = [(0.1, 3.2), (0.01, 20.0), (1.0, 0.1)][index];
        let amperes = part * most;
        let spec = with(Chip::Ina219, Settings::Shunt(Shunt { ohms, max_amperes: most }));
        // A step of the shunt's voltage, and one of the current's register.
        let current = ina219::SHUNT_LSB / ohms / 2.0 + 2.0 * most / 32_768.0 + DECIMALS;
        let power = volts * current + amperes.abs() * ina219::BUS_LSB + 21.0 * most / 32_768.0;
        reads_power(&spec, volts, amperes, ina219::BUS_LSB / 2.0 + DECIMALS, current, power)?;
    }

    #[test]
    fn ina226(volts in 0.0..=ina226::MAX_VOLTS, part in -1.0..=1.0_f64, index in 0..3_usize) {
        let (ohms, most) = [(0.1, 0.81), (0.01, 8.0), (1.0, 0.08)][index];
        let amperes = part * most;
        let spec = with(Chip::Ina226, Settings::Shunt(Shunt { ohms, max_amperes: most }));
        let current = ina226::SHUNT_LSB / ohms / 2.0 + 2.0 * most / 32_768.0 + DECIMALS;
        let power = volts * current + amperes.abs() * ina226::BUS_LSB + 26.0 * most / 32_768.0;
        reads_power(&spec, volts, amperes, ina226::BUS_LSB / 2.0 + DECIMALS, current, power)?;
    }

    #[test]
    fn ads1115(part in -0.99..=0.99_f64, gain in 0..6_usize, input in 0..8_usize) {
        let full = [6.144, 4.096, 2.048, 1.024, 0.512, 0.256][gain];
        let analogue = Analogue { input: Input::ALL[input], full_scale: full };
        let spec = with(Chip::Ads1115, Settings::Analogue(analogue));
        reads(&spec, &[(Voltage, part * full, full / 65_536.0 + 0.000_000_51)])?;
    }

    #[test]
    fn max31865(celsius in within(max31865::TEMPERATURE), wires in 2..=4_u8, thousand in any::<bool>()) {
        let nominal = if thousand { 1_000.0 } else { 100.0 };
        let rtd = Rtd { wires, reference: 4.3 * nominal, nominal, mains: 50 };
        let spec = with(Chip::Max31865, Settings::Rtd(rtd));
        let chip = Max31865::new(rtd, Surroundings::constant(&[(Temperature, celsius)]));
        let spi = SimSpi::new("spi-0.0", Clock::manual(), chip);
        let mut sensor = drivers::build_spi(&spec, spi.clone(), spi.clock().clone(), "spi-0.0").unwrap();
        for _ in 0..2 {
            let value = sensor.read().unwrap()[0].value();
            // One step is about 0.034 °C at 0 °C, and 0.046 at 850.
            prop_assert!((value - celsius).abs() < 0.03, "{value} for {celsius}");
        }
    }
}

/// The power is the product, with its sign if the driver returns one.
fn reads_power(
    spec: &SensorSpec,
    volts: f64,
    amperes: f64,
    voltage_step: f64,
    current_step: f64,
    power_step: f64,
) -> Result<(), TestCaseError> {
    let (bus, mut sensor) = sensor(spec, &[(Voltage, volts), (Current, amperes)]);
    for _ in 0..2 {
        let got = read(&bus, sensor.as_mut());
        prop_assert!((got[&Voltage] - volts).abs() <= voltage_step, "{} V for {volts}", got[&Voltage]);
        prop_assert!((got[&Current] - amperes).abs() <= current_step, "{} A for {amperes}", got[&Current]);
        let power = got[&Power].abs();
        prop_assert!(
            (power - (volts * amperes).abs()).abs() <= power_step,
            "{power} W for {volts} V, {amperes} A"
        );
    }
    Ok(())
}

/// Returns every chip with a model.
fn modelled() -> Vec<SensorSpec> {
    let known = |chip: &Chip| matches!(chip, Chip::Ads1115) || models::of(&spec(*chip), calm()).is_some();
    Chip::ALL.into_iter().filter(|chip| !chip.addresses().is_empty()).filter(known).map(spec).collect()
}

/// Values within the measuring range of every chip.
const CALM: [(Quantity, f64); 7] = [
    (Temperature, 21.5),
    (Humidity, 45.0),
    (Pressure, 101_300.0),
    (Concentration, 700.0),
    (Illuminance, 300.0),
    (Voltage, 1.5),
    (Current, 0.25),
];

fn calm() -> Surroundings {
    Surroundings::constant(&CALM)
}

#[test]
fn a_chip_that_was_unplugged_is_read_again() {
    for spec in modelled() {
        let (bus, mut sensor) = sensor(&spec, &CALM);
        let before = read(&bus, sensor.as_mut());
        bus.set_fault(spec.address().unwrap(), Some(BusFault::NoAcknowledge));
        for _ in 0..3 {
            assert_eq!(sensor.read().unwrap_err().cause(), Cause::NotPresent, "{}", spec.chip);
        }
        bus.set_fault(spec.address().unwrap(), None);
        bus.clock().advance(std::time::Duration::from_secs(1));
        // The driver may have to initialise the chip again first.
        assert_eq!(read_after_trouble(&bus, sensor.as_mut()), before, "{}", spec.chip);
    }
}

#[test]
fn a_disturbed_wire_is_an_error_of_the_bus_and_passes() {
    for spec in modelled() {
        for (fault, cause) in
            [(BusFault::Bus, Cause::Bus), (BusFault::Timeout, Cause::Timeout), (BusFault::Busy, Cause::Busy)]
        {
            let (bus, mut sensor) = sensor(&spec, &CALM);
            let before = read(&bus, sensor.as_mut());
            bus.set_fault(spec.address().unwrap(), Some(fault));
            assert_eq!(sensor.read().unwrap_err().cause(), cause, "{}", spec.chip);
            bus.set_fault(spec.address().unwrap(), None);
            assert_eq!(read_after_trouble(&bus, sensor.as_mut()), before, "{}", spec.chip);
        }
    }
}

#[test]
fn a_wrong_bit_is_found_by_every_chip_with_a_checksum() {
    for chip in [Chip::Sht3x, Chip::Sht4x, Chip::Shtc3, Chip::Aht20, Chip::Scd4x] {
        let spec = spec(chip);
        let (bus, mut sensor) = sensor(&spec, &CALM);
        let before = read(&bus, sensor.as_mut());
        bus.clock().advance(std::time::Duration::from_secs(6));
        bus.set_fault(spec.address().unwrap(), Some(BusFault::Checksum));
        assert_eq!(sensor.read().unwrap_err().cause(), Cause::Checksum, "{chip}");
        bus.set_fault(spec.address().unwrap(), None);
        assert_eq!(read_after_trouble(&bus, sensor.as_mut()), before, "{chip}");
    }
}

#[test]
fn a_broken_element_is_out_of_range_on_every_chip() {
    let broken = CALM.map(|(quantity, _)| (quantity, f64::INFINITY));
    for spec in modelled() {
        let chip = spec.chip;
        let (bus, mut sensor) = sensor(&spec, &broken);
        let mut causes = Vec::new();
        for _ in 0..7 {
            causes.push(sensor.read().unwrap_err().cause());
            bus.clock().advance(std::time::Duration::from_secs(1));
        }
        // The first readings of an SCD4x take five seconds.
        assert!(causes.contains(&Cause::OutOfRange), "{causes:?} of {chip}");
        assert!(chip == Chip::Scd4x || causes.iter().all(|cause| *cause == Cause::OutOfRange), "{chip}");
    }
}

/// Reads like [`read`], but ignores errors of the first reads, in which the chip is initialised again.
fn read_after_trouble(bus: &SimBus, sensor: &mut dyn Sensor) -> BTreeMap<Quantity, f64> {
    for _ in 0..7 {
        if let Ok(readings) = sensor.read()
            && !readings.is_empty()
        {
            return readings.iter().map(|reading| (reading.quantity(), reading.value())).collect();
        }
        bus.clock().advance(std::time::Duration::from_secs(1));
    }
    panic!("{} is not read again", sensor.info().chip);
}
