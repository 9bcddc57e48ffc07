//! Tests that a value beyond a simulated chip's converter range, or affected by its own heater, is an error of the
//! read.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use atalaya_hal::{Boards, Bus, Cause, Quantity, ReadError, Readings};
use atalaya_sim::{Clock, SimBus, Simulator};
use embedded_hal::i2c::I2c;

/// Creates a board with one chip, with a clock that does not advance between transactions.
fn board(chip: &str, rest: &str) -> (SimBus, Vec<Bus>) {
    let text = format!(
        "[boards.b]\nbackend = \"sim\"\n[[boards.b.sensors]]\nname = \"s\"\nchip = \"{chip}\"\nbus = \"i2c-1\"\n{rest}\n"
    );
    let boards = Boards::parse(&text, "test").unwrap();
    let (simulator, buses) = Simulator::with_clock(&boards.boards["b"], "", Clock::manual()).unwrap();
    (simulator.bus("i2c-1").unwrap().clone(), buses)
}

fn read(buses: &mut [Bus]) -> Result<Readings, ReadError> {
    buses[0].sensors[0].read()
}

fn power_monitor(chip: &str, amperes: f64) -> Result<Readings, ReadError> {
    let sim = format!("sim = {{ voltage = {{ constant = 12 }}, current = {{ constant = {amperes} }} }}");
    let (_bus, mut buses) = board(chip, &format!("address = 0x40\nsettings = {{ shunt = 0.002 }}\n{sim}"));
    read(&mut buses)
}

#[test]
fn a_current_beyond_the_shunt_converter_is_no_reading() {
    // 100 A through 2 mΩ is 200 mV: an INA226 reads this as 81.92 mV, an INA219 reads the full value.
    for (chip, amperes) in [("ina226", 100.0), ("ina226", -100.0), ("ina219", 200.0), ("ina219", -200.0)] {
        let error = power_monitor(chip, amperes).unwrap_err();
        assert_eq!(error.cause(), Cause::OutOfRange);
        let text = error.to_string();
        assert!(
            text.contains("current at the end") && text.contains("shunt with less resistance"),
            "{chip}: {text}"
        );
    }
    let readings = power_monitor("ina219", 100.0).unwrap();
    assert_eq!((readings[1].quantity(), readings[1].value()), (Quantity::Current, 100.0));
}

#[test]
fn more_light_than_a_counter_holds_is_no_reading() {
    for (chip, address, lux) in [("bh1750", 0x23, 60_000), ("veml7700", 0x10, 200_000)] {
        let sim = format!("address = {address}\nsim = {{ illuminance = {{ constant = {lux} }} }}");
        let (_bus, mut buses) = board(chip, &sim);
        assert_eq!(read(&mut buses).unwrap_err().cause(), Cause::OutOfRange, "{chip}");
    }
}

#[test]
fn a_heater_of_an_sht3x_is_switched_off_before_anything_is_believed() {
    let (mut bus, mut buses) = board("sht3x", "address = 0x44\nsim = { temperature = { constant = 21.5 } }");
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
