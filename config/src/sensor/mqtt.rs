//! Checks of the topic of an MQTT broker.

use std::path::PathBuf;
use std::time::Duration;

use atalaya_hal::mqtt::{check_pointer, check_topic};
use atalaya_hal::{BrokerUrl, Chip, MqttTopic};
use toml::Spanned;

use super::raw::RawSensor;
use crate::checks::{check_file, check_text};
use crate::diagnostic::{BoardsError, Source, printable};

/// Maximum age of a message without a `max_age` in boards.toml: two periods of a Tasmota device, ten of ESPHome's sensors.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(10 * 60);

pub(super) fn mqtt(raw: &RawSensor, chip: Chip, source: &Source<'_>) -> Result<MqttTopic, BoardsError> {
    let missing = |key: &str, remedy: &str| {
        source.error(raw.chip.span(), format!("the key `{key}` is missing: which {key}?"), remedy)
    };
    let url = raw.broker.as_ref().ok_or_else(|| {
        missing("broker", "add the address of the broker, such as `broker = \"mqtt://127.0.0.1:1883\"`")
    })?;
    let topic = raw.topic.as_ref().ok_or_else(|| {
        missing("topic", "add the topic of the device, such as `topic = \"zigbee2mqtt/kitchen\"`")
    })?;
    let broker = broker(url, chip, source)?;
    check_topic(topic.get_ref()).map_err(|remedy| {
        let problem = format!("`{}` is not the topic of a sensor", printable(topic.get_ref()));
        source.error(topic.span(), problem, remedy)
    })?;
    if let Some(pointer) = &raw.pointer {
        check_pointer(pointer.get_ref()).map_err(|remedy| {
            let problem = format!("`{}` is not a JSON pointer", printable(pointer.get_ref()));
            source.error(pointer.span(), problem, remedy)
        })?;
    }
    if let Some(user) = &raw.user {
        check_text(user.get_ref()).map_err(|(problem, remedy)| source.error(user.span(), problem, remedy))?;
    }
    if let (Some(file), None) = (&raw.password_file, &raw.user) {
        return Err(source.error(file.span(), "a password without a user", "add the key `user`"));
    }
    if let (Some(ca), false) = (&raw.ca, broker.is_tls()) {
        let problem = "certificates for a broker without TLS";
        return Err(source.error(ca.span(), problem, "write `mqtts://` in `broker`, or remove `ca`"));
    }
    Ok(MqttTopic {
        broker,
        topic: topic.get_ref().clone(),
        pointer: raw.pointer.as_ref().map(|pointer| pointer.get_ref().clone()),
        max_age: raw.max_age.as_ref().map_or(DEFAULT_MAX_AGE, |max_age| max_age.get_ref().0),
        user: raw.user.as_ref().map(|user| user.get_ref().clone()),
        password_file: file(&raw.password_file, source)?,
        ca: file(&raw.ca, source)?,
    })
}

fn broker(url: &Spanned<String>, chip: Chip, source: &Source<'_>) -> Result<BrokerUrl, BoardsError> {
    let text = url.get_ref();
    BrokerUrl::parse(text).ok_or_else(|| {
        // An address may contain a password, which a message must not show.
        match text.contains('@') {
            true => {
                let problem = "the address of the broker contains a user".to_owned();
                let remedy = "write `user`, and the password in a file: `password_file`";
                source.error(url.span(), problem, remedy)
            }
            false => {
                let problem = format!("`{}` is not the address of a broker for `{chip}`", printable(text));
                let remedy = "write \"mqtt://host:1883\", or \"mqtts://host:8883\" for TLS";
                source.error(url.span(), problem, remedy)
            }
        }
    })
}

fn file(path: &Option<Spanned<String>>, source: &Source<'_>) -> Result<Option<PathBuf>, BoardsError> {
    let Some(path) = path else { return Ok(None) };
    check_file(path.get_ref()).map_err(|(problem, remedy)| source.error(path.span(), problem, remedy))?;
    Ok(Some(PathBuf::from(path.get_ref())))
}
