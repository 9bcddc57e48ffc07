//! What a node says of itself at `/atalaya/nodes/{id}`, when it says it again, and how the holder of a taken id is
//! named with it.

use std::time::Duration;

use atalaya_hal::{Quantity, SensorInfo};
use atalaya_recipes::Session;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::health_status::HealthStatus;
use crate::model::leader_state::LeaderState;
use crate::model::text::sanitize_for_log;

/// The parent of what nodes say of themselves.
pub const PARENT: &str = "/atalaya/nodes";

/// Largest znode of a node that is read, in bytes. A hundred sensors that all fail have a third of it.
const LARGEST: usize = 128 * 1024;

/// Shortest time between two things that a node says of itself.
pub const PAUSE: Duration = Duration::from_secs(1);
/// The same when only counts have changed.
const COUNTING: Duration = Duration::from_secs(10);

/// A node, in its own words.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NodeInfo {
    /// The machine's host name.
    pub host: String,
    /// The process id on that machine.
    pub pid: u32,
    /// Atalaya's version.
    pub version: String,
    /// Which board of boards.toml it is.
    pub board: String,
    /// When it was started, by its own clock.
    pub started: Timestamp,
    /// Its sensors.
    #[serde(default)]
    pub sensors: Vec<NodeInfoSensor>,
    /// State of the leader; `None` if this node is not the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leading: Option<LeaderState>,
}

/// A sensor of a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct NodeInfoSensor {
    /// Its name.
    pub name: String,
    /// Its chip.
    pub chip: String,
    /// The bus it sits on; `None` without one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bus: Option<String>,
    /// Its address there.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<u8>,
    /// What it measures.
    pub quantities: Vec<String>,
    /// How it is.
    #[serde(default)]
    pub health: HealthStatus,
}

impl NodeInfoSensor {
    /// The sensor of this description, which is in that condition.
    pub fn of(info: &SensorInfo, health: &HealthStatus) -> NodeInfoSensor {
        NodeInfoSensor {
            name: info.name.clone(),
            chip: info.chip.clone(),
            bus: info.bus.clone(),
            address: info.address,
            quantities: info.quantities.iter().map(|quantity| quantity.name().to_owned()).collect(),
            health: health.clone(),
        }
    }

    /// Where it sits: `0x48 on i2c-1`, or nothing.
    pub fn place(&self) -> String {
        match (&self.bus, self.address) {
            (Some(bus), Some(address)) => format!("{address:#04x} on {bus}"),
            (Some(bus), None) => bus.clone(),
            (None, _) => "-".to_owned(),
        }
    }

    /// The units of what it measures, as far as they are known here.
    pub fn units(&self) -> Vec<&'static str> {
        self.quantities.iter().filter_map(|name| Some(name.parse::<Quantity>().ok()?.unit())).collect()
    }

    /// Whether the other one differs in nothing but how often it has failed.
    fn is_as(&self, other: &NodeInfoSensor) -> bool {
        let uncounted = |sensor: &NodeInfoSensor| {
            let mut sensor = sensor.clone();
            sensor.health.count = 0;
            sensor
        };
        self == other || uncounted(self) == uncounted(other)
    }
}

impl NodeInfo {
    /// This process, as board `board`; of its sensors it says nothing yet.
    pub fn of(board: &str) -> NodeInfo {
        NodeInfo {
            host: host(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            board: board.to_owned(),
            started: Timestamp::now(),
            sensors: Vec::new(),
            leading: None,
        }
    }

    /// Reads the znode of a node; its texts are shortened for display. `None` if it is not what a node writes, or too
    /// large.
    pub fn parse(data: &[u8]) -> Option<NodeInfo> {
        let data = if data.len() > LARGEST { &[] } else { data };
        let mut presence: NodeInfo = serde_json::from_slice(data).ok()?;
        for text in [&mut presence.host, &mut presence.version, &mut presence.board] {
            *text = sanitize_for_log(text);
        }
        Some(presence)
    }

    /// As the znode has it.
    pub fn data(&self) -> Vec<u8> {
        // Strings and numbers only: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// How long after it was last told what its sensors are, which was `said`, a node tells what they are `now`; `None`:
/// there is nothing new.
pub fn pause(said: &[NodeInfoSensor], now: &[NodeInfoSensor]) -> Option<Duration> {
    if said == now {
        return None;
    }
    let counting = said.len() == now.len() && said.iter().zip(now).all(|(said, now)| said.is_as(now));
    Some(if counting { COUNTING } else { PAUSE })
}

/// This machine's name.
#[cfg(unix)]
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// This machine's name.
#[cfg(not(unix))]
pub fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "unknown".to_owned())
}

/// Names the process behind `session`, which holds the id `id`: its host, if it is a node that says so.
pub async fn describe_holder(session: &Session, id: &str, holder: i64) -> String {
    const PATIENCE: Duration = Duration::from_secs(1);
    let said = tokio::time::timeout(PATIENCE, async {
        session.connection().await.get(&format!("{PARENT}/{id}")).await.ok()
    });
    let said = said.await.ok().flatten().filter(|(_, stat)| stat.ephemeral_owner == holder);
    match said.and_then(|(data, _)| NodeInfo::parse(&data)) {
        Some(NodeInfo { host, pid, .. }) => format!("session {holder:#x} (process {pid} on host {host})"),
        None => format!("session {holder:#x} (which does not say its host)"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::health_status::SensorState;

    fn sensor(state: SensorState, count: u64) -> NodeInfoSensor {
        let info = SensorInfo {
            name: "air".into(),
            chip: "bme280".into(),
            bus: Some("i2c-1".into()),
            address: Some(0x76),
            quantities: vec![Quantity::Temperature, Quantity::Humidity],
        };
        NodeInfoSensor::of(&info, &HealthStatus { state, count, ..HealthStatus::default() })
    }

    #[test]
    fn what_has_changed_is_said_soon_and_counts_later() {
        let said = [sensor(SensorState::Failing, 1)];
        assert_eq!(pause(&said, &said), None);
        assert_eq!(pause(&said, &[sensor(SensorState::Failing, 2)]), Some(COUNTING));
        assert_eq!(pause(&said, &[sensor(SensorState::Ok, 0)]), Some(PAUSE));
        assert_eq!(pause(&said, &[]), Some(PAUSE));
    }

    #[test]
    fn a_sensor_says_where_it_sits_what_it_measures_and_how_it_is() {
        let sensor = sensor(SensorState::Ok, 0);
        assert_eq!((sensor.place().as_str(), sensor.units()), ("0x76 on i2c-1", vec!["Cel", "%RH"]));
        assert_eq!(
            serde_json::to_string(&sensor).unwrap(),
            r#"{"name":"air","chip":"bme280","bus":"i2c-1","address":118,"quantities":["temperature","humidity"],"health":{"state":"ok"}}"#
        );
    }

    #[test]
    fn what_earlier_versions_say_is_understood() {
        let text = r#"{"host":"h","pid":1,"version":"0.0.9","board":"b","started":"1970-01-01T00:00:00Z",
            "sensors":[{"name":"s","chip":"lm75","quantities":["temperature"]}]}"#;
        let presence: NodeInfo = serde_json::from_str(text).unwrap();
        assert_eq!((presence.sensors[0].health.state, presence.leading), (SensorState::Unread, None));
    }

    #[test]
    fn node_info_ignores_the_leaving_field_of_earlier_versions() {
        let mut data: serde_json::Value = serde_json::from_slice(&NodeInfo::of("b").data()).unwrap();
        data["leaving"] = "SIGTERM".into();
        assert_eq!(NodeInfo::parse(data.to_string().as_bytes()).unwrap().board, "b");
    }

    #[test]
    fn node_info_contains_the_leader_state() {
        let leading = Some(LeaderState {
            epoch: 7,
            cycle: 41,
            since: Timestamp::UNIX_EPOCH,
            waiting: 2,
            delivered: None,
            outranked: None,
        });
        let info = NodeInfo { leading, ..NodeInfo::of("b") };
        assert_eq!(NodeInfo::parse(&info.data()).unwrap().leading, leading);
    }

    proptest! {
        #[test]
        fn node_info_has_short_texts_without_control_characters(text in any::<String>(), times in 1usize..5_000) {
            let long = text.repeat(times);
            let data = NodeInfo { host: long.clone(), version: text, ..NodeInfo::of(&long) }.data();
            let Some(presence) = NodeInfo::parse(&data) else {
                prop_assert!(data.len() > LARGEST);
                return Ok(());
            };
            for text in [&presence.host, &presence.version, &presence.board] {
                prop_assert!(text.chars().count() <= 80 && !text.chars().any(char::is_control));
            }
        }

        #[test]
        fn node_info_parses_any_bytes_in_linear_time_to_a_bounded_result(data in crate::model::foreign_input::bytes()) {
            let began = std::time::Instant::now();
            let parsed = NodeInfo::parse(&data);
            prop_assert!(crate::model::foreign_input::in_time(began, data.len()));
            if let Some(presence) = parsed {
                prop_assert!(data.len() <= LARGEST);
                for text in [&presence.host, &presence.version, &presence.board] {
                    prop_assert!(text.chars().count() <= 80 && !text.chars().any(char::is_control));
                }
            }
        }
    }
}
