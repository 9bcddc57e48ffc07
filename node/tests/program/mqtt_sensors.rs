//! Sensors in the messages of an MQTT broker: in a node, with `atalaya sensors read`, in `atalaya check`, and simulated.

use std::process::{Command, Output};

use atalaya_testbed::{Mosquitto, Scratch, eventually};

use crate::common::metrics_client::MetricsClient;
use crate::common::{DEADLINE, Fleet, wait_until};

fn boards(broker: &str, backend: &str) -> String {
    format!(
        "[boards.b]\nbackend = \"{backend}\"\n\
         [[boards.b.sensors]]\nname = \"kitchen\"\nchip = \"mqtt\"\nbroker = \"{broker}\"\ntopic = \"zigbee2mqtt/kitchen\"\n\
         pointer = \"/temperature\"\nquantity = \"temperature\"\nsim = {{ temperature = {{ constant = 19.5 }} }}\n\
         [[boards.b.sensors]]\nname = \"tank\"\nchip = \"mqtt\"\nbroker = \"{broker}\"\ntopic = \"tank/sensor/level/state\"\n\
         quantity = \"humidity\"\nfilters = [{{ round = 1 }}]\nsim = {{ humidity = {{ constant = 55 }} }}\n"
    )
}

fn atalaya(desk: &Scratch, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atalaya"));
    command.args(args).env_clear().current_dir(desk.path()).output().unwrap()
}

#[test]
fn node_publishes_two_sensors_of_one_broker() {
    let fleet = Fleet::memory();
    let mut broker = Mosquitto::start();
    let desk = Scratch::new("mqtt-sensors");
    let file = desk.write("boards.toml", boards(&broker.url(), "linux"));
    broker.publish("zigbee2mqtt/kitchen", r#"{"temperature":21.5,"linkquality":87}"#, true);
    broker.publish("tank/sensor/level/state", "48.04", true);
    let arguments =
        ["--boards", &file.display().to_string(), "--board", "b", "--metrics-listen", "127.0.0.1:0"];
    let node = fleet.node("1", &arguments);
    let probe = fleet.probe();
    let measured = |wanted: &[&str]| {
        eventually(&format!("the measurement has {wanted:?}"), DEADLINE, || {
            let text = probe.text("/mediciones/1")?;
            wanted.iter().all(|wanted| text.contains(wanted)).then_some(())
        });
    };
    measured(&["\"v\":21.5", "\"u\":\"Cel\"", "\"v\":48", "\"u\":\"%RH\""]);
    let watch = MetricsClient::of(&node);
    watch.wait_for("atalaya_sensor_failing{sensor=\"tank\"}", |failing| failing == 0.0);
    assert_eq!(broker.count_lines(" as atalaya"), 1);
    // A message that is not a number concerns its sensor alone.
    broker.publish("tank/sensor/level/state", "unknown", true);
    watch.wait_for("atalaya_sensor_failing{sensor=\"tank\"}", |failing| failing == 1.0);
    broker.kill();
    broker.restart();
    wait_until("the node subscribes again", || broker.count_lines(" as atalaya") == 1);
    broker.publish("zigbee2mqtt/kitchen", r#"{"temperature":22.5}"#, true);
    broker.publish("tank/sensor/level/state", "50", true);
    measured(&["\"v\":22.5", "\"v\":50"]);
    watch.wait_for("atalaya_sensor_failing{sensor=\"kitchen\"}", |failing| failing == 0.0);
}

#[test]
fn sensors_read_waits_for_a_message_but_not_for_a_broker() {
    let broker = Mosquitto::start();
    let desk = Scratch::new("mqtt-sensors");
    std::fs::write(desk.path().join("boards.toml"), boards(&broker.url(), "linux")).unwrap();
    broker.publish("zigbee2mqtt/kitchen", r#"{"temperature":"-3.25"}"#, true);
    let output = std::thread::scope(|scope| {
        let reader = scope.spawn(|| atalaya(&desk, &["sensors", "read"]));
        broker.wait_for_line("tank/sensor/level/state (QoS 1)");
        broker.publish("tank/sensor/level/state", "7", false);
        reader.join().unwrap()
    });
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("-3.25 Cel") && text.contains("7 %RH"), "{text}");
    let list = atalaya(&desk, &["sensors", "list"]);
    assert!(String::from_utf8_lossy(&list.stdout).contains(&broker.url()), "{list:?}");
    drop(broker);
    let output = atalaya(&desk, &["sensors", "read"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(74), "{said}");
    assert!(said.contains("nothing to read at zigbee2mqtt/kitchen on mqtt://127.0.0.1:"), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
    // The check of the configuration needs no broker.
    assert!(atalaya(&desk, &["check"]).status.success());
}

#[test]
fn simulated_mqtt_sensors_need_no_broker() {
    let desk = Scratch::new("mqtt-sensors");
    std::fs::write(desk.path().join("boards.toml"), boards("mqtt://broker.invalid", "sim")).unwrap();
    let output = atalaya(&desk, &["sensors", "read"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("19.5 Cel") && text.contains("55 %RH"), "{output:?}");
    let wrong = boards("mqtt://broker.invalid", "sim").replace("zigbee2mqtt/kitchen", "zigbee2mqtt/+");
    std::fs::write(desk.path().join("boards.toml"), wrong).unwrap();
    let output = atalaya(&desk, &["check"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("boards.toml:7:9: ") && said.contains("without the wildcards"), "{said}");
}
