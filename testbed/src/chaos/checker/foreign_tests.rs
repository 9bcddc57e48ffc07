//! Hand-written histories with another client of ZooKeeper: the allowed reactions of a fleet to its znodes, and the
//! violations.

use super::history_builder::{HistoryBuilder, create, delete, ephemeral, set};
use crate::chaos::check_report::Violation;
use crate::chaos::history::LogLine;
use crate::journal::Change;

const OTHER: i64 = 99;
const CONTENDER: &str = "/election/000000000000000000000000c4a00000__lock__0000000000";
const POISON: &str = "/atalaya/reports/9000001";

fn fleet(lock_step: bool) -> HistoryBuilder {
    // Sequence number 0 belongs to the other client.
    let mut builder = HistoryBuilder::begun(lock_step, 1);
    builder.history.foreign.insert(OTHER);
    builder.history.complete_log = true;
    builder.history.session = 1_000;
    builder.round(1);
    builder
}

fn logs(builder: &mut HistoryBuilder, text: &str) {
    let (process, time) = ("node-1-1".into(), builder.now);
    builder.history.log.push(LogLine { process, time, text: format!("2026-01-01T00:00:00Z  WARN {text}") });
}

#[test]
fn valid_measurement_of_another_client_may_be_averaged_and_garbage_may_not() {
    for (data, is_valid) in
        [("1e308", true), ("-7.5", true), ("NaN", false), ("-inf", false), ("", false), ("x", false)]
    {
        let mut builder = fleet(false);
        builder.commit(OTHER, vec![create("/mediciones/other", data)]);
        (1..=3).for_each(|node| builder.publishes(node, 100.0 + node as f64));
        let garbage = data.parse().unwrap_or(0.0);
        // The name sorts after those of the nodes.
        let all: Vec<f64> = builder.all().into_iter().chain([garbage]).collect();
        builder.commit_cycle(1, &all);
        builder.history.settled = 1;
        builder.breaks(if is_valid { &[] } else { &[Violation::WrongMean] });
    }
}

#[test]
fn sum_of_valid_measurements_beyond_the_largest_number_is_averaged_by_parts() {
    let mut builder = fleet(false);
    builder.commit(OTHER, vec![create("/mediciones/other-1", "1e308")]);
    builder.commit(OTHER, vec![create("/mediciones/other-2", "1e308")]);
    let all: Vec<f64> = builder.all().into_iter().chain([1e308, 1e308]).collect();
    let mut changes = builder.cycle_of(1, &all);
    let mean: f64 = all.iter().map(|value| value / 5.0).sum();
    let report = format!(
        r#"{{"epoch":1000,"cycle":2,"time":"x","excluded":0,"averages":[{{"mean":{mean:e},"min":{},"max":1e308,"count":5}}]}}"#,
        all[0]
    );
    changes[2] = create("/atalaya/reports/2", report);
    builder.commit(1, changes);
    builder.history.settled = 1;
    builder.is_good();
}

#[test]
fn negative_zero_in_a_report_is_a_violation() {
    let mut builder = fleet(false);
    builder.commit(OTHER, vec![create("/mediciones/other", "-0")]);
    let all: Vec<f64> = builder.all().into_iter().chain([-0.0]).collect();
    builder.commit_cycle(1, &all);
    builder.history.settled = 1;
    builder.breaks(&[Violation::WrongMean]);
}

#[test]
fn average_of_a_unit_that_no_client_has_published_is_a_violation() {
    let pack = r#"[{"u":"Cel","v":20},{"u":"Cel","v":22},{"u":"%RH","v":40}]"#;
    let unit = |unit: &str, mean: f64, count: u64| {
        format!(r#","quantity":null,"unit":"{unit}","mean":{mean},"min":20,"max":22,"count":{count}"#)
    };
    for (average, is_right) in
        [(unit("Cel", 21.0, 2), true), (unit("Cel", 20.5, 2), false), (unit("V", 21.0, 2), false)]
    {
        let mut builder = fleet(false);
        builder.commit(OTHER, vec![create("/mediciones/other", pack)]);
        let all = builder.all();
        let mut changes = builder.cycle_of(1, &all);
        let Change::Create { data, .. } = &mut changes[2] else { unreachable!() };
        let report = String::from_utf8(data.clone()).unwrap();
        let report = report.replace("\"averages\":[", &format!("\"averages\":[{{\"x\":0{average}}},"));
        *data = report.into_bytes();
        builder.commit(1, changes);
        builder.history.settled = 1;
        builder.breaks(if is_right { &[] } else { &[Violation::WrongMean] });
    }
}

#[test]
fn measurements_of_another_client_are_not_counted() {
    let mut builder = fleet(false);
    builder.commit(OTHER, vec![create("/mediciones/other", "5")]);
    builder.commit(OTHER, vec![set("/mediciones/other", "6")]);
    assert_eq!(builder.is_good().measurements, 3);
}

#[test]
fn poisoned_report_must_be_set_aside_in_the_transaction_that_deletes_it() {
    let rejected = create("/atalaya/aside/9000001", "why");
    for (leader_does, kinds) in [
        (vec![rejected.clone(), delete(POISON)], &[][..]),
        (vec![delete(POISON)], &[Violation::Poison]),
        (vec![rejected], &[Violation::Left, Violation::Poison]),
        (vec![], &[Violation::Poison]),
    ] {
        let mut builder = fleet(false);
        builder.commit(OTHER, vec![create(POISON, "not a report")]);
        if !leader_does.is_empty() {
            let changes = [builder.check(1)].into_iter().chain(leader_does).collect();
            builder.commit(1, changes);
        }
        // Removal by the other client at the end does not count.
        builder.commit(OTHER, vec![delete(POISON)]);
        builder.breaks(kinds);
    }
}

#[test]
fn poisoned_report_that_is_sent_is_a_violation() {
    let mut builder = fleet(false);
    let report = r#"{"epoch":900000,"cycle":9000001,"averages":[{"mean":1,"min":1,"max":1,"count":1}]}"#;
    builder.commit(OTHER, vec![create(POISON, report)]);
    builder.brings(900_000, 9_000_001, 1.0);
    let changes = vec![builder.check(1), delete(POISON)];
    builder.commit(1, changes);
    builder.breaks(&[Violation::NotCommitted, Violation::Poison]);
}

#[test]
fn checker_accepts_the_largest_epochs_and_cycles() {
    let mut builder = fleet(false);
    builder.brings(i64::MAX, u64::MAX, 1.0);
    builder.breaks(&[Violation::NotCommitted]);
    let changes = vec![
        builder.check(1),
        set("/atalaya/term", r#"{"epoch":9223372036854775807,"cycle":18446744073709551615}"#),
    ];
    builder.commit(1, changes.clone());
    builder.commit(1, changes);
    builder.breaks(&[Violation::Cycle, Violation::Epoch, Violation::NotCommitted]);
}

#[test]
fn genuine_report_that_is_set_aside_beside_a_poisoned_one_is_a_violation() {
    let mut builder = fleet(false);
    builder.commit(OTHER, vec![create(POISON, "not a report")]);
    let rejected = |cycle: &str| create(&format!("/atalaya/aside/{cycle}"), "why");
    let changes = vec![builder.check(1), rejected("9000001"), rejected("1"), delete(POISON)];
    builder.commit(1, changes);
    builder.breaks(&[Violation::Left]);
}

#[test]
fn poisoned_report_with_a_name_that_is_no_cycle_may_stay_if_it_is_reported() {
    let mut builder = fleet(false);
    builder.commit(OTHER, vec![create("/atalaya/reports/report-007", "x")]);
    builder.breaks(&[Violation::Poison]);
    logs(&mut builder, "/atalaya/reports/report-007 is not the name of a cycle");
    builder.is_good();
}

/// Builds a history in which another client creates a contender, the leader ends, and the contender is removed later.
fn without_leader() -> HistoryBuilder {
    let mut builder = fleet(false);
    builder.commit(OTHER, vec![create(CONTENDER, "wrong")]);
    builder.round(1);
    builder.commit(1, vec![Change::Closed]);
    builder.values.remove("1");
    builder.now += 6_000;
    builder
}

#[test]
fn persistent_contender_must_be_reported() {
    let mut builder = without_leader();
    let mut silent = builder.clone();
    silent.commit(OTHER, vec![delete(CONTENDER)]);
    silent.leads(2);
    silent.breaks(&[Violation::WrongZnode]);
    // A fleet with lost logs cannot be checked by its logs.
    silent.history.complete_log = false;
    silent.is_good();
    logs(&mut builder, &format!("{CONTENDER} is persistent: delete it"));
    builder.commit(OTHER, vec![delete(CONTENDER)]);
    builder.leads(2);
    builder.is_good();
}

#[test]
fn persistent_contender_behind_another_one_need_not_be_reported() {
    const NEXT: &str = "/election/000000000000000000000000c4a00009__lock__0000000000";
    let mut builder = without_leader();
    builder.commit(OTHER, vec![create(NEXT, "wrong")]);
    builder.now += 6_000;
    logs(&mut builder, &format!("{NEXT} is persistent: delete it"));
    builder.commit(OTHER, vec![delete(CONTENDER)]);
    builder.commit(OTHER, vec![delete(NEXT)]);
    builder.leads(2);
    builder.is_good();
}

#[test]
fn leader_must_appear_after_a_persistent_contender_is_removed() {
    let mut builder = without_leader();
    logs(&mut builder, CONTENDER);
    builder.commit(OTHER, vec![delete(CONTENDER)]);
    builder.now += 12_000;
    builder.leads(2);
    builder.breaks(&[Violation::WrongZnode]);
    // The deadline does not hold if ZooKeeper's servers were killed.
    builder.history.disturbed = Some(1);
    builder.is_good();
}

#[test]
fn node_that_leads_past_a_persistent_contender_is_a_violation() {
    let mut builder = without_leader();
    logs(&mut builder, CONTENDER);
    builder.leads(2);
    builder.breaks(&[Violation::WrongZnode]);
}

#[test]
fn leader_may_go_on_while_a_persistent_contender_stands_before_it() {
    let mut builder = fleet(false);
    builder.commit(OTHER, vec![create(CONTENDER, "wrong")]);
    builder.round(1);
    // The same leader takes over again.
    builder.leads(1);
    builder.now += 6_000;
    builder.round(1);
    builder.commit(OTHER, vec![delete(CONTENDER)]);
    builder.is_good();
}

#[test]
fn persistent_node_info_must_be_reported_by_a_node_that_has_a_measurement() {
    const INFO: &str = "/atalaya/nodes/3";
    let mut builder = fleet(false);
    builder.commit(OTHER, vec![create(INFO, "wrong")]);
    builder.now += 6_000;
    let mut silent = builder.clone();
    silent.commit(OTHER, vec![delete(INFO)]);
    silent.breaks(&[Violation::WrongZnode]);
    logs(&mut builder, &format!("{INFO} is not ephemeral"));
    builder.commit(OTHER, vec![delete(INFO)]);
    builder.is_good();
}

#[test]
fn node_whose_first_measurement_is_late_need_not_report_its_persistent_node_info() {
    const INFO: &str = "/atalaya/nodes/3";
    let mut builder = fleet(false);
    builder.commit(3, vec![Change::Closed]);
    builder.values.remove("3");
    builder.commit(OTHER, vec![create(INFO, "wrong")]);
    builder.now += 6_000;
    let mut absent = builder.clone();
    absent.commit(OTHER, vec![delete(INFO)]);
    absent.is_good();
    builder.commit(3, vec![Change::Opened]);
    builder.publishes(3, 5.0);
    let mut settled = builder.clone();
    settled.now += 2_000;
    settled.commit(OTHER, vec![delete(INFO)]);
    settled.breaks(&[Violation::WrongZnode]);
    builder.commit(OTHER, vec![delete(INFO)]);
    builder.is_good();
}

#[test]
fn child_of_the_barrier_must_be_reported() {
    let mut builder = fleet(true);
    builder.commit(OTHER, vec![create("/barrier/child-3", "")]);
    builder.now += 6_000;
    let mut silent = builder.clone();
    silent.commit(OTHER, vec![delete("/barrier/child-3")]);
    silent.breaks(&[Violation::WrongZnode]);
    logs(&mut builder, "/barrier/child-3 keeps the barrier from opening");
    builder.commit(OTHER, vec![delete("/barrier/child-3")]);
    builder.round(1);
    builder.is_good();
}

#[test]
fn node_that_writes_over_the_measurement_of_another_client_is_a_violation() {
    let mut builder = fleet(false);
    builder.commit(OTHER, vec![create("/mediciones/7", "not a measurement")]);
    builder.commit(2, vec![set("/mediciones/7", "5"), set("/counter", 4)]);
    builder.breaks(&[Violation::WrongZnode]);
}

#[test]
fn node_that_deletes_the_znode_of_another_client_is_a_violation() {
    let mut builder = fleet(false);
    builder.commit(OTHER, vec![create("/mediciones/7", "not a measurement")]);
    builder.commit(2, vec![delete("/mediciones/7")]);
    builder.breaks(&[Violation::WrongZnode]);
    let mut builder = fleet(false);
    builder.commit(OTHER, vec![ephemeral("/mediciones/7", "5"), delete("/mediciones/7")]);
    builder.is_good();
}

#[test]
fn cycle_may_be_skipped_only_if_another_client_occupied_its_path() {
    for (occupied, is_right) in [(2, true), (3, false)] {
        let mut builder = fleet(false);
        builder.commit(OTHER, vec![create(&format!("/atalaya/reports/{occupied}"), "garbage")]);
        let rejected = create(&format!("/atalaya/aside/{occupied}"), "garbage");
        let gone = delete(&format!("/atalaya/reports/{occupied}"));
        builder.commit_fenced(1, vec![rejected, gone]);
        builder.cycle += 1;
        builder.round(1);
        builder.breaks(if is_right { &[] } else { &[Violation::Cycle] });
    }
}

#[test]
fn cycle_may_be_committed_at_a_path_that_another_client_occupied_before() {
    let mut builder = fleet(false);
    builder.commit(OTHER, vec![create("/atalaya/reports/2", "garbage")]);
    let rejected = create("/atalaya/aside/2", "garbage");
    builder.commit_fenced(1, vec![rejected, delete("/atalaya/reports/2")]);
    builder.round(1);
    builder.is_good();
}
