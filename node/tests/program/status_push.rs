//! The leader pushes the fleet status to a collector. Other APIs do not receive it, and it delays no report.

use std::time::Duration;

use atalaya_testbed::{ApiMode, eventually};
use serde_json::Value;

use crate::common::{DEADLINE, Fleet};

on_both!(
    leader_pushes_nodes_and_leader_to_a_collector,
    leader_pushes_no_status_to_other_apis,
    status_push_that_hangs_delays_no_report,
);

/// The received fleet statuses, newest last.
fn told(fleet: &Fleet) -> Vec<Value> {
    let requests = fleet.api.requests();
    let told = requests.iter().filter(|request| request.path == "/api/v1/fleet");
    told.map(|request| serde_json::from_slice(&request.body).expect("it is JSON")).collect()
}

fn reports(fleet: &Fleet) -> usize {
    fleet.api.requests().iter().filter(|request| request.path == "/nuevo").count()
}

fn leader_pushes_nodes_and_leader_to_a_collector(fleet: Fleet) {
    fleet.api.set(ApiMode::Collector(Duration::ZERO));
    let mut one = fleet.leader("1", &["--board", "v90"]);
    let _two = fleet.follower("2", &["--board", "v90"]);
    let both = eventually("both nodes in a status", DEADLINE, || {
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
    let next = eventually("a status of the next leader", DEADLINE, || {
        told(&fleet).pop().filter(|status| status["leader"] == "2")
    });
    assert!(next["epoch"].as_i64() > both["epoch"].as_i64());
}

fn leader_pushes_no_status_to_other_apis(fleet: Fleet) {
    let _one = fleet.leader("1", &[]);
    // Long enough for several pushes.
    let enough = Duration::from_secs(4).div_duration_f64(fleet.pace.period) as usize;
    eventually("reports", DEADLINE, || (reports(&fleet) >= enough).then_some(()));
    assert_eq!(told(&fleet), [Value::Null; 0]);
    // The API is replaced by a collector, and the other way round.
    fleet.api.set(ApiMode::Collector(Duration::ZERO));
    eventually("a status", DEADLINE, || told(&fleet).pop());
    fleet.api.set(ApiMode::Accept);
    let before = reports(&fleet);
    eventually("a report to the other API", DEADLINE, || (reports(&fleet) > before + 1).then_some(()));
    let seen = told(&fleet).len();
    eventually("reports", DEADLINE, || (reports(&fleet) > before + enough).then_some(()));
    assert!(told(&fleet).len() <= seen + 1, "one may have been under way");
}

fn status_push_that_hangs_delays_no_report(fleet: Fleet) {
    fleet.api.set(ApiMode::Collector(Duration::from_secs(3_600)));
    let _one = fleet.leader("1", &[]);
    eventually("a client waits for an answer", DEADLINE, || told(&fleet).pop());
    let before = reports(&fleet);
    // The push times out after two seconds and is repeated; reports continue.
    eventually("more of them", DEADLINE, || (told(&fleet).len() >= 3).then_some(()));
    let periods = Duration::from_secs(4).div_duration_f64(fleet.pace.period);
    let came = (reports(&fleet) - before) as f64;
    assert!(came >= periods / 2.0, "{came} reports in {periods} periods");
}
