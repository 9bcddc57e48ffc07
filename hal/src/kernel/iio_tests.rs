use super::super::tests::{Tree, value};
use super::*;
use crate::file::tests::info;
use crate::kernel::channel_quantity;

const BME: &str = "bus/iio/devices/iio:device0";
const ADC: &str = "bus/iio/devices/iio:device1";

const AIR: [Quantity; 3] = [Quantity::Temperature, Quantity::Humidity, Quantity::Pressure];

/// Creates a BME280 as exposed by bmp280_i2c, and an MCP3004 as exposed by mcp320x.
fn pi() -> Tree {
    let tree = Tree::new();
    tree.link(BME, "devices/i2c-1/1-0076/iio:device0");
    tree.write(&format!("{BME}/name"), "bme280\n").write(&format!("{BME}/in_temp_input"), "24560\n");
    tree.write(&format!("{BME}/in_humidityrelative_input"), "41250\n");
    tree.write(&format!("{BME}/in_pressure_input"), "101.325000000\n");
    tree.write(&format!("{BME}/in_temp_oversampling_ratio"), "2\n");
    tree.write(&format!("{ADC}/name"), "mcp3004\n")
        .write(&format!("{ADC}/in_voltage_scale"), "3.222656250\n");
    tree.write(&format!("{ADC}/in_voltage0_raw"), "512\n").write(&format!("{ADC}/in_voltage1_raw"), "1023\n");
    tree.write(&format!("{ADC}/in_voltage0-voltage1_raw"), "-100\n");
    tree.write(&format!("{ADC}/in_voltage-voltage_scale"), "2\n");
    tree
}

fn sensor(tree: &Tree, device: Option<&str>, channel: Option<&str>, quantities: &[Quantity]) -> Iio {
    Iio::new(tree.sysfs(), device.map(str::to_owned), channel.map(str::to_owned), info("iio", quantities))
}

fn channel(tree: &Tree, device: &str, name: &str) -> Result<Readings, ReadError> {
    sensor(tree, Some(device), Some(name), &[channel_quantity(name).unwrap()]).read()
}

#[test]
fn all_that_a_device_measures_is_read_in_the_order_of_the_quantities() {
    let tree = pi();
    for device in [None, Some("bme280"), Some("1-0076"), Some("iio:device0")] {
        let readings = sensor(&tree, device, None, &AIR).read().unwrap();
        let got: Vec<_> = readings.iter().map(|reading| (reading.quantity(), reading.value())).collect();
        let want = [(AIR[0], 24.56), (AIR[1], 41.25), (AIR[2], 101_325.0)];
        assert_eq!(got, want, "{device:?}");
    }
    assert_eq!(value(sensor(&tree, None, None, &[Quantity::Humidity]).read()), 41.25);
}

#[test]
fn every_type_is_converted_to_its_canonical_unit() {
    let tree = Tree::new();
    let table = [
        ("in_temp", "-5500", Quantity::Temperature, -5.5),
        ("in_temp_object", "36600", Quantity::Temperature, 36.6),
        ("in_humidityrelative", "50000", Quantity::Humidity, 50.0),
        ("in_pressure", "100.25", Quantity::Pressure, 100_250.0),
        ("in_voltage3", "1500", Quantity::Voltage, 1.5),
        ("in_current0", "20", Quantity::Current, 0.02),
        ("in_power0", "2500", Quantity::Power, 2.5),
        ("in_illuminance0", "320.5", Quantity::Illuminance, 320.5),
        ("in_concentration_co2", "0.04", Quantity::Concentration, 400.0),
    ];
    tree.write(&format!("{BME}/name"), "all\n");
    for (name, number, quantity, want) in table {
        tree.write(&format!("{BME}/{name}_input"), format!("{number}\n"));
        let readings = channel(&tree, "all", name).unwrap();
        assert_eq!(readings[..], [Reading::new(quantity, want).unwrap()], "{name}");
    }
}

#[test]
fn raw_values_get_the_offset_and_then_the_scale_of_the_channel_or_of_what_it_shares() {
    let tree = pi();
    assert_eq!(value(channel(&tree, "mcp3004", "in_voltage0")), 1.65);
    assert_eq!(value(channel(&tree, "mcp3004", "in_voltage0_raw")), 1.65);
    assert_eq!(value(channel(&tree, "mcp3004", "in_voltage0-voltage1")), -0.2);
    tree.write(&format!("{ADC}/in_voltage0_scale"), "1\n")
        .write(&format!("{ADC}/in_voltage0_offset"), "-12\n");
    assert_eq!(value(channel(&tree, "mcp3004", "in_voltage0")), 0.5);
    tree.write(&format!("{ADC}/in_voltage_offset"), "-23\n");
    assert_eq!(value(channel(&tree, "mcp3004", "in_voltage1")), 1000.0 * 3.222_656_25 / 1e3);
    // Values of an IIO driver for a sht31: raw temperature with its own offset and scale.
    tree.write(&format!("{BME}/in_temp_raw"), "26000\n").write(&format!("{BME}/in_temp_scale"), "10");
    assert_eq!(value(channel(&tree, "bme280", "in_temp")), 24.56, "what the driver computed is preferred");
    // Shared by all channels.
    tree.write("bus/iio/devices/iio:device2/name", "own")
        .write("bus/iio/devices/iio:device2/in_temp_raw", "100");
    tree.write("bus/iio/devices/iio:device2/scale", "250\n");
    assert_eq!(value(channel(&tree, "own", "in_temp")), 25.0);
}

#[test]
fn without_a_scale_the_unit_is_unknown_and_so_there_is_no_reading() {
    let tree = pi();
    tree.remove(&format!("{ADC}/in_voltage_scale"));
    let error = channel(&tree, "mcp3004", "in_voltage0").unwrap_err();
    assert_eq!(error.cause(), Cause::Other);
    assert!(tree.text(&error).contains("in_voltage0_raw: the driver tells no scale"), "{error}");
    // If a type has no unit here, boards.toml names the quantity.
    tree.write(&format!("{ADC}/in_proximity_raw"), "77\n");
    let mut proximity = sensor(&tree, Some("mcp3004"), Some("in_proximity"), &[Quantity::Count]);
    assert_eq!(proximity.read().unwrap()[..], [Reading::new(Quantity::Count, 77.0).unwrap()]);
    // A scale that is present but invalid is an error, unlike an absent one.
    tree.write(&format!("{ADC}/in_voltage_scale"), "dB\n");
    let error = channel(&tree, "mcp3004", "in_voltage0").unwrap_err();
    assert!(tree.text(&error).ends_with("in_voltage_scale: `dB` is not one number"), "{error}");
}

#[test]
fn several_that_fit_and_none_that_fits_are_errors_that_list_them() {
    let tree = pi();
    let text = |mut sensor: Iio| {
        let error = sensor.read().unwrap_err();
        (error.cause(), tree.text(&error))
    };
    assert_eq!(
        text(sensor(&tree, None, None, &[Quantity::Voltage])),
        (
            Cause::Other,
            "cannot read /sys/bus/iio/devices/iio:device1: mcp3004 (devices, iio:device1) has several channels for \
             voltage: `in_voltage0`, `in_voltage1` and `in_voltage0-voltage1`; say which with `channel`"
                .to_owned()
        )
    );
    assert_eq!(
        text(sensor(&tree, Some("bmp180"), None, &AIR)),
        (
            Cause::NotPresent,
            "nothing to read at /sys/bus/iio/devices: no device is called `bmp180`; there is `bme280 (1-0076, \
             iio:device0)` and `mcp3004 (devices, iio:device1)`"
                .to_owned()
        )
    );
    tree.write("bus/iio/devices/iio:device5/name", "bmp280\n");
    tree.write("bus/iio/devices/iio:device5/in_temp_input", "1\n");
    let (cause, several) = text(sensor(&tree, None, Some("in_temp"), &[Quantity::Temperature]));
    assert_eq!(cause, Cause::Other);
    assert!(several.contains("several devices fit"), "{several}");
    let (cause, none) = text(sensor(&tree, None, None, &[Quantity::Power]));
    assert_eq!(cause, Cause::NotPresent);
    assert!(none.contains("no device has a channel for power; there is"), "{none}");
}

#[test]
fn extremes_and_averages_are_read_only_when_they_are_named() {
    let tree = pi();
    for name in ["in_temp_peak_raw", "in_temp_trough_raw", "in_temp_mean_raw"] {
        tree.write(&format!("{BME}/{name}"), "30\n");
    }
    tree.write(&format!("{BME}/in_temp_scale"), "1000\n");
    assert_eq!(sensor(&tree, None, None, &AIR).read().unwrap()[0].value(), 24.56);
    assert_eq!(value(channel(&tree, "bme280", "in_temp_peak")), 30.0);
}

#[test]
fn a_device_that_vanishes_and_comes_back_under_another_number_is_found_again() {
    let tree = Tree::new();
    tree.write(&format!("{BME}/name"), "bme280\n").write(&format!("{BME}/in_temp_input"), "20000\n");
    let mut sensor = sensor(&tree, Some("bme280"), Some("in_temp"), &[Quantity::Temperature]);
    assert_eq!(value(sensor.read()), 20.0);
    tree.rename(BME, "gone");
    assert_eq!(sensor.read().unwrap_err().cause(), Cause::NotPresent);
    tree.write(&format!("{BME}/name"), "other\n").write(&format!("{BME}/in_temp_input"), "99000\n");
    assert_eq!(sensor.read().unwrap_err().cause(), Cause::NotPresent);
    tree.rename("gone", "bus/iio/devices/iio:device3");
    assert_eq!(value(sensor.read()), 20.0);
}
