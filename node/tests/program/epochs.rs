//! `atalaya epochs list|drop` beside a running collector.
#![cfg(unix)]

use std::time::Duration;

use atalaya_testbed::{Collector, Process, Redis, Scratch, clean_command};

const BINARY: &str = env!("CARGO_BIN_EXE_atalaya");
const TIMEOUT: Duration = Duration::from_secs(30);

/// Runs `atalaya epochs` with `args`. Returns its exit code and output.
fn epochs(collector: &Collector, args: &[&str]) -> (Option<i32>, String) {
    let mut command = clean_command(collector.folder(), BINARY);
    command.arg("epochs").args(args);
    let mut process = Process::spawn(command);
    let exit = process.wait_exit(TIMEOUT);
    let lines: Vec<String> = process.log().into_iter().map(|line| line.text).collect();
    (exit.code(), lines.join("\n"))
}

/// Sends a report. Returns the status of the answer.
fn send(collector: &Collector, epoch: i64, cycle: i64) -> u16 {
    send_as(collector, "default", epoch, cycle)
}

/// Sends a report of this fleet. Returns the status of the answer.
fn send_as(collector: &Collector, fleet: &str, epoch: i64, cycle: i64) -> u16 {
    let config =
        ureq::Agent::config_builder().proxy(None).timeout_global(Some(TIMEOUT)).http_status_as_error(false);
    let agent = ureq::Agent::new_with_config(config.build());
    let url = format!("{}?dato=1.5&fleet={fleet}", collector.url());
    agent.get(url).header("idempotency-key", format!("{epoch}-{cycle}")).call().unwrap().status().as_u16()
}

/// Drops an epoch of a year from now while the collector runs: afterwards reports of the fleet are accepted, and the
/// report of that epoch is gone.
#[track_caller]
fn epoch_is_dropped_while_the_collector_runs(collector: &Collector, store: &[&str]) {
    let far = jiff::Timestamp::now().as_second() + 300 * 86_400;
    assert_eq!(send(collector, 7, 1), 200);
    assert_eq!(send(collector, far, 1), 200, "the skew of this collector is a year");
    assert_eq!(send(collector, 7, 2), 409);
    let run = |args: &[&str]| epochs(collector, &[args, store].concat());
    let (code, listed) = run(&["list"]);
    assert_eq!(code, Some(0), "{listed}");
    let rows: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(rows, ["epoch", &far.to_string(), "7"], "{listed}");
    let (code, lines) = run(&["list", "--output", "json", "--limit", "1"]);
    let first: serde_json::Value = serde_json::from_str(&lines).unwrap();
    assert_eq!((code, first["epoch"].as_i64(), first["reports"].as_i64()), (Some(0), Some(far), Some(1)));

    for (confirmation, expected, word) in [(None, 64, "--yes"), (Some("--dry-run"), 0, "Nothing was deleted")]
    {
        let number = far.to_string();
        let args: Vec<&str> = ["drop", &number].into_iter().chain(confirmation).collect();
        let (code, said) = run(&args);
        assert_eq!(code, Some(expected), "{said}");
        for word in [word, "1 report recorded", "cycles 1 to 1", "Without it the highest epoch is 7"] {
            assert!(said.contains(word), "{word} is not in {said}");
        }
        assert_eq!(send(collector, 7, 2), 409, "nothing was deleted");
    }
    let (code, said) = run(&["drop", "--yes", &far.to_string()]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("dropped, 1 report deleted, the highest epoch is 7"), "{said}");
    assert_eq!(send(collector, 7, 2), 200);
    let held: Vec<_> = collector.reports().iter().map(|held| (held.epoch, held.cycle)).collect();
    assert_eq!(held, [(Some(7), Some(1)), (Some(7), Some(2))]);
    let (code, said) = run(&["drop", &far.to_string()]);
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("is not recorded"), "{said}");
}

#[test]
fn epoch_of_a_sqlite_store_is_dropped_while_the_collector_runs() {
    let collector = Collector::start(BINARY, &["--max-clock-skew", "365d"]);
    // Both commands find reports.db in their folder.
    epoch_is_dropped_while_the_collector_runs(&collector, &[]);
}

#[test]
fn epoch_of_a_redis_store_is_dropped_while_the_collector_runs() {
    let server = Redis::with("appendonly yes\nappendfsync always");
    let collector = Collector::start(BINARY, &["--max-clock-skew", "365d", "--store", &server.url()]);
    epoch_is_dropped_while_the_collector_runs(&collector, &["--store", &server.url()]);
}

#[test]
fn epochs_of_a_named_fleet_are_listed_and_dropped() {
    let collector = Collector::start(BINARY, &[]);
    assert_eq!((send(&collector, 7, 1), send_as(&collector, "home", 9, 1)), (200, 200));
    let listed = |args: &[&str]| {
        let (code, listed) = epochs(&collector, &[&["list", "--output", "json"], args].concat());
        assert_eq!(code, Some(0), "{listed}");
        let lines = listed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.map(|line| line["epoch"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((listed(&[]), listed(&["--fleet", "home"])), (vec![7], vec![9]));
    let (code, said) = epochs(&collector, &["drop", "9", "--yes", "--fleet", "home"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((listed(&[]), listed(&["--fleet", "home"])), (vec![7], vec![]));
    let (code, said) = epochs(&collector, &["list", "--fleet", "my home"]);
    assert!(code == Some(64) && said.contains("1 to 64 letters"), "{code:?} {said}");
}

#[test]
fn epochs_of_a_store_that_does_not_exist_are_not_created() {
    let folder = Scratch::new("epochs");
    for (store, word) in [
        ("sqlite:reports.db", "no such file"),
        ("memory", "restart the collector"),
        ("paper:x", "sqlite:PATH"),
    ] {
        let mut command = clean_command(folder.path(), BINARY);
        command.args(["epochs", "drop", "7", "--yes", "--store", store]);
        let mut process = Process::spawn(command);
        assert_eq!(process.wait_exit(TIMEOUT).code(), Some(78), "{store}");
        let said: String = process.log().into_iter().map(|line| line.text).collect();
        assert!(said.contains(word), "{said}");
    }
    assert!(!folder.path().join("reports.db").exists());
}
