//! Outputs as an operator sees them: their status, metrics and log, averages that are set aside, and changes of boards.toml.

use atalaya_testbed::{ApiMode, Process, Recorded, eventually, parent_death_command};
use serde_json::Value;

use crate::common::metrics_client::MetricsClient;
use crate::common::outputs::stdout;
use crate::common::webhooks::{
    Webhooks, all_have_arrived, each_once_and_in_order, kept, key, wait_for_cycle,
};
use crate::common::{DEADLINE, Fleet};

on_secured!(averages_that_a_webhook_refuses_are_set_aside);

mod memory {
    #[test]
    fn averages_that_a_webhook_refuses_are_set_aside() {
        super::averages_that_a_webhook_refuses_are_set_aside(crate::common::Fleet::memory());
    }
}

fn averages_that_a_webhook_refuses_are_set_aside(fleet: Fleet) {
    let webhooks = Webhooks::start(2);
    let [webhook, other] = &webhooks.apis[..] else { panic!() };
    webhook.set(ApiMode::RefuseCycle(2, 400));
    let mut command = webhooks.command(&fleet, "1");
    command.args(["--metrics-listen", "127.0.0.1:0"]);
    let node = Process::start(command, " leading epoch=", DEADLINE);
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

    assert_eq!(stdout(&fleet.reports(&["list"])), "everything is delivered\n", "to the API");
    let listed = stdout(&fleet.reports(&["list", "--receiver", "w1", "--output", "json"]));
    let line = listed.lines().find(|line| line.contains("rejected")).unwrap();
    let rejected: Value = serde_json::from_str(line).unwrap();
    assert_eq!(rejected["cycle"], 2);
    assert!(rejected["reason"].as_str().unwrap().starts_with("it answers 400"), "{rejected}");
    assert_eq!(fleet.status()["outputs"][0]["aside"], 1);

    webhook.set(ApiMode::Accept);
    assert_eq!(stdout(&fleet.reports(&["retry", "--all", "--receiver", "w1"])), "1 retried\n");
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

#[test]
fn average_with_which_a_webhook_fails_is_set_aside_once_others_are_accepted() {
    let fleet = Fleet::memory();
    let webhooks = Webhooks::start(1);
    let [webhook] = &webhooks.apis[..] else { panic!() };
    webhook.set(ApiMode::RefuseCycle(2, 500));
    let _one = webhooks.leader(&fleet);
    let probe = fleet.probe();
    let aside = eventually("the second average is set aside", DEADLINE, || {
        probe.text("/atalaya/outputs/w1/aside/2").filter(|text| !text.is_empty())
    });
    assert!(aside.contains("it answers 500 Internal Server Error"), "{aside}");
    let next = kept(webhook).len() as u64 + 4;
    wait_for_cycle(webhook, next);
    let mut cycles: Vec<u64> = kept(webhook).iter().map(|(_, cycle)| *cycle).collect();
    cycles.dedup();
    assert_eq!(cycles[..3], [1, 3, 4], "no other average is delayed for good");
    assert!(webhook.requests().iter().filter(|request| key(request).1 == 2).count() >= 12);
}

#[test]
fn outputs_are_fixed_until_a_restart_and_a_removed_one_keeps_its_reports() {
    let fleet = Fleet::memory();
    let webhooks = Webhooks::start(2);
    let urls: Vec<String> = webhooks.apis.iter().map(|api| format!("{}hook", api.base_url())).collect();
    webhooks.apis[1].set(ApiMode::Refuse);
    let mut one = webhooks.leader(&fleet);
    wait_for_cycle(&webhooks.apis[0], 4);
    webhooks.write(&urls[..1]);
    one.hup();
    one.wait_for_line("takes effect only after a restart: outputs", DEADLINE);
    let probe = fleet.probe();
    let waiting = || probe.ls("/atalaya/outputs/w2/reports");
    assert!(waiting().len() >= 3);
    one.shut_down(DEADLINE);

    let one = webhooks.leader(&fleet);
    let kept_reports = waiting();
    let cycle = kept(&webhooks.apis[0]).len() as u64 + 3;
    webhooks.apis[1].set(ApiMode::Accept);
    wait_for_cycle(&webhooks.apis[0], cycle);
    all_have_arrived(&kept(&webhooks.apis[0]));
    assert_eq!(waiting(), kept_reports, "nothing is added and nothing is delivered");
    assert_eq!(kept(&webhooks.apis[1]), []);
    let outputs = fleet.status()["outputs"].clone();
    assert_eq!((&outputs[1]["name"], &outputs[1]["used"]), (&"w2".into(), &false.into()), "{outputs}");
    let listed = stdout(&fleet.reports(&["list", "--receiver", "w2"]));
    assert_eq!(listed.lines().count(), 1 + kept_reports.len(), "{listed}");
    let first = &kept_reports[0];
    assert_eq!(stdout(&fleet.reports(&["drop", first, "--receiver", "w2"])), "1 dropped\n");
    assert!(!waiting().contains(first));
    drop(one);
}

#[test]
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
