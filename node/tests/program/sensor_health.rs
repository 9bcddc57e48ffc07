//! Sensor health in the node info and in `atalaya sensors list --node`.
#![cfg(target_os = "linux")]

use std::process::Output;

use atalaya_testbed::{Scratch, eventually};

use crate::common::outputs::{assert_refused, stdout};
use crate::common::{DEADLINE, Fleet};

on_both!(
    node_without_a_working_sensor_logs_the_reason,
    faulty_sensors_do_not_affect_others,
    missing_sensor_is_skipped_and_used_when_it_appears,
    sensors_list_shows_health_as_table_and_json,
);

/// Runs `atalaya sensors list --node ID` on this fleet.
fn list(fleet: &Fleet, args: &[&str]) -> Output {
    fleet.run(&[&["sensors", "list"], args].concat())
}

fn said(fleet: &Fleet, id: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let probe = fleet.probe();
    eventually("the sensors in the node info", DEADLINE, || {
        let said: serde_json::Value =
            serde_json::from_str(&probe.text(&format!("/atalaya/nodes/{id}"))?).unwrap();
        wanted(&said).then_some(said)
    })
}

fn node_without_a_working_sensor_logs_the_reason(fleet: Fleet) {
    let desk = Scratch::new("health");
    let file = desk.path().join("boards.toml");
    let board = "[boards.pi]\nbackend = \"linux\"\nsensors = [{ name = \"air\", chip = \"lm75\", bus = \"i2c-250\", address = 0x48 }]\n";
    std::fs::write(&file, board).unwrap();
    let node = fleet.node("1", &["--boards", &file.display().to_string(), "--board", "pi"]);
    node.wait_for_line("cannot be read: ", DEADLINE);
    let said = said(&fleet, "1", |said| said["sensors"][0]["health"]["state"] == "failing");
    let health = &said["sensors"][0]["health"];
    assert!(health["error"].as_str().unwrap().contains("/dev/i2c-250"), "{health}");
    assert!(health["count"].as_u64().unwrap() >= 1 && health["since"].is_string(), "{health}");
    let probe = fleet.probe();
    assert!(probe.ls("/election").is_empty(), "a node without measurements does not lead");

    // After the repair, the same node joins.
    let good = "[boards.pi]\nbackend = \"sim\"\nsensors = [{ name = \"air\", chip = \"lm75\", bus = \"i2c-250\", address = 0x48 }]\n";
    let whole = desk.path().join("whole");
    std::fs::write(&whole, good).unwrap();
    std::fs::rename(whole, &file).unwrap();
    node.hup();
    node.wait_for_line(" leading epoch=", DEADLINE);
    self::said(&fleet, "1", |said| said["sensors"][0]["health"]["state"] == "ok");
}

fn missing_sensor_is_skipped_and_used_when_it_appears(fleet: Fleet) {
    let desk = Scratch::new("health");
    let file = desk.path().join("boards.toml");
    let board = r#"
[boards.pi]
backend = "linux"
sensors = [
    { name = "dead", chip = "lm75", bus = "i2c-250", address = 0x48 },
    { name = "living", chip = "file", path = "living", quantity = "humidity" },
    { name = "late", chip = "file", path = "late", quantity = "temperature" },
]
"#;
    std::fs::write(&file, board).unwrap();
    std::fs::write(desk.path().join("living"), "40\n").unwrap();
    let node = fleet
        .node("1", &["--boards", &file.display().to_string(), "--board", "pi", "--sampling-period", "200ms"]);
    node.wait_for_line(" leading epoch=", DEADLINE);
    let probe = fleet.probe();
    let living = r#"[{"bn":"1/","n":"living/humidity","u":"%RH","v":40.0}]"#;
    assert_eq!(probe.text("/mediciones/1").as_deref(), Some(living), "a pack, as if all were there");
    let states = |said: &serde_json::Value| -> Vec<String> {
        let sensors = said["sensors"].as_array().unwrap().iter();
        sensors.map(|sensor| sensor["health"]["state"].as_str().unwrap().to_owned()).collect()
    };
    said(&fleet, "1", |said| states(said) == ["failing", "ok", "absent"]);

    std::fs::write(desk.path().join("late"), "21.5\n").unwrap();
    eventually("the sensor that came late", DEADLINE, || {
        probe
            .text("/mediciones/1")
            .filter(|text| text.contains(r#""n":"late/temperature","u":"Cel","v":21.5"#))
    });
    node.wait_for_line("sensor recovered", DEADLINE);
    said(&fleet, "1", |said| states(said) == ["failing", "ok", "ok"]);
    let log = node.log();
    let complaints =
        log.iter().filter(|line| line.text.contains("cannot be read") && line.text.contains("dead"));
    assert_eq!(complaints.count(), 1, "said once");
}

fn faulty_sensors_do_not_affect_others(fleet: Fleet) {
    let desk = Scratch::new("health");
    let file = desk.path().join("boards.toml");
    let sensor = |name: &str, bus: u8, address: u8, faults: &str| {
        format!(
            "{{ name = \"{name}\", chip = \"lm75\", bus = \"i2c-{bus}\", address = {address}, \
             sim = {{ temperature = {{ constant = 20 }}, faults = [{faults}] }} }}"
        )
    };
    let sensors = [
        sensor("panics", 1, 0x48, "{ fault = \"panic\" }"),
        sensor("nan", 1, 0x49, "{ fault = \"nan\" }"),
        sensor("neighbour", 1, 0x4a, ""),
        sensor("hangs", 2, 0x48, "{ fault = \"hang\", for = \"10s\" }"),
        sensor("living", 3, 0x48, ""),
    ];
    let board = format!("[boards.b]\nbackend = \"sim\"\nsensors = [{}]\n", sensors.join(", "));
    std::fs::write(&file, board).unwrap();
    let node = fleet.node("1", &["--boards", &file.display().to_string(), "--board", "b"]);
    node.wait_for_line(" leading epoch=", DEADLINE);
    let probe = fleet.probe();
    let pack = |names: &[&str]| {
        let records: Vec<String> =
            names.iter().map(|n| format!(r#""n":"{n}/temperature","u":"Cel","v":20.0"#)).collect();
        format!(r#"[{{"bn":"1/",{}}}]"#, records.join("},{"))
    };
    eventually("the measurements of the other sensors", DEADLINE, || {
        probe.text("/mediciones/1").filter(|text| *text == pack(&["neighbour", "living"]))
    });
    let of = |said: &serde_json::Value, name: &str| -> serde_json::Value {
        let sensors = said["sensors"].as_array().unwrap();
        sensors.iter().find(|sensor| sensor["name"] == name).unwrap()["health"].clone()
    };
    let said = said(&fleet, "1", |said| of(said, "hangs")["state"] == "failing");
    assert_eq!(of(&said, "panics")["error"], "its driver panicked");
    assert_eq!(of(&said, "nan")["state"], "failing");
    assert!(of(&said, "hangs")["error"].as_str().unwrap().contains("does not return"), "{said}");
    assert_eq!(
        (&of(&said, "neighbour")["state"], &of(&said, "living")["state"]),
        (&"ok".into(), &"ok".into())
    );

    eventually("the bus that hung", DEADLINE, || {
        probe.text("/mediciones/1").filter(|text| *text == pack(&["neighbour", "hangs", "living"]))
    });
    self::said(&fleet, "1", |said| of(said, "hangs")["state"] == "ok");
}

fn sensors_list_shows_health_as_table_and_json(fleet: Fleet) {
    let _one = fleet.leader("1", &[]);
    said(&fleet, "1", |said| said["sensors"][0]["health"]["state"] == "ok");
    let output = list(&fleet, &["--node", "1"]);
    let table = stdout(&output);
    assert!(output.status.success(), "{output:?}");
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("sensor") && rows[0].contains("health"), "{table}");
    assert!(
        rows[1].starts_with("s ") && rows[1].contains("temperature") && rows[1].contains(" ok "),
        "{table}"
    );
    let line: serde_json::Value =
        serde_json::from_str(&stdout(&list(&fleet, &["--node", "1", "--output", "json"]))).unwrap();
    assert_eq!(
        (&line["node"], &line["health"], &line["units"][0]),
        (&"1".into(), &"ok".into(), &"Cel".into())
    );

    let missing = list(&fleet, &["--node", "2"]);
    assert_refused(&missing, 74, "node 2 is not running");

    // Text that another program wrote there does not affect the terminal.
    let probe = fleet.probe();
    let evil = r#"{"host":"h","pid":1,"version":"9","board":"b","started":"2026-01-01T00:00:00Z","sensors":[
        {"name":"\u001b[2Js","chip":"c","quantities":["magic"],"health":{"state":"dozing","error":"a\u001b]0;b"}}]}"#;
    probe.create("/atalaya/nodes/evil", evil.as_bytes(), true).unwrap();
    let table = stdout(&list(&fleet, &["--node", "evil"]));
    assert!(!table.contains('\u{1b}') && table.contains("unknown"), "{table:?}");
    probe.create("/atalaya/nodes/dumb", b"7", true).unwrap();
    assert_eq!(list(&fleet, &["--node", "dumb"]).status.code(), Some(65));
}
