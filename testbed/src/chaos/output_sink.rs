//! The receiver of an output of the fleet: a database or a broker, its faults, and the averages that it has.

use serde_json::Value;
use std::collections::BTreeMap;

use super::faults::Receiver;
use super::server_faults::{FaultyServer, Store};
use super::txn_effects::REPORTS;
use crate::collector::StoredReport;
use crate::journal::{Change, Transaction};
use crate::mqtt_client::MqttClient;

pub(super) const NAME: &str = "chaos";
const DATABASE: &str = "fleet";
const OUTBOX: &str = "/atalaya/outputs/chaos/";

/// Receiver of an output, over all of its processes.
pub(super) struct OutputSink {
    pub(super) server: FaultyServer,
    /// Subscriber, of a broker.
    subscriber: Option<MqttClient>,
}

impl OutputSink {
    pub(super) fn start(receiver: Receiver) -> OutputSink {
        let server = FaultyServer::start(receiver).expect("an output has a server");
        let mut subscriber = None;
        match &server.store {
            Store::Influxdb(influxdb) => influxdb.create_database(DATABASE, ""),
            Store::Mosquitto(mosquitto) => {
                subscriber = Some(MqttClient::persistent(mosquitto.port(), "atalaya/atalaya/average/#"));
            }
            Store::Prometheus(_) | Store::Redis(_) | Store::Collector(_) => {}
        }
        OutputSink { server, subscriber }
    }

    /// Returns the output as boards.toml has it.
    pub(super) fn configuration(&self) -> String {
        let receiver = match &self.server.store {
            Store::Influxdb(influxdb) => {
                format!("type = \"influxdb\"\nurl = \"{}\"\ndatabase = \"{DATABASE}\"", influxdb.url())
            }
            Store::Prometheus(prometheus) => {
                format!("type = \"prometheus\"\nurl = \"{}\"", prometheus.write_url())
            }
            Store::Mosquitto(mosquitto) => {
                format!("type = \"mqtt\"\nurl = \"{}\"\ndiscovery = false", mosquitto.url())
            }
            Store::Redis(_) | Store::Collector(_) => unreachable!("they are not outputs"),
        };
        format!("[[fleet.outputs]]\nname = \"{NAME}\"\n{receiver}\n")
    }

    /// Returns true if it has any average. The server runs and answers.
    pub(super) fn has_some(&self) -> bool {
        match &self.server.store {
            Store::Influxdb(influxdb) => {
                let query = "SELECT mean FROM atalaya_average LIMIT 1";
                influxdb.try_query(DATABASE, query).is_ok_and(|series| series[0].is_object())
            }
            Store::Prometheus(prometheus) => !prometheus.samples("atalaya_average").is_empty(),
            _ => self.subscriber.as_ref().is_some_and(|subscriber| !subscriber.messages().is_empty()),
        }
    }

    /// Returns the averages that it has. The transactions of the fleet tell the epoch and the cycle of each time, which
    /// Prometheus does not store. Of a broker, each average counts once, and repeats are counted.
    pub(super) fn stored(&mut self, transactions: &[Transaction]) -> Vec<StoredReport> {
        let committed = committed(transactions);
        if let Some(subscriber) = &self.subscriber {
            return of_mqtt(subscriber, &committed, &mut self.server.repeats);
        }
        self.server.kill();
        self.server.restart();
        match &self.server.store {
            Store::Influxdb(influxdb) => {
                of_influxdb(&influxdb.query(DATABASE, "SELECT * FROM atalaya_average"), &committed)
            }
            Store::Prometheus(prometheus) => {
                let series = |name: &str| prometheus.samples(name);
                of_prometheus(series, &committed, &mut self.server.violations)
            }
            _ => Vec::new(),
        }
    }
}

fn report(id: usize, body: &Value, time: i64, received: i64) -> Option<StoredReport> {
    let count = |name: &str| body[name].as_u64().or(body[name].as_f64().map(|number| number as u64));
    Some(StoredReport {
        id: i64::try_from(id).ok()?,
        epoch: body["epoch"].as_i64(),
        cycle: count("cycle"),
        unit: body["unit"].as_str().filter(|unit| !unit.is_empty()).map(str::to_owned),
        time,
        mean: body["mean"].as_f64()?,
        min: body["min"].as_f64(),
        max: body["max"].as_f64(),
        count: count("count").and_then(|count| usize::try_from(count).ok()),
        received,
        reporter: None,
    })
}

fn of_influxdb(series: &Value, committed: &BTreeMap<i64, Committed>) -> Vec<StoredReport> {
    let columns: Vec<&str> =
        series[0]["columns"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let rows = series[0]["values"].as_array().into_iter().flatten();
    let row = |(id, row): (usize, &Value)| {
        let body: Value = columns
            .iter()
            .zip(row.as_array()?)
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let time = body["time"].as_i64()?;
        report(id, &body, time, committed.get(&time).map_or(time, |committed| committed.ended))
    };
    rows.enumerate().filter_map(row).collect()
}

struct Committed {
    epoch: Value,
    cycle: Value,
    /// Time at which it left the outbox, or was put there. Databases do not store when a report arrived, and a broker
    /// may acknowledge a message before a subscriber gets it. So this time stands for the arrival: whether a report left
    /// the outbox too soon shows only if it is missing.
    ended: i64,
}

/// Returns the committed reports by their time.
fn committed(transactions: &[Transaction]) -> BTreeMap<i64, Committed> {
    let mut times = BTreeMap::new();
    let mut committed = BTreeMap::new();
    for transaction in transactions {
        for change in &transaction.changes {
            match change {
                Change::Create { path, data, .. } if path.starts_with(REPORTS) => {
                    let report: Value = serde_json::from_slice(data).unwrap_or_default();
                    let time = report["time"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
                    let Some(time) = time.map(|time| time.as_millisecond()) else { continue };
                    let (epoch, cycle) = (report["epoch"].clone(), report["cycle"].clone());
                    committed.insert(time, Committed { epoch, cycle, ended: transaction.time });
                    times.insert(path, time);
                }
                Change::Delete { path } => {
                    let report = times.get(path).and_then(|time| committed.get_mut(time));
                    if let Some(report) = report {
                        report.ended = transaction.time;
                    }
                }
                _ => {}
            }
        }
    }
    committed
}

fn of_prometheus(
    series: impl Fn(&str) -> Vec<(i64, f64)>,
    committed: &BTreeMap<i64, Committed>,
    violations: &mut Vec<String>,
) -> Vec<StoredReport> {
    let mut bodies: BTreeMap<i64, Value> = BTreeMap::new();
    let names = [("", "mean"), ("_min", "min"), ("_max", "max"), ("_count", "count")];
    for (suffix, field) in names {
        for (time, value) in series(&format!("atalaya_average{suffix}")) {
            bodies.entry(time).or_default()[field] = value.into();
        }
    }
    let mut stored = Vec::new();
    for (id, (time, mut body)) in bodies.into_iter().enumerate() {
        match committed.get(&time) {
            Some(Committed { epoch, cycle, ended }) => {
                (body["epoch"], body["cycle"]) = (epoch.clone(), cycle.clone());
                stored.extend(report(id, &body, time, *ended));
            }
            None => violations.push(format!("Prometheus has a sample of {time} ms, which was not committed")),
        }
    }
    stored
}

fn of_mqtt(
    subscriber: &MqttClient,
    committed: &BTreeMap<i64, Committed>,
    repeats: &mut u64,
) -> Vec<StoredReport> {
    let mut stored: Vec<StoredReport> = Vec::new();
    for (id, message) in subscriber.messages().into_iter().enumerate() {
        let body = message.json();
        let time = body["time"].as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok());
        let Some(time) = time.map(|time| time.as_millisecond()) else { continue };
        let received = committed.get(&time).map_or(time, |committed| committed.ended);
        let Some(report) = report(id, &body, time, received) else { continue };
        if stored.iter().any(|known| known.key() == report.key()) {
            *repeats += 1;
        } else {
            stored.push(report);
        }
    }
    stored
}

/// Renames the outbox of the output to that of the API, which these fleets do not have, so that the checker needs one
/// set of rules.
pub(super) fn as_of_api(transactions: &mut [Transaction]) {
    let changes = transactions.iter_mut().flat_map(|transaction| &mut transaction.changes);
    for path in changes.filter_map(Change::path_mut) {
        if let Some(rest) = path.strip_prefix(OUTBOX) {
            *path = format!("/atalaya/{rest}");
        }
    }
}
