use super::*;
use crate::Boards;

fn parse(text: &str) -> Result<Vec<OutputConfig>, BoardsError> {
    Boards::parse(text, "boards.toml").map(|boards| boards.fleet.outputs)
}

#[test]
fn outputs_of_each_type_are_read() {
    let outputs = parse(
        r#"
        [[fleet.outputs]]
        type = "mqtt"
        url = "mqtt://127.0.0.1"
        send = "both"
        [[fleet.outputs]]
        type = "mqtt"
        name = "remote"
        url = "mqtts://broker.example:8883"
        version = "5"
        topic = "farm/roof"
        discovery = false
        user = "atalaya"
        password_file = "password"
        [[fleet.outputs]]
        type = "influxdb"
        url = "http://127.0.0.1:8086"
        database = "farm"
        [[fleet.outputs]]
        type = "prometheus"
        url = "http://127.0.0.1:9090/api/v1/write"
        send = "measurements"
        [[fleet.outputs]]
        type = "webhook"
        url = "https://example.org/hook"
        token_file = "token"
        "#,
    )
    .unwrap();
    let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["mqtt", "remote", "influxdb", "prometheus", "webhook"]);
    let default = MqttConfig {
        version: MqttVersion::V3,
        topic: "atalaya".to_owned(),
        discovery: Some("homeassistant".to_owned()),
    };
    assert_eq!(outputs[0].receiver, ReceiverConfig::Mqtt(default));
    let remote = MqttConfig { version: MqttVersion::V5, topic: "farm/roof".to_owned(), discovery: None };
    assert_eq!(outputs[1].receiver, ReceiverConfig::Mqtt(remote));
    let database = InfluxdbConfig::V1 { database: "farm".to_owned(), retention_policy: None };
    assert_eq!(outputs[2].receiver, ReceiverConfig::Influxdb(database));
    let sends = |output: &OutputConfig| (output.send.has_averages(), output.send.has_measurements());
    let sent: Vec<(bool, bool)> = outputs.iter().map(sends).collect();
    assert_eq!(sent, [(true, true), (true, false), (true, false), (false, true), (true, false)]);
}

#[test]
fn mistakes_in_outputs_are_refused_with_their_location() {
    let refuse = |keys: &str, expected: &str| {
        let text = format!("[[fleet.outputs]]\n{keys}");
        let error = parse(&text).expect_err(keys).to_string();
        assert!(error.contains(expected), "{keys}: {error}");
        assert!(error.contains("boards.toml:"), "{error}");
    };
    refuse("type = \"mqtt\"\nurl = \"http://a\"", "is not the address of a receiver of the type \"mqtt\"");
    refuse("type = \"webhook\"\nurl = \"mqtt://a\"", "the schemes are");
    refuse("type = \"influxdb\"\nurl = \"http://a\"", "which database is this?");
    refuse("type = \"influxdb\"\nurl = \"http://a\"\norg = \"o\"", "which database is this?");
    refuse(
        "type = \"webhook\"\nurl = \"http://a\"\ntopic = \"t\"",
        "`topic` is a setting of the type \"mqtt\"",
    );
    refuse("type = \"mqtt\"\nurl = \"mqtt://a\"\ntopic = \"a/#\"", "is not the beginning of a topic");
    refuse("type = \"mqtt\"\nurl = \"mqtt://a\"\nversion = \"4\"", "is not a version of MQTT");
    refuse("type = \"mqtt\"\nurl = \"mqtt://a\"\npassword_file = \"p\"", "a password without a user");
    refuse("type = \"kafka\"\nurl = \"kafka://a\"", "unknown name `kafka`");
    refuse("type = \"mqtt\"\nurl = \"mqtt://a\"\nname = \"a b\"", "is not a name for a receiver");
    let twice = "type = \"mqtt\"\nurl = \"mqtt://a\"\n[[fleet.outputs]]\ntype = \"mqtt\"\nurl = \"mqtt://b\"";
    refuse(twice, "two outputs with the name `mqtt`");
}
