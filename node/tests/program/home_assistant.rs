//! Home Assistant itself, which reads the announcements and records of a fleet: `cargo xtask home-assistant`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use atalaya_testbed::{Mosquitto, MqttClient, Process, Scratch, parent_death_command};
use serde_json::Value;

use crate::common::{DEADLINE, Fleet};

/// Variable with the path of the Python that has Home Assistant.
const PYTHON: &str = "ATALAYA_HOME_ASSISTANT";
/// Time in which Home Assistant starts.
const START: Duration = Duration::from_secs(180);

/// A sensor with all quantities, on a node of a fleet.
fn boards(url: &str, quantities: &str) -> String {
    format!(
        "[fleet]\nfleet_name = \"home\"\n\
         [[fleet.outputs]]\ntype = \"mqtt\"\nurl = \"{url}\"\nsend = \"both\"\n\
         [boards.all]\nbackend = \"sim\"\n\
         sensors = [{{ name = \"s\", chip = \"random\", sim = {{ {quantities} }} }}]\n"
    )
}

const QUANTITIES: [(&str, &str, Option<&str>, Option<&str>); 10] = [
    ("temperature", "21.5", Some("temperature"), Some("°C")),
    ("humidity", "40", Some("humidity"), Some("%")),
    ("pressure", "101325", Some("pressure"), Some("Pa")),
    ("voltage", "5", Some("voltage"), Some("V")),
    ("current", "0.5", Some("current"), Some("A")),
    ("power", "2.5", Some("power"), Some("W")),
    ("illuminance", "300", Some("illuminance"), Some("lx")),
    ("concentration", "420", None, Some("ppm")),
    ("count", "7", None, None),
    ("dimensionless", "0.25", None, None),
];

/// Units of other programs, whose averages are announced as well, with the device classes.
const UNITS: [(&str, Option<&str>); 15] = [
    ("K", Some("temperature")),
    ("hPa", Some("pressure")),
    ("kPa", Some("pressure")),
    ("mV", Some("voltage")),
    ("mA", Some("current")),
    ("kW", Some("power")),
    ("VA", Some("apparent_power")),
    ("Hz", Some("frequency")),
    ("m", Some("distance")),
    ("m/s", Some("speed")),
    ("W/m2", Some("irradiance")),
    ("kg", Some("weight")),
    ("dBm", Some("signal_strength")),
    ("%EL", Some("battery")),
    // Not in the table of units.
    ("mol", None),
];

struct HomeAssistant(Process);

impl HomeAssistant {
    fn start(python: &str, folder: &Path, port: u16) -> HomeAssistant {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/home-assistant/entities.py");
        let mut command = parent_death_command(Path::new(python));
        command.arg(script).arg(folder).arg(port.to_string()).current_dir(folder);
        let process = Process::spawn_piped(command);
        process.wait_for_line("started", START);
        HomeAssistant(process)
    }

    /// Waits until the sensors, by unique id, meet a condition.
    #[track_caller]
    fn wait_for(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        atalaya_testbed::eventually(what, 2 * DEADLINE, || {
            let log = self.0.log();
            let newest = log.iter().rev().find_map(|line| line.text.strip_prefix("entities "))?;
            let entities: Value = serde_json::from_str(newest).unwrap();
            condition(&entities).then_some(entities)
        })
    }

    /// Returns warnings and errors of Home Assistant.
    fn problems(&self) -> Vec<String> {
        let log = self.0.log();
        log.iter().filter(|line| line.text.starts_with("log ")).map(|line| line.text.clone()).collect()
    }
}

fn node(fleet: &Fleet, scratch: &Scratch, boards: &str) -> Process {
    let file = scratch.path().join("boards.toml");
    std::fs::write(&file, boards).unwrap();
    let arguments = ["--boards", file.to_str().unwrap(), "--board", "all"];
    let command: Command = fleet.command("1", &arguments);
    Process::spawn(command)
}

#[test]
fn home_assistant_has_a_sensor_for_each_quantity_and_average() {
    let Ok(python) = std::env::var(PYTHON) else { return };
    let (fleet, scratch, mut server) = (Fleet::memory(), Scratch::new("ha"), Mosquitto::start());
    let probe = fleet.probe();
    let values: Vec<String> =
        UNITS.map(|(unit, _)| format!("{{\"n\":\"x\",\"u\":\"{unit}\",\"v\":1}}")).into();
    probe.create("/mediciones", b"", false).unwrap();
    let foreign = || probe.set("/mediciones/foreign", format!("[{}]", values.join(",")).as_bytes()).unwrap();
    probe.create("/mediciones/foreign", b"", true).unwrap();
    foreign();
    let quantities =
        QUANTITIES.map(|(name, value, ..)| format!("{name} = {{ constant = {value} }}")).join(", ");
    let mut one = node(&fleet, &scratch, &boards(&server.url(), &quantities));
    one.wait_for_line(" leading epoch=", DEADLINE);
    let folder = scratch.path().join("home-assistant");
    std::fs::create_dir(&folder).unwrap();
    let home_assistant = HomeAssistant::start(&python, &folder, server.port());

    let key = |name: &str| format!("atalaya__home__1__s__{name}");
    let all = home_assistant.wait_for("values of all quantities", |entities| {
        QUANTITIES.iter().all(|(name, value, ..)| {
            let state = entities[key(name)]["state"].as_str().and_then(|state| state.parse::<f64>().ok());
            state == value.parse().ok()
        })
    });
    for (name, _, class, unit) in QUANTITIES {
        let entity = &all[key(name)];
        let attributes = &entity["attributes"];
        assert_eq!(attributes["device_class"].as_str(), class, "{entity}");
        assert_eq!(attributes["unit_of_measurement"].as_str(), unit, "{entity}");
        assert_eq!(attributes["state_class"], "measurement", "{entity}");
        let device = &entity["device"];
        assert_eq!((&device["name"], &device["manufacturer"]), (&"home 1".into(), &"Atalaya".into()));
    }
    // Averages of the quantities and of the other units, on a device of their own.
    let averages = |entities: &Value| -> BTreeSet<String> {
        let sensors = entities.as_object().unwrap().values();
        let averages = sensors.filter(|entity| entity["device"]["name"] == "home averages");
        let known =
            averages.filter(|entity| entity["state"] != "unknown" && entity["state"] != "unavailable");
        known.map(|entity| entity["entity"].as_str().unwrap().to_owned()).collect()
    };
    let expected = QUANTITIES.len() + UNITS.len();
    let all = home_assistant.wait_for("all averages", |entities| {
        // The measurement must not become too old.
        foreign();
        averages(entities).len() == expected
    });
    let sensors = all.as_object().unwrap().values();
    let mut classes: Vec<Option<&str>> = sensors
        .filter(|entity| entity["device"]["name"] == "home averages")
        .map(|entity| entity["attributes"]["device_class"].as_str())
        .collect();
    let of_units = UNITS.iter().map(|(_, class)| *class);
    let mut expected: Vec<Option<&str>> =
        QUANTITIES.iter().map(|(_, _, class, _)| *class).chain(of_units).collect();
    classes.sort_unstable();
    expected.sort_unstable();
    assert_eq!(classes, expected, "{all:#}");
    assert_eq!(home_assistant.problems(), [""; 0]);

    // Availability, a restart of the broker that has lost everything, and a sensor that is removed.
    one.kill9();
    home_assistant.wait_for("the node is unavailable", |all| all[key("count")]["state"] == "unavailable");
    let mut one = node(&fleet, &scratch, &boards(&server.url(), &quantities));
    home_assistant.wait_for("the node is available again", |all| all[key("count")]["state"] == "7.0");
    server.kill();
    home_assistant.wait_for("the broker is away", |all| all[key("count")]["state"] == "unavailable");
    server.restart();
    // The node must announce its sensors to the new broker, so that it knows later which one is gone.
    let subscriber = MqttClient::subscribe(server.port(), "homeassistant/#");
    subscriber.wait_for("homeassistant/device/atalaya__home__1/config", 2 * DEADLINE, |_| true);
    home_assistant.wait_for("values of the new broker", |all| all[key("count")]["state"] == "7.0");
    one.term();
    one.wait_exit(DEADLINE);
    let _one = node(&fleet, &scratch, &boards(&server.url(), "temperature = { constant = 21.5 }"));
    home_assistant.wait_for("only one sensor", |all| {
        let of_node = all.as_object().unwrap().keys().filter(|id| id.starts_with("atalaya__home__1"));
        of_node.eq([&key("temperature")]) && all[key("temperature")]["state"] == "21.5"
    });
}
