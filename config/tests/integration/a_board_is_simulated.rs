//! Tests of a simulated board from boards.toml, read like the node does: through the drivers of the real chips.

use std::io::Write;
use std::path::Path;

use atalaya_config::Boards;
use atalaya_hal::catalogue::BusKind;
use atalaya_hal::delay::Sleep;
use atalaya_hal::{Bus, Cause, Chip, Quantity, Reading, drivers};
use atalaya_sim::bus::SimBus;
use atalaya_sim::models::Environment;
use atalaya_sim::models::lm75::{Family, LSB, Lm75, MAX, MIN};
use atalaya_sim::{BusFault, Clock, Simulator};
use proptest::prelude::*;

const EXAMPLE: &str = include_str!("../../../boards.toml");

fn simulate(text: &str) -> (Simulator, Vec<Bus>) {
    let boards = Boards::parse(text, "boards.toml").unwrap();
    Simulator::new(boards.board(None).unwrap().1.simulated(), "").unwrap()
}

/// Returns a board with one sensor, described by the given lines.
fn one(sensor: &str) -> String {
    format!("[boards.b]\nbackend = \"sim\"\n[[boards.b.sensors]]\nname = \"s\"\n{sensor}\n")
}

fn lm75(rest: &str) -> String {
    one(&format!("chip = \"lm75\"\nbus = \"i2c-1\"\naddress = 0x48\n{rest}"))
}

#[test]
fn without_a_boards_toml_whole_numbers_from_75_to_85_are_measured() {
    let mut buses = atalaya_sim::open(Boards::builtin().board(None).unwrap().1.simulated(), "").unwrap();
    assert_eq!((buses.len(), buses[0].name.as_str()), (1, "random"));
    for _ in 0..200 {
        let readings = buses[0].sensors[0].read().unwrap();
        let value = readings[0].value();
        assert_eq!((readings.len(), readings[0].quantity()), (1, Quantity::Temperature));
        assert!(value.fract() == 0.0 && (75.0..=85.0).contains(&value), "{value}");
    }
}

#[test]
fn the_example_board_measures_behind_its_filters() {
    let boards = Boards::parse(EXAMPLE, "boards.toml").unwrap();
    for (board, chip) in [("laptop", "lm75"), ("default", "random")] {
        let mut buses = atalaya_sim::open(boards.board(Some(board)).unwrap().1.simulated(), "").unwrap();
        let sensor = &mut buses[0].sensors[0];
        assert_eq!(sensor.info().chip, chip);
        for _ in 0..50 {
            let value = sensor.read().unwrap()[0].value();
            // Half a degree lower on the laptop, because of its offset.
            assert!((74.5..=85.0).contains(&value), "{value}");
        }
    }
}

#[test]
fn the_chip_shows_its_own_resolution() {
    let (_, mut buses) = simulate(&lm75("sim = { temperature = { constant = 20.3 } }"));
    assert_eq!(buses[0].sensors[0].read().unwrap()[..], [Reading::new(Quantity::Temperature, 20.5).unwrap()]);
}

#[test]
fn faults_of_the_bus_become_read_errors_with_cause_and_place_and_pass() {
    let (simulator, mut buses) = simulate(&lm75(""));
    let bus = simulator.bus("i2c-1").unwrap();
    let sensor = &mut buses[0].sensors[0];
    let table = [
        (BusFault::NoAcknowledge, Cause::NotPresent, "no acknowledge at 0x48 on simulated i2c-1"),
        (
            BusFault::Timeout,
            Cause::Timeout,
            "timeout at 0x48 on simulated i2c-1: the simulated fault Timeout",
        ),
        (BusFault::Bus, Cause::Bus, "bus error at 0x48 on simulated i2c-1: the simulated fault Bus"),
    ];
    for (fault, cause, message) in table {
        bus.set_fault(0x48, Some(fault));
        let error = sensor.read().unwrap_err();
        assert_eq!((error.cause(), error.to_string().as_str()), (cause, message));
        bus.set_fault(0x48, None);
        assert_eq!(sensor.read().unwrap().len(), 1);
    }
}

#[test]
fn one_broken_sensor_leaves_the_others_of_its_bus() {
    let second = "[[boards.b.sensors]]\nname = \"t\"\nchip = \"tmp105\"\nbus = \"i2c-1\"\naddress = 0x49\n";
    let (simulator, mut buses) = simulate(&format!("{}{second}", lm75("")));
    simulator.bus("i2c-1").unwrap().set_fault(0x48, Some(BusFault::NoAcknowledge));
    let results: Vec<bool> = buses[0].sensors.iter_mut().map(|sensor| sensor.read().is_ok()).collect();
    assert_eq!(results, [false, true]);
    assert!(simulator.bus("i2c-2").is_none());
}

#[test]
fn a_seed_makes_two_runs_alike() {
    let text = lm75("sim = { temperature = { uniform = [-50, 120], seed = 42 } }");
    let run = || {
        let (_, mut buses) = simulate(&text);
        (0..50).map(|_| buses[0].sensors[0].read().unwrap()[0].value()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_random_sensor_may_measure_several_quantities() {
    let (_, mut buses) = simulate(&one(
        "chip = \"random\"\nsim = { humidity = { constant = 50 }, temperature = { constant = 20 } }",
    ));
    let readings = buses[0].sensors[0].read().unwrap();
    let got: Vec<_> = readings.iter().map(|reading| (reading.quantity(), reading.value())).collect();
    assert_eq!(got, [(Quantity::Temperature, 20.0), (Quantity::Humidity, 50.0)]);
    assert_eq!(buses[0].sensors[0].info().quantities, [Quantity::Temperature, Quantity::Humidity]);
}

#[test]
fn a_recorded_day_is_replayed_over_and_over_from_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(folder.path().join("day.csv")).unwrap();
    writeln!(file, "time,outside\n06:00,12.5\n12:00,20\n18:00,17.5").unwrap();
    let text = lm75("sim = { temperature = { replay = \"day.csv\", column = \"outside\" } }");
    let boards = Boards::parse(&text, "boards.toml").unwrap();
    let board = boards.board(None).unwrap().1;
    let mut buses = atalaya_sim::open(board.simulated(), folder.path()).unwrap();
    let values: Vec<f64> = (0..5).map(|_| buses[0].sensors[0].read().unwrap()[0].value()).collect();
    assert_eq!(values, [12.5, 20.0, 17.5, 12.5, 20.0]);

    let error = atalaya_sim::open(board.simulated(), folder.path().join("elsewhere")).unwrap_err();
    assert_eq!(error.sensor(), "s");
    let message = error.to_string();
    assert!(message.starts_with("sensor `s`: temperature cannot be simulated: "), "{message}");
    assert!(message.contains("day.csv: cannot read it"), "{message}");
}

proptest! {
    /// The driver of the real chip reads the model's environment with an error of at most half a step.
    #[test]
    fn the_driver_reads_what_the_model_measures(celsius in MIN..=MAX) {
        let bus = SimBus::new("i2c-1");
        bus.attach(0x48, Lm75::new(Family::Lm75, Environment::constant(&[(Quantity::Temperature, celsius)])));
        let boards = Boards::parse(&lm75(""), "boards.toml").unwrap();
        let spec = boards.board(None).unwrap().1.sensors[0].spec();
        prop_assert_eq!(spec.chip, Chip::Lm75);
        let mut sensor = drivers::build(spec, bus.clone(), Sleep, "i2c-1").unwrap();
        let value = sensor.read().unwrap()[0].value();
        prop_assert!((value - celsius).abs() <= LSB / 2.0, "{value} for {celsius}");
    }
}

#[test]
fn relative_to_nothing_means_the_current_folder() {
    let text = one("chip = \"random\"\nsim = { count = { replay = \"no such file.csv\" } }");
    let boards = Boards::parse(&text, "boards.toml").unwrap();
    let error = atalaya_sim::open(boards.board(None).unwrap().1.simulated(), Path::new("")).unwrap_err();
    assert!(error.problem().contains("no such file.csv"), "{error}");
}

/// Returns the minimal lines of boards.toml for a sensor of this chip.
fn lines(chip: Chip) -> String {
    let place = match chip.spec().bus {
        BusKind::I2c { addresses } => format!("bus = \"i2c-1\"\naddress = {}\n", addresses[0]),
        BusKind::Spi => "bus = \"spi-0.0\"\n".to_owned(),
        BusKind::Command => "command = [\"measure\"]\nquantity = \"power\"\n".to_owned(),
        BusKind::File => "path = \"level\"\nquantity = \"count\"\n".to_owned(),
        BusKind::Mqtt => {
            "broker = \"mqtt://broker\"\ntopic = \"kitchen\"\nquantity = \"temperature\"\n".to_owned()
        }
        _ => String::new(),
    };
    let channel =
        chip.spec().channels.last().map_or_else(String::new, |last| format!("channel = \"{last}\"\n"));
    format!("chip = \"{chip}\"\n{place}{channel}")
}

#[test]
fn every_chip_runs_on_a_laptop_with_ordinary_values() {
    let ordinary = |quantity| match quantity {
        Quantity::Temperature => 15.0..=90.0,
        Quantity::Humidity => 39.0..=61.0,
        Quantity::Pressure => 97_900.0..=103_100.0,
        Quantity::Illuminance => -0.1..=1_010.0,
        Quantity::Concentration => 399.0..=1_201.0,
        _ => -0.1..=100.0,
    };
    for chip in Chip::ALL {
        let boards = Boards::parse(&one(&lines(chip)), "boards.toml").unwrap();
        let clock = Clock::manual();
        let board = boards.board(None).unwrap().1;
        let (_, mut buses) = Simulator::with_clock(board.simulated(), "", clock.clone()).unwrap();
        let sensor = &mut buses[0].sensors[0];
        let mut readings = Vec::new();
        for _ in 0..60 {
            // The first readings of an SCD4x take five seconds.
            match sensor.read() {
                Err(error) if chip == Chip::Scd4x => assert_eq!(error.cause(), Cause::Other),
                result => readings.extend(result.unwrap_or_else(|error| panic!("{chip}: {error}"))),
            }
            clock.advance(std::time::Duration::from_secs(1));
        }
        let per_read = board.sensors[0].spec().quantities.len();
        assert!(readings.len() >= 10 * per_read, "{chip}");
        for reading in readings {
            let range = ordinary(reading.quantity());
            assert!(range.contains(&reading.value()), "{chip}: {reading}");
        }
    }
}

#[test]
fn in_real_time_conversions_take_real_time() {
    let (_, mut buses) = simulate(&one(&lines(Chip::Sht3x)));
    let before = std::time::Instant::now();
    assert_eq!(buses[0].sensors[0].read().unwrap().len(), 2);
    assert!(before.elapsed() >= std::time::Duration::from_millis(15));
}
