//! A leader tells a collector how the fleet is; no other API sees that, and no report waits for it.

use std::time::Duration;

use atalaya_testbed::{ApiMode, eventually};
use serde_json::Value;

use crate::common::{Fleet, PATIENCE};

on_both!(
    a_collector_is_told_of_nodes_and_leader,
    an_api_that_is_no_collector_is_told_nothing,
    a_collector_that_does_not_listen_holds_up_no_report,
);

/// What was told, the newest last.
fn told(fleet: &Fleet) -> Vec<Value> {
    let requests = fleet.api.requests();
    let told = requests.iter().filter(|request| request.path == "/api/v1/fleet");
    told.map(|request| serde_json::from_slice(&request.body).expect("it is JSON")).collect()
}

fn reports(fleet: &Fleet) -> usize {
    fleet.api.requests().iter().filter(|request| request.path == "/nuevo").count()
}

fn a_collector_is_told_of_nodes_and_leader(fleet: Fleet) {
    fleet.api.set(ApiMode::Collector(Duration::ZERO));
    let mut one = fleet.leader("1", &["--board", "v90"]);
    let _two = fleet.follower("2", &["--board", "v90"]);
    let both = eventually("both nodes in a status", PATIENCE, || {
        told(&fleet).pop().filter(|status| status["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2))
    });
    assert_eq!(both["leader"], "1");
    assert!(both["cycle"].as_u64().unwrap() > 0 && both["more"] == 0, "{both}");
    for (node, id) in both["nodes"].as_array().unwrap().iter().zip(["1", "2"]) {
        assert_eq!((&node["id"], &node["health"]), (&Value::from(id), &Value::from("ok")), "{both}");
        assert_eq!(node["readings"][0]["value"], 90.0);
        assert!(node["age"].as_f64().unwrap() < 60.0 && node["host"].is_string());
    }
    one.kill9();
    let next = eventually("a status of the next leader", PATIENCE, || {
        told(&fleet).pop().filter(|status| status["leader"] == "2")
    });
    assert!(next["epoch"].as_i64() > both["epoch"].as_i64());
}

fn an_api_that_is_no_collector_is_told_nothing(fleet: Fleet) {
    let _one = fleet.leader("1", &[]);
    // As long as it takes to be told several times.
    let enough = Duration::from_secs(4).div_duration_f64(fleet.pace.period) as usize;
    eventually("reports", PATIENCE, || (reports(&fleet) >= enough).then_some(()));
    assert_eq!(told(&fleet), [Value::Null; 0]);
    // Another collector may take its place, and the other way round.
    fleet.api.set(ApiMode::Collector(Duration::ZERO));
    eventually("a status", PATIENCE, || told(&fleet).pop());
    fleet.api.set(ApiMode::Accept);
    let before = reports(&fleet);
    eventually("a report to the other API", PATIENCE, || (reports(&fleet) > before + 1).then_some(()));
    let seen = told(&fleet).len();
    eventually("reports", PATIENCE, || (reports(&fleet) > before + enough).then_some(()));
    assert!(told(&fleet).len() <= seen + 1, "one may have been under way");
}

fn a_collector_that_does_not_listen_holds_up_no_report(fleet: Fleet) {
    fleet.api.set(ApiMode::Collector(Duration::from_secs(3_600)));
    let _one = fleet.leader("1", &[]);
    eventually("somebody waits for an answer", PATIENCE, || told(&fleet).pop());
    let before = reports(&fleet);
    // The request is given up after two seconds, and made again: meanwhile reports go on.
    eventually("more of them", PATIENCE, || (told(&fleet).len() >= 3).then_some(()));
    let periods = Duration::from_secs(4).div_duration_f64(fleet.pace.period);
    let came = (reports(&fleet) - before) as f64;
    assert!(came >= periods / 2.0, "{came} reports in {periods} periods");
}
