//! Averages for webhooks: each has an outbox of its own in ZooKeeper, so none is lost and none delays another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use atalaya_testbed::{Api, ApiMode, Collector, Process, StoredReport, eventually};
use serde_json::Value;

use crate::common::webhooks::{
    Webhooks, all_have_arrived, each_once_and_in_order, kept, key, wait_for_cycle, waits_for_nothing,
};
use crate::common::{DEADLINE, Fleet, Timing, wait_until};

on_both!(
    webhook_gets_each_average_once_and_in_order,
    webhook_that_was_away_or_hung_gets_all_averages,
    successor_of_a_killed_leader_delivers_to_the_webhook,
    outputs_get_each_average_within_a_period_while_another_is_away,
);

on_secured!(webhook_gets_each_average_once_and_in_order);

/// Maximum delay on a busy machine.
const LATE: Duration = Duration::from_millis(500);

/// Waits until a webhook has kept the cycles 1 to `last`.
fn wait_for_all(webhook: &Api, last: u64) {
    wait_until(&format!("{last} cycles"), || {
        let cycles: BTreeSet<u64> = kept(webhook).into_iter().map(|(_, cycle)| cycle).collect();
        (1..=last).all(|cycle| cycles.contains(&cycle))
    });
}

fn webhook_gets_each_average_once_and_in_order(fleet: Fleet) {
    let webhooks = Webhooks::start(1);
    let _one = webhooks.leader(&fleet);
    wait_for_cycle(&webhooks.apis[0], 3);
    let requests = webhooks.apis[0].requests();
    each_once_and_in_order(&kept(&webhooks.apis[0]));
    let request = &requests[0];
    assert_eq!((&*request.method, &*request.path), ("POST", "/hook"));
    assert_eq!(request.header("Content-Type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&body["mean"], &body["count"], &body["fleet"]), (&80.0.into(), &1.into(), &"atalaya".into()));
    // Without an API there is nothing in its outbox.
    assert!(fleet.probe().ls("/atalaya/reports").is_empty());
}

fn webhook_that_was_away_or_hung_gets_all_averages(fleet: Fleet) {
    let webhooks = Webhooks::start(1);
    let [webhook] = &webhooks.apis[..] else { panic!() };
    let node = webhooks.leader(&fleet);
    // The node logs a change after the webhook has answered, or not.
    let wait_for_lines = |text: &str, count: usize| {
        wait_until(text, || node.log().iter().filter(|line| line.text.contains(text)).count() == count);
    };
    let mut next = 1;
    let modes = [
        (ApiMode::Refuse, "cannot connect"),
        (ApiMode::Status(503), "it answers 503 Service Unavailable"),
        (ApiMode::Hang, "no answer within"),
    ];
    for (count, (mode, problem)) in (1..).zip(modes) {
        wait_for_cycle(webhook, next);
        webhook.set(mode);
        // The first reason may be that of a connection that was kept open.
        wait_for_lines("the output does not accept reports: ", count);
        let seen = eventually("four waiting averages", DEADLINE, || {
            let status = fleet.status();
            let output = status["outputs"][0].clone();
            (output["waiting"].as_u64()? >= 4 && output["problem"].as_str()?.contains(problem))
                .then_some(output)
        });
        assert!(seen["oldest"].is_string() && seen["used"] == true && seen["name"] == "w1", "{seen}");
        next = kept(webhook).len() as u64 + 4;
        webhook.set(ApiMode::Accept);
    }
    wait_for_cycle(webhook, next);
    wait_for_lines("the output accepts reports again", modes.len());
    wait_for_all(webhook, next);
    assert_eq!(fleet.status()["outputs"][0]["aside"], 0);
}

fn successor_of_a_killed_leader_delivers_to_the_webhook(fleet: Fleet) {
    let webhooks = Webhooks::start(1);
    let [webhook] = &webhooks.apis[..] else { panic!() };
    webhook.set(ApiMode::Refuse);
    let mut one = webhooks.leader(&fleet);
    let two = Process::start(webhooks.command(&fleet, "2"), "following: waiting", DEADLINE);
    let probe = fleet.probe();
    let waiting = || probe.ls("/atalaya/outputs/w1/reports").len();
    wait_until("four waiting averages", || waiting() >= 4);
    one.kill9();
    let written = waiting() as u64;
    two.wait_for_line(" leading epoch=", DEADLINE);
    webhook.set(ApiMode::Accept);
    wait_for_cycle(webhook, written + 2);
    each_once_and_in_order(&kept(webhook));
    let epochs: Vec<i64> = kept(webhook).iter().map(|(epoch, _)| *epoch).collect();
    assert!(epochs[..written as usize].iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
    assert!(epochs.contains(&(epochs[0] + 1)), "{epochs:?}");
    waits_for_nothing(&fleet, "w1");
}

fn outputs_get_each_average_within_a_period_while_another_is_away(fleet: Fleet) {
    const CYCLES: u64 = 16;
    let period = Duration::from_secs(1);
    let webhooks = Webhooks::start(3);
    let away = &webhooks.apis[1];
    // A long session timeout: a busy machine must not end the leadership.
    let pace = Timing { session: Duration::from_secs(10), period };
    let node = Process::start(webhooks.command_with(&fleet, "1", pace), " leading epoch=", DEADLINE);
    // It hangs, so that requests to it stay under way, then it is away.
    away.set(ApiMode::Hang);
    wait_for_cycle(&webhooks.apis[0], CYCLES / 2);
    away.set(ApiMode::Refuse);
    wait_for_cycle(&webhooks.apis[0], CYCLES);
    wait_for_cycle(&webhooks.apis[2], CYCLES);
    let committed: BTreeMap<u64, Instant> = node
        .log()
        .iter()
        .filter_map(|line| {
            let (_, rest) = line.text.split_once(" average cycle=")?;
            Some((rest.split(' ').next()?.parse().ok()?, line.at))
        })
        .collect();
    for api in [&webhooks.apis[0], &webhooks.apis[2]] {
        all_have_arrived(&kept(api));
        let mut arrived = BTreeSet::new();
        for request in api.requests().iter().filter(|request| arrived.insert(key(request))) {
            // The newest have arrived since the log was read.
            let Some(committed) = committed.get(&key(request).1) else { continue };
            let delay = request.at.saturating_duration_since(*committed);
            assert!(delay < period + LATE, "{:?} arrived after {delay:?}", key(request));
        }
    }
    away.set(ApiMode::Accept);
    wait_for_all(away, CYCLES);
}

#[test]
fn webhook_that_stored_an_average_and_did_not_answer_gets_the_same_average_again() {
    let fleet = Fleet::memory();
    let webhooks = Webhooks::start(1);
    let [webhook] = &webhooks.apis[..] else { panic!() };
    let _one = webhooks.leader(&fleet);
    for mode in [ApiMode::KeepAndCut, ApiMode::KeepAndAnswer(500)] {
        wait_for_cycle(webhook, 1);
        let before = webhook.requests().len();
        webhook.set(mode);
        webhook.wait_for("two requests", DEADLINE, |all| all.len() >= before + 3);
        // Answers 409 to keys that it has: then the average is delivered.
        webhook.set(ApiMode::Once);
        let next = kept(&webhooks.apis[0]).last().unwrap().1 + 3;
        wait_for_cycle(webhook, next);
    }
    let mut bodies: BTreeMap<(i64, u64), Vec<u8>> = BTreeMap::new();
    let mut order = Vec::new();
    for request in webhook.requests().iter().filter(|request| request.kept) {
        let key = key(request);
        match bodies.get(&key) {
            Some(body) => assert_eq!(*body, request.body, "a repeat has the same values and time"),
            None => {
                order.push(key);
                bodies.insert(key, request.body.clone());
            }
        }
    }
    each_once_and_in_order(&order);
    waits_for_nothing(&fleet, "w1");
    assert_eq!(fleet.status()["outputs"][0]["aside"], 0);
}

#[test]
fn collector_as_a_webhook_stores_each_average_once() {
    let fleet = Fleet::memory();
    let mut collector = Collector::start(env!("CARGO_BIN_EXE_atalaya"), &[]);
    let webhooks = Webhooks::start(0);
    webhooks.write(&[format!("http://{}/api/v1/reports", collector.address())]);
    let _one = webhooks.leader(&fleet);
    // The fleet has no name of its own.
    let cycles = |collector: &Collector| {
        let answer = collector.get("/api/v1/reports?fleet=atalaya&limit=1000");
        let page: Value = serde_json::from_str(&answer.body).unwrap();
        let reports = page["reports"].as_array().unwrap_or_else(|| panic!("{answer:?}")).iter();
        let mut keys: Vec<_> =
            reports.filter_map(StoredReport::parse).filter_map(|report| report.key()).collect();
        keys.sort_unstable();
        keys
    };
    wait_until("three averages", || cycles(&collector).len() >= 3);
    collector.process().kill9();
    collector.restart();
    let before = cycles(&collector).len();
    wait_until("more averages", || cycles(&collector).len() >= before + 3);
    let mut keys = cycles(&collector);
    let count = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

/// The leader dies while a request is under way, after its answer, while the report is deleted, and after that. Its
/// successor sends what may not have arrived, with the same key and the same body.
#[test]
#[cfg(feature = "fault-points")]
fn leader_that_dies_at_a_step_of_delivering_loses_and_changes_no_average() {
    for point in ["sending", "answered", "deleting", "deleted"] {
        let fleet = Fleet::memory();
        let webhooks = Webhooks::start(2);
        let mut command = webhooks.command(&fleet, "1");
        // Passes of both outputs count, so either of them is hit.
        command.env("ATALAYA_FAULT", format!("{point}:5"));
        let mut one = Process::start(command, " leading epoch=", DEADLINE);
        let two = Process::spawn(webhooks.command(&fleet, "2"));
        one.wait_exit(DEADLINE);
        two.wait_for_line(" leading epoch=", DEADLINE);
        for (number, webhook) in (1..).zip(&webhooks.apis) {
            wait_for_cycle(webhook, 6);
            let mut bodies: BTreeMap<(i64, u64), Vec<u8>> = BTreeMap::new();
            let (mut order, mut repeats) = (Vec::new(), 0);
            for request in webhook.requests().iter().filter(|request| request.kept) {
                let key = key(request);
                match bodies.insert(key, request.body.clone()) {
                    Some(body) => {
                        assert_eq!(body, request.body, "{point}: a repeat has the same values and time");
                        repeats += 1;
                    }
                    None => order.push(key),
                }
            }
            each_once_and_in_order(&order);
            assert!(repeats <= 2, "{point}: {repeats} were sent twice");
            waits_for_nothing(&fleet, &format!("w{number}"));
        }
    }
}
