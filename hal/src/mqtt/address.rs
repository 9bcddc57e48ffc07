//! Address of a number at an MQTT broker, and its checks.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Maximum length of a topic, in bytes. MQTT allows 65535; a topic is part of every error message.
pub const MAX_TOPIC: usize = 512;

/// Number in the messages of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttTopic {
    /// Broker.
    pub broker: BrokerUrl,
    /// Topic, without wildcards; see [`check_topic`].
    pub topic: String,
    /// JSON pointer to the number, see [`check_pointer`]. `None`: the message is the number.
    pub pointer: Option<String>,
    /// Maximum age of a message.
    pub max_age: Duration,
    /// User name.
    pub user: Option<String>,
    /// File with the password; a relative path starts from the base folder of [`crate::linux::open`].
    pub password_file: Option<PathBuf>,
    /// File with certificates (PEM) of authorities that are trusted besides those of the system; a path like the above.
    pub ca: Option<PathBuf>,
}

/// Address of an MQTT broker: `mqtt://127.0.0.1:1883`, or `mqtts://broker.example:8883` for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    text: String,
    tls: bool,
    host: String,
    port: u16,
}

impl BrokerUrl {
    /// Parses an address with a scheme, a host, and an optional port. Returns `None` for any other text.
    pub fn parse(text: &str) -> Option<BrokerUrl> {
        let (tls, rest) = match text.strip_prefix("mqtts://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("mqtt://")?),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':')?),
                };
                (host, port)
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || rest.starts_with('[');
        if host.is_empty() || host.len() > 253 || !host.chars().all(allowed) {
            return None;
        }
        let port = match port {
            Some(port) if port.starts_with(|c: char| c.is_ascii_digit()) => {
                port.parse().ok().filter(|port| *port > 0)?
            }
            Some(_) => return None,
            None => {
                if tls {
                    8883
                } else {
                    1883
                }
            }
        };
        let scheme = if tls { "mqtts" } else { "mqtt" };
        let shown = if rest.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        let text = format!("{scheme}://{shown}:{port}");
        Some(BrokerUrl { text, tls, host: host.to_owned(), port })
    }

    /// Returns the address, always with its port.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true if the connection uses TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Returns the host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Checks the name of a topic.
///
/// # Errors
/// The remedy for an invalid name.
pub fn check_topic(topic: &str) -> Result<(), &'static str> {
    if topic.contains(['+', '#']) {
        return Err("write a topic without the wildcards `+` and `#`: a sensor has one topic");
    }
    if topic.is_empty() || topic.len() > MAX_TOPIC || topic.contains(char::is_control) {
        return Err("write the topic of the device, such as \"zigbee2mqtt/kitchen\", with at most 512 bytes");
    }
    Ok(())
}

/// Checks a JSON pointer (RFC 6901).
///
/// # Errors
/// The remedy for an invalid pointer.
pub fn check_pointer(pointer: &str) -> Result<(), &'static str> {
    let is_escape = |rest: &str| rest.starts_with(['0', '1']);
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(
            "a JSON pointer starts with `/`: \"/temperature\", \"/AM2301/Temperature\", \"/values/0\"",
        );
    }
    if !pointer.split('~').skip(1).all(is_escape) {
        return Err("in a JSON pointer, write `~0` for `~` and `~1` for a `/` in a name");
    }
    if pointer.len() > MAX_TOPIC || pointer.contains(char::is_control) {
        return Err("write at most 512 bytes without control characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn brokers_have_a_scheme_a_host_and_a_port() {
        let table = [
            ("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883", "127.0.0.1", false),
            ("mqtts://broker.example", "mqtts://broker.example:8883", "broker.example", true),
            ("mqtt://home-assistant:1884", "mqtt://home-assistant:1884", "home-assistant", false),
            ("mqtt://[::1]:1884", "mqtt://[::1]:1884", "::1", false),
            ("mqtts://[fe80::1]", "mqtts://[fe80::1]:8883", "fe80::1", true),
        ];
        for (text, shown, host, tls) in table {
            let broker = BrokerUrl::parse(text).unwrap();
            assert_eq!((broker.as_str(), broker.host(), broker.is_tls()), (shown, host, tls));
            assert_eq!(BrokerUrl::parse(shown), Some(broker));
        }
        let wrong = [
            "",
            "127.0.0.1",
            "mqtt://",
            "mqtt://:1883",
            "http://a",
            "mqtt://a:0",
            "mqtt://a:65536",
            "mqtt://a:",
            "mqtt://a/b",
            "mqtt://user:secret@a",
            "mqtt://a:+1",
            "mqtt://[::1",
            "mqtt://[::1]1883",
            "mqtt://[a]",
            "mqtt://a b",
            "MQTT://a",
            "mqtt://::1",
        ];
        for text in wrong {
            assert_eq!(BrokerUrl::parse(text), None, "{text}");
        }
    }

    #[test]
    fn topics_have_no_wildcards_and_pointers_follow_their_rfc() {
        for topic in ["zigbee2mqtt/kitchen", "/", "a//b", "$SYS/broker/uptime", "tele/Küche/SENSOR", "a b"] {
            assert_eq!(check_topic(topic), Ok(()), "{topic}");
        }
        for topic in ["", "a/#", "a/+/b", "a\n", "a\0b", &"a".repeat(MAX_TOPIC + 1)] {
            assert!(check_topic(topic).is_err(), "{topic}");
        }
        for pointer in ["", "/", "/temperature", "/a~1b/~0c/0", "/a b"] {
            assert_eq!(check_pointer(pointer), Ok(()), "{pointer}");
        }
        for pointer in ["temperature", "a/b", "/a~", "/a~2", "/~a", "/a\n"] {
            assert!(check_pointer(pointer).is_err(), "{pointer}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_broker_or_refused(text in "(mqtts?://)?\\PC{0,30}(:[0-9]{0,6})?") {
            if let Some(broker) = BrokerUrl::parse(&text) {
                prop_assert_eq!(BrokerUrl::parse(broker.as_str()), Some(broker));
            }
        }
    }
}
