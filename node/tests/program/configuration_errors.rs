//! Configuration errors are refused at the start, with their exit code and a remedy.

use std::process::{Command, Output};
use std::time::Duration;

use atalaya_testbed::{Scratch, eventually};

use crate::common::outputs::assert_refused;
use crate::common::{DEADLINE, Fleet};

on_both!(node_waits_for_an_unreachable_zookeeper, node_with_a_connect_timeout_ends_without_zookeeper);

struct Desk(Scratch);

impl Desk {
    fn new() -> Desk {
        Desk(Scratch::new("desk"))
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn atalaya(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_atalaya"))
            .args(args)
            .env_clear()
            .envs(variables.iter().copied())
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    fn refused(&self, args: &[&str], variables: &[(&str, &str)], code: i32, words: &[&str]) {
        let output = self.atalaya(args, variables);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{args:?} does not say \"{word}\":\n{said}");
        }
        assert!(said.len() < 2_000, "{args:?}: too long a message");
    }
}

#[test]
fn invalid_node_ids_are_refused() {
    let desk = Desk::new();
    let long = "x".repeat(10_000);
    for id in ["", "/", "a/b", "..", ".", "a b", "a\tb"] {
        desk.refused(&["run", id], &[], 64, &["node id"]);
    }
    let output = desk.atalaya(&["run", &long], &[]);
    assert_refused(&output, 64, "longer than 128 bytes");
    desk.refused(&["run"], &[], 64, &["<ID>"]);
    desk.refused(&["fly"], &[], 64, &["fly"]);
}

#[test]
fn invalid_flags_and_variables_are_refused() {
    let desk = Desk::new();
    let run = |flag, value| vec!["run", "1", flag, value];
    for (flag, value, word) in [
        ("--zookeeper", "", "empty"),
        ("--zookeeper", "zk:0", "1 to 65535"),
        ("--zookeeper", "zk:99999", "1 to 65535"),
        ("--zookeeper", "zk1,,zk2", "host name is missing"),
        ("--zookeeper", "zk1 zk2", "white space"),
        ("--zookeeper", "http://zk1", "scheme"),
        ("--zookeeper", "zk1/a//b", "empty element"),
        ("--api-url", "127.0.0.1:8000", "http://127.0.0.1:8000/nuevo"),
        ("--api-url", "ftp://h/", "neither http nor https"),
        ("--sampling-period", "0", "duration"),
        ("--sampling-period", "0s", "duration"),
        ("--sampling-period", "nan", "duration"),
        ("--sampling-period", "10ms", "100ms"),
        ("--sampling-period", "100d", "31d"),
        ("--session-timeout", "1ms", "200ms"),
        ("--measurements", "mediciones", "begin with /"),
        ("--measurements", "/", "root"),
        ("--name", "app", "{id}"),
        ("--election", "/a/../b", ".."),
        ("--connect-timeout", "soon", "duration"),
        ("--api-method", "put", "get or post"),
        ("--log", "a=b=c", "filter"),
    ] {
        desk.refused(&run(flag, value), &[], 64, &[flag.trim_start_matches('-'), word]);
    }
    for (name, value) in
        [("ZK_HOST", "zk:x"), ("API_URL", "nowhere"), ("SAMPLING_PERIOD", "often"), ("ATALAYA_NAME", "x")]
    {
        desk.refused(&["run", "1"], &[(name, value)], 78, &[name, "expected"]);
    }
}

#[test]
fn errors_in_boards_toml_are_shown_with_their_position() {
    let desk = Desk::new();
    desk.write(
        "boards.toml",
        "[boards.a]\nbackend = \"sim\"\n\n[[boards.a.sensors]]\nname = \"s\"\nchip = \"lm57\"\n",
    );
    for args in [&["run", "1"][..], &["check"], &["sensors", "read"], &["check", "boards.toml"]] {
        desk.refused(args, &[], 78, &["boards.toml:6:8", "lm57", "lm75"]);
    }
    desk.write("boards.toml", "[fleet]\nzookeeper = \"zk1:2181:2182\"\n");
    desk.refused(&["check"], &[], 78, &["boards.toml:2:13", "zk1:2181:2182", "host:port"]);
    desk.write("boards.toml", "[fleet]\napi_url = \"api\"\n");
    desk.refused(&["check"], &[], 78, &["boards.toml:2:11", "http://127.0.0.1:8000/nuevo"]);
    desk.write("boards.toml", b"\xff\xfe");
    desk.refused(&["check"], &[], 78, &["UTF-8"]);
    desk.refused(&["run", "1", "--boards", "absent.toml"], &[], 78, &["absent.toml"]);
    desk.refused(&["run", "1"], &[("ATALAYA_BOARDS", "absent.toml")], 78, &["absent.toml"]);
}

#[test]
fn missing_or_unknown_board_is_refused() {
    let desk = Desk::new();
    let board = |name: &str| {
        format!("[boards.{name}]\nbackend = \"sim\"\nsensors = [{{ name = \"s\", chip = \"random\" }}]\n")
    };
    desk.write("boards.toml", board("attic") + &board("cellar"));
    desk.refused(&["run", "1"], &[], 78, &["attic", "cellar"]);
    desk.refused(&["run", "1", "--board", "kitchen"], &[], 78, &["kitchen", "attic", "cellar"]);
    let output = desk.atalaya(&["sensors", "read", "--board", "attic"], &[]);
    assert!(output.status.success(), "{output:?}");
    let output = desk.atalaya(&["sensors", "read", "--output", "json"], &[("ATALAYA_BOARD", "cellar")]);
    let reading: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&reading["sensor"], &reading["unit"]), (&"s".into(), &"Cel".into()));
}

#[test]
fn one_line_of_boards_toml_swaps_the_backend() {
    let desk = Desk::new();
    let sim = include_str!("../../../boards.toml");
    let linux = sim.replacen("backend = \"sim\"", "backend = \"linux\"", 1);
    let differing = sim.lines().zip(linux.lines()).filter(|(a, b)| a != b).count();
    assert_eq!(differing, 1);
    desk.write("boards.toml", sim);
    let output = desk.atalaya(&["sensors", "read", "--board", "laptop"], &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Cel"));
    desk.write("boards.toml", linux.replace("i2c-1", "i2c-250"));
    assert!(desk.atalaya(&["check"], &[]).status.success(), "an absent bus is not an error of the file");
    desk.refused(&["sensors", "read", "--board", "laptop"], &[], 74, &["/dev/i2c-250"]);
}

fn node_waits_for_an_unreachable_zookeeper(mut fleet: Fleet) {
    fleet.server.vanish();
    let mut node = fleet.node("1", &[]);
    node.wait_for_line("cannot reach ZooKeeper", DEADLINE);
    fleet.server.come_back();
    node.wait_for_line("published the first measurement", DEADLINE);
    let probe = fleet.probe();
    eventually("the measurement", DEADLINE, || probe.exists("/mediciones/1"));
    assert!(node.is_running());
    let complaints = node.log().iter().filter(|line| line.text.contains("cannot reach ZooKeeper")).count();
    assert_eq!(complaints, 1, "said once");
}

fn node_with_a_connect_timeout_ends_without_zookeeper(mut fleet: Fleet) {
    fleet.server.vanish();
    let mut node = fleet.node("1", &["--connect-timeout", "1s"]);
    assert_eq!(node.wait_exit(Duration::from_secs(5)).code(), Some(69));
    node.wait_for_line("was not reached within 1s", Duration::ZERO);
}
