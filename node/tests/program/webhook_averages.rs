//! Averages for webhooks: each has an outbox of its own in ZooKeeper, so none is lost and none delays another.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use atalaya_testbed::{
    Api, ApiMode, Collector, Process, Recorded, Scratch, StoredReport, eventually, node_command,
    parent_death_command,
};
use serde_json::Value;

use crate::common::metrics_client::MetricsClient;
use crate::common::{DEADLINE, Fleet};

on_both!(
    webhook_gets_each_average_once_and_in_order,
    webhook_that_was_away_or_hung_gets_all_averages,
    successor_of_a_killed_leader_delivers_to_the_webhook,
    outputs_get_each_average_within_a_period_while_another_is_away,
);

on_secured!(webhook_gets_each_average_once_and_in_order, averages_that_a_webhook_refuses_are_set_aside);

mod memory_only {
    use crate::common::Fleet;

    #[test]
    fn averages_that_a_webhook_refuses_are_set_aside() {
        super::averages_that_a_webhook_refuses_are_set_aside(Fleet::memory());
    }

    #[test]
    fn webhook_that_stored_an_average_and_did_not_answer_gets_the_same_average_again() {
        super::webhook_that_stored_an_average_and_did_not_answer_gets_the_same_average_again(Fleet::memory());
    }

    #[test]
    fn collector_as_a_webhook_stores_each_average_once() {
        super::collector_as_a_webhook_stores_each_average_once(&Fleet::memory());
    }

    #[test]
    fn outputs_are_fixed_until_a_restart_and_a_removed_one_keeps_its_reports() {
        super::outputs_are_fixed_until_a_restart_and_a_removed_one_keeps_its_reports(&Fleet::memory());
    }

    #[test]
    fn check_lists_outputs_and_refuses_those_that_cannot_be_used() {
        super::check_lists_outputs_and_refuses_those_that_cannot_be_used();
    }

    #[test]
    #[cfg(feature = "fault-points")]
    fn leader_that_dies_at_a_step_of_delivering_loses_and_changes_no_average() {
        super::leader_that_dies_at_a_step_of_delivering_loses_and_changes_no_average();
    }
}

/// Maximum delay on a busy machine.
const LATE: Duration = Duration::from_millis(500);
const BOARD: &str = r#"
[boards.v80]
backend = "sim"
sensors = [{ name = "s", chip = "random", sim = { temperature = { constant = 80 } } }]
"#;

/// A boards.toml with webhooks, and the webhooks.
struct Webhooks {
    apis: Vec<Api>,
    scratch: Scratch,
}

impl Webhooks {
    fn start(count: usize) -> Webhooks {
        let webhooks = Webhooks {
            apis: std::iter::repeat_with(Api::start).take(count).collect(),
            scratch: Scratch::new("webhooks"),
        };
        let urls: Vec<String> = webhooks.apis.iter().map(|api| format!("{}hook", api.base_url())).collect();
        webhooks.write(&urls);
        webhooks
    }

    /// Writes boards.toml with outputs `w1`, `w2`, … at these addresses.
    fn write(&self, urls: &[String]) {
        let output = |(number, url): (usize, &String)| {
            format!("[[fleet.outputs]]\ntype = \"webhook\"\nname = \"w{}\"\nurl = \"{url}\"\n", number + 1)
        };
        let outputs: String = urls.iter().enumerate().map(output).collect();
        std::fs::write(self.file(), format!("{outputs}{BOARD}")).unwrap();
    }

    fn file(&self) -> String {
        self.scratch.path().join("boards.toml").display().to_string()
    }

    /// Returns the command of a node without an API.
    fn command(&self, fleet: &Fleet, id: &str) -> Command {
        let mut command = node_command(env!("CARGO_BIN_EXE_atalaya"), id, &fleet.hosts);
        let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
        command.args(["--session-timeout", &milliseconds(fleet.pace.session)]);
        command.args(["--sampling-period", &milliseconds(fleet.pace.period)]);
        command.args(["--boards", &self.file(), "--board", "v80"]).envs(fleet.identity("fleet"));
        command
    }

    fn leader(&self, fleet: &Fleet) -> Process {
        let node = Process::spawn(self.command(fleet, "1"));
        node.wait_for_line(" leading epoch=", DEADLINE);
        node
    }
}

/// Returns the epoch and cycle of a request, by its key and by its body.
fn key(request: &Recorded) -> (i64, u64) {
    let key = request.header("Idempotency-Key").expect("every average has a key");
    let (epoch, cycle) = key.split_once('-').expect("an epoch and a cycle");
    let key: (i64, u64) = (epoch.parse().unwrap(), cycle.parse().unwrap());
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((body["epoch"].as_i64(), body["cycle"].as_u64()), (Some(key.0), Some(key.1)));
    key
}

/// Returns the averages that a webhook has kept, in order of arrival.
fn kept(api: &Api) -> Vec<(i64, u64)> {
    api.requests().iter().filter(|request| request.kept).map(key).collect()
}

#[track_caller]
fn wait_for_cycle(api: &Api, cycle: u64) {
    let what = format!("cycle {cycle}");
    api.wait_for(&what, DEADLINE, |all| all.iter().any(|request| request.kept && key(request).1 >= cycle));
}

/// Checks that the cycles 1, 2, … have arrived, each once.
#[track_caller]
fn each_once_and_in_order(kept: &[(i64, u64)]) {
    let cycles: Vec<u64> = kept.iter().map(|(_, cycle)| *cycle).collect();
    assert_eq!(cycles, (1..=cycles.len() as u64).collect::<Vec<_>>(), "{kept:?}");
    assert!(kept.is_sorted_by_key(|(epoch, _)| *epoch), "{kept:?}");
}

fn reports(fleet: &Fleet, words: &[&str]) -> Output {
    let mut command = fleet.tool();
    command.arg("reports").args(words).args(["--zookeeper", &fleet.hosts, "--session-timeout", "2s"]);
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn status(fleet: &Fleet) -> Value {
    let mut command = fleet.tool();
    command.args(["status", "--output", "json", "--zookeeper", &fleet.hosts, "--session-timeout", "4s"]);
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}

fn waits_for_nothing(fleet: &Fleet, name: &str) {
    let (probe, path) = (fleet.probe(), format!("/atalaya/outputs/{name}/reports"));
    eventually("the outbox to be empty", DEADLINE, || probe.ls(&path).is_empty().then_some(()));
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
    let mut next = 1;
    for (mode, problem) in [
        (ApiMode::Refuse, "cannot connect"),
        (ApiMode::Status(503), "503 Service Unavailable"),
        (ApiMode::Hang, "no answer within"),
    ] {
        wait_for_cycle(webhook, next);
        webhook.set(mode);
        node.wait_for_line(&format!("the output does not accept reports: {problem}"), DEADLINE);
        let seen = eventually("four waiting averages", DEADLINE, || {
            let status = status(&fleet);
            let output = status["outputs"][0].clone();
            (output["waiting"].as_u64()? >= 4 && output["problem"].is_string()).then_some(output)
        });
        assert!(seen["problem"].as_str().unwrap().contains(problem), "{seen}");
        assert!(seen["oldest"].is_string() && seen["used"] == true && seen["name"] == "w1", "{seen}");
        next = kept(webhook).len() as u64 + 4;
        webhook.set(ApiMode::Accept);
    }
    wait_for_cycle(webhook, next);
    let lines =
        node.log().iter().filter(|line| line.text.contains("the output accepts reports again")).count();
    assert_eq!(lines, 3);
    each_once_and_in_order(&kept(webhook));
    webhook.set(ApiMode::Accept);
    assert_eq!(status(&fleet)["outputs"][0]["aside"], 0);
}

fn successor_of_a_killed_leader_delivers_to_the_webhook(fleet: Fleet) {
    let webhooks = Webhooks::start(1);
    let [webhook] = &webhooks.apis[..] else { panic!() };
    webhook.set(ApiMode::Refuse);
    let mut one = webhooks.leader(&fleet);
    let two = Process::spawn(webhooks.command(&fleet, "2"));
    two.wait_for_line("following: waiting", DEADLINE);
    let probe = fleet.probe();
    let waiting = || probe.ls("/atalaya/outputs/w1/reports").len();
    eventually("four waiting averages", DEADLINE, || (waiting() >= 4).then_some(()));
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
    const CYCLES: u64 = 60;
    let period = Duration::from_millis(200);
    let webhooks = Webhooks::start(3);
    let away = &webhooks.apis[1];
    let mut command = webhooks.command(&fleet, "1");
    command.args(["--sampling-period", "200ms"]);
    let node = Process::spawn(command);
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
        each_once_and_in_order(&kept(api));
        for request in api.requests() {
            let delay = request.at.saturating_duration_since(committed[&key(&request).1]);
            assert!(delay < period + LATE, "{:?} arrived after {delay:?}", key(&request));
        }
    }
    away.set(ApiMode::Accept);
    wait_for_cycle(away, CYCLES);
    each_once_and_in_order(&kept(away));
}

fn averages_that_a_webhook_refuses_are_set_aside(fleet: Fleet) {
    let webhooks = Webhooks::start(2);
    let [webhook, other] = &webhooks.apis[..] else { panic!() };
    webhook.set(ApiMode::RefuseCycle(2));
    let mut command = webhooks.command(&fleet, "1");
    command.args(["--metrics-listen", "127.0.0.1:0"]);
    let node = Process::spawn(command);
    wait_for_cycle(webhook, 5);
    wait_for_cycle(other, 5);
    each_once_and_in_order(&kept(other));
    let cycles: Vec<u64> = kept(webhook).iter().map(|(_, cycle)| *cycle).collect();
    assert_eq!(cycles[..4], [1, 3, 4, 5]);
    let tries = webhook.requests().iter().filter(|request| key(request).1 == 2).count();
    assert_eq!(tries, 3, "a proxy may have answered");
    node.wait_for_line("the output rejects reports: it answers 400 Bad Request", DEADLINE);

    let metrics = MetricsClient::of(&node);
    metrics.wait_for("atalaya_output_aside_reports{output=\"w1\"}", |aside| aside == 1.0);
    metrics.wait_for("atalaya_output_deliveries_total{output=\"w1\",outcome=\"rejected\"}", |count| {
        count == 3.0
    });
    metrics.wait_for("atalaya_output_deliveries_total{output=\"w2\",outcome=\"accepted\"}", |count| {
        count >= 5.0
    });
    metrics.wait_for("atalaya_output_reports_set_aside_total{output=\"w1\"}", |count| count == 1.0);
    metrics.wait_for("atalaya_output_failing{output=\"w1\"}", |failing| failing == 0.0);
    metrics.wait_for("atalaya_output_accepted_age_seconds{output=\"w2\"}", |age| age < 30.0);

    assert_eq!(stdout(&reports(&fleet, &["list"])), "everything is delivered\n", "to the API");
    let listed = stdout(&reports(&fleet, &["list", "--receiver", "w1", "--output", "json"]));
    let line = listed.lines().find(|line| line.contains("rejected")).unwrap();
    let rejected: Value = serde_json::from_str(line).unwrap();
    assert_eq!(rejected["cycle"], 2);
    assert!(rejected["reason"].as_str().unwrap().starts_with("it answers 400"), "{rejected}");
    assert_eq!(status(&fleet)["outputs"][0]["aside"], 1);

    webhook.set(ApiMode::Accept);
    assert_eq!(stdout(&reports(&fleet, &["retry", "--all", "--receiver", "w1"])), "1 retried\n");
    let has_arrived = |all: &[Recorded]| all.iter().any(|request| request.kept && key(request).1 == 2);
    webhook.wait_for("the second average", DEADLINE, has_arrived);
    metrics.wait_for("atalaya_output_aside_reports{output=\"w2\"}", |aside| aside == 0.0);
    if fleet.security.is_some() {
        let mut command = fleet.tool();
        command.args(["acl", "show", "--zookeeper", &fleet.hosts, "--acl", "fleet"]);
        let shown = command.output().unwrap();
        assert!(matches!(shown.status.code(), Some(0 | 1)), "{shown:?}");
        assert!(!stdout(&shown).contains("/atalaya/outputs"), "the ACLs are those of the fleet: {shown:?}");
    }
}

fn webhook_that_stored_an_average_and_did_not_answer_gets_the_same_average_again(fleet: Fleet) {
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
    assert_eq!(status(&fleet)["outputs"][0]["aside"], 0);
}

fn collector_as_a_webhook_stores_each_average_once(fleet: &Fleet) {
    let mut collector = Collector::start(env!("CARGO_BIN_EXE_atalaya"), &[]);
    let webhooks = Webhooks::start(0);
    webhooks.write(&[format!("http://{}/api/v1/reports", collector.address())]);
    let _one = webhooks.leader(fleet);
    let cycles = |collector: &Collector| {
        let mut cycles: Vec<_> = collector.reports().iter().filter_map(StoredReport::key).collect();
        cycles.sort_unstable();
        cycles
    };
    eventually("three averages", DEADLINE, || (cycles(&collector).len() >= 3).then_some(()));
    collector.restart();
    let before = cycles(&collector).len();
    eventually("more averages", DEADLINE, || (cycles(&collector).len() >= before + 3).then_some(()));
    let mut keys = cycles(&collector);
    let count = keys.len();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

fn outputs_are_fixed_until_a_restart_and_a_removed_one_keeps_its_reports(fleet: &Fleet) {
    let webhooks = Webhooks::start(2);
    let urls: Vec<String> = webhooks.apis.iter().map(|api| format!("{}hook", api.base_url())).collect();
    webhooks.apis[1].set(ApiMode::Refuse);
    let mut one = webhooks.leader(fleet);
    wait_for_cycle(&webhooks.apis[0], 4);
    webhooks.write(&urls[..1]);
    one.hup();
    one.wait_for_line("takes effect only after a restart: outputs", DEADLINE);
    let probe = fleet.probe();
    let waiting = || probe.ls("/atalaya/outputs/w2/reports");
    assert!(waiting().len() >= 3);
    one.term();
    assert!(one.wait_exit(DEADLINE).success());

    let one = webhooks.leader(fleet);
    let kept_reports = waiting();
    let cycle = kept(&webhooks.apis[0]).len() as u64 + 3;
    webhooks.apis[1].set(ApiMode::Accept);
    wait_for_cycle(&webhooks.apis[0], cycle);
    each_once_and_in_order(&kept(&webhooks.apis[0]));
    assert_eq!(waiting(), kept_reports, "nothing is added and nothing is delivered");
    assert_eq!(kept(&webhooks.apis[1]), []);
    let outputs = status(fleet)["outputs"].clone();
    assert_eq!((&outputs[1]["name"], &outputs[1]["used"]), (&"w2".into(), &false.into()), "{outputs}");
    let listed = stdout(&reports(fleet, &["list", "--receiver", "w2"]));
    assert_eq!(listed.lines().count(), 1 + kept_reports.len(), "{listed}");
    let first = &kept_reports[0];
    assert_eq!(stdout(&reports(fleet, &["drop", first, "--receiver", "w2"])), "1 dropped\n");
    assert!(!waiting().contains(first));
    drop(one);
}

fn check_lists_outputs_and_refuses_those_that_cannot_be_used() {
    let webhooks = Webhooks::start(1);
    let check = || {
        let mut command = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
        command.args(["check", &webhooks.file()]).current_dir(webhooks.scratch.path()).output().unwrap()
    };
    let checked = check();
    assert!(checked.status.success(), "{checked:?}");
    let line = "output                   w1 (type webhook, averages) at http://127.0.0.1\n";
    assert!(stdout(&checked).contains(line), "{checked:?}");
    webhooks.write(&["http://user:secret@127.0.0.1/".to_owned()]);
    let checked = check();
    assert_eq!(checked.status.code(), Some(78));
    let problem = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(
        problem.contains("the output `w1` cannot be used: the address contains a user or a password"),
        "{problem}"
    );
}

/// The leader dies while a request is under way, after its answer, while the report is deleted, and after that. Its
/// successor sends what may not have arrived, with the same key and the same body.
#[cfg(feature = "fault-points")]
fn leader_that_dies_at_a_step_of_delivering_loses_and_changes_no_average() {
    for point in ["sending", "answered", "deleting", "deleted"] {
        let fleet = Fleet::memory();
        let webhooks = Webhooks::start(2);
        let mut command = webhooks.command(&fleet, "1");
        // Passes of both outputs count, so either of them is hit.
        command.env("ATALAYA_FAULT", format!("{point}:5"));
        let mut one = Process::spawn(command);
        one.wait_for_line(" leading epoch=", DEADLINE);
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
