//! The dashboards of `deploy/` for outputs, against real servers that have records of outputs.

use std::collections::BTreeSet;
use std::path::Path;

use atalaya_config::{InfluxdbConfig, ReceiverConfig};
use atalaya_testbed::{Influxdb, Prometheus};
use jiff::Timestamp;
use serde_json::Value;

use super::test_support::*;

/// Returns a dashboard and the queries of its panels.
fn dashboard(name: &str, key: &str) -> (Value, Vec<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana/dashboards");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let (mut queries, mut ids) = (Vec::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have one id: {panel}");
        let targets = panel["targets"].as_array().into_iter().flatten();
        queries.extend(targets.map(|target| fill_in(target[key].as_str().unwrap())));
    }
    assert!(
        queries.len() > 6 && queries.iter().all(|query| !query.replace("$/", "/").contains('$')),
        "{queries:?}"
    );
    (dashboard, queries)
}

/// Replaces the variables as Grafana does with the selection `All`.
fn fill_in(query: &str) -> String {
    let names = ["$fleet", "$node", "$quantity"];
    let query = names.iter().fold(query.to_owned(), |query, name| query.replace(name, ".*"));
    query.replace("$timeFilter", "time > now() - 1h").replace("$__interval", "1m")
}

#[tokio::test]
async fn dashboard_for_remote_write_finds_the_records_of_an_output() {
    let server = Prometheus::receiver("global: {}\n");
    let output = output(&server.write_url(), ReceiverConfig::Prometheus, "1");
    let now = Timestamp::now().as_millisecond();
    accepted(output.send_report(&report(1, now, 20.5), TIMEOUT).await);
    accepted(output.send_samples(&batch(&series(0, 10, "air", now - 9000)), TIMEOUT).await);
    let (dashboard, queries) = dashboard("atalaya-remote-write.json", "expr");
    for query in &queries {
        assert!(!server.query(query).is_empty(), "{query}");
    }
    for variable in &dashboard["templating"]["list"].as_array().unwrap()[1..] {
        let definition = fill_in(variable["definition"].as_str().unwrap());
        let values = definition.strip_prefix("label_values(").and_then(|rest| rest.rsplit_once(", "));
        let (selector, label) = values.unwrap();
        let label = label.trim_end_matches(')');
        assert!(server.query(selector).iter().any(|(labels, _)| labels[label].is_string()), "{definition}");
    }
}

#[tokio::test]
async fn dashboard_for_influxdb_finds_the_records_of_an_output() {
    let server = Influxdb::start();
    server.create_database("home", "");
    let database = InfluxdbConfig::V1 { database: "home".to_owned(), retention_policy: None };
    let output = output(&server.url(), ReceiverConfig::Influxdb(database), "1");
    let now = Timestamp::now().as_millisecond();
    accepted(output.send_report(&report(1, now - 60_000, 20.5), TIMEOUT).await);
    accepted(output.send_samples(&batch(&series(0, 10, "air", now - 60_000)), TIMEOUT).await);
    let (dashboard, queries) = dashboard("atalaya-influxdb.json", "query");
    let variables = &dashboard["templating"]["list"].as_array().unwrap()[1..];
    let variables = variables.iter().map(|variable| fill_in(variable["query"].as_str().unwrap()));
    for query in queries.into_iter().chain(variables) {
        assert_ne!(server.query("home", &query), Value::Array(Vec::new()), "{query}");
    }
}
