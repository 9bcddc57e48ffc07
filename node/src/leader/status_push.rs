//! Tells a collector of ours how the fleet is, beside the reports and never in their way: what cannot be told is told next
//! time. Any other API never sees it.

use std::collections::BTreeSet;
use std::time::Duration;

use atalaya_recipes::{Connection, Error, Leadership};
use jiff::Timestamp;
use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use tokio_util::context::TokioContext;
use tracing::debug;

use super::LeaderHandles;
use crate::fleet_status::clock::Clock;
use crate::fleet_status::znodes::{children, now, read};
use crate::fleet_status::{FleetStatus, NodeSummary, RawFleet, RawMeasurement, parse_node_info};
use crate::leader::members::Members;
use crate::model::leader_state::LeaderState;
use crate::model::node_info;
use crate::settings::id_in;

/// It is told once a period, but so seldom at least and so often at most.
const SELDOM: Duration = Duration::from_secs(5);
const OFTEN: Duration = Duration::from_secs(1);
/// How long reading the fleet and telling of it may take, each.
const PATIENCE: Duration = Duration::from_secs(2);
/// Nodes that are told of; of the others, only how many there are.
const NODES: usize = 500;
/// Readings of a node that are told.
const READINGS: usize = 4;
/// The longest text, in characters.
const TEXT: usize = 120;

/// What is told, as `docs/protocol.md` has it.
#[derive(Debug, PartialEq, Serialize)]
struct Status {
    epoch: i64,
    cycle: u64,
    leader: String,
    since: Timestamp,
    period: f64,
    waiting: usize,
    delivered: Option<u64>,
    nodes: Vec<Told>,
    more: usize,
}

#[derive(Debug, PartialEq, Serialize)]
struct Told {
    id: String,
    age: Option<f64>,
    health: &'static str,
    problem: Option<String>,
    host: Option<String>,
    readings: Vec<Reading>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Reading {
    value: f64,
    unit: Option<String>,
}

/// One line that is not too long.
fn line(text: &str) -> String {
    text.chars().take(TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl From<NodeSummary> for Told {
    fn from(node: NodeSummary) -> Told {
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
        let readings = node.readings.into_iter().take(READINGS);
        Told {
            id: line(&node.id),
            age: node.age,
            health,
            problem,
            host: node.host.as_deref().map(line),
            readings: readings
                .map(|reading| Reading { value: reading.value, unit: reading.unit.as_deref().map(line) })
                .collect(),
        }
    }
}

impl Status {
    fn of(id: &str, leading: &LeaderState, period: Duration, nodes: Vec<NodeSummary>, more: usize) -> Status {
        Status {
            epoch: leading.epoch,
            cycle: leading.cycle,
            leader: line(id),
            since: leading.since,
            period: period.as_secs_f64(),
            waiting: leading.waiting,
            delivered: leading.delivered.map(|delivered| delivered.cycle),
            nodes: nodes.into_iter().map(Told::from).collect(),
            more,
        }
    }
}

/// Where an API that takes reports at `url` takes statuses, and the token that the address has for programs that know no other
/// way.
fn place(url: &Url) -> Option<(Url, Option<String>)> {
    let token = url.query_pairs().find(|(name, _)| name == "token").map(|(_, token)| token.into_owned());
    let relative = if url.path().ends_with("/api/v1/reports") { "fleet" } else { "api/v1/fleet" };
    Some((url.join(relative).ok()?, token))
}

/// Tells it for as long as it is not dropped.
///
/// # Cancellation safety
/// A request under way is cut off.
pub(super) async fn tell(options: &LeaderHandles, leadership: &Leadership) {
    let mut teller = Teller::default();
    loop {
        let (api, period) = {
            let orders = options.orders.borrow();
            (orders.api.clone(), orders.period)
        };
        tokio::time::sleep(period.clamp(OFTEN, SELDOM)).await;
        let leading = *options.leading.borrow();
        let Some((leading, api)) = leading.zip(api) else { continue };
        let Some((url, network)) = api.collector() else { continue };
        let Some((url, token)) = place(url) else { continue };
        let Ok(request) = api.request(Method::POST, url) else { continue };
        let looked = tokio::time::timeout(PATIENCE, teller.look(leadership.connection(), options)).await;
        let (nodes, more) = match looked {
            Ok(Ok(looked)) => looked,
            Ok(Err(error)) => {
                debug!(%error, "the fleet cannot be read");
                continue;
            }
            Err(_) => continue,
        };
        if !leadership.holds() {
            continue;
        }
        let status = Status::of(&options.id, &leading, period, nodes, more);
        let mut request = request.json(&status).timeout(PATIENCE);
        if let Some(token) = token.filter(|_| !api.has_token()) {
            request = request.bearer_auth(token);
        }
        let telling = async { request.send().await.map(|answer| answer.status()) };
        let told = match network {
            Some(network) => TokioContext::new(telling, network.clone()).await,
            None => telling.await,
        };
        match told {
            Ok(StatusCode::NO_CONTENT) => {}
            Ok(status) => debug!(%status, "the collector does not want to know how the fleet is"),
            Err(error) => debug!(%error, "the collector was not told how the fleet is"),
        }
    }
}

/// Reads the fleet, and remembers how large the znodes were, and how clocks differ.
#[derive(Default)]
struct Teller {
    measurements: Members,
    presences: Members,
    clock: Clock,
}

impl Teller {
    /// The nodes, so many at most, and how many there are besides.
    async fn look(
        &mut self,
        connection: &Connection,
        options: &LeaderHandles,
    ) -> Result<(Vec<NodeSummary>, usize), Error> {
        let began = now();
        let names = children(connection, &options.measurements).await?;
        let present = children(connection, node_info::PARENT_PATH).await?;
        let id_of = |name: &str| id_in(&options.name, name).unwrap_or(name).to_owned();
        let measuring: BTreeSet<String> = names.iter().map(|name| id_of(name)).collect();
        let more = present.iter().filter(|id| !measuring.contains(*id)).count() + measuring.len();
        // Those who measure nothing any more come first: they need somebody.
        let mut wanted: BTreeSet<String> =
            present.iter().filter(|id| !measuring.contains(*id)).take(NODES / 2).cloned().collect();
        wanted.extend(measuring.into_iter().take(NODES - wanted.len()));
        let measurements = names.into_iter().filter(|name| wanted.contains(&id_of(name))).collect();
        let present = present.into_iter().filter(|id| wanted.contains(id)).collect();
        let mut seen = RawFleet::default();
        let parent = &options.measurements;
        let found =
            read(connection, parent, measurements, &mut self.measurements, RawMeasurement::parse).await?;
        for (name, stat, measurement) in found {
            seen.record_stat(&stat);
            seen.measurements.insert(id_of(&name), measurement);
        }
        let said = |data: &[u8], _: &_| parse_node_info(data);
        let found = read(connection, node_info::PARENT_PATH, present, &mut self.presences, said).await?;
        for (id, stat, said) in found {
            seen.record_stat(&stat);
            seen.node_infos.insert(id, said);
        }
        let ended = now();
        if seen.newest_write > 0 {
            self.clock.look(seen.newest_write, began, ended);
        }
        let overview = FleetStatus::new(String::new(), seen, ended.saturating_add(self.clock.ahead()));
        let nodes = overview.nodes;
        let more = more.saturating_sub(nodes.len());
        Ok((nodes, more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet_status::tests::stat;
    use crate::model::leader_state::Delivered;

    #[test]
    fn a_collector_is_told_beside_where_it_takes_reports() {
        for (url, wanted, token) in [
            ("http://h:8000/nuevo", "http://h:8000/api/v1/fleet", None),
            ("http://h:8000/fleets/nuevo?token=a%26b", "http://h:8000/fleets/api/v1/fleet", Some("a&b")),
            ("https://u:p@h/api/v1/reports", "https://u:p@h/api/v1/fleet", None),
        ] {
            let (place, found) = place(&url.parse().unwrap()).unwrap();
            assert_eq!((place.as_str(), found.as_deref()), (wanted, token));
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
    fn what_is_told_is_what_a_collector_understands() {
        let said = r#"{"host": "pi3", "pid": 4, "version": "0.1.0", "board": "pi", "started": "2026-03-01T06:00:00Z", "sensors": [
            {"name": "sky", "chip": "x", "quantities": [], "health": {"state": "absent", "error": "no acknowledge"}}]}"#;
        let since = Timestamp::UNIX_EPOCH;
        let leading = LeaderState {
            epoch: 7,
            cycle: 41,
            since,
            waiting: 2,
            delivered: Some(Delivered { cycle: 39, time: since }),
            outranked: None,
        };
        let nodes = nodes(&[("1", "78.4", None), ("2", "garbage", None), ("3", "5", Some(said))]);
        let status = Status::of("1", &leading, Duration::from_millis(2_500), nodes, 9);
        let told = serde_json::to_value(&status).unwrap();
        assert_eq!(
            told,
            serde_json::json!({"epoch": 7, "cycle": 41, "leader": "1", "since": "1970-01-01T00:00:00Z", "period": 2.5,
                "waiting": 2, "delivered": 39, "more": 9, "nodes": [
                {"id": "1", "age": 1.0, "health": "unknown", "problem": null, "host": null,
                 "readings": [{"value": 78.4, "unit": null}]},
                {"id": "2", "age": 1.0, "health": "failing", "problem": told["nodes"][1]["problem"], "host": null, "readings": []},
                {"id": "3", "age": 1.0, "health": "failing", "problem": "sky: no acknowledge", "host": "pi3",
                 "readings": [{"value": 5.0, "unit": null}]}]})
        );
    }

    #[test]
    fn a_status_of_many_is_not_too_long() {
        let long = "x".repeat(10_000);
        let znodes: Vec<(String, String)> = (0..NODES)
            .map(|id| {
                (format!("{id}-{long}"), format!(r#"[{{"n":"{long}","u":"{}","v":1}}]"#, "u".repeat(32)))
            })
            .collect();
        let znodes: Vec<_> = znodes.iter().map(|(id, data)| (id.as_str(), data.as_str(), None)).collect();
        let leading = LeaderState {
            epoch: 1,
            cycle: 1,
            since: Timestamp::UNIX_EPOCH,
            waiting: 0,
            delivered: None,
            outranked: None,
        };
        let status = Status::of("1", &leading, OFTEN, nodes(&znodes), 0);
        assert!(serde_json::to_vec(&status).unwrap().len() < 256 << 10);
    }
}
