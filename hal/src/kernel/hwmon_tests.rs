use super::super::tests::{Tree, value};
use super::*;
use crate::Cause;
use crate::file::tests::info;
use crate::kernel::channel_quantity;

/// Creates a Raspberry Pi with a thermometer and a weather chip that kernel drivers own.
fn pi() -> Tree {
    let tree = Tree::new();
    tree.write("class/hwmon/hwmon0/name", "cpu_thermal\n").write("class/hwmon/hwmon0/temp1_input", "48312\n");
    tree.write("class/hwmon/hwmon1/name", "rpi_volt\n").write("class/hwmon/hwmon1/in0_lcrit_alarm", "0\n");
    tree.write("class/hwmon/hwmon2/name", "lm75\n").write("class/hwmon/hwmon2/temp1_input", "21500\n");
    tree.write("class/hwmon/hwmon2/temp1_max", "80000\n")
        .link("class/hwmon/hwmon2/device", "devices/i2c-1/1-0048");
    tree.write("class/hwmon/hwmon10/name", "lm75\n").write("class/hwmon/hwmon10/temp1_input", "-5500\n");
    tree.link("class/hwmon/hwmon10/device", "devices/i2c-1/1-0049");
    tree.write("class/hwmon/hwmon3/name", "sht3x\n").write("class/hwmon/hwmon3/temp1_input", "23125\n");
    tree.write("class/hwmon/hwmon3/humidity1_input", "45678\n");
    tree
}

fn sensor(tree: &Tree, device: Option<&str>, channel: Option<&str>) -> Hwmon {
    let quantity = channel.and_then(channel_quantity).unwrap_or(Quantity::Temperature);
    several(tree, device, channel, &[quantity])
}

fn several(tree: &Tree, device: Option<&str>, channel: Option<&str>, quantities: &[Quantity]) -> Hwmon {
    Hwmon::new(tree.sysfs(), device.map(str::to_owned), channel.map(str::to_owned), info("hwmon", quantities))
}

#[test]
fn a_chip_is_found_by_its_name_its_place_and_its_number() {
    let tree = pi();
    let table = [
        ("cpu_thermal", "temp1", 48.312),
        ("1-0048", "temp1", 21.5),
        ("1-0049", "temp1_input", -5.5),
        ("hwmon10", "temp1", -5.5),
        ("sht3x", "humidity1", 45.678),
    ];
    for (device, channel, want) in table {
        assert_eq!(value(sensor(&tree, Some(device), Some(channel)).read()), want, "{device} {channel}");
    }
}

#[test]
fn every_kind_is_converted_to_its_canonical_unit() {
    let tree = Tree::new();
    let table = [
        ("temp2", "-40000", Quantity::Temperature, -40.0),
        ("in0", "3312", Quantity::Voltage, 3.312),
        ("curr1", "-250", Quantity::Current, -0.25),
        ("power1", "1500000", Quantity::Power, 1.5),
        ("humidity1", "55000", Quantity::Humidity, 55.0),
        ("fan12", "1200", Quantity::Count, 1200.0),
    ];
    tree.write("class/hwmon/hwmon0/name", "all\n");
    for (channel, number, quantity, want) in table {
        tree.write(&format!("class/hwmon/hwmon0/{channel}_input"), format!("{number}\n"));
        let readings = sensor(&tree, None, Some(channel)).read().unwrap();
        assert_eq!(readings[..], [Reading::new(quantity, want).unwrap()], "{channel}");
        assert_eq!(channel_quantity(channel), Some(quantity), "as boards.toml is checked");
    }
}

#[test]
fn device_and_channel_may_be_left_out_when_only_one_fits() {
    let tree = pi();
    let mut humidity = several(&tree, None, None, &[Quantity::Humidity]);
    assert_eq!(value(humidity.read()), 45.678);
    let both = [Quantity::Temperature, Quantity::Humidity];
    let readings = several(&tree, None, None, &both).read().unwrap();
    assert_eq!(
        readings.iter().map(|r| (r.quantity(), r.value())).collect::<Vec<_>>(),
        [(Quantity::Temperature, 23.125), (Quantity::Humidity, 45.678)]
    );
}

#[test]
fn several_that_fit_and_none_that_fits_are_errors_that_list_them() {
    let tree = pi();
    tree.write("class/hwmon/hwmon3/temp2_input", "1\n");
    let text = |mut sensor: Hwmon| {
        let error = sensor.read().unwrap_err();
        (error.cause(), tree.text(&error))
    };
    let table = [
        (
            sensor(&tree, Some("lm75"), None),
            Cause::Other,
            "cannot read /sys/class/hwmon: several devices fit: `lm75 (1-0048, hwmon2)` and `lm75 (1-0049, hwmon10)`; \
             say which with `device`",
        ),
        (
            sensor(&tree, Some("sht3x"), None),
            Cause::Other,
            "cannot read /sys/class/hwmon/hwmon3: sht3x (hwmon3) has several channels for temperature: `temp1` and \
             `temp2`; say which with `channel`",
        ),
        (
            sensor(&tree, Some("bme280"), None),
            Cause::NotPresent,
            "nothing to read at /sys/class/hwmon: no device is called `bme280`; there is `cpu_thermal (hwmon0)`, \
             `rpi_volt (hwmon1)`, `lm75 (1-0048, hwmon2)`, `sht3x (hwmon3)` and `lm75 (1-0049, hwmon10)`",
        ),
        (
            sensor(&tree, Some("sht3x"), Some("temp9")),
            Cause::NotPresent,
            "nothing to read at /sys/class/hwmon/hwmon3: sht3x (hwmon3) has no channel `temp9`; there is `temp1`, `temp2` \
             and `humidity1`",
        ),
        (
            sensor(&tree, Some("rpi_volt"), Some("in0")),
            Cause::NotPresent,
            "nothing to read at /sys/class/hwmon/hwmon1: rpi_volt (hwmon1) has no channel `in0`; there is nothing",
        ),
    ];
    for (sensor, cause, want) in table {
        assert_eq!(text(sensor), (cause, want.to_owned()));
    }
    let (cause, none) = text(sensor(&tree, None, Some("fan1")));
    assert_eq!(cause, Cause::NotPresent);
    assert!(
        none.contains("no device has a channel `fan1`; there is `temp1 of cpu_thermal (hwmon0)`"),
        "{none}"
    );
}

#[test]
fn a_chip_that_vanishes_and_comes_back_under_another_number_is_found_again() {
    let tree = pi();
    let mut sensor = sensor(&tree, Some("1-0048"), Some("temp1"));
    assert_eq!(value(sensor.read()), 21.5);
    tree.rename("class/hwmon/hwmon2", "gone");
    assert_eq!(sensor.read().unwrap_err().cause(), Cause::NotPresent);
    // Another chip has that number now.
    tree.write("class/hwmon/hwmon2/name", "lm75\n").write("class/hwmon/hwmon2/temp1_input", "99000\n");
    assert_eq!(sensor.read().unwrap_err().cause(), Cause::NotPresent);
    tree.rename("gone", "class/hwmon/hwmon7");
    tree.write("class/hwmon/hwmon7/temp1_input", "22000\n");
    assert_eq!(value(sensor.read()), 22.0);
}

#[test]
fn a_probe_that_the_kernel_calls_broken_gives_no_reading() {
    let tree = pi();
    let mut sensor = sensor(&tree, Some("1-0048"), None);
    tree.write("class/hwmon/hwmon2/temp1_fault", "1\n");
    let error = sensor.read().unwrap_err();
    assert!(tree.text(&error).ends_with("its probe is broken or missing"), "{error}");
    tree.write("class/hwmon/hwmon2/temp1_fault", "0\n");
    assert_eq!(value(sensor.read()), 21.5);
}

#[test]
fn averages_old_drivers_and_foreign_attributes_are_read_too() {
    let tree = Tree::new();
    tree.write("class/hwmon/hwmon0/name", "meter").write("class/hwmon/hwmon0/power1_average", "2000000");
    assert_eq!(value(sensor(&tree, None, Some("power1")).read()), 2.0);
    tree.link("class/hwmon/hwmon1/device", "devices/old");
    tree.write("devices/old/name", "old").write("devices/old/temp1_input", "1000");
    assert_eq!(value(sensor(&tree, Some("old"), Some("temp1")).read()), 1.0);
    // If hwmon has no unit for a channel, boards.toml names the quantity.
    tree.write("class/hwmon/hwmon0/pwm1", "128\n");
    let mut pwm = several(&tree, Some("meter"), Some("pwm1"), &[Quantity::Dimensionless]);
    assert_eq!(pwm.read().unwrap()[..], [Reading::new(Quantity::Dimensionless, 128.0).unwrap()]);
}

#[test]
fn what_is_no_number_is_refused() {
    let tree = pi();
    for (content, want) in [
        (&b""[..], "empty, where a number should be"),
        (b"N/A\n", "`N/A` is not one number"),
        (b"nan", "`nan` is no finite number"),
        (&[b'1'; 5000], "larger than 4096 bytes"),
    ] {
        tree.write("class/hwmon/hwmon0/temp1_input", content);
        let error = sensor(&tree, Some("cpu_thermal"), None).read().unwrap_err();
        let want = format!("cannot read /sys/class/hwmon/hwmon0/temp1_input: {want}");
        assert_eq!((error.cause(), tree.text(&error)), (Cause::Other, want));
    }
    tree.remove("class/hwmon/hwmon0/temp1_input");
    std::fs::create_dir(tree.path("class/hwmon/hwmon0/temp1_input")).unwrap();
    assert!(sensor(&tree, Some("cpu_thermal"), None).read().is_err());
}
