//! Health of a sensor as a node publishes it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// State of a sensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SensorState {
    /// Not read yet.
    #[default]
    Unread,
    /// The last read succeeded.
    Ok,
    /// The last read failed.
    Failing,
    /// The last read failed because no chip answered at the address, or the device or file does not exist.
    Absent,
    /// A state of a later version.
    #[serde(other)]
    Unknown,
}

impl SensorState {
    /// Returns the name that JSON and tables use.
    pub const fn name(self) -> &'static str {
        match self {
            SensorState::Unread => "unread",
            SensorState::Ok => "ok",
            SensorState::Failing => "failing",
            SensorState::Absent => "absent",
            SensorState::Unknown => "unknown",
        }
    }
}

/// Published health of a sensor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct HealthStatus {
    /// State after the last read.
    #[serde(default)]
    pub state: SensorState,
    /// Time since which the sensor works, or fails, by the node's own clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Timestamp>,
    /// Error of the last read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Number of failed samples since then. Samples that skipped the sensor do not count.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub count: u64,
}

/// Tells serde to leave out a count of zero.
pub(crate) fn is_zero<T: Default + PartialEq>(count: &T) -> bool {
    *count == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_status_is_json_that_later_versions_may_extend() {
        let ok = HealthStatus {
            state: SensorState::Ok,
            since: Some(Timestamp::UNIX_EPOCH),
            ..HealthStatus::default()
        };
        assert_eq!(serde_json::to_string(&ok).unwrap(), r#"{"state":"ok","since":"1970-01-01T00:00:00Z"}"#);
        let later: HealthStatus = serde_json::from_str(r#"{"state":"dozing","mood":"fine"}"#).unwrap();
        assert_eq!(later.state, SensorState::Unknown);
        for state in [
            SensorState::Unread,
            SensorState::Ok,
            SensorState::Failing,
            SensorState::Absent,
            SensorState::Unknown,
        ] {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.name()));
        }
    }
}
