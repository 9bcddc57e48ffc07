//! Node info: information that a node publishes about itself at `/atalaya/nodes/{id}`. No I/O.

use std::time::Duration;

use atalaya_config::is_name;
use atalaya_hal::{Quantity, SensorInfo};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::health_status::HealthStatus;
use crate::model::json::to_json;
use crate::model::leader_state::LeaderState;
use crate::model::text::sanitize_for_log;

pub(crate) const PARENT_PATH: &str = "/atalaya/nodes";

/// Maximum size of a node info that is read, in bytes. A hundred sensors that all fail have a third of it.
const MAX_SIZE: usize = 128 * 1024;

pub(crate) const MIN_PUBLISH_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between two publications if only error counts have changed.
const COUNT_PUBLISH_INTERVAL: Duration = Duration::from_secs(10);

/// Information that a node publishes about itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NodeInfo {
    /// Host name of the machine.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// Version of Atalaya.
    pub version: String,
    /// Name of the board in boards.toml.
    pub board: String,
    /// Start of the process, by the node's clock.
    pub started: Timestamp,
    /// Sensors of the board.
    #[serde(default)]
    pub sensors: Vec<SensorStatus>,
    /// Group of the node in boards.toml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// True if the node waits until the election has fewer contenders than its limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standby: bool,
    /// State of the leader; `None` if this node is not the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leading: Option<LeaderState>,
}

/// Description and health of a sensor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SensorStatus {
    /// Name of the sensor.
    pub name: String,
    /// Type of the chip.
    pub chip: String,
    /// Bus of the sensor, if it is on one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bus: Option<String>,
    /// Address on the bus.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<u8>,
    /// Names of the quantities that the sensor measures.
    pub quantities: Vec<String>,
    /// Health of the sensor.
    #[serde(default)]
    pub health: HealthStatus,
}

impl SensorStatus {
    pub(crate) fn new(info: &SensorInfo, health: &HealthStatus) -> SensorStatus {
        SensorStatus {
            name: info.name.clone(),
            chip: info.chip.clone(),
            bus: info.bus.clone(),
            address: info.address,
            quantities: info.quantities.iter().map(|quantity| quantity.name().to_owned()).collect(),
            health: health.clone(),
        }
    }

    /// Returns the position of the sensor, such as `0x48 on i2c-1`, or `-`.
    pub(crate) fn location(&self) -> String {
        match (&self.bus, self.address) {
            (Some(bus), Some(address)) => format!("{address:#04x} on {bus}"),
            (Some(bus), None) => bus.clone(),
            (None, _) => "-".to_owned(),
        }
    }

    /// Returns the units of the quantities that this version knows.
    pub(crate) fn units(&self) -> Vec<&'static str> {
        self.quantities.iter().filter_map(|name| Some(name.parse::<Quantity>().ok()?.unit())).collect()
    }

    /// Returns true if the sensors differ at most in the number of failures.
    fn differs_only_in_count(&self, other: &SensorStatus) -> bool {
        let mut other = other.clone();
        other.health.count = self.health.count;
        *self == other
    }
}

impl NodeInfo {
    /// Returns the info of this process, without sensors.
    pub fn new(board: &str) -> NodeInfo {
        NodeInfo {
            host: host_name(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            board: board.to_owned(),
            started: Timestamp::now(),
            sensors: Vec::new(),
            group: None,
            standby: false,
            leading: None,
        }
    }

    /// Parses the data of the znode, and shortens its texts. Returns `None` if it is not a node info, or too large.
    pub fn parse(data: &[u8]) -> Option<NodeInfo> {
        let data = if data.len() > MAX_SIZE { &[] } else { data };
        let mut info: NodeInfo = serde_json::from_slice(data).ok()?;
        for text in [&mut info.host, &mut info.version, &mut info.board] {
            *text = sanitize_for_log(text);
        }
        info.group = info.group.filter(|group| is_name(group));
        Some(info)
    }

    /// Returns the data of the znode.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// Returns how long after the last publication changed sensors are published; `None` if nothing has changed.
pub(crate) fn publish_delay(published: &[SensorStatus], current: &[SensorStatus]) -> Option<Duration> {
    if published == current {
        return None;
    }
    let only_counts = published.len() == current.len()
        && published.iter().zip(current).all(|(published, current)| published.differs_only_in_count(current));
    Some(if only_counts { COUNT_PUBLISH_INTERVAL } else { MIN_PUBLISH_INTERVAL })
}

pub(crate) fn host_name() -> String {
    #[cfg(unix)]
    return rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "unknown".to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::health_status::SensorState;
    use crate::model::leader_state::tests::leader_state;

    /// Returns a sensor that is on no bus and was not read yet.
    pub(crate) fn sensor(name: &str, chip: &str, quantities: &[&str]) -> SensorStatus {
        SensorStatus {
            name: name.to_owned(),
            chip: chip.to_owned(),
            bus: None,
            address: None,
            quantities: quantities.iter().map(|&quantity| quantity.to_owned()).collect(),
            health: HealthStatus::default(),
        }
    }

    /// Returns the description of a sensor at address 0x48 of bus i2c-1.
    pub(crate) fn sensor_info(name: &str, chip: &str, quantities: &[Quantity]) -> SensorInfo {
        SensorInfo {
            name: name.to_owned(),
            chip: chip.to_owned(),
            bus: Some("i2c-1".to_owned()),
            address: Some(0x48),
            quantities: quantities.to_vec(),
        }
    }

    fn bme280(state: SensorState, count: u64) -> SensorStatus {
        let quantities = [Quantity::Temperature, Quantity::Humidity];
        let info = SensorInfo { address: Some(0x76), ..sensor_info("air", "bme280", &quantities) };
        SensorStatus::new(&info, &HealthStatus { state, count, ..HealthStatus::default() })
    }

    #[test]
    fn node_info_is_published_soon_after_a_change_and_later_for_counts() {
        let published = [bme280(SensorState::Failing, 1)];
        assert_eq!(publish_delay(&published, &published), None);
        assert_eq!(
            publish_delay(&published, &[bme280(SensorState::Failing, 2)]),
            Some(COUNT_PUBLISH_INTERVAL)
        );
        assert_eq!(publish_delay(&published, &[bme280(SensorState::Ok, 0)]), Some(MIN_PUBLISH_INTERVAL));
        assert_eq!(publish_delay(&published, &[]), Some(MIN_PUBLISH_INTERVAL));
    }

    #[test]
    fn sensor_status_contains_location_quantities_and_health() {
        let sensor = bme280(SensorState::Ok, 0);
        assert_eq!((sensor.location().as_str(), sensor.units()), ("0x76 on i2c-1", vec!["Cel", "%RH"]));
        assert_eq!(
            serde_json::to_string(&sensor).unwrap(),
            r#"{"name":"air","chip":"bme280","bus":"i2c-1","address":118,"quantities":["temperature","humidity"],"health":{"state":"ok"}}"#
        );
    }

    #[test]
    fn node_info_of_earlier_versions_is_parsed() {
        let text = r#"{"host":"h","pid":1,"version":"0.0.9","board":"b","started":"1970-01-01T00:00:00Z",
            "sensors":[{"name":"s","chip":"lm75","quantities":["temperature"]}]}"#;
        let info: NodeInfo = serde_json::from_str(text).unwrap();
        assert_eq!((info.sensors[0].health.state, info.leading), (SensorState::Unread, None));
    }

    #[test]
    fn node_info_ignores_the_leaving_field_of_earlier_versions() {
        let mut data: serde_json::Value = serde_json::from_slice(&NodeInfo::new("b").to_json()).unwrap();
        data["leaving"] = "SIGTERM".into();
        assert_eq!(NodeInfo::parse(data.to_string().as_bytes()).unwrap().board, "b");
    }

    #[test]
    fn node_info_contains_the_leader_state() {
        let leading = Some(leader_state());
        let info = NodeInfo { leading: leading.clone(), ..NodeInfo::new("b") };
        assert_eq!(NodeInfo::parse(&info.to_json()).unwrap().leading, leading);
    }

    proptest! {
        #[test]
        fn node_info_has_short_texts_without_control_characters(text in any::<String>(), times in 1usize..5_000) {
            let long = text.repeat(times);
            let data = NodeInfo { host: long.clone(), version: text, ..NodeInfo::new(&long) }.to_json();
            let Some(info) = NodeInfo::parse(&data) else {
                prop_assert!(data.len() > MAX_SIZE);
                return Ok(());
            };
            for text in [&info.host, &info.version, &info.board] {
                prop_assert!(text.chars().count() <= 80 && !text.chars().any(char::is_control));
            }
        }

        #[test]
        fn node_info_parses_any_bytes_in_linear_time_to_a_bounded_result(data in crate::model::foreign_input::bytes()) {
            let parsed = crate::model::foreign_input::in_time(data.len(), || NodeInfo::parse(&data));
            if let Some(info) = parsed {
                prop_assert!(data.len() <= MAX_SIZE);
                for text in [&info.host, &info.version, &info.board] {
                    prop_assert!(text.chars().count() <= 80 && !text.chars().any(char::is_control));
                }
            }
        }
    }
}
