//! `[[fleet.outputs]]`: receivers of the fleet's averages and of the nodes' measurements, besides the API.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Spanned;

use crate::checks::{Checked, check_file, check_text, locate};
use crate::diagnostic::{BoardsError, Located, Source, list, printable};
use crate::names::check_name;

/// Maximum number of outputs.
pub const MAX_OUTPUTS: usize = 16;

/// An output: a receiver, and the records that it gets.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputConfig {
    /// Name, unique in the fleet. Records that wait for the receiver are stored under this name.
    pub name: String,
    /// Records that the receiver gets.
    pub send: OutputRecords,
    /// Address of the receiver; its scheme is one that the type of receiver has. The rest is checked by the sender.
    pub url: Located<String>,
    /// User name.
    pub user: Option<Located<String>>,
    /// File with the password of that user; a relative path starts from the folder of boards.toml.
    pub password_file: Option<Located<String>>,
    /// File with a token.
    pub token_file: Option<Located<String>>,
    /// File with certificates (PEM) of authorities that are trusted besides those of the system.
    pub ca: Option<Located<String>>,
    /// Type of the receiver, with its own settings.
    pub receiver: ReceiverConfig,
}

/// Records that an output sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputRecords {
    /// Averages of the fleet, from the leader.
    #[default]
    Averages,
    /// Measurements, from each node.
    Measurements,
    /// Both.
    Both,
}

impl OutputRecords {
    /// Returns true if the output sends the averages of the fleet.
    pub fn has_averages(self) -> bool {
        self != OutputRecords::Measurements
    }

    /// Returns true if the output sends the measurements of each node.
    pub fn has_measurements(self) -> bool {
        self != OutputRecords::Averages
    }
}

/// Type of a receiver, with the settings that only this type has.
#[derive(Clone, Debug, PartialEq)]
pub enum ReceiverConfig {
    /// MQTT broker: `mqtt://host:1883` or `mqtts://host:8883`.
    Mqtt(MqttConfig),
    /// InfluxDB: `http://host:8086`.
    Influxdb(InfluxdbConfig),
    /// Receiver of Prometheus remote write: `http://host:9090/api/v1/write`.
    Prometheus,
    /// HTTP server that gets JSON: `https://host/path`.
    Webhook,
}

/// Settings of an MQTT broker.
#[derive(Clone, Debug, PartialEq)]
pub struct MqttConfig {
    /// Version of the protocol.
    pub version: MqttVersion,
    /// First levels of all topics.
    pub topic: String,
    /// Prefix of Home Assistant's discovery. `None`: no discovery.
    pub discovery: Option<String>,
}

/// Version of MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MqttVersion {
    /// MQTT 3.1.1.
    #[default]
    V3,
    /// MQTT 5.
    V5,
}

/// Settings of an InfluxDB server.
#[derive(Clone, Debug, PartialEq)]
pub enum InfluxdbConfig {
    /// Version 1.x: `/write`.
    V1 {
        /// Database.
        database: String,
        /// Retention policy. `None`: that of the database.
        retention_policy: Option<String>,
    },
    /// Version 2.x and later: `/api/v2/write`.
    V2 {
        /// Organisation.
        org: String,
        /// Bucket.
        bucket: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawOutput {
    #[serde(rename = "type")]
    kind: Spanned<Kind>,
    name: Option<Spanned<String>>,
    #[serde(default)]
    send: OutputRecords,
    url: Spanned<String>,
    user: Option<Spanned<String>>,
    password_file: Option<Spanned<String>>,
    token_file: Option<Spanned<String>>,
    ca: Option<Spanned<String>>,
    version: Option<Spanned<String>>,
    topic: Option<Spanned<String>>,
    discovery: Option<Spanned<Discovery>>,
    database: Option<Spanned<String>>,
    retention_policy: Option<Spanned<String>>,
    org: Option<Spanned<String>>,
    bucket: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Mqtt,
    Influxdb,
    Prometheus,
    Webhook,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Mqtt => "mqtt",
            Kind::Influxdb => "influxdb",
            Kind::Prometheus => "prometheus",
            Kind::Webhook => "webhook",
        }
    }

    fn schemes(self) -> &'static [&'static str] {
        match self {
            Kind::Mqtt => &["mqtt://", "mqtts://"],
            Kind::Influxdb | Kind::Prometheus | Kind::Webhook => &["http://", "https://"],
        }
    }
}

/// Switch of the discovery, or its prefix.
#[derive(Deserialize)]
#[serde(untagged)]
enum Discovery {
    Switch(bool),
    Prefix(String),
}

pub(crate) fn outputs(raw: Vec<RawOutput>, source: &Source<'_>) -> Result<Vec<OutputConfig>, BoardsError> {
    let mut names = BTreeSet::new();
    let mut outputs = Vec::new();
    for raw in raw {
        let at = raw.name.as_ref().map_or(raw.kind.span(), Spanned::span);
        if outputs.len() == MAX_OUTPUTS {
            return Err(source.error(at, format!("more than {MAX_OUTPUTS} outputs"), "remove some of them"));
        }
        let output = output(raw, source)?;
        if !names.insert(output.name.clone()) {
            let problem = format!("there are two outputs with the name `{}`", output.name);
            return Err(source.error(at, problem, "give each a `name` of its own"));
        }
        outputs.push(output);
    }
    Ok(outputs)
}

fn output(raw: RawOutput, source: &Source<'_>) -> Result<OutputConfig, BoardsError> {
    let kind = *raw.kind.get_ref();
    check_keys(&raw, kind, source)?;
    if let Some(name) = &raw.name {
        check_name("receiver", name, source)?;
    }
    let receiver = match kind {
        Kind::Mqtt => ReceiverConfig::Mqtt(mqtt(&raw, source)?),
        Kind::Influxdb => ReceiverConfig::Influxdb(influxdb(&raw, source)?),
        Kind::Prometheus => ReceiverConfig::Prometheus,
        Kind::Webhook => ReceiverConfig::Webhook,
    };
    check_receiver_url(&raw.url, kind, source)?;
    if let (Some(_), Some(file)) = (&raw.password_file, &raw.token_file) {
        return Err(source.error(file.span(), "a password and a token", "remove one of them"));
    }
    if let (Some(file), None) = (&raw.password_file, &raw.user) {
        return Err(source.error(file.span(), "a password without a user", "add the key `user`"));
    }
    let text = |text: Option<Spanned<String>>, check: fn(&str) -> Checked| match text {
        None => Ok(None),
        Some(text) => match check(text.get_ref()) {
            Ok(()) => Ok(Some(locate(text, source))),
            Err((problem, remedy)) => Err(source.error(text.span(), problem, remedy)),
        },
    };
    Ok(OutputConfig {
        name: raw.name.map_or_else(|| kind.name().to_owned(), Spanned::into_inner),
        send: raw.send,
        url: locate(raw.url, source),
        user: text(raw.user, check_text)?,
        password_file: text(raw.password_file, check_file)?,
        token_file: text(raw.token_file, check_file)?,
        ca: text(raw.ca, check_file)?,
        receiver,
    })
}

/// Refuses keys that this type of receiver does not have.
fn check_keys(raw: &RawOutput, kind: Kind, source: &Source<'_>) -> Result<(), BoardsError> {
    let (mqtt, influxdb) = (matches!(kind, Kind::Mqtt), matches!(kind, Kind::Influxdb));
    let of_mqtt = "a setting of the type \"mqtt\"";
    let of_influxdb = "a setting of the type \"influxdb\"";
    let keys = [
        ("version", raw.version.as_ref().map(Spanned::span), mqtt, of_mqtt),
        ("topic", raw.topic.as_ref().map(Spanned::span), mqtt, of_mqtt),
        ("discovery", raw.discovery.as_ref().map(Spanned::span), mqtt, of_mqtt),
        ("database", raw.database.as_ref().map(Spanned::span), influxdb, of_influxdb),
        ("retention_policy", raw.retention_policy.as_ref().map(Spanned::span), influxdb, of_influxdb),
        ("org", raw.org.as_ref().map(Spanned::span), influxdb, of_influxdb),
        ("bucket", raw.bucket.as_ref().map(Spanned::span), influxdb, of_influxdb),
        (
            "token_file",
            raw.token_file.as_ref().map(Spanned::span),
            !mqtt,
            "not a setting of the type \"mqtt\"",
        ),
    ];
    for (key, span, is_allowed, problem) in keys {
        if let (Some(span), false) = (span, is_allowed) {
            return Err(source.error(span, format!("`{key}` is {problem}"), "remove the key"));
        }
    }
    Ok(())
}

fn check_receiver_url(url: &Spanned<String>, kind: Kind, source: &Source<'_>) -> Result<(), BoardsError> {
    let host = kind.schemes().iter().find_map(|scheme| url.get_ref().strip_prefix(scheme));
    if host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) {
        return Ok(());
    }
    let (name, schemes) = (kind.name(), list(kind.schemes()));
    let problem =
        format!("`{}` is not the address of a receiver of the type \"{name}\"", printable(url.get_ref()));
    Err(source.error(url.span(), problem, format!("write scheme and host; the schemes are {schemes}")))
}

fn mqtt(raw: &RawOutput, source: &Source<'_>) -> Result<MqttConfig, BoardsError> {
    let version = match &raw.version {
        None => MqttVersion::default(),
        Some(version) => match version.get_ref().as_str() {
            "3.1.1" => MqttVersion::V3,
            "5" => MqttVersion::V5,
            other => {
                let problem = format!("`{}` is not a version of MQTT", printable(other));
                return Err(source.error(version.span(), problem, "write \"3.1.1\" or \"5\""));
            }
        },
    };
    let is_topic = |topic: &str| {
        (1..=128).contains(&topic.len())
            && topic.split('/').all(|level| !level.is_empty())
            && !topic.chars().any(|c| c.is_control() || "+#$ ".contains(c))
    };
    let check = |topic: &str, span: std::ops::Range<usize>| match is_topic(topic) {
        true => Ok(topic.to_owned()),
        false => {
            let problem = format!("`{}` is not the beginning of a topic", printable(topic));
            Err(source.error(
                span,
                problem,
                "write levels without `+`, `#`, `$` and spaces, such as \"atalaya\"",
            ))
        }
    };
    let topic = match &raw.topic {
        None => "atalaya".to_owned(),
        Some(topic) => check(topic.get_ref(), topic.span())?,
    };
    let discovery = match raw.discovery.as_ref().map(|discovery| (discovery.get_ref(), discovery.span())) {
        None | Some((Discovery::Switch(true), _)) => Some("homeassistant".to_owned()),
        Some((Discovery::Switch(false), _)) => None,
        Some((Discovery::Prefix(prefix), span)) => Some(check(prefix, span)?),
    };
    Ok(MqttConfig { version, topic, discovery })
}

fn influxdb(raw: &RawOutput, source: &Source<'_>) -> Result<InfluxdbConfig, BoardsError> {
    for text in [&raw.database, &raw.retention_policy, &raw.org, &raw.bucket].into_iter().flatten() {
        check_text(text.get_ref()).map_err(|(problem, remedy)| source.error(text.span(), problem, remedy))?;
    }
    let text = |text: &Spanned<String>| text.get_ref().clone();
    match (&raw.database, &raw.org, &raw.bucket) {
        (Some(database), None, None) => Ok(InfluxdbConfig::V1 {
            database: text(database),
            retention_policy: raw.retention_policy.as_ref().map(text),
        }),
        (None, Some(org), Some(bucket)) if raw.retention_policy.is_none() => {
            Ok(InfluxdbConfig::V2 { org: text(org), bucket: text(bucket) })
        }
        _ => Err(source.error(
            raw.kind.span(),
            "which database is this?",
            "write `database` for InfluxDB 1.x (with `retention_policy`, if you like), or `org` and `bucket` for 2.x",
        )),
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
