//! An MQTT broker as an output of a fleet, with Home Assistant's discovery.

use std::process::Command;
use std::time::Duration;

use atalaya_testbed::{Mosquitto, MqttClient, Process, Scratch, eventually};
use serde_json::json;

use crate::common::{DEADLINE, Fleet, wait_until};

const STATUS: &str = "atalaya/home/1/status";
const AVERAGE: &str = "atalaya/home/average/value";
const NODE: &str = "homeassistant/device/atalaya__home__1/config";
const AVERAGES: &str = "homeassistant/device/atalaya_averages__home/config";
/// Time in which a client reconnects to a broker.
const RECONNECT: Duration = Duration::from_secs(60);

/// Returns the command of a node with one sensor.
fn command(fleet: &Fleet, scratch: &Scratch, url: &str, version: &str, id: &str, sensor: &str) -> Command {
    let file = scratch.path().join(format!("{id}-{sensor}.toml"));
    let boards = format!(
        "[fleet]\nfleet_name = \"home\"\n\
         [[fleet.outputs]]\ntype = \"mqtt\"\nurl = \"{url}\"\nversion = \"{version}\"\nsend = \"both\"\n\
         [boards.random]\nbackend = \"sim\"\nsensors = [{{ name = \"{sensor}\", chip = \"random\" }}]\n"
    );
    std::fs::write(&file, boards).unwrap();
    fleet.command(id, &["--boards", file.to_str().unwrap(), "--api-method", "post"])
}

fn cycles(subscriber: &MqttClient) -> Vec<u64> {
    subscriber.of(AVERAGE).iter().map(|message| message.json()["cycle"].as_u64().unwrap()).collect()
}

#[test]
fn broker_gets_averages_availability_and_announcements_of_sensors() {
    for version in ["3.1.1", "5"] {
        let (fleet, scratch, server) = (Fleet::memory(), Scratch::new("mqtt"), Mosquitto::start());
        let subscriber = MqttClient::subscribe(server.port(), "#");
        let mut node = Process::spawn(command(&fleet, &scratch, &server.url(), version, "1", "s"));
        subscriber.wait_for(STATUS, DEADLINE, |message| message.text() == "online");
        let announced = subscriber.wait_for(NODE, DEADLINE, |message| !message.payload.is_empty()).json();
        let component = &announced["cmps"]["s__temperature"];
        assert_eq!(component["state_topic"], "atalaya/home/1/s/temperature");
        assert_eq!(component["unit_of_measurement"], "°C");
        assert_eq!(announced["availability_topic"], STATUS);
        let average =
            subscriber.wait_for(AVERAGE, DEADLINE, |m| m.json()["cycle"].as_u64() >= Some(3)).json();
        assert_eq!((&average["count"], &average["unit"]), (&json!(1), &json!(null)));
        subscriber.wait_for(AVERAGES, DEADLINE, |message| {
            message.json()["cmps"]["number"]["state_topic"] == AVERAGE
        });
        let sample = subscriber
            .wait_for("atalaya/home/1/s/temperature", DEADLINE, |m| m.json()["seq"].as_i64() >= Some(3))
            .json();
        assert_eq!(sample["unit"], "Cel");
        assert!((75.0..=85.0).contains(&sample["value"].as_f64().unwrap()), "{sample}");
        node.kill9();
        subscriber.wait_for(STATUS, DEADLINE, |message| message.text() == "offline");
    }
}

#[test]
fn sensor_that_is_removed_from_boards_toml_is_removed_from_home_assistant() {
    let (fleet, scratch, server) = (Fleet::memory(), Scratch::new("mqtt"), Mosquitto::start());
    let subscriber = MqttClient::subscribe(server.port(), NODE);
    let mut first = Process::spawn(command(&fleet, &scratch, &server.url(), "5", "1", "old"));
    subscriber
        .wait_for(NODE, DEADLINE, |message| message.json()["cmps"]["old__temperature"]["name"].is_string());
    first.term();
    first.wait_exit(DEADLINE);
    let _second = Process::spawn(command(&fleet, &scratch, &server.url(), "5", "1", "new"));
    let removal = subscriber.wait_for(NODE, DEADLINE, |message| {
        message.json()["cmps"]["old__temperature"] == json!({ "p": "sensor" })
    });
    assert!(removal.json()["cmps"]["new__temperature"]["name"].is_string());
    subscriber.wait_for(NODE, DEADLINE, |message| {
        let components = message.json()["cmps"].clone();
        components["new__temperature"].is_object() && components["old__temperature"].is_null()
    });
}

#[test]
fn averages_wait_for_a_broker_that_is_away_and_leaders_that_are_killed() {
    let (fleet, scratch, mut server) = (Fleet::memory(), Scratch::new("mqtt"), Mosquitto::start());
    let subscriber = MqttClient::subscribe(server.port(), AVERAGE);
    let mut one = Process::start(
        command(&fleet, &scratch, &server.url(), "3.1.1", "1", "s"),
        " leading epoch=",
        DEADLINE,
    );
    let _two = Process::spawn(command(&fleet, &scratch, &server.url(), "3.1.1", "2", "s"));
    wait_until("three averages", || cycles(&subscriber).len() >= 3);
    server.kill();
    one.wait_for_line("the output does not accept reports", DEADLINE);
    one.kill9();
    let probe = fleet.probe();
    let waiting = || probe.ls("/atalaya/outputs/mqtt/reports").len();
    wait_until("five waiting averages", || waiting() >= 5);
    server.restart();
    // A subscriber of the new broker, which has lost everything.
    let late = MqttClient::subscribe(server.port(), AVERAGE);
    let last = cycles(&subscriber).last().copied().unwrap_or_default();
    eventually("the averages of the outage", RECONNECT, || {
        (cycles(&late).last().copied().unwrap_or_default() >= last + 8).then_some(())
    });
    // A subscriber that was not connected when an average was published gets only the newest: averages before the first
    // one of `late` were published before it had subscribed.
    let all = cycles(&late);
    assert!(all.is_sorted(), "{all:?}");
    let distinct: std::collections::BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(distinct.len() as u64, all.last().unwrap() - all[0] + 1, "an average is missing: {all:?}");
}
