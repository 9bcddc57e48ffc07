//! `--no-default-features --features chips`: a build without the simulator, and its messages about missing parts.
#![cfg(not(feature = "sim"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[macro_use]
#[path = "program/common/mod.rs"]
mod common;

use std::process::{Command, Output};

use atalaya_testbed::Scratch;
use common::metrics_client::MetricsClient;
use common::{DEADLINE, Fleet, mean_reported};

fn atalaya(desk: &Scratch, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_atalaya"))
        .args(args)
        .env_clear()
        .current_dir(desk.path())
        .output()
        .unwrap()
}

fn refused(desk: &Scratch, args: &[&str], code: i32, words: &[&str]) {
    let output = atalaya(desk, args);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{args:?} does not say \"{word}\":\n{said}");
    }
}

#[test]
fn slim_build_refuses_simulated_sensors_with_the_reason() {
    let desk = Scratch::new("slim");
    let words = ["without the simulator", "backend = \"linux\""];
    // Without a boards.toml the built-in board is used, which is simulated too.
    for args in [&["check"][..], &["run", "1"], &["sensors", "read"]] {
        refused(&desk, args, 78, &words);
    }
    let board = "[boards.b]\nbackend = \"sim\"\nsensors = [{ name = \"s\", chip = \"lm75\", bus = \"i2c-1\", address = 0x48 }]\n";
    std::fs::write(desk.path().join("boards.toml"), board).unwrap();
    refused(&desk, &["check"], 78, &["boards.toml", "board b", "sensor `s`", words[0], words[1]]);
    refused(&desk, &["run", "1"], 78, &words);
}

#[test]
fn slim_build_has_no_demo_and_no_zookeeper_command() {
    let desk = Scratch::new("slim");
    refused(&desk, &["demo"], 64, &["demo"]);
    refused(&desk, &["zookeeper"], 64, &["zookeeper"]);
    let help = String::from_utf8(atalaya(&desk, &["--help"]).stdout).unwrap();
    assert!(!help.contains("atalaya demo"), "{help}");
}

#[cfg(target_os = "linux")]
#[test]
fn slim_build_checks_and_lists_a_real_board() {
    let desk = Scratch::new("slim");
    let board = "[boards.b]\nbackend = \"linux\"\nsensors = [{ name = \"s\", chip = \"lm75\", bus = \"i2c-250\", address = 0x48 }]\n";
    std::fs::write(desk.path().join("boards.toml"), board).unwrap();
    assert!(atalaya(&desk, &["check"]).status.success());
    let list = String::from_utf8(atalaya(&desk, &["sensors", "list"]).stdout).unwrap();
    assert!(list.contains("0x48 on i2c-250") && list.contains("Cel"), "{list}");
    refused(&desk, &["sensors", "read"], 74, &["/dev/i2c-250"]);
}

#[cfg(target_os = "linux")]
#[test]
fn slim_build_refuses_sensors_from_mqtt_with_the_reason() {
    let desk = Scratch::new("slim");
    let board = "[boards.b]\nbackend = \"linux\"\nsensors = [{ name = \"s\", chip = \"mqtt\", broker = \"mqtt://a\", topic = \"t\", quantity = \"count\" }]\n";
    std::fs::write(desk.path().join("boards.toml"), board).unwrap();
    for args in [&["check"][..], &["run", "1"], &["sensors", "read"]] {
        refused(&desk, args, 78, &["sensor `s`", "without MQTT", "the feature \"mqtt\""]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn slim_build_measures_leads_and_reports() {
    let fleet = Fleet::memory();
    let desk = Scratch::new("slim");
    let board = "[boards.b]\nbackend = \"linux\"\nsensors = [{ name = \"s\", chip = \"file\", path = \"s\", quantity = \"temperature\" }]\n";
    let file = desk.path().join("boards.toml");
    std::fs::write(&file, board).unwrap();
    std::fs::write(desk.path().join("s"), "21.5\n").unwrap();
    let boards = file.display().to_string();
    let arguments = ["--boards", &boards, "--board", "b", "--metrics-listen", "127.0.0.1:0"];
    let node = fleet.node("1", &arguments);
    node.wait_for_line(" leading epoch=", DEADLINE);
    mean_reported(&fleet.api, 21.5, std::time::Instant::now());
    assert_eq!(fleet.probe().text("/mediciones/1").as_deref(), Some("21.5"));
    let watch = MetricsClient::of(&node);
    watch.wait_for_status("/readyz", 200);
    watch.wait_for("atalaya_leading", |leads| leads == 1.0);
    assert!(
        watch.text().contains("atalaya_build_info{version=\"") && watch.text().contains("features=\"\"} 1\n")
    );
}
