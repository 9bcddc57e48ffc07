use super::super::tests::{Tree, value};
use super::*;
use crate::file::tests::info;

const CHIP: &str = "28-0316a2795fff";

fn sensor(tree: &Tree, device: Option<&str>) -> W1 {
    W1::new(tree.sysfs(), device.map(str::to_owned), info("w1", &[Quantity::Temperature]))
}

/// Writes `w1_slave`: nine bytes, the result of the kernel's checksum test, the temperature in m°C.
fn slave(tree: &Tree, chip: &str, bytes: &str, verdict: &str, millis: i32) {
    let text = format!("{bytes} : crc=57 {verdict}\n{bytes} t={millis}\n");
    tree.write(&format!("bus/w1/devices/{chip}/w1_slave"), text);
}

fn plain(tree: &Tree, chip: &str, text: &str) {
    tree.write(&format!("bus/w1/devices/{chip}/temperature"), text);
}

fn failure(sensor: &mut W1) -> (Cause, String) {
    let error = sensor.read().unwrap_err();
    (error.cause(), error.to_string())
}

#[test]
fn the_temperature_is_read_from_either_file() {
    let tree = Tree::new();
    tree.write("bus/w1/devices/w1_bus_master1/w1_master_slaves", format!("{CHIP}\n"));
    for (text, celsius) in [("23125\n", 23.125), ("-55000\n", -55.0), ("125000\n", 125.0), ("0\n", 0.0)] {
        plain(&tree, CHIP, text);
        assert_eq!(value(sensor(&tree, None).read()), celsius);
    }
    // Table 1 of the DS18B20's data sheet, except 85 °C.
    let table = [
        ("d0 07 4b 46 7f ff 0c 10 57", 125_000, 125.0),
        ("91 01 4b 46 7f ff 0f 10 57", 25_062, 25.062),
        ("a2 00 4b 46 7f ff 0e 10 57", 10_125, 10.125),
        ("00 00 4b 46 7f ff 10 10 57", 0, 0.0),
        ("5e ff 4b 46 7f ff 02 10 57", -10_125, -10.125),
        ("90 fc 4b 46 7f ff 10 10 57", -55_000, -55.0),
    ];
    for (bytes, millis, celsius) in table {
        slave(&tree, CHIP, bytes, "YES", millis);
        assert_eq!(value(sensor(&tree, Some(CHIP)).read()), celsius, "{bytes}");
    }
}

#[test]
fn a_wrong_checksum_is_no_reading_although_there_is_a_number() {
    let tree = Tree::new();
    slave(&tree, CHIP, "72 01 4b 46 7f ff 0e 10 57", "NO", 23_125);
    let (cause, text) = failure(&mut sensor(&tree, None));
    assert_eq!(cause, Cause::Checksum);
    assert!(text.starts_with("wrong checksum from ") && text.contains("crc=57 NO"), "{text}");
    slave(&tree, CHIP, "72 01 4b 46 7f ff 0e 10 57", "YES", 23_125);
    assert_eq!(value(sensor(&tree, None).read()), 23.125);
}

#[test]
fn zeros_and_silence_are_no_readings() {
    let tree = Tree::new();
    slave(&tree, CHIP, "00 00 00 00 00 00 00 00 00", "YES", 0);
    let (cause, text) = failure(&mut sensor(&tree, None));
    assert_eq!(cause, Cause::Bus);
    assert!(text.contains("shorted"), "{text}");
    for file in ["w1_slave", "temperature"] {
        tree.remove(&format!("bus/w1/devices/{CHIP}"));
        tree.write(&format!("bus/w1/devices/{CHIP}/{file}"), "");
        assert_eq!(failure(&mut sensor(&tree, None)).0, Cause::Bus, "{file}");
    }
}

#[test]
fn the_value_of_power_up_is_told_from_85_degrees_by_the_reserved_byte() {
    let tree = Tree::new();
    let mut sensor = sensor(&tree, None);
    for (reserved, good) in [("0c", false), ("10", true), ("0c", false)] {
        slave(&tree, CHIP, &format!("50 05 4b 46 7f ff {reserved} 10 57"), "YES", 85_000);
        match sensor.read() {
            Ok(readings) => assert!(good && readings[0].value() == 85.0),
            Err(error) => {
                assert!(!good && error.cause() == Cause::OutOfRange, "{error}");
                assert!(error.to_string().contains("85 °C, which is what the chip has before it measured"));
            }
        }
    }
    slave(&tree, CHIP, "ff 07 4b 46 7f ff 0c 10 57", "YES", 127_937);
    assert_eq!(failure(&mut sensor).0, Cause::OutOfRange);
}

#[test]
fn byte_6_of_a_clone_does_not_prove_85_degrees() {
    let tree = Tree::new();
    for reserved in ["ff", "00", "10"] {
        let mut sensor = sensor(&tree, None);
        // At 21.5 °C a genuine chip would count 8 sixteenths in byte 6, and at 84.9375 °C one.
        slave(&tree, CHIP, &format!("58 01 4b 46 7f ff {reserved} 10 57"), "YES", 21_500);
        assert_eq!(value(sensor.read()), 21.5);
        let hot = format!("50 05 4b 46 7f ff {reserved} 10 57");
        slave(&tree, CHIP, &hot, "YES", 85_000);
        assert_eq!(failure(&mut sensor).0, Cause::OutOfRange, "{reserved}");
        slave(&tree, CHIP, &format!("4f 05 4b 46 7f ff {reserved} 10 57"), "YES", 84_937);
        assert_eq!(value(sensor.read()), 84.937);
        slave(&tree, CHIP, &hot, "YES", 85_000);
        assert_eq!(value(sensor.read()), 85.0, "{reserved}: it was near before");
    }
}

#[test]
fn where_the_bytes_do_not_tell_85_degrees_must_be_near_the_reading_before() {
    let tree = Tree::new();
    let table: [(&str, &[(&str, bool)]); 2] = [
        (CHIP, &[("85000", false), ("85000", false), ("84937", true), ("85000", true), ("85000", true)]),
        (
            "10-000802b4ba0e",
            &[("21000", true), ("85000", false), ("85000", false), ("80500", true), ("85000", true)],
        ),
    ];
    for (chip, reads) in table {
        let mut sensor = sensor(&tree, Some(chip));
        for (text, good) in reads {
            plain(&tree, chip, text);
            assert_eq!(sensor.read().is_ok(), *good, "{chip} {text}");
        }
    }
}

#[test]
fn what_the_chip_cannot_measure_is_refused() {
    let tree = Tree::new();
    for text in ["-55062", "125062", "4095937"] {
        plain(&tree, CHIP, text);
        let (cause, text) = failure(&mut sensor(&tree, None));
        assert!(cause == Cause::OutOfRange && text.contains("measures from -55 to 125"), "{text}");
    }
    plain(&tree, "3b-0000001921e8", "800000");
    assert_eq!(value(sensor(&tree, Some("3b-0000001921e8")).read()), 800.0, "a MAX31850 with a thermocouple");
}

#[test]
fn what_w1_therm_does_not_write_is_refused() {
    let tree = Tree::new();
    let good = "72 01 4b 46 7f ff 0e 10 57";
    for text in [
        format!("{good} : crc=57 YES"),
        format!("{good} : crc=57 MAYBE\n{good} t=1\n"),
        format!("{good} 00 : crc=57 YES\n{good} t=1\n"),
        format!("{good} : crc=57 YES\n{good}\n"),
        format!("{good} : crc=57 YES\n{good} t=warm\n"),
        format!("{good} : crc=57 YES\n{good} t=nan\n"),
        "zz 01 4b 46 7f ff 0e 10 57 : crc=57 YES\nt=1\n".to_owned(),
        "1\n".to_owned(),
    ] {
        tree.write(&format!("bus/w1/devices/{CHIP}/w1_slave"), &text);
        assert_eq!(failure(&mut sensor(&tree, None)).0, Cause::Other, "{text}");
    }
}

#[test]
fn a_thermometer_is_chosen_by_its_number_unless_it_is_the_only_one() {
    let tree = Tree::new();
    tree.write("bus/w1/devices/w1_bus_master1/name", "w1_bus_master1");
    let (cause, text) = failure(&mut sensor(&tree, None));
    assert!(
        cause == Cause::NotPresent && text.ends_with("no thermometer answered the search of the bus yet")
    );
    // A switch, not a thermometer.
    plain(&tree, "3a-000000123456", "1");
    plain(&tree, CHIP, "20000");
    assert_eq!(value(sensor(&tree, None).read()), 20.0);
    assert_eq!(value(sensor(&tree, Some(&CHIP.to_uppercase())).read()), 20.0);
    plain(&tree, "28-000000000001", "30000");
    let (cause, text) = failure(&mut sensor(&tree, None));
    assert_eq!(cause, Cause::Other);
    assert!(
        text.ends_with(
            "several thermometers: `28-000000000001` and `28-0316a2795fff`; say which with `device`"
        )
    );
    let (cause, text) = failure(&mut sensor(&tree, Some("28-ff")));
    assert_eq!(cause, Cause::NotPresent);
    assert!(text.contains("no thermometer `28-ff`; there is `28-000000000001` and"), "{text}");
}

#[test]
fn an_unplugged_thermometer_is_found_again_and_its_past_is_forgotten() {
    let tree = Tree::new();
    let mut sensor = sensor(&tree, None);
    plain(&tree, CHIP, "84000");
    assert_eq!(value(sensor.read()), 84.0);
    tree.remove(&format!("bus/w1/devices/{CHIP}"));
    assert_eq!(failure(&mut sensor).0, Cause::NotPresent);
    plain(&tree, CHIP, "85000");
    assert_eq!(failure(&mut sensor).0, Cause::OutOfRange, "its power was away, too");
    plain(&tree, CHIP, "84500");
    assert_eq!(value(sensor.read()), 84.5);
}
