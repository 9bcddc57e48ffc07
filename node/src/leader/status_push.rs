//! Sends the fleet status to the collector, beside the reports and without delaying them. A status that cannot be sent
//! is dropped; the next one replaces it. Other APIs never receive it.

use std::collections::BTreeSet;
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Error, Leadership};
use jiff::Timestamp;
use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::fleet_status::{FleetStatus, NodeSummary, RawFleet, RawMeasurement, parse_node_info};
use crate::leader::config::{LeaderConfig, LeaderHandles};
use crate::leader::delivery::api_client::Api;
use crate::leader::delivery::full_reports::token_of;
use crate::leader::status_text::line;
use crate::leader::task_status::{TasksStatus, read_progress};
use crate::model::details::Findings;
use crate::model::leader_state::LeaderState;
use crate::model::node_info;
use crate::settings::parse_name;
use crate::zk::bulk_read::{SizeCache, read_named_children};
use crate::zk::server_clock::ServerClock;

/// A status is sent after each cycle, but not more often than this.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum time between two statuses, if the period is longer.
const MAX_INTERVAL: Duration = Duration::from_secs(5);
/// Timeout for reading the node infos, and timeout of the request.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum number of nodes in a status. Of the others it has only the number.
pub(super) const MAX_NODES: usize = 500;
const MAX_READINGS: usize = 4;

/// Measurements of the fleet, as the last cycle has read them.
#[derive(Clone, Debug)]
pub(super) struct FleetSnapshot {
    /// Measurements by the names of their znodes, ordered by name; [`MAX_NODES`] at most.
    pub(super) measurements: Vec<(String, RawMeasurement)>,
    pub(super) clock: ServerClock,
}

/// The status on the wire; see `docs/protocol.md`.
#[derive(Debug, PartialEq, Serialize)]
struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    epoch: i64,
    cycle: u64,
    leader: String,
    since: Timestamp,
    period: f64,
    waiting: usize,
    delivered: Option<u64>,
    nodes: Vec<NodeStatus>,
    more: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<TasksStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Box<Findings>>,
}

#[derive(Debug, PartialEq, Serialize)]
struct NodeStatus {
    id: String,
    age: Option<f64>,
    health: &'static str,
    problem: Option<String>,
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    standby: bool,
    readings: Vec<Reading>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Reading {
    value: f64,
    unit: Option<String>,
}

impl From<NodeSummary> for NodeStatus {
    fn from(node: NodeSummary) -> NodeStatus {
        let failing = node.failing.iter().find(|sensor| sensor.health != "unread");
        let problem = match (&node.problem, failing) {
            (Some(problem), _) => Some(line(&format!("its measurement {problem}"))),
            (None, Some(sensor)) => {
                let error = sensor.error.as_deref().unwrap_or(sensor.health);
                Some(line(&format!("{}: {error}", sensor.sensor)))
            }
            (None, None) => None,
        };
        let health = match (&problem, node.atalaya) {
            (Some(_), _) => "failing",
            (None, true) => "ok",
            (None, false) => "unknown",
        };
        let readings = node.readings.into_iter().take(MAX_READINGS);
        NodeStatus {
            id: line(&node.id),
            age: node.age,
            health,
            problem,
            host: node.host.as_deref().map(line),
            group: node.group,
            standby: node.standby,
            readings: readings
                .map(|reading| Reading { value: reading.value, unit: reading.unit.as_deref().map(line) })
                .collect(),
        }
    }
}

impl Status {
    fn new(id: &str, leader: &LeaderState, period: Duration, nodes: Vec<NodeSummary>, more: usize) -> Status {
        Status {
            fleet: None,
            zone: None,
            epoch: leader.epoch,
            cycle: leader.cycle,
            leader: line(id),
            since: leader.since,
            period: period.as_secs_f64(),
            waiting: leader.waiting,
            delivered: leader.delivered.map(|delivered| delivered.cycle),
            nodes: nodes.into_iter().map(NodeStatus::from).collect(),
            more,
            tasks: None,
            findings: leader.findings.clone(),
        }
    }
}

/// Returns the address for statuses of a collector that receives reports at `reports`, and the token in that address:
/// some clients cannot send it in a header.
fn status_endpoint(reports: &Url) -> Option<(Url, Option<String>)> {
    let relative = if reports.path().ends_with("/api/v1/reports") { "fleet" } else { "api/v1/fleet" };
    Some((reports.join(relative).ok()?, token_of(reports)))
}

#[derive(Debug)]
pub(super) struct StatusPusher<'a> {
    pub(super) handles: &'a LeaderHandles,
    pub(super) leadership: &'a Leadership,
    pub(super) member_names: watch::Receiver<Option<Vec<String>>>,
    pub(super) snapshots: watch::Receiver<Option<FleetSnapshot>>,
    pub(super) node_info_sizes: SizeCache,
}

impl StatusPusher<'_> {
    /// Sends statuses until it is dropped.
    ///
    /// # Cancellation safety
    /// If the future is dropped, a request under way is aborted.
    pub(super) async fn run(mut self) {
        loop {
            sleep(MIN_INTERVAL).await;
            // Right after a cycle its measurements are new. Without a cycle the last ones are sent, with their ages.
            let _ = timeout(MAX_INTERVAL - MIN_INTERVAL, self.snapshots.changed()).await;
            let LeaderConfig { api, period, .. } = self.handles.config.borrow().clone();
            let state = self.handles.state.borrow().clone();
            if let Some((state, api)) = state.zip(api) {
                self.push(&state, &api, period).await;
            }
        }
    }

    async fn push(&mut self, state: &LeaderState, api: &Api, period: Duration) {
        let Some((url, token)) = api.collector_url().and_then(status_endpoint) else { return };
        let Ok(request) = api.request(Method::POST, url) else { return };
        let Some(snapshot) = self.snapshots.borrow_and_update().clone() else { return };
        let clock = snapshot.clock;
        let read = async {
            let nodes = self.read_nodes(snapshot).await?;
            Ok::<_, Error>((nodes, self.read_tasks(clock).await?))
        };
        let ((nodes, more), tasks) = match timeout(TIMEOUT, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return debug!(%error, "cannot read the node infos"),
            Err(_) => return,
        };
        if !self.leadership.holds() {
            return;
        }
        let (fleet, zone) = (api.fleet.clone(), api.zone.clone());
        let status =
            Status { fleet, zone, tasks, ..Status::new(&self.handles.id, state, period, nodes, more) };
        let mut request = request.json(&status).timeout(TIMEOUT);
        if let Some(token) = token.filter(|_| !api.has_token()) {
            request = request.bearer_auth(token);
        }
        match api.with_network(async { request.send().await.map(|response| response.status()) }).await {
            Ok(StatusCode::NO_CONTENT) => {}
            Ok(status) => debug!(%status, "the collector rejected the fleet status"),
            Err(error) => debug!(%error, "cannot send the fleet status to the collector"),
        }
    }

    /// Returns the newest tasks with their progress; `None` if there are none.
    async fn read_tasks(&self, clock: ServerClock) -> Result<Option<TasksStatus>, Error> {
        let Some(overview) = self.handles.tasks.borrow().clone() else { return Ok(None) };
        let progress = read_progress(self.leadership.connection(), &overview).await?;
        Ok(TasksStatus::new(&overview, &progress, clock.now(BootInstant::now()).unwrap_or_default()))
    }

    /// Returns the nodes of the fleet, [`MAX_NODES`] at most, and the number of the others. Measurements are from
    /// `snapshot`; only the node infos are read.
    async fn read_nodes(&mut self, snapshot: FleetSnapshot) -> Result<(Vec<NodeSummary>, usize), Error> {
        let connection = self.leadership.connection();
        let info_ids = connection.children_or_empty(node_info::PARENT_PATH).await?;
        let id_of = |name: &str| parse_name(&self.handles.name_template, name).unwrap_or(name).to_owned();
        let measuring: BTreeSet<String> =
            self.member_names.borrow().iter().flatten().map(|name| id_of(name)).collect();
        let silent: Vec<String> = info_ids.iter().filter(|id| !measuring.contains(*id)).cloned().collect();
        let total = silent.len() + measuring.len();
        // Nodes that have stopped to measure come first: they need attention.
        let mut shown: BTreeSet<String> = silent.into_iter().take(MAX_NODES / 2).collect();
        let mut fleet = RawFleet::default();
        for (name, measurement) in snapshot.measurements {
            let id = id_of(&name);
            if shown.len() < MAX_NODES && measuring.contains(&id) {
                shown.insert(id.clone());
                fleet.measurements.insert(id, measurement);
            }
        }
        let info_ids = info_ids.into_iter().filter(|id| shown.contains(id)).collect();
        let (parent, sizes) = (node_info::PARENT_PATH, &mut self.node_info_sizes);
        let parse = |data: &[u8], _: &_| parse_node_info(data);
        let found = read_named_children(connection, parent, info_ids, sizes, parse).await?;
        fleet.node_infos = found.into_iter().map(|(id, _, info)| (id, info)).collect();
        // The takeover wrote the fence, so the clock is known.
        let now = snapshot.clock.now(BootInstant::now()).unwrap_or_default();
        let nodes = FleetStatus::new(String::new(), fleet, now).nodes;
        let more = total.saturating_sub(nodes.len());
        Ok((nodes, more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet_status::tests::stat;
    use crate::model::leader_state::Delivered;
    use crate::model::leader_state::tests::leader_state;

    #[test]
    fn status_endpoint_is_beside_the_endpoint_for_reports() {
        for (url, wanted, token) in [
            ("http://h:8000/nuevo", "http://h:8000/api/v1/fleet", None),
            ("http://h:8000/fleets/nuevo?token=a%26b", "http://h:8000/fleets/api/v1/fleet", Some("a&b")),
            ("https://u:p@h/api/v1/reports", "https://u:p@h/api/v1/fleet", None),
        ] {
            let (endpoint, found) = status_endpoint(&url.parse().unwrap()).unwrap();
            assert_eq!((endpoint.as_str(), found.as_deref()), (wanted, token));
        }
    }

    fn nodes(znodes: &[(&str, &str, Option<&str>)]) -> Vec<NodeSummary> {
        let mut seen = RawFleet::default();
        for (id, data, said) in znodes {
            let stat = stat(9_000, 9_000);
            seen.measurements.insert((*id).to_owned(), RawMeasurement::parse(data.as_bytes(), &stat));
            if let Some(said) = said {
                seen.node_infos.insert((*id).to_owned(), parse_node_info(said.as_bytes()));
            }
        }
        FleetStatus::new(String::new(), seen, 10_000).nodes
    }

    #[test]
    fn status_has_the_json_that_collectors_understand() {
        let said = r#"{"host": "pi3", "pid": 4, "version": "0.1.0", "board": "pi", "started": "2026-03-01T06:00:00Z", "sensors": [
            {"name": "sky", "chip": "x", "quantities": [], "health": {"state": "absent", "error": "no acknowledge"}}]}"#;
        let since = Timestamp::UNIX_EPOCH;
        let state = LeaderState { delivered: Some(Delivered { cycle: 39, time: since }), ..leader_state() };
        let nodes = nodes(&[("1", "78.4", None), ("2", "garbage", None), ("3", "5", Some(said))]);
        let status = Status::new("1", &state, Duration::from_millis(2_500), nodes, 9);
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"epoch": 7, "cycle": 41, "leader": "1", "since": "1970-01-01T00:00:00Z", "period": 2.5,
                "waiting": 2, "delivered": 39, "more": 9, "nodes": [
                {"id": "1", "age": 1.0, "health": "unknown", "problem": null, "host": null,
                 "readings": [{"value": 78.4, "unit": null}]},
                {"id": "2", "age": 1.0, "health": "failing", "problem": json["nodes"][1]["problem"], "host": null, "readings": []},
                {"id": "3", "age": 1.0, "health": "failing", "problem": "sky: no acknowledge", "host": "pi3",
                 "readings": [{"value": 5.0, "unit": null}]}]})
        );
    }

    #[test]
    fn status_has_groups_and_findings_if_there_are_any() {
        let said = r#"{"host": "pi3", "pid": 4, "version": "0.1.0", "board": "pi", "group": "roof", "started": "2026-03-01T06:00:00Z"}"#;
        let findings = r#"{"outliers":[{"node":"3","value":85.0}],"groups":[{"group":"roof","value":85.0,"min":85.0,"max":85.0,"count":1}]}"#;
        let state = LeaderState { findings: serde_json::from_str(findings).unwrap(), ..leader_state() };
        let status = Status::new("1", &state, MIN_INTERVAL, nodes(&[("3", "85", Some(said))]), 0);
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(
            (&json["nodes"][0]["group"], &json["findings"]["outliers"][0]["node"]),
            (&"roof".into(), &"3".into())
        );
        assert_eq!(
            json["findings"].to_string(),
            serde_json::from_str::<serde_json::Value>(findings).unwrap().to_string()
        );
    }

    #[test]
    fn status_of_the_maximum_number_of_nodes_is_below_256_kib() {
        let long = "x".repeat(10_000);
        let znodes: Vec<(String, String)> = (0..MAX_NODES)
            .map(|id| {
                (format!("{id}-{long}"), format!(r#"[{{"n":"{long}","u":"{}","v":1}}]"#, "u".repeat(32)))
            })
            .collect();
        let znodes: Vec<_> = znodes.iter().map(|(id, data)| (id.as_str(), data.as_str(), None)).collect();
        let status = Status::new("1", &leader_state(), MIN_INTERVAL, nodes(&znodes), 0);
        assert!(serde_json::to_vec(&status).unwrap().len() < 256 << 10);
    }
}
