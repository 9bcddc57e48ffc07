//! Several quantities end to end: packs in znodes, one average per unit, one request per average, and bare numbers of
//! other programs beside them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use atalaya_testbed::{Process, Recorded, Scratch};

use crate::common::{DEADLINE, Fleet, bodies};

on_both!(
    each_unit_has_its_own_average_beside_bare_numbers,
    get_report_names_quantity_and_unit_and_has_its_own_key,
    flood_of_units_does_not_block_other_averages,
);

const BOARDS: &str = r#"
[boards.cold]
backend = "sim"
sensors = [{ name = "air", chip = "random", sim = { temperature = { constant = 10 }, humidity = { constant = 40 } } }]
[boards.warm]
backend = "sim"
sensors = [
    { name = "air", chip = "random", sim = { temperature = { constant = 30 } } },
    { name = "sky", chip = "random", sim = { pressure = { constant = 101325 } } },
]
"#;

/// Sampling period with which a measurement that a test writes once is not outdated before the leader has read it, also
/// on a busy machine.
const LONG_PERIOD: Duration = Duration::from_secs(5);

fn node(fleet: &Fleet, desk: &Scratch, id: &str, args: &[&str]) -> Process {
    let file = desk.path().join("boards.toml");
    std::fs::write(&file, BOARDS).unwrap();
    let file = file.display().to_string();
    fleet.node(id, &[&["--boards", &file], args].concat())
}

fn each_unit_has_its_own_average_beside_bare_numbers(mut fleet: Fleet) {
    fleet.around.pace.period = LONG_PERIOD;
    let desk = Scratch::new("quantities");
    let probe = fleet.probe();
    probe.create("/mediciones", b"", false).unwrap();
    // The format of a Kazoo program.
    probe.create("/mediciones/kazoo", b"80", true).unwrap();
    let one = node(&fleet, &desk, "1", &["--board", "cold", "--api-method", "post"]);
    one.wait_for_line(" leading epoch=", DEADLINE);
    let two = node(&fleet, &desk, "2", &["--board", "warm"]);
    two.wait_for_line("following: waiting", DEADLINE);
    let wanted = [
        (None, None, 80.0, 1),
        (Some("humidity"), Some("%RH"), 40.0, 1),
        (Some("temperature"), Some("Cel"), 20.0, 2),
        (Some("pressure"), Some("Pa"), 101_325.0, 1),
    ];
    // Several requests are under way at once, so they may arrive in any order.
    let cycle_of_both = |all: &[Recorded]| {
        let reports = bodies(all);
        let last = reports.iter().rev().find(|report| report["count"] == 2)?.clone();
        let mut cycle: Vec<_> =
            reports.into_iter().filter(|report| report["cycle"] == last["cycle"]).collect();
        cycle.sort_by_key(|report| report["unit"].as_str().map(str::to_owned));
        Some(cycle)
    };
    let requests = fleet.api.wait_for("a cycle of four averages", DEADLINE, |all| {
        cycle_of_both(all).is_some_and(|cycle| cycle.len() >= wanted.len())
    });
    let cycle = cycle_of_both(&requests).unwrap();
    assert_eq!(cycle.len(), wanted.len(), "{cycle:?}");
    for ((quantity, unit, mean, count), report) in wanted.iter().zip(cycle) {
        assert_eq!((&report["quantity"], &report["unit"]), (&(*quantity).into(), &(*unit).into()));
        assert_eq!((&report["mean"], &report["count"]), (&(*mean).into(), &(*count).into()), "{report}");
        assert_eq!(report["excluded"], 0);
    }
}

fn get_report_names_quantity_and_unit_and_has_its_own_key(fleet: Fleet) {
    let desk = Scratch::new("quantities");
    let _one = node(&fleet, &desk, "1", &["--board", "warm"]);
    let requests = fleet.api.wait_for("three cycles", DEADLINE, |all| all.len() >= 6);
    let said = |request: &Recorded| -> (Option<f64>, String, String) {
        let value = |name: &str| {
            let pairs = request.query.iter().find(|(key, _)| key == name);
            pairs.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        (request.dato(), value("quantity"), value("unit"))
    };
    let different: BTreeSet<String> = requests.iter().map(|request| format!("{:?}", said(request))).collect();
    let wanted = [
        (Some(30.0), "temperature".to_owned(), "Cel".to_owned()),
        (Some(101_325.0), "pressure".to_owned(), "Pa".to_owned()),
    ];
    assert_eq!(different, wanted.iter().map(|wanted| format!("{wanted:?}")).collect());
    let keys: BTreeSet<&str> =
        requests.iter().map(|request| request.header("Idempotency-Key").unwrap()).collect();
    assert_eq!(keys.len(), requests.len(), "{keys:?}");
}

fn flood_of_units_does_not_block_other_averages(mut fleet: Fleet) {
    fleet.around.pace.period = LONG_PERIOD;
    let desk = Scratch::new("quantities");
    let probe = fleet.probe();
    probe.create("/mediciones", b"", false).unwrap();
    let pack = |units: std::ops::Range<usize>| {
        let records: Vec<String> = units.map(|unit| format!(r#"{{"u":"u{unit}","v":1}}"#)).collect();
        format!("[{}]", records.join(","))
    };
    // One pack with more units than allowed, four with the maximum, and one whose unit is in its own base record.
    probe.create("/mediciones/a", pack(0..1_000).as_bytes(), true).unwrap();
    for n in 0..4 {
        probe.create(&format!("/mediciones/b{n}"), pack(n * 32..n * 32 + 32).as_bytes(), true).unwrap();
    }
    probe.create("/mediciones/c", br#"[{"u":"x\r\nX-Evil: 1","v":1}]"#, true).unwrap();
    let since = Instant::now();
    let one = node(&fleet, &desk, "z", &["--board", "warm", "--api-method", "post"]);
    one.wait_for_line("is a SenML pack with more than 32 units", DEADLINE);
    one.wait_for_line("has units beyond the 64 that are averaged", DEADLINE);
    one.wait_for_line("with an invalid unit", DEADLINE);
    let requests = fleet.api.wait_for("two cycles", DEADLINE, |all| {
        bodies(all).iter().filter(|report| report["unit"] == "Pa").count() >= 2
    });
    let reports = bodies(&requests);
    let first = reports.iter().filter(|report| report["cycle"] == 1);
    assert_eq!(first.clone().count(), 64 + 2, "the bounded strange ones, and the two of the node");
    assert!(first.clone().all(|report| report["excluded"] == 4), "{:?}", first.collect::<Vec<_>>());
    assert!(requests.iter().all(|request| request.at > since && request.header("X-Evil").is_none()));
}
