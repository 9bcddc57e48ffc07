//! Status of a whole fleet, from its znodes: leader, reports, nodes with their measurements and sensors. No I/O.
//! `atalaya status` shows it, and a leader sends it to the collector.

mod render;

use std::collections::BTreeMap;
use std::time::Duration;

use atalaya_recipes::{Stat, WrongZnode};
use jiff::Timestamp;
use serde::Serialize;

pub(crate) use render::{StyledLine, render_lines, render_table};

use crate::model::details::Findings;
use crate::model::fence::Fence;
use crate::model::health_status::{SensorState, is_zero};
use crate::model::leader_state::{Delivered, LeaderState};
use crate::model::measurement::{self, Exclusion};
use crate::model::node_info::NodeInfo;
use crate::model::senml::Values;
use crate::model::text::{sanitize_for_log, truncate};
use crate::zk::server_clock::Millis;

/// Maximum number of znodes of the wrong type that are listed.
const MAX_WRONG_ZNODES: usize = 16;
/// Maximum number of readings of one node that are kept.
const MAX_READINGS: usize = 32;
/// Maximum length of the problem of an output, in characters.
const MAX_PROBLEM: usize = 300;

/// Contents of the znodes of a fleet.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawFleet {
    /// Id of the first contender, and the creation time of its znode.
    pub(crate) leader: Option<(String, Millis)>,
    pub(crate) contenders: usize,
    pub(crate) fence: Option<Fence>,
    pub(crate) waiting_reports: usize,
    pub(crate) rejected_reports: usize,
    /// Numbers of waiting and of rejected reports of each output with an outbox.
    pub(crate) outputs: BTreeMap<String, (usize, usize)>,
    /// Value of `/config/sampling_period`.
    pub(crate) sampling_period: Option<Duration>,
    pub(crate) measurements: BTreeMap<String, RawMeasurement>,
    /// Node infos by node id; `None` if the data is not a node info.
    pub(crate) node_infos: BTreeMap<String, Option<NodeInfo>>,
    pub(crate) wrong_znodes: Vec<WrongZnode>,
    /// Time of the newest write to any of the znodes.
    pub(crate) newest_write: Millis,
}

impl RawFleet {
    pub(crate) fn record_stat(&mut self, stat: &Stat) {
        self.newest_write = self.newest_write.max(stat.mtime).max(stat.ctime);
    }
}

/// Content of the znode of a measurement.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawMeasurement {
    readings: Vec<Reading>,
    /// Number of readings, including those that were not kept.
    count: usize,
    problem: Option<String>,
    modified: Millis,
    created: Millis,
}

impl RawMeasurement {
    pub(crate) fn parse(data: &[u8], stat: &Stat) -> RawMeasurement {
        RawMeasurement::from_parsed(&measurement::parse(data), stat)
    }

    /// Returns a measurement from the parsed data of its znode.
    pub(crate) fn from_parsed(parsed: &Result<Values, Exclusion>, stat: &Stat) -> RawMeasurement {
        let values = parsed.as_deref().unwrap_or_default();
        let readings = values
            .iter()
            .take(MAX_READINGS)
            .map(|value| Reading { value: value.value, unit: value.unit.clone() })
            .collect();
        let problem = parsed.as_ref().err().map(ToString::to_string);
        RawMeasurement { readings, count: values.len(), problem, modified: stat.mtime, created: stat.ctime }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Reading {
    pub(crate) value: f64,
    /// `None` if the measurement has no unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<String>,
}

/// Parses a node info and removes what a fleet status does not show. Returns `None` if the data is not a node info, or
/// too large.
pub(crate) fn parse_node_info(data: &[u8]) -> Option<NodeInfo> {
    let mut info = NodeInfo::parse(data)?;
    for sensor in &mut info.sensors {
        sensor.name = sanitize_for_log(&sensor.name);
        sensor.quantities = Vec::new();
        sensor.chip = String::new();
        sensor.health.error = sensor.health.error.take().map(|error| sanitize_for_log(&error));
    }
    Some(info)
}

/// Status of a fleet. Its JSON is the output of `atalaya status --output json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FleetStatus {
    /// Servers and chroot of ZooKeeper.
    pub(crate) zookeeper: String,
    /// Time of the reading, by the estimate of ZooKeeper's clock.
    pub(crate) time: Timestamp,
    pub(crate) leader: Option<LeaderSummary>,
    /// Number of contenders in the election, including the leader.
    pub(crate) in_line: usize,
    pub(crate) epoch: Option<i64>,
    pub(crate) cycle: Option<u64>,
    /// Number of cycles whose reports the API has not accepted yet.
    pub(crate) waiting: usize,
    /// Number of cycles whose reports were rejected.
    pub(crate) aside: usize,
    /// Last accepted report, as the leader has published it.
    pub(crate) delivered: Option<Delivered>,
    /// Epoch above the leader's of which the collector has reports, as the leader has published it: the collector
    /// accepts no report of this fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outranked: Option<i64>,
    /// Outputs with an outbox, also those that were removed from boards.toml.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) outputs: Vec<OutputSummary>,
    /// Outliers, withheld values and groups of the newest cycle, as the leader has published them.
    #[serde(flatten)]
    pub(crate) findings: Findings,
    /// Value of `/config/sampling_period`, in seconds.
    pub(crate) sampling_period: Option<f64>,
    /// Znodes of the wrong type on the paths of the fleet, up to a maximum number.
    pub(crate) wrong_znodes: Vec<WrongZnodeSummary>,
    /// Number of further znodes of the wrong type.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) more_wrong_znodes: usize,
    pub(crate) nodes: Vec<NodeSummary>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct WrongZnodeSummary {
    pub(crate) path: String,
    /// Reason, for programs.
    pub(crate) problem: &'static str,
    /// Reason, for people.
    pub(crate) message: String,
    /// Command that removes the problem.
    pub(crate) remedy: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct LeaderSummary {
    pub(crate) id: String,
    /// Start of the leadership, as the leader has published it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
    /// Creation time of the contender's znode, by ZooKeeper's clock.
    pub(crate) in_line_since: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct OutputSummary {
    pub(crate) name: String,
    /// True if the leader sends averages to it.
    pub(crate) used: bool,
    /// Number of cycles whose reports the output has not accepted yet.
    pub(crate) waiting: usize,
    /// Number of cycles whose reports were rejected.
    pub(crate) aside: usize,
    /// Time of the oldest waiting report, as the leader has published it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oldest: Option<Timestamp>,
    /// Last accepted report, as the leader has published it.
    pub(crate) delivered: Option<Delivered>,
    /// Reason why the output accepts no reports, as the leader has published it.
    pub(crate) problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct NodeSummary {
    pub(crate) id: String,
    pub(crate) leads: bool,
    /// True if the node waits until the election has fewer contenders than its limit.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) standby: bool,
    /// True if the node has published a node info, as nodes of Atalaya do.
    pub(crate) atalaya: bool,
    /// Readings of the measurement, up to a maximum number.
    pub(crate) readings: Vec<Reading>,
    /// Number of further readings.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) more: usize,
    /// Reason why the measurement is invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// Age of the measurement, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age: Option<f64>,
    /// Creation time of the measurement's znode, by ZooKeeper's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
    pub(crate) failing: Vec<FailingSensor>,
    pub(crate) sensors: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) board: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
}

/// A sensor that cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FailingSensor {
    pub(crate) sensor: String,
    /// `failing`, `absent`, `unread` or `unknown`.
    pub(crate) health: &'static str,
    /// Error of the last reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl FleetStatus {
    /// Returns the status of the fleet at `zookeeper`. `now` is the time by ZooKeeper's clock.
    pub(crate) fn new(zookeeper: String, mut fleet: RawFleet, now: Millis) -> FleetStatus {
        let leader_id = fleet.leader.as_ref().map(|(id, _)| id.clone());
        let leader_info = leader_id.as_ref().and_then(|id| fleet.node_infos.get(id)?.as_ref());
        // The info may be older than the epoch: the process before this one had the same id.
        let is_current = |epoch| fleet.fence.is_none_or(|fence| fence.epoch == epoch);
        let state = leader_info.and_then(|info| info.leading.clone()).filter(|state| is_current(state.epoch));
        let leader = fleet.leader.take().map(|(id, created)| LeaderSummary {
            id: sanitize_for_log(&id),
            since: state.as_ref().map(|state| state.since),
            in_line_since: timestamp(created),
        });
        let mut ids: Vec<String> =
            fleet.measurements.keys().chain(fleet.node_infos.keys()).cloned().collect();
        ids.sort_unstable_by(|a, b| sort_key(a).cmp(&sort_key(b)));
        ids.dedup();
        let nodes = ids.into_iter().map(|id| {
            let info = fleet.node_infos.remove(&id).flatten();
            let is_leader = leader_id.as_ref() == Some(&id);
            NodeSummary::new(&id, is_leader, fleet.measurements.remove(&id), info, now)
        });
        let wrong_znodes = fleet.wrong_znodes.iter().take(MAX_WRONG_ZNODES).map(|wrong| WrongZnodeSummary {
            path: sanitize_for_log(&wrong.path),
            problem: wrong.problem.name(),
            message: wrong.to_string(),
            remedy: wrong.remedy(),
        });
        FleetStatus {
            zookeeper,
            time: timestamp(now),
            leader,
            in_line: fleet.contenders,
            epoch: fleet.fence.map(|fence| fence.epoch),
            cycle: fleet.fence.map(|fence| fence.cycle),
            waiting: fleet.waiting_reports,
            aside: fleet.rejected_reports,
            outranked: state.as_ref().and_then(|state| state.outranked),
            delivered: state.as_ref().and_then(|state| state.delivered),
            outputs: outputs(fleet.outputs, state.as_ref()),
            findings: state.and_then(|state| state.findings).map(|found| found.limited()).unwrap_or_default(),
            sampling_period: fleet.sampling_period.map(|period| period.as_secs_f64()),
            nodes: nodes.collect(),
            wrong_znodes: wrong_znodes.collect(),
            more_wrong_znodes: fleet.wrong_znodes.len().saturating_sub(MAX_WRONG_ZNODES),
        }
    }
}

impl NodeSummary {
    fn new(
        id: &str,
        is_leader: bool,
        measurement: Option<RawMeasurement>,
        info: Option<NodeInfo>,
        now: Millis,
    ) -> NodeSummary {
        // The estimate of ZooKeeper's clock may be behind the write.
        let age = |raw: &RawMeasurement| now.saturating_sub(raw.modified).max(0) as f64 / 1_000.0;
        let age = measurement.as_ref().map(age);
        let since = measurement.as_ref().map(|measurement| timestamp(measurement.created));
        let RawMeasurement { readings, count, problem, .. } = measurement.unwrap_or_default();
        let sensors = info.iter().flat_map(|info| &info.sensors);
        let failing = sensors
            .filter(|sensor| sensor.health.state != SensorState::Ok)
            .map(|sensor| FailingSensor {
                sensor: sensor.name.clone(),
                health: sensor.health.state.name(),
                error: sensor.health.error.clone(),
            })
            .collect();
        NodeSummary {
            id: sanitize_for_log(id),
            leads: is_leader,
            standby: info.as_ref().is_some_and(|info| info.standby && !is_leader),
            atalaya: info.is_some(),
            more: count - readings.len(),
            readings,
            problem,
            age,
            since,
            failing,
            sensors: info.as_ref().map_or(0, |info| info.sensors.len()),
            host: info.as_ref().map(|info| info.host.clone()),
            pid: info.as_ref().map(|info| info.pid),
            version: info.as_ref().map(|info| info.version.clone()),
            group: info.as_ref().and_then(|info| info.group.clone()),
            board: info.map(|info| info.board),
        }
    }
}

/// Returns the outputs with an outbox. `state` is that of the leader, if it is known.
fn outputs(counts: BTreeMap<String, (usize, usize)>, state: Option<&LeaderState>) -> Vec<OutputSummary> {
    let summary = |(name, (waiting, aside)): (String, (usize, usize))| {
        let known = state.and_then(|state| state.outputs.iter().find(|output| output.name == name));
        OutputSummary {
            name: sanitize_for_log(&name),
            used: known.is_some(),
            waiting,
            aside,
            oldest: known.and_then(|output| output.oldest),
            delivered: known.and_then(|output| output.delivered),
            problem: known
                .and_then(|output| output.problem.as_deref())
                .map(|text| truncate(text, MAX_PROBLEM)),
        }
    };
    counts.into_iter().map(summary).collect()
}

/// Returns a date; the start of 1970 for a time that no calendar contains.
fn timestamp(millis: Millis) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Returns the key that sorts ids: numbers by value, then other names.
fn sort_key(id: &str) -> (u64, &str) {
    (id.parse().unwrap_or(u64::MAX), id)
}

#[cfg(test)]
pub(crate) mod tests;
