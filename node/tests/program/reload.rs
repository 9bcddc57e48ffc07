//! SIGHUP replaces sensors and some settings; session, znodes and leadership stay; invalid files are refused.
#![cfg(unix)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use atalaya_testbed::{Process, Scratch, Stat, ZkProbe, eventually};

use crate::common::{DEADLINE, Fleet, bodies, goes_on_publishing, mean_reported, wait_for_requests};

on_both!(
    reload_replaces_sensors_within_the_same_session_and_epoch,
    reload_refuses_a_bad_file_and_keeps_the_sensors,
    reload_applies_reloadable_settings_and_names_the_fixed_ones,
);

struct Desk {
    scratch: Scratch,
}

impl Desk {
    fn new() -> Desk {
        Desk { scratch: Scratch::new("swap") }
    }

    fn file(&self) -> PathBuf {
        self.scratch.path().join("boards.toml")
    }

    /// Writes sensors that apply from the next start or SIGHUP.
    fn write(&self, fleet: &str, sensors: &str) {
        let text = format!("[fleet]\n{fleet}\n[boards.b]\nbackend = \"sim\"\nsensors = [{sensors}]\n");
        // A rename is atomic, so the node never reads half a file.
        let half = self.scratch.path().join("half");
        std::fs::write(&half, text).unwrap();
        std::fs::rename(half, self.file()).unwrap();
    }

    fn leader(&self, fleet: &Fleet) -> Process {
        let file = self.file().display().to_string();
        // It must not lose its session on a busy machine.
        let words = ["--boards", &file, "--board", "b", "--api-method", "post", "--session-timeout", "30s"];
        let node = fleet.node("1", &words);
        node.wait_for_line(" leading epoch=", DEADLINE);
        node
    }
}

fn sensor(name: &str, measures: &str) -> String {
    format!(r#"{{ name = "{name}", chip = "random", sim = {{ {measures} }} }}"#)
}

/// Properties that must not change: creation time and owner of the znodes of node 1.
fn znodes(probe: &ZkProbe) -> Vec<(String, i64, i64)> {
    let mut paths = vec!["/mediciones/1".to_owned(), "/atalaya/nodes/1".to_owned()];
    paths.extend(probe.ls("/election").into_iter().map(|name| format!("/election/{name}")));
    let of = |path: String| {
        let Stat { czxid, ephemeral_owner, .. } =
            eventually(&format!("the znode {path}"), DEADLINE, || probe.exists(&path));
        (path, czxid, ephemeral_owner)
    };
    paths.into_iter().map(of).collect()
}

fn measures(probe: &ZkProbe, text: &str) {
    eventually(&format!("a measurement of {text}"), DEADLINE, || {
        probe.text("/mediciones/1").filter(|now| now == text)
    });
}

fn reload_replaces_sensors_within_the_same_session_and_epoch(fleet: Fleet) {
    let desk = Desk::new();
    desk.write("", &sensor("s", "temperature = { constant = 70 }"));
    let node = desk.leader(&fleet);
    let probe = fleet.probe();
    measures(&probe, "70");
    mean_of(&fleet, serde_json::Value::Null, 70.0);
    let before = znodes(&probe);
    assert_eq!(before.len(), 3);

    let air = sensor("air", "temperature = { constant = 21.5 }, humidity = { constant = 40 }");
    desk.write("", &air);
    let hup = Instant::now();
    node.hup();
    measures(
        &probe,
        r#"[{"bn":"1/","n":"air/temperature","u":"Cel","v":21.5},{"n":"air/humidity","u":"%RH","v":40.0}]"#,
    );
    mean_of(&fleet, "Cel".into(), 21.5);
    mean_of(&fleet, "%RH".into(), 40.0);
    let said = eventually("the new sensor in the node info", DEADLINE, || {
        let said: serde_json::Value = serde_json::from_str(&probe.text("/atalaya/nodes/1")?).unwrap();
        (said["sensors"][0]["name"] == "air" && said["sensors"][0]["health"]["state"] == "ok").then_some(said)
    });
    assert_eq!(said["sensors"].as_array().unwrap().len(), 1);
    assert_eq!(znodes(&probe), before, "session, znodes and place in the line are as they were");

    desk.write("", &sensor("s", "temperature = { constant = 90 }"));
    node.hup();
    measures(&probe, "90");
    assert_eq!(znodes(&probe), before);
    let reports = bodies(&fleet.api.requests());
    assert!(reports.iter().all(|report| report["epoch"] == reports[0]["epoch"]), "one epoch");
    let leading = |line: &&atalaya_testbed::Line| line.at > hup && line.text.contains("leading");
    assert_eq!(node.log().iter().filter(leading).count(), 0, "it never stopped leading");
}

/// Waits for a report with this mean and unit.
fn mean_of(fleet: &Fleet, unit: serde_json::Value, mean: f64) {
    fleet.api.wait_for(&format!("a mean of {mean} {unit}"), DEADLINE, |all| {
        bodies(all).iter().any(|report| report["unit"] == unit && report["mean"] == mean)
    });
}

fn reload_refuses_a_bad_file_and_keeps_the_sensors(fleet: Fleet) {
    let desk = Desk::new();
    desk.write("", &sensor("s", "temperature = { constant = 70 }"));
    let node = desk.leader(&fleet);
    let probe = fleet.probe();
    measures(&probe, "70");
    let before = znodes(&probe);

    desk.write("", r#"{ name = "s", chip = "lm57" }"#);
    node.hup();
    let line = node.wait_for_line("is rejected, keeping the current one", DEADLINE).text;
    assert!(line.contains("boards.toml:5:") && line.contains("lm57"), "{line}");

    desk.write("election = \"elections\"", &sensor("s", "temperature = { constant = 1 }"));
    node.hup();
    node.wait_for_line("not a path of ZooKeeper", DEADLINE);

    // A half-written file, as some editors leave for a moment, and a missing file.
    std::fs::write(desk.file(), "").unwrap();
    node.hup();
    node.wait_for_line("no longer describes a board", DEADLINE);
    std::fs::remove_file(desk.file()).unwrap();
    node.hup();
    node.wait_for_line("No such file", DEADLINE);

    goes_on_publishing(&probe, "1", 2);
    assert_eq!(probe.text("/mediciones/1").as_deref(), Some("70"));
    assert_eq!(znodes(&probe), before);
    desk.write("", &sensor("s", "temperature = { constant = 71 }"));
    node.hup();
    measures(&probe, "71");
    assert_eq!(znodes(&probe), before);
}

fn reload_applies_reloadable_settings_and_names_the_fixed_ones(fleet: Fleet) {
    let desk = Desk::new();
    let api = |path: &str| format!("api_url = \"{}{path}\"\n", fleet.api.base_url());
    let board = sensor("s", "temperature = { constant = 70 }");
    desk.write(&format!("sampling_period = \"1h\"\n{}", api("nuevo")), &board);
    let mut command = atalaya_testbed::node_command(env!("CARGO_BIN_EXE_atalaya"), "1", &fleet.hosts);
    command.args(["--session-timeout", "30s", "--boards"]).arg(desk.file());
    let node = Process::start(command, " leading epoch=", DEADLINE);
    mean_reported(&fleet.api, 70.0, Instant::now() - Duration::from_secs(60));
    let probe = fleet.probe();
    let before = znodes(&probe);

    let settings =
        format!("sampling_period = \"200ms\"\nelection = \"/other\"\nname = \"app{{id}}\"\n{}", api("viejo"));
    desk.write(&settings, &board);
    node.hup();
    node.wait_for_line("takes effect only after a restart: name, election", DEADLINE);
    let since = Instant::now();
    goes_on_publishing(&probe, "1", 5);
    wait_for_requests(&fleet.api, "five reports at the new place", 5, |r| r.at > since && r.path == "/viejo");
    assert_eq!(znodes(&probe), before);
    assert_eq!(probe.ls("/mediciones"), ["1"]);
}
