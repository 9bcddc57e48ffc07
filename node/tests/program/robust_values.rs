//! Robust values of a fleet: main value, quorum, outliers and groups, with a Kazoo program among the nodes.
#![cfg(unix)]

use std::time::{Duration, Instant};

use atalaya_testbed::{ApiMode, Process, Scratch, eventually};
use serde_json::Value;

use crate::common::metrics_client::MetricsClient;
use crate::common::{DEADLINE, Fleet, bodies, mean_reported};

on_both!(
    aggregate_and_quorum_in_config_apply_to_a_running_fleet,
    groups_and_outliers_are_reported_with_a_kazoo_program_in_the_fleet,
);

#[track_caller]
fn set(fleet: &Fleet, key: &str, value: &str) {
    fleet.succeeds(&["config", "set", &format!("/config/{key}"), value]);
}

fn aggregate_and_quorum_in_config_apply_to_a_running_fleet(fleet: Fleet) {
    let one = fleet.leader("1", &["--board", "v70", "--metrics-listen", "127.0.0.1:0"]);
    let _others = [fleet.follower("2", &["--board", "v70"]), fleet.follower("3", &["--board", "v90"])];
    mean_reported(&fleet.api, 230.0 / 3.0, Instant::now());
    let since = Instant::now();
    set(&fleet, "aggregate", "median");
    one.wait_for_line("follows /config/aggregate: median", DEADLINE);
    mean_reported(&fleet.api, 70.0, since);
    set(&fleet, "aggregate", "quantile=0.75");
    mean_reported(&fleet.api, 80.0, since);

    set(&fleet, "quorum", "4");
    one.wait_for_line("value withheld: too few nodes support it", DEADLINE);
    one.wait_for_line("withheld value=80", DEADLINE);
    let withheld = eventually("the withheld value in the status", DEADLINE, || {
        fleet.status()["withheld"].as_array()?.first().cloned()
    });
    assert_eq!((&withheld["nodes"], &withheld["needed"]), (&3.into(), &4.into()));
    let metrics = MetricsClient::of(&one);
    metrics.wait_for("atalaya_values_withheld_total", |count| count >= 2.0);
    let reports = fleet.api.requests().len();
    metrics.wait_for("atalaya_values_withheld_total", |count| count >= 5.0);
    assert!(fleet.api.requests().len() <= reports + 1, "a withheld value was reported");

    let since = Instant::now();
    set(&fleet, "quorum", "60%");
    one.wait_for_line("value is no longer withheld", DEADLINE);
    mean_reported(&fleet.api, 80.0, since);
    let keys: Vec<u64> =
        fleet.api.requests().iter().filter_map(|request| cycle(request.header("idempotency-key")?)).collect();
    assert!(keys.windows(2).all(|pair| pair[1] <= pair[0] + 1), "no number is left out: {keys:?}");
}

/// Returns the cycle of the key `{epoch}-{cycle}`.
fn cycle(key: &str) -> Option<u64> {
    key.split('-').nth(1)?.parse().ok()
}

/// Starts a node with a board of the group and a constant value.
fn grouped(fleet: &Fleet, folder: &Scratch, id: &str, group: &str, value: f64) -> Process {
    let boards = folder.path().join(format!("{id}.toml"));
    let text = format!(
        "[boards.b]\nbackend = \"sim\"\ngroup = \"{group}\"\n\
         sensors = [{{ name = \"s\", chip = \"random\", sim = {{ temperature = {{ constant = {value} }} }} }}]\n"
    );
    std::fs::write(&boards, text).unwrap();
    fleet.node(id, &["--boards", boards.to_str().unwrap(), "--board", "b", "--api-method", "auto"])
}

fn groups_and_outliers_are_reported_with_a_kazoo_program_in_the_fleet(fleet: Fleet) {
    fleet.api.set(ApiMode::Collector(Duration::ZERO));
    let folder = Scratch::new("groups");
    let one = grouped(&fleet, &folder, "1", "roof", 40.0);
    one.wait_for_line(" leading epoch=", DEADLINE);
    let others = [("2", "roof", 41.0), ("3", "roof", 42.0), ("4", "roof", 85.0)];
    let _others = others.map(|(id, group, value)| grouped(&fleet, &folder, id, group, value));
    let period = fleet.pace.period.as_secs_f64().to_string();
    let _kazoo = fleet.kazoo().script("follower.py", &["5", &fleet.hosts, &period, "20"]);

    let details = eventually("a report with the group and the outlier", DEADLINE, || {
        let reports = bodies(&fleet.api.requests());
        let complete = |report: &&Value| report["count"] == 5 && report["details"]["groups"][0]["count"] == 4;
        reports.iter().rev().find(complete).map(|report| report["details"].clone())
    });
    let group = &details["groups"][0];
    assert_eq!(
        (&group["group"], &group["value"], &group["max"]),
        (&"roof".into(), &52.0.into(), &85.0.into())
    );
    assert_eq!(group["statistics"]["median"], 41.5);
    assert_eq!(details["outliers"], serde_json::json!([{"node": "4", "value": 85.0}]));
    one.wait_for_line("outlier, part of the values", DEADLINE);
    let pushed = eventually("a fleet status with groups", DEADLINE, || {
        bodies(&fleet.api.requests())
            .into_iter()
            .rev()
            .find(|body| body["findings"]["groups"][0]["count"] == 4)
    });
    assert_eq!(pushed["nodes"][0]["group"], "roof");
    let shown = eventually("groups in the status", DEADLINE, || {
        Some(fleet.status()).filter(|status| status["groups"][0]["count"] == 4)
    });
    assert_eq!((&shown["groups"][0]["group"], &shown["outliers"][0]["node"]), (&"roof".into(), &"4".into()));
    assert_eq!((&shown["nodes"][0]["group"], &shown["nodes"][4]["group"]), (&"roof".into(), &Value::Null));

    set(&fleet, "outliers", "exclude");
    one.wait_for_line("follows /config/outliers: exclude", DEADLINE);
    let report = eventually("a report without the outlier", DEADLINE, || {
        let excluded =
            |report: &Value| report["count"] == 4 && report["details"]["outliers_excluded"] == true;
        bodies(&fleet.api.requests()).into_iter().rev().find(excluded)
    });
    assert_eq!((&report["mean"], &report["max"]), (&35.75.into(), &42.0.into()));
}
