//! Fleets below two chroots report to one collector as zones of one fleet.

use std::time::Duration;

use atalaya_testbed::{Collector, eventually};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::common::{DEADLINE, Fleet, TestEnv};

on_both!(collector_combines_zones_and_names_the_one_that_is_away);

const BINARY: &str = env!("CARGO_BIN_EXE_atalaya");

fn json(collector: &Collector, path: &str) -> Value {
    let answer = collector.get(&format!("/api/v1/{path}"));
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// Returns the average of all zones and the number of readings in the hour before `to`, over all of its steps.
fn combined(collector: &Collector, to: Timestamp) -> (f64, f64) {
    let from = to - SignedDuration::from_hours(1);
    let series = json(collector, &format!("series?fleet=home&zone=*&from={from}&to={to}&step=1m"));
    let points = series["points"].as_array().unwrap().iter();
    let (sum, readings) = points.fold((0.0, 0.0), |(sum, all), point| {
        let readings = point["readings"].as_f64().unwrap();
        (sum + readings * point["mean"].as_f64().unwrap(), all + readings)
    });
    (sum / readings, readings)
}

/// Returns the same, computed from the reports of each zone.
fn flat(collector: &Collector, to: Timestamp) -> (f64, f64) {
    let (mut sum, mut readings) = (0.0, 0.0);
    for zone in ["north", "south"] {
        let reports = json(collector, &format!("reports?fleet=home&zone={zone}&to={to}&limit=5000"));
        for report in reports["reports"].as_array().unwrap() {
            let count = report["count"].as_f64().unwrap();
            sum += count * report["mean"].as_f64().unwrap();
            readings += count;
        }
    }
    (sum / readings, readings)
}

fn zone<'a>(zones: &'a Value, name: &str) -> Option<&'a Value> {
    zones["zones"].as_array().unwrap().iter().find(|zone| zone["zone"] == name)
}

fn collector_combines_zones_and_names_the_one_that_is_away(fleet: Fleet) {
    let collector = Collector::start(BINARY, &[]);
    let url = collector.url();
    let node = |env: &TestEnv, id: &str, zone: &str, board: &str| {
        let reports = ["--api-url", &url, "--api-method", "post", "--fleet-name", "home", "--zone", zone];
        env.node(id, &[&reports[..], &["--board", board]].concat())
    };
    let [north, south] = ["/north", "/south"].map(|chroot| fleet.below(chroot));
    // The ids of nodes, the epochs and the cycles of both are the same.
    let _nodes = [node(&north, "1", "north", "v70"), node(&north, "2", "north", "v80")];
    let mut away = node(&south, "1", "south", "v90");
    eventually("reports of all nodes of both zones", DEADLINE, || {
        let latest = |zone: &str| {
            let latest = json(&collector, &format!("latest?fleet=home&zone={zone}"));
            (latest["reports"][0]["mean"].as_f64(), latest["reports"][0]["count"].as_u64())
        };
        let all = latest("north") == (Some(75.0), Some(2)) && latest("south") == (Some(90.0), Some(1));
        all.then_some(())
    });
    let to = Timestamp::now();
    // Reports that were read before arrive later.
    eventually("the same average over all readings", DEADLINE, || {
        let (own, all) = (combined(&collector, to), flat(&collector, to));
        (own.1 == all.1 && (own.0 - all.0).abs() < 1e-9 && own.1 >= 3.0).then_some(())
    });
    let status = json(&collector, "fleet?fleet=home&zone=south");
    eventually("the status of the south", DEADLINE, || {
        let status = json(&collector, "fleet?fleet=home&zone=south");
        (status["status"]["zone"] == "south" && status["status"]["nodes"][0]["id"] == "1").then_some(())
    });
    assert_eq!(status["warning"], Value::Null, "two zones are not two fleets under one name");
    assert_eq!(json(&collector, "latest?fleet=home")["reports"], Value::Array(Vec::new()));

    away.kill9();
    eventually("the south is late, and the north is not", DEADLINE, || {
        let zones = json(&collector, "zones?fleet=home");
        (zone(&zones, "south")?["late"] == true && zone(&zones, "north")?["late"] == false).then_some(())
    });
    eventually("a step without the south", DEADLINE, || {
        let series = json(&collector, &format!("series?fleet=home&zone=*&from={to}&step=1s"));
        let last = series["points"].as_array().unwrap().last()?.clone();
        (last["missing"] == serde_json::json!(["south"]) && last["mean"] == 75.0).then_some(())
    });

    // The same fleet returns under another name: a new zone, whose epoch is not compared with those of the old one.
    let _renamed = node(&south, "1", "southern", "v90");
    let zones = eventually("the renamed zone reports", DEADLINE + Duration::from_secs(30), || {
        let zones = json(&collector, "zones?fleet=home");
        (zone(&zones, "southern")?["late"] == false).then_some(zones)
    });
    assert_eq!(zones["zones"].as_array().unwrap().len(), 3, "the reports of the old name stay: {zones}");
    assert!(
        zone(&zones, "southern").unwrap()["epoch"].as_i64()
            > zone(&zones, "south").unwrap()["epoch"].as_i64()
    );
}
