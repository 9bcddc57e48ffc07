//! Tests of `faults` of a simulated sensor in boards.toml: accepted values, and mistakes with their location and
//! remedy.

use std::time::Duration;

use atalaya_config::Boards;
use atalaya_hal::Quantity;
use atalaya_sim::{FaultKind, ScheduledFault};

use crate::marked::assert_refused;

const RANDOM: &str = "chip = \"random\"\n";
const LM75: &str = "chip = \"lm75\"\nbus = \"i2c-1\"\naddress = 0x48\n";
const SHT3X: &str = "chip = \"sht3x\"\nbus = \"i2c-1\"\naddress = 0x44\n";
const INA219: &str = "chip = \"ina219\"\nbus = \"i2c-1\"\naddress = 0x40\n";

fn text(chip: &str, sim: &str) -> String {
    format!("[boards.b]\nbackend = \"sim\"\n[[boards.b.sensors]]\nname = \"s\"\n{chip}sim = {sim}\n")
}

fn faults(chip: &str, faults: &str) -> Vec<ScheduledFault> {
    let boards = Boards::parse(&text(chip, &format!("{{ faults = [{faults}] }}")), "boards.toml").unwrap();
    boards.board(None).unwrap().1.sensors[0].sim.faults.clone()
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn every_fault_has_its_name() {
    let table = [
        ("no-acknowledge", FaultKind::NoAcknowledge),
        ("bus", FaultKind::Bus),
        ("crc", FaultKind::Checksum),
        ("stuck", FaultKind::Stuck),
        ("busy", FaultKind::Busy),
        ("out-of-range", FaultKind::OutOfRange),
        ("nan", FaultKind::NotANumber),
        ("panic", FaultKind::Panic),
        ("hang", FaultKind::Hang),
    ];
    for (name, kind) in table {
        let got = faults(SHT3X, &format!("{{ fault = \"{name}\", for = \"10s\" }}"));
        assert_eq!(got, [ScheduledFault { fault: kind, after: s(0), lasts: Some(s(10)), every: None }]);
    }
    let slow = faults(SHT3X, "{ fault = \"slow\", delay = \"500ms\" }");
    assert_eq!(slow[0].fault, FaultKind::Slow(Duration::from_millis(500)));
}

#[test]
fn times_say_when_a_fault_is_there() {
    let one = |times: &str| {
        let fault = faults(LM75, &format!("{{ fault = \"bus\"{times} }}"))[0];
        (fault.after, fault.lasts, fault.every)
    };
    assert_eq!(one(""), (s(0), None, None));
    assert_eq!(one(", after = \"30s\", for = 10"), (s(30), Some(s(10)), None));
    assert_eq!(one(", every = \"1m\", for = \"2s\""), (s(60), Some(s(2)), Some(s(60))));
    assert_eq!(one(", after = 5, every = \"1m\", for = \"2s\""), (s(5), Some(s(2)), Some(s(60))));
}

#[test]
fn a_drift_is_of_the_only_quantity_or_of_the_one_that_is_named() {
    let drift = |quantity, rate| FaultKind::Drift { quantity, rate };
    let temperature = faults(LM75, "{ fault = \"drift\", rate = -0.1 }");
    assert_eq!(temperature[0].fault, drift(Quantity::Temperature, -0.1));
    let humidity = faults(SHT3X, "{ fault = \"drift\", rate = 2, quantity = \"humidity\" }");
    assert_eq!(humidity[0].fault, drift(Quantity::Humidity, 2.0));
}

#[test]
fn faults_stand_beside_waveforms_and_several_keep_their_order() {
    let sim = "{ faults = [{ fault = \"bus\" }, { fault = \"nan\" }], count = { constant = 1 }, humidity = { constant = 2 } }";
    let boards = Boards::parse(&text(RANDOM, sim), "boards.toml").unwrap();
    let sensor = &boards.board(None).unwrap().1.sensors[0];
    assert_eq!(
        sensor.sim.waveforms.keys().copied().collect::<Vec<_>>(),
        [Quantity::Humidity, Quantity::Count]
    );
    assert_eq!(sensor.spec().quantities, [Quantity::Humidity, Quantity::Count]);
    assert_eq!(
        [sensor.sim.faults[0].fault, sensor.sim.faults[1].fault],
        [FaultKind::Bus, FaultKind::NotANumber]
    );
}

#[test]
fn mistakes_are_shown_where_they_are_with_what_would_be_right() {
    let fault = |text: &str| format!("{{ faults = [{{ {text} }}] }}");
    let table = [
        (RANDOM, "{ «falts» = [] }".to_owned(), "unknown name `falts`", "did you mean `faults`?"),
        (RANDOM, "«5»".to_owned(), "invalid type", "a table"),
        (RANDOM, "{ faults = «5» }".to_owned(), "invalid type", "a list"),
        (RANDOM, "{ faults = [«{  }»] }".to_owned(), "`fault` is missing", "add `fault"),
        (RANDOM, fault(r#"fault = «"buss"»"#), "unknown name `buss`", "did you mean `bus`?"),
        (RANDOM, fault(r#"fault = "bus", «four» = 1"#), "unknown key `four`", "did you mean `for`?"),
        (RANDOM, fault(r#"fault = "bus", for = «0»"#), "not positive", "a duration"),
        (RANDOM, fault(r#"fault = "bus", every = «"1m"»"#), "in between", "for = \"2s\""),
        (
            RANDOM,
            fault(r#"fault = "bus", every = «"1m"», for = "1m""#),
            "begins again before it is over",
            "longer than its `for`",
        ),
        (LM75, fault(r#"fault = «"crc"»"#), "`lm75` sends no checksum", "\"bus\""),
        (LM75, fault(r#"fault = «"hang"»"#), "never returns", "for = \"30s\""),
        (LM75, fault(r#"fault = «"slow"»"#), "`delay` is missing", "delay = \"500ms\""),
        (LM75, fault(r#"fault = "bus", delay = «1»"#), "only the fault \"slow\"", "remove `delay`"),
        (LM75, fault(r#"fault = "bus", rate = «1»"#), "only the fault \"drift\"", "remove `rate`"),
        (
            LM75,
            fault(r#"fault = "bus", quantity = «"temperature"»"#),
            "only the fault \"drift\"",
            "remove `quantity`",
        ),
        (LM75, fault(r#"fault = «"drift"»"#), "`rate` is missing", "per minute"),
        (
            LM75,
            fault(r#"fault = "drift", rate = 1, quantity = «"power"»"#),
            "`lm75` has no power",
            "`temperature`",
        ),
        (
            SHT3X,
            fault(r#"fault = «"drift"», rate = 1"#),
            "several quantities",
            "`temperature` and `humidity`",
        ),
        (INA219, fault(r#"fault = "drift", rate = 1, quantity = «"power"»"#), "computes the power", "drift"),
        (
            INA219,
            "{ «power» = { constant = 1 } }".to_owned(),
            "computes the power",
            "`voltage` and `current`",
        ),
    ];
    for (chip, sim, problem, remedy) in table {
        assert_refused(&text(chip, &sim), problem, remedy);
    }
}

#[test]
fn on_linux_faults_are_read_and_ignored() {
    let text = format!(
        "[boards.b]\nbackend = \"linux\"\n[[boards.b.sensors]]\nname = \"s\"\n{LM75}sim = {{ faults = [{{ fault = \"bus\" }}] }}\n"
    );
    let boards = Boards::parse(&text, "boards.toml").unwrap();
    assert_eq!(boards.board(None).unwrap().1.sensors[0].sim.faults.len(), 1);
}
