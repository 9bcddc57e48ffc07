use proptest::prelude::*;

use super::*;
use crate::model::node_info::tests::sensor;

fn names() -> Names {
    Names { fleet: "home".into(), node: "n_1".into(), topics: Topics::new("atalaya", "home", "n_1") }
}

#[test]
fn announcement_of_a_node_has_device_origin_availability_and_components() {
    let announcement = names().node(&[sensor("outside 1", "sht4x", &["temperature", "humidity"])]);
    let version = env!("CARGO_PKG_VERSION");
    let expected = json!({
        "dev": { "ids": ["atalaya__home__n_5f1"], "name": "home n_1", "mf": "Atalaya", "sw": version },
        "o": { "name": "atalaya", "sw": version },
        "cmps": {
            "outside_201__temperature": {
                "p": "sensor",
                "unique_id": "atalaya__home__n_5f1__outside_201__temperature",
                "name": "outside 1 temperature",
                "state_topic": "atalaya/home/n_1/outside%201/temperature",
                "value_template": "{{ value_json.value }}",
                "state_class": "measurement",
                "device_class": "temperature",
                "unit_of_measurement": "°C",
            },
            "outside_201__humidity": {
                "p": "sensor",
                "unique_id": "atalaya__home__n_5f1__outside_201__humidity",
                "name": "outside 1 humidity",
                "state_topic": "atalaya/home/n_1/outside%201/humidity",
                "value_template": "{{ value_json.value }}",
                "state_class": "measurement",
                "device_class": "humidity",
                "unit_of_measurement": "%",
            },
        },
        "qos": 1,
        "availability_topic": "atalaya/home/n_1/status",
    });
    assert_eq!(announcement, expected);
}

#[test]
fn components_have_the_device_class_and_unit_of_their_quantity() {
    let quantities: Vec<&str> = atalaya_hal::Quantity::ALL.iter().map(|quantity| quantity.name()).collect();
    let announcement =
        names().node(&[sensor("a", "file", &quantities), sensor("b", "scd4x", &["concentration"])]);
    let class = |key: &str| {
        let component = &announcement["cmps"][key];
        assert_eq!(component["state_class"], "measurement", "{key}");
        (component["device_class"].as_str(), component["unit_of_measurement"].as_str())
    };
    for (key, device_class, unit) in [
        ("a__temperature", Some("temperature"), Some("°C")),
        ("a__humidity", Some("humidity"), Some("%")),
        ("a__pressure", Some("pressure"), Some("Pa")),
        ("a__voltage", Some("voltage"), Some("V")),
        ("a__current", Some("current"), Some("A")),
        ("a__power", Some("power"), Some("W")),
        ("a__illuminance", Some("illuminance"), Some("lx")),
        ("a__concentration", None, Some("ppm")),
        ("a__count", None, None),
        ("a__dimensionless", None, None),
        ("b__concentration", Some("carbon_dioxide"), Some("ppm")),
    ] {
        assert_eq!(class(key), (device_class, unit), "{key}");
    }
    assert_eq!(announcement["cmps"].as_object().unwrap().len(), 11);
}

#[test]
fn averages_of_a_fleet_are_one_device() {
    let keys = [Some("Cel"), Some("mV"), None].map(average_key);
    let announcement = names().averages(keys.iter());
    assert_eq!(announcement["dev"]["ids"][0], "atalaya_averages__home");
    assert_eq!(announcement["availability_topic"], Value::Null);
    for (key, name, topic, unit) in [
        ("unit__Cel", "average temperature", "atalaya/home/average/temperature", Some("°C")),
        ("unit__mV", "average in mV", "atalaya/home/average/unit/mV", Some("mV")),
        ("number", "average", "atalaya/home/average/value", None),
    ] {
        let component = &announcement["cmps"][key];
        assert_eq!((&component["name"], &component["state_topic"]), (&json!(name), &json!(topic)));
        assert_eq!(component["unit_of_measurement"].as_str(), unit);
        assert_eq!(component["unique_id"], format!("atalaya_averages__home__{key}"));
    }
    for foreign in ["", "x", "unit__", "unit__é", "unit___zz", "unit__a b"] {
        assert_eq!(unit_of_key(foreign), None, "{foreign}");
    }
}

#[test]
fn component_that_is_gone_is_removed_with_its_platform_first() {
    let before = names().node(&[sensor("a", "file", &["power"]), sensor("b", "file", &["power"])]);
    let wanted = names().node(&[sensor("b", "file", &["power"])]);
    let announcements = transition(Some(&before), &wanted);
    assert_eq!(announcements.len(), 2);
    assert_eq!(announcements[0]["cmps"]["a__power"], json!({ "p": "sensor" }));
    assert_eq!(announcements[0]["cmps"]["b__power"], wanted["cmps"]["b__power"]);
    assert_eq!(announcements[1], wanted);
    // After a crash between the two messages, both are sent again.
    assert_eq!(transition(Some(&announcements[0]), &wanted), announcements);
    assert_eq!(transition(Some(&wanted), &wanted), Vec::<Value>::new());
    assert_eq!(transition(None, &wanted), std::slice::from_ref(&wanted));
    // A new component needs no removal.
    assert_eq!(transition(Some(&wanted), &before), [before]);
}

#[test]
fn hostile_announcements_remove_only_sensors_and_are_bounded() {
    let wanted = names().node(&[sensor("a", "file", &["power"])]);
    for content in
        ["", "null", "[]", "\"x\"", "{\"cmps\":7}", "{\"cmps\":[1,2]}", "{\"cmps\":{\"x\":9}}", "{"]
    {
        let before = parse(content.as_bytes());
        assert_eq!(transition(Some(&before), &wanted), std::slice::from_ref(&wanted), "{content}");
    }
    let many: Map<String, Value> = (0..5_000).map(|i| (format!("x{i}"), json!({ "p": "sensor" }))).collect();
    let others = json!({ "cmps": {
        "lock": { "p": "lock", "command_topic": "door" },
        "long".repeat(MAX_KEY): { "p": "sensor" },
        "control\u{7}": { "p": "sensor" },
        "old": { "platform": "sensor", "state_topic": "elsewhere" },
    } });
    let removed = transition(Some(&others), &wanted);
    let keys: Vec<&String> = removed[0]["cmps"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["a__power", "old"]);
    assert_eq!(removed[0]["cmps"]["old"], json!({ "p": "sensor" }));
    let removed = transition(Some(&json!({ "cmps": many })), &wanted);
    assert_eq!(removed[0]["cmps"].as_object().unwrap().len(), MAX_COMPONENTS + 1);
    assert_eq!(parse(&vec![b' '; MAX_SIZE + 1]), Value::Null);
    assert_eq!(parse("[".repeat(100_000).as_bytes()), Value::Null);
}

proptest! {
    #[test]
    fn any_retained_content_leads_to_the_wanted_announcement(content in any::<Vec<u8>>(), text in "[\\[\\]{}:,\"a-z0-9]{0,40}") {
        let wanted = names().node(&[sensor("a", "file", &["power"])]);
        for content in [&content[..], text.as_bytes()] {
            prop_assert_eq!(transition(Some(&parse(content)), &wanted).pop(), Some(wanted.clone()));
        }
    }

    #[test]
    fn keys_of_averages_are_reversible(unit in "[!-~]{1,32}") {
        let parsed = unit_of_key(&average_key(Some(&unit)));
        prop_assert_eq!(parsed, Some(Some(unit)));
    }
}
