//! The outbox: a committed average is delivered once and in order, whichever node leads.

use atalaya_testbed::{ApiMode, Process, eventually};

use crate::common::metrics_client::MetricsClient;
use crate::common::outputs::{assert_refused, stdout};
use crate::common::webhooks::each_once_and_in_order;
use crate::common::{DEADLINE, Fleet, key, wait_until};

on_both!(
    reports_of_a_dead_leader_are_delivered_by_its_successor,
    reports_of_a_stopping_leader_are_delivered_by_its_successor,
    rejected_reports_are_listed_retried_and_dropped,
    waiting_reports_can_be_dropped,
    fence_that_was_deleted_or_overwritten_is_written_again,
);

on_secured!(
    reports_of_a_dead_leader_are_delivered_by_its_successor,
    rejected_reports_are_listed_retried_and_dropped,
);

/// Returns the averages that a node has committed, from its log.
fn averages(node: &Process) -> usize {
    node.log().iter().filter(|line| line.text.contains(" average cycle=")).count()
}

/// Returns the accepted reports in order of arrival.
fn accepted(fleet: &Fleet) -> Vec<(i64, u64)> {
    fleet.api.requests().iter().filter(|request| request.answered == Some(200)).map(key).collect()
}

/// Ends a leader whose reports are not accepted with `end`, and lets another one deliver them.
fn hands_over(fleet: &Fleet, end: impl FnOnce(&mut Process)) {
    fleet.api.set(ApiMode::Refuse);
    let mut one = fleet.leader("1", &[]);
    let two = fleet.follower("2", &[]);
    wait_until("four averages", || averages(&one) >= 4);
    end(&mut one);
    let written = averages(&one);
    two.wait_for_line(" leading epoch=", DEADLINE);
    assert_eq!(accepted(fleet), []);
    fleet.api.set(ApiMode::Accept);
    wait_until("all of them, and two more", || accepted(fleet).len() >= written + 2 && averages(&two) >= 2);
    let accepted = accepted(fleet);
    each_once_and_in_order(&accepted);
    let epochs: Vec<i64> = accepted.iter().map(|(epoch, _)| *epoch).collect();
    assert!(
        epochs[..written].iter().all(|epoch| *epoch == epochs[0]),
        "the dead leader's are its own: {epochs:?}"
    );
    assert!(epochs.contains(&(epochs[0] + 1)), "the next epoch is one higher: {epochs:?}");
    let probe = fleet.probe();
    wait_until("nothing waits", || probe.ls("/atalaya/reports").is_empty());
}

fn reports_of_a_dead_leader_are_delivered_by_its_successor(fleet: Fleet) {
    hands_over(&fleet, |leader| {
        leader.kill9();
    });
}

fn reports_of_a_stopping_leader_are_delivered_by_its_successor(fleet: Fleet) {
    hands_over(&fleet, |leader| {
        leader.shut_down(DEADLINE);
    });
}

fn rejected_reports_are_listed_retried_and_dropped(fleet: Fleet) {
    fleet.api.set(ApiMode::Status(422));
    let one = fleet.leader("1", &["--board", "v80"]);
    let probe = fleet.probe();
    wait_until("three are set aside", || probe.ls("/atalaya/aside").len() >= 3);
    let listed = stdout(&fleet.reports(&["list", "--output", "json"]));
    let first: serde_json::Value =
        serde_json::from_str(listed.lines().find(|line| line.contains("rejected")).unwrap()).unwrap();
    assert_eq!(
        (&first["cycle"], &first["reason"]),
        (&1.into(), &"it answers 422 Unprocessable Entity".into())
    );
    assert_eq!(first["averages"][0]["mean"], 80.0);
    let table = stdout(&fleet.reports(&["list"]));
    assert!(table.contains("rejected") && table.contains("80.00 of 1  (it answers 422"), "{table}");

    assert_eq!(stdout(&fleet.reports(&["drop", "2"])), "1 dropped\n");
    let gone = fleet.reports(&["drop", "2"]);
    assert_refused(&gone, 74, "no undelivered report of cycle 2");

    fleet.api.set(ApiMode::Accept);
    one.wait_for_line("accepts reports again", DEADLINE);
    assert!(fleet.reports(&["retry", "--all"]).status.success());
    wait_until("the first arrives after all", || accepted(&fleet).iter().any(|(_, cycle)| *cycle == 1));
    wait_until("nothing is aside", || probe.ls("/atalaya/aside").is_empty());
    assert!(accepted(&fleet).iter().all(|(_, cycle)| *cycle != 2), "it was dropped");
    wait_until("everything is delivered", || {
        stdout(&fleet.reports(&["list"])) == "everything is delivered\n"
    });
}

fn waiting_reports_can_be_dropped(fleet: Fleet) {
    fleet.api.set(ApiMode::Refuse);
    let one = fleet.leader("1", &["--metrics-listen", "127.0.0.1:0"]);
    let metrics = MetricsClient::of(&one);
    wait_until("four averages", || averages(&one) >= 4);
    let waiting = stdout(&fleet.reports(&["list", "--output", "json"]));
    assert!(waiting.lines().count() >= 4 && waiting.contains(r#""state":"waiting""#), "{waiting}");
    assert_eq!(stdout(&fleet.reports(&["drop", "2", "3"])), "2 dropped\n");
    // The leader learns it from ZooKeeper, and would send them until then.
    wait_until("two fewer wait", || {
        metrics.figure("atalaya_outbox_reports").is_some_and(|waiting| waiting + 2.0 <= averages(&one) as f64)
    });
    fleet.api.set(ApiMode::Accept);
    wait_until("the fifth arrives", || accepted(&fleet).iter().any(|(_, cycle)| *cycle == 5));
    let cycles: Vec<u64> = accepted(&fleet).iter().map(|(_, cycle)| *cycle).collect();
    assert_eq!(cycles[..3], [1, 4, 5]);
}

fn fence_that_was_deleted_or_overwritten_is_written_again(fleet: Fleet) {
    let _one = fleet.leader("1", &[]);
    let probe = fleet.probe();
    for garbage in [None, Some(&b"what is this"[..])] {
        let before = eventually("two reports", DEADLINE, || {
            let accepted = accepted(&fleet);
            (accepted.len() >= 2).then(|| accepted[accepted.len() - 1])
        });
        match garbage {
            None => probe.delete("/atalaya/term").unwrap(),
            Some(text) => probe.set("/atalaya/term", text).unwrap(),
        }
        wait_until("reports of a higher epoch", || {
            accepted(&fleet).last().is_some_and(|last| last.0 > before.0)
        });
        each_once_and_in_order(&accepted(&fleet));
    }
}
