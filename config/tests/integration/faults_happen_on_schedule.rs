//! Tests of the faults in boards.toml, on chips with a model and on sensors without: they start on time, look like
//! faults of real hardware, and end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use atalaya_config::Boards;
use atalaya_hal::{Bus, Cause, Readings, Sensor};
use atalaya_sim::{Clock, Simulator};

const SHT3X: &str = "chip = \"sht31\"\nbus = \"i2c-1\"\naddress = 0x44";
const BMP390: &str = "chip = \"bmp390\"\nbus = \"i2c-1\"\naddress = 0x76";
const MAX31865: &str = "chip = \"max31865\"\nbus = \"spi-0.0\"";
const RANDOM: &str = "chip = \"random\"";
const W1: &str = "chip = \"w1\"";

fn simulate(sensors: &str) -> (Clock, Vec<Bus>) {
    let text = format!("[boards.b]\nbackend = \"sim\"\n{sensors}");
    let boards = Boards::parse(&text, "boards.toml").unwrap();
    let clock = Clock::manual();
    let (_, buses) =
        Simulator::with_clock(boards.board(None).unwrap().1.simulated(), "", clock.clone()).unwrap();
    (clock, buses)
}

/// Returns a sensor at 20 °C with the given script.
fn sensor(chip: &str, faults: &str) -> (Clock, Box<dyn Sensor>) {
    let sim = format!("sim = {{ temperature = {{ constant = 20 }}, faults = [{faults}] }}");
    let (clock, mut buses) = simulate(&format!("[[boards.b.sensors]]\nname = \"s\"\n{chip}\n{sim}\n"));
    (clock, buses[0].sensors.remove(0))
}

fn cause(result: Result<Readings, atalaya_hal::ReadError>) -> Option<Cause> {
    result.err().map(|error| error.cause())
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn every_fault_has_its_cause_for_its_time_and_passes() {
    let table = [
        ("no-acknowledge", Cause::NotPresent),
        ("bus", Cause::Bus),
        ("stuck", Cause::Timeout),
        ("busy", Cause::Busy),
        ("crc", Cause::Checksum),
        ("out-of-range", Cause::OutOfRange),
        ("nan", Cause::OutOfRange),
    ];
    for chip in [SHT3X, BMP390, MAX31865, RANDOM, W1] {
        for (fault, want) in table {
            let checked = [SHT3X, RANDOM, W1].contains(&chip);
            if fault == "crc" && !checked {
                continue;
            }
            let script = format!("{{ fault = \"{fault}\", after = \"30s\", for = \"10s\" }}");
            let (clock, mut sensor) = sensor(chip, &script);
            assert_eq!(cause(sensor.read()), None, "{chip}");
            clock.advance(s(30));
            let got = cause(sensor.read()).unwrap();
            match (chip, fault) {
                // SPI has no acknowledge: an unplugged chip and a broken wire are reported as faults of the
                // thermometer.
                (MAX31865, "no-acknowledge" | "out-of-range") => {}
                _ => assert_eq!(got, want, "{fault} of {chip}"),
            }
            // A moment later, because a chip that was unplugged has to start up.
            clock.advance(s(11));
            let value = sensor.read().unwrap()[0].value();
            assert!((value - 20.0).abs() < 0.05, "{value} after {fault} of {chip}");
        }
    }
}

#[test]
fn faults_come_again() {
    for chip in [SHT3X, RANDOM] {
        let (clock, mut sensor) = sensor(chip, "{ fault = \"crc\", every = \"60s\", for = \"2s\" }");
        let mut failed = Vec::new();
        for second in 0..200 {
            // Reads of the SHT3x take some milliseconds.
            clock.advance(s(second).saturating_sub(clock.now()));
            if cause(sensor.read()) == Some(Cause::Checksum) {
                failed.push(second);
            }
        }
        assert_eq!(failed, [60, 61, 120, 121, 180, 181], "{chip}");
    }
}

#[test]
fn a_drift_moves_one_quantity_and_ends_with_its_fault() {
    for chip in [SHT3X, BMP390] {
        let script =
            "{ fault = \"drift\", quantity = \"temperature\", rate = 0.6, after = \"1m\", for = \"10m\" }";
        let (clock, mut sensor) = sensor(chip, script);
        for (seconds, want) in [(0, 20.0), (60, 20.0), (160, 21.0), (600, 25.4), (660, 20.0)] {
            clock.advance(s(seconds).saturating_sub(clock.now()));
            let value = sensor.read().unwrap()[0].value();
            assert!((value - want).abs() < 0.01, "{value} for {want} after {seconds} s on {chip}");
        }
    }
}

#[test]
fn a_panic_is_one_and_the_sensor_can_be_read_afterwards() {
    for chip in [SHT3X, RANDOM] {
        let (clock, mut sensor) = sensor(chip, "{ fault = \"panic\", after = \"10s\", for = \"10s\" }");
        clock.advance(s(10));
        let panicked = catch_unwind(AssertUnwindSafe(|| sensor.read())).unwrap_err();
        assert!(panicked.downcast_ref::<String>().unwrap().contains("asked the driver of `s` to panic"));
        clock.advance(s(10));
        assert_eq!(sensor.read().unwrap()[0].quantity(), sensor.info().quantities[0]);
    }
}

#[test]
fn a_hanging_read_returns_when_the_fault_is_over() {
    for chip in [SHT3X, RANDOM] {
        let (clock, mut sensor) = sensor(chip, "{ fault = \"hang\", after = \"10s\", for = \"25s\" }");
        assert!(sensor.blocks(), "it needs a thread");
        clock.advance(s(12));
        assert_eq!(cause(sensor.read()), None);
        assert!(clock.now() >= s(35) && clock.now() < s(36), "{:?}", clock.now());
    }
}

#[test]
fn a_slow_sensor_takes_its_time() {
    for chip in [SHT3X, RANDOM] {
        let (clock, mut sensor) = sensor(chip, "{ fault = \"slow\", delay = \"700ms\" }");
        assert!(sensor.blocks());
        assert_eq!(cause(sensor.read()), None);
        assert!(clock.now() >= Duration::from_millis(700) && clock.now() < s(1));
    }
}

#[test]
fn a_sensor_without_slow_faults_needs_no_thread() {
    assert!(!sensor(RANDOM, "{ fault = \"bus\", every = \"1m\", for = \"1s\" }").1.blocks());
}

#[test]
fn a_fault_of_one_sensor_leaves_the_others_of_its_bus() {
    let one = |name, address, script| {
        format!(
            "[[boards.b.sensors]]\nname = \"{name}\"\nchip = \"sht3x\"\nbus = \"i2c-1\"\naddress = {address}\n\
             sim = {{ faults = [{script}] }}\n"
        )
    };
    let (_, mut buses) =
        simulate(&format!("{}{}", one("a", 0x44, "{ fault = \"stuck\" }"), one("b", 0x45, "")));
    let causes: Vec<_> = buses[0].sensors.iter_mut().map(|sensor| cause(sensor.read())).collect();
    assert_eq!(causes, [Some(Cause::Timeout), None]);
}

#[test]
fn a_fault_resets_the_filters() {
    let chip = "chip = \"random\"\nfilters = [{ mean = 100 }]";
    for fault in ["nan", "bus"] {
        let script = format!(
            "{{ fault = \"drift\", rate = 6000 }}, {{ fault = \"{fault}\", after = \"10s\", for = \"1s\" }}"
        );
        let (clock, mut sensor) = sensor(chip, &script);
        let at_start = sensor.read().unwrap()[0].value();
        assert_eq!(at_start, 20.0);
        clock.advance(s(10));
        assert!(sensor.read().is_err());
        clock.advance(s(1));
        // Without the reset, the value would be the mean of 20 and 1120.
        assert_eq!(sensor.read().unwrap()[0].value(), 1_120.0, "{fault}");
    }
}

#[test]
fn channels_of_one_ads1115_share_the_chip_and_measure_their_own_voltage() {
    let input = |name: &str, channel: &str, volts: f64| {
        format!(
            "[[boards.b.sensors]]\nname = \"{name}\"\nchip = \"ads1115\"\nbus = \"i2c-1\"\naddress = 0x48\n\
             channel = \"{channel}\"\nsim = {{ voltage = {{ constant = {volts} }} }}\n"
        )
    };
    let (_, mut buses) =
        simulate(&[input("a", "a0", 0.5), input("b", "a1", 1.5), input("c", "a2-a3", -1.0)].concat());
    for _ in 0..2 {
        let volts: Vec<f64> = buses[0].sensors.iter_mut().map(|s| s.read().unwrap()[0].value()).collect();
        assert_eq!(volts, [0.5, 1.5, -1.0]);
    }
}
