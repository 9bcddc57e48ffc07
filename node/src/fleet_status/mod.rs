//! A fleet at one moment, as ZooKeeper knows it: who leads, what waits to be reported, which nodes there are and how they
//! are. Pure, but for `znodes`, which reads; `atalaya status` prints, and a leader tells it to a collector.

pub mod clock;
mod text;
pub(crate) mod znodes;

use std::collections::BTreeMap;
use std::time::Duration;

use atalaya_recipes::{Stat, WrongZnode};
use jiff::Timestamp;
use serde::Serialize;

pub use text::{Line, Tone, block, table};

use crate::model::fence::Fence;
use crate::model::health_status::SensorState;
use crate::model::leader_state::Delivered;
use crate::model::measurement;
use crate::model::node_info::NodeInfo;
use crate::model::text::sanitize_for_log;
use clock::Millis;

/// Maximum number of znodes of the wrong type that are shown.
const MOST_WRONG: usize = 16;
/// Most readings of one node that are kept.
const MOST_READINGS: usize = 32;
/// Largest presence that is read, in bytes. A hundred sensors that all fail have a third of it.
const LARGEST_PRESENCE: usize = 128 * 1024;

/// A fleet, as it was read.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Whom the first in line says that it is, and since when it stands there.
    pub leader: Option<(String, Millis)>,
    /// How many stand in line.
    pub in_line: usize,
    /// What stands at `/atalaya/term`.
    pub term: Option<Fence>,
    /// Reports that wait to be accepted.
    pub waiting: usize,
    /// Reports that were rejected.
    pub aside: usize,
    /// What the fleet is told at `/config/sampling_period`.
    pub period: Option<Duration>,
    /// The measurements, by the ids of their nodes.
    pub measurements: BTreeMap<String, Measurement>,
    /// What nodes say of themselves, by their ids.
    pub presences: BTreeMap<String, Said>,
    /// Znodes of the wrong type on the paths that the fleet uses.
    pub wrong: Vec<WrongZnode>,
    /// The newest write of all.
    pub newest: Millis,
}

impl Seen {
    /// Takes note of when something was written.
    pub fn written(&mut self, stat: &Stat) {
        self.newest = self.newest.max(stat.mtime).max(stat.ctime);
    }
}

/// A measurement, as it was read.
#[derive(Clone, Debug)]
pub struct Measurement {
    readings: Vec<Reading>,
    /// How many there were.
    count: usize,
    problem: Option<String>,
    written: Millis,
    made: Millis,
}

impl Measurement {
    /// What stands in its znode.
    pub fn of(data: &[u8], stat: &Stat) -> Measurement {
        let (values, problem) = match measurement::parse(data) {
            Ok(values) => (values, None),
            Err(problem) => (Vec::new(), Some(problem.to_string())),
        };
        let count = values.len();
        let readings = values
            .into_iter()
            .take(MOST_READINGS)
            .map(|value| Reading { value: value.value, unit: value.unit })
            .collect();
        Measurement { readings, count, problem, written: stat.mtime, made: stat.ctime }
    }
}

/// A number and its unit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// The number.
    pub value: f64,
    /// Its unit, if the measurement says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// What a node says of itself, as far as it is shown.
#[derive(Clone, Debug)]
pub struct Said {
    presence: Option<NodeInfo>,
}

impl Said {
    /// What stands in its znode.
    pub fn of(data: &[u8]) -> Said {
        let data = if data.len() > LARGEST_PRESENCE { &[] } else { data };
        let mut presence: Option<NodeInfo> = serde_json::from_slice(data).ok();
        for said in presence.iter_mut() {
            for text in [&mut said.host, &mut said.version, &mut said.board] {
                *text = sanitize_for_log(text);
            }
            for sensor in &mut said.sensors {
                // What else they are is not shown.
                sensor.name = sanitize_for_log(&sensor.name);
                sensor.quantities = Vec::new();
                sensor.chip = String::new();
                sensor.health.error = sensor.health.error.take().map(|error| sanitize_for_log(&error));
            }
        }
        Said { presence }
    }
}

/// A fleet, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FleetStatus {
    /// Servers and chroot.
    pub zookeeper: String,
    /// When it was read, by ZooKeeper's clock as far as that is known.
    pub time: Timestamp,
    /// Who leads.
    pub leader: Option<Leader>,
    /// How many stand in line to lead, the leader among them.
    pub in_line: usize,
    /// Goes up with every leader.
    pub epoch: Option<i64>,
    /// Goes up with every cycle.
    pub cycle: Option<u64>,
    /// Cycles whose reports wait to be accepted.
    pub waiting: usize,
    /// Cycles whose reports were rejected, and are kept.
    pub aside: usize,
    /// What was accepted last, as the leader says.
    pub delivered: Option<Delivered>,
    /// Epoch above the leader's of which the collector has reports, as the leader says: it accepts none of this fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outranked: Option<i64>,
    /// What the fleet is told at `/config/sampling_period`, in seconds.
    pub sampling_period: Option<f64>,
    /// Znodes of the wrong type on the paths that the fleet uses.
    pub wrong_znodes: Vec<Wrong>,
    /// Number of further ones, which are not listed.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_wrong_znodes: usize,
    /// Its nodes.
    pub nodes: Vec<Node>,
}

/// A znode of the wrong type, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wrong {
    /// Path of the znode.
    pub path: String,
    /// Reason why it is wrong, for programs.
    pub problem: &'static str,
    /// Reason why it is wrong, for people.
    pub message: String,
    /// Remedy, a command for the operator.
    pub remedy: String,
}

impl Wrong {
    fn of(wrong: &WrongZnode) -> Wrong {
        Wrong {
            path: sanitize_for_log(&wrong.path),
            problem: wrong.problem.name(),
            message: wrong.to_string(),
            remedy: wrong.remedy(),
        }
    }
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Leader {
    /// As the znode in line has it.
    pub id: String,
    /// Since when it leads, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Since when it stands in line, by ZooKeeper's clock.
    pub in_line_since: Timestamp,
}

/// A node, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Whether it leads.
    pub leads: bool,
    /// Whether it says who it is, as nodes of Atalaya do.
    pub atalaya: bool,
    /// What it measured.
    pub readings: Vec<Reading>,
    /// How many readings there are beyond those.
    #[serde(skip_serializing_if = "is_zero")]
    pub more: usize,
    /// What is wrong with its measurement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Seconds since it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<f64>,
    /// Since when it measures, by ZooKeeper's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Its sensors that cannot be read.
    pub failing: Vec<Failing>,
    /// How many sensors it has.
    pub sensors: usize,
    /// The machine that it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its process there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Which board it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A sensor that cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failing {
    /// Its name.
    pub sensor: String,
    /// `failing`, `absent`, `unread` or `unknown`.
    pub health: &'static str,
    /// What was wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl FleetStatus {
    /// Of what was seen at `zookeeper`, whose clock shows `now`.
    pub fn of(zookeeper: String, mut seen: Seen, now: Millis) -> FleetStatus {
        let leader_id = seen.leader.as_ref().map(|(id, _)| id.clone());
        let leading = leader_id.as_ref().and_then(|id| seen.presences.get(id)?.presence.as_ref()?.leading);
        // What another leader of this name has said is none of this one's.
        let leading = leading.filter(|leading| seen.term.is_none_or(|term| term.epoch == leading.epoch));
        let leader = seen.leader.take().map(|(id, made)| Leader {
            id: sanitize_for_log(&id),
            since: leading.as_ref().map(|leading| leading.since),
            in_line_since: moment(made),
        });
        let mut ids: Vec<String> = seen.measurements.keys().chain(seen.presences.keys()).cloned().collect();
        ids.sort_unstable_by(|a, b| order(a).cmp(&order(b)));
        ids.dedup();
        let nodes = ids
            .into_iter()
            .map(|id| {
                let said = seen.presences.remove(&id).and_then(|said| said.presence);
                let leads = leader_id.as_ref() == Some(&id);
                Node::of(&id, leads, seen.measurements.remove(&id), said, now)
            })
            .collect();
        FleetStatus {
            zookeeper,
            time: moment(now),
            leader,
            in_line: seen.in_line,
            epoch: seen.term.map(|term| term.epoch),
            cycle: seen.term.map(|term| term.cycle),
            waiting: seen.waiting,
            aside: seen.aside,
            outranked: leading.as_ref().and_then(|leading| leading.outranked),
            delivered: leading.and_then(|leading| leading.delivered),
            sampling_period: seen.period.map(|period| period.as_secs_f64()),
            wrong_znodes: seen.wrong.iter().take(MOST_WRONG).map(Wrong::of).collect(),
            more_wrong_znodes: seen.wrong.len().saturating_sub(MOST_WRONG),
            nodes,
        }
    }

    /// Whether there is any fleet.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.in_line == 0 && self.epoch.is_none() && self.wrong_znodes.is_empty()
    }
}

impl Node {
    fn of(
        id: &str,
        leads: bool,
        measurement: Option<Measurement>,
        said: Option<NodeInfo>,
        now: Millis,
    ) -> Node {
        let age = measurement.as_ref().map(|measurement| seconds(now, measurement.written));
        let since = measurement.as_ref().map(|measurement| moment(measurement.made));
        let (readings, count, problem) = measurement.map_or((Vec::new(), 0, None), |measurement| {
            (measurement.readings, measurement.count, measurement.problem)
        });
        let sensors = said.iter().flat_map(|said| &said.sensors);
        let failing = sensors
            .filter(|sensor| sensor.health.state != SensorState::Ok)
            .map(|sensor| Failing {
                sensor: sensor.name.clone(),
                health: sensor.health.state.name(),
                error: sensor.health.error.clone(),
            })
            .collect();
        Node {
            id: sanitize_for_log(id),
            leads,
            atalaya: said.is_some(),
            more: count - readings.len(),
            readings,
            problem,
            age,
            since,
            failing,
            sensors: said.as_ref().map_or(0, |said| said.sensors.len()),
            host: said.as_ref().map(|said| said.host.clone()),
            pid: said.as_ref().map(|said| said.pid),
            version: said.as_ref().map(|said| said.version.clone()),
            board: said.map(|said| said.board),
        }
    }
}

/// Seconds from `then` to `now`; a clock that is slow is no reason for a negative age.
fn seconds(now: Millis, then: Millis) -> f64 {
    now.saturating_sub(then).max(0) as f64 / 1_000.0
}

/// The same as a date; the beginning of 1970 for what no calendar has.
fn moment(millis: Millis) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Numbers by their size, then words.
fn order(id: &str) -> (u64, &str) {
    (id.parse().unwrap_or(u64::MAX), id)
}

#[cfg(test)]
pub(crate) mod tests;
