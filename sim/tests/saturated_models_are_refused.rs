//! Tests that a value beyond a simulated chip's converter range, or affected by its own heater, is an error of the
//! read.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use atalaya_hal::{Bus, BusAddress, Cause, Chip, Quantity, ReadError, Readings, SensorSpec};
use atalaya_sim::{Clock, Shape, SimBus, SimSensor, Simulator, Waveform};
use embedded_hal::i2c::I2c;

/// Creates a board with one chip, with a clock that does not advance between transactions.
fn board(chip: Chip, settings: &[(&str, f64)], values: &[(Quantity, f64)]) -> (SimBus, Vec<Bus>) {
    let bus_address = BusAddress::I2c { bus: "i2c-1".to_owned(), address: chip.addresses()[0] };
    let mut sensor = SimSensor::new(SensorSpec::new("s", chip, bus_address));
    sensor.spec.settings = chip.settings(settings, None).unwrap();
    let waveform = |value| Waveform { shape: Shape::Constant(value), step: None, seed: None };
    sensor.waveforms = values.iter().map(|&(quantity, value)| (quantity, waveform(value))).collect();
    let (simulator, buses) = Simulator::with_clock([&sensor], "", Clock::manual()).unwrap();
    (simulator.bus("i2c-1").unwrap().clone(), buses)
}

fn read(buses: &mut [Bus]) -> Result<Readings, ReadError> {
    buses[0].sensors[0].read()
}

fn power_monitor(chip: Chip, amperes: f64) -> Result<Readings, ReadError> {
    let values = [(Quantity::Voltage, 12.0), (Quantity::Current, amperes)];
    let (_bus, mut buses) = board(chip, &[("shunt", 0.002)], &values);
    read(&mut buses)
}

#[test]
fn a_current_beyond_the_shunt_converter_is_no_reading() {
    // 100 A through 2 mΩ is 200 mV: an INA226 reads this as 81.92 mV, an INA219 reads the full value.
    for (chip, amperes) in
        [(Chip::Ina226, 100.0), (Chip::Ina226, -100.0), (Chip::Ina219, 200.0), (Chip::Ina219, -200.0)]
    {
        let error = power_monitor(chip, amperes).unwrap_err();
        assert_eq!(error.cause(), Cause::OutOfRange);
        let text = error.to_string();
        assert!(
            text.contains("current at the end") && text.contains("shunt with less resistance"),
            "{chip}: {text}"
        );
    }
    let readings = power_monitor(Chip::Ina219, 100.0).unwrap();
    assert_eq!((readings[1].quantity(), readings[1].value()), (Quantity::Current, 100.0));
}

#[test]
fn more_light_than_a_counter_holds_is_no_reading() {
    for (chip, lux) in [(Chip::Bh1750, 60_000.0), (Chip::Veml7700, 200_000.0)] {
        let (_bus, mut buses) = board(chip, &[], &[(Quantity::Illuminance, lux)]);
        assert_eq!(read(&mut buses).unwrap_err().cause(), Cause::OutOfRange, "{chip}");
    }
}

#[test]
fn a_heater_of_an_sht3x_is_switched_off_before_anything_is_believed() {
    let (mut bus, mut buses) = board(Chip::Sht3x, &[], &[(Quantity::Temperature, 21.5)]);
    let status = |bus: &mut SimBus| {
        let mut bytes = [0; 3];
        bus.write_read(0x44, &[0xf3, 0x2d], &mut bytes).unwrap();
        u16::from_be_bytes([bytes[0], bytes[1]])
    };
    bus.write(0x44, &[0x30, 0x6d]).unwrap();
    assert_eq!(status(&mut bus) & 0x2000, 0x2000);
    let error = read(&mut buses).unwrap_err();
    assert!(error.to_string().contains("its heater was on"), "{error}");
    assert_eq!(status(&mut bus) & 0x2000, 0);
    assert!((read(&mut buses).unwrap()[0].value() - 21.5).abs() < 0.01);
}

#[test]
fn input_that_no_sensor_reads_is_not_connected() {
    let bus_address = BusAddress::I2c { bus: "i2c-1".to_owned(), address: 0x48 };
    let mut sensor = SimSensor::new(SensorSpec::new("s", Chip::Ads1115, bus_address));
    sensor.spec.settings = Chip::Ads1115.settings(&[], Some("a1")).unwrap();
    let waveform = Waveform { shape: Shape::Constant(1.0), step: None, seed: None };
    sensor.waveforms = [(Quantity::Voltage, waveform)].into();
    let (simulator, _buses) = Simulator::with_clock([&sensor], "", Clock::manual()).unwrap();
    let mut bus = simulator.bus("i2c-1").unwrap().clone();
    // Inputs 0 and 1 against ground, at 2.048 V.
    for (high, want) in [(0xc5, [0, 0]), (0xd5, [0x3e, 0x80])] {
        bus.write(0x48, &[1, high, 0x83]).unwrap();
        bus.clock().advance(std::time::Duration::from_millis(20));
        let mut bytes = [9; 2];
        bus.write_read(0x48, &[0], &mut bytes).unwrap();
        assert_eq!(bytes, want);
    }
}
