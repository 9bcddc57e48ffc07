//! Tests of the checker: it must find each kind of violation, and none in a schedule that went well.

use super::checker::{CheckReport, ClientResult, ExecutionEvent, History, Violation, check};
use super::schedule::Programs;
use crate::journal::{Change, Transaction};

const LEADER: i64 = 1;
const OTHER: i64 = 2;
const WORKER: i64 = 3;
const CLIENT: i64 = 4;

fn create(path: &str, data: &str, ephemeral: bool) -> Change {
    Change::Create { path: path.into(), data: data.into(), ephemeral }
}

fn set(path: &str, data: &str) -> Change {
    Change::Set { path: path.into(), data: data.into() }
}

fn delete(path: &str) -> Change {
    Change::Delete { path: path.into() }
}

fn transactions(of: Vec<(i64, Vec<Change>)>) -> Vec<Transaction> {
    let transaction = |(zxid, (session, changes)): (usize, (i64, Vec<Change>))| {
        let zxid = i64::try_from(zxid).unwrap();
        Transaction { zxid, session, time: zxid, changes }
    };
    of.into_iter().enumerate().map(transaction).collect()
}

const T: &str = "t-0000000000";

fn native_log() -> Vec<(i64, Vec<Change>)> {
    let at = |parent: &str| format!("/atalaya/tasks/{parent}");
    vec![
        (LEADER, vec![create("/election/a__lock__0000000000", "1", true)]),
        (OTHER, vec![create("/election/b__lock__0000000001", "2", true)]),
        (CLIENT, vec![create(&at("spec/t-0000000000"), r#"{"promise":"at-most-once"}"#, false)]),
        (
            LEADER,
            vec![
                create(&at("state/t-0000000000"), r#"{"state":"assigned"}"#, false),
                create(&at("run/w1/t-0000000000"), "{}", false),
            ],
        ),
        (WORKER, vec![create(&at("claim/t-0000000000.w1"), "{}", true)]),
        (WORKER, vec![delete(&at("claim/t-0000000000.w1")), delete(&at("run/w1/t-0000000000"))]),
        (
            LEADER,
            vec![set(&at("state/t-0000000000"), r#"{"state":"done"}"#), delete(&at("spec/t-0000000000"))],
        ),
    ]
}

fn line(what: &str) -> ExecutionEvent {
    ExecutionEvent { what: what.into(), task: T.into() }
}

fn native() -> History {
    History {
        transactions: transactions(native_log()),
        executions: vec![line("start"), line("end")],
        clients: vec![ClientResult { task: Some(T.into()), killed: false, exit: Some(0) }],
        ..History::default()
    }
}

fn kinds(findings: &CheckReport) -> Vec<Violation> {
    findings.violations.iter().map(|(kind, _)| *kind).collect()
}

fn found(change: impl FnOnce(&mut History)) -> Vec<Violation> {
    let mut history = native();
    change(&mut history);
    kinds(&check(&history))
}

#[test]
fn good_schedule_has_no_violation() {
    let findings = check(&native());
    assert_eq!(findings.violations, []);
    assert_eq!((findings.counts.tasks, findings.counts.results, findings.counts.leaders), (1, 1, 1));
}

#[test]
fn task_without_a_result_is_a_violation_and_so_is_its_rest() {
    let mut log = native_log();
    log.pop();
    assert_eq!(found(|it| it.transactions = transactions(log)), [Violation::NoResult, Violation::Left]);
}

#[test]
fn second_result_is_a_violation() {
    let mut log = native_log();
    log.push((LEADER, vec![set("/atalaya/tasks/state/t-0000000000", r#"{"state":"failed"}"#)]));
    assert_eq!(found(|it| it.transactions = transactions(log)), [Violation::TwoResults]);
}

#[test]
fn second_start_of_a_task_that_must_not_be_repeated_is_a_violation() {
    assert_eq!(found(|it| it.executions.push(line("start"))), [Violation::StartedTwice]);
    let mut history = native();
    let mut log = native_log();
    log[2].1 = vec![create("/atalaya/tasks/spec/t-0000000000", "{}", false)];
    history.transactions = transactions(log);
    history.executions.push(line("start"));
    assert_eq!(check(&history).violations, []);
}

#[test]
fn overlap_is_a_violation_unless_the_machine_was_too_slow() {
    assert_eq!(found(|it| it.executions.push(line("overlap"))), [Violation::Overlap]);
    let mut history = native();
    history.executions.push(line("overlap"));
    history.stall = 3_000;
    let findings = check(&history);
    assert_eq!((findings.violations.len(), findings.undecided.len()), (0, 1));
}

#[test]
fn slow_machine_excuses_no_second_result_and_no_deposed_leader() {
    let mut log = native_log();
    log.push((OTHER, vec![set("/atalaya/tasks/state/t-0000000000", r#"{"state":"failed"}"#)]));
    let mut history = native();
    history.transactions = transactions(log);
    history.stall = 60_000;
    assert_eq!(kinds(&check(&history)), [Violation::Deposed, Violation::TwoResults]);
}

#[test]
fn write_of_a_leader_whose_session_has_expired_is_a_violation() {
    let mut log = native_log();
    let last = log.pop().unwrap();
    log.push((LEADER, vec![Change::Closed]));
    log.push((OTHER, vec![set("/atalaya/tasks/state/t-0000000000", r#"{"state":"queued"}"#)]));
    log.push(last);
    assert_eq!(found(|it| it.transactions = transactions(log)), [Violation::Deposed]);
}

#[test]
fn client_that_waits_for_ever_is_a_violation_unless_it_was_killed() {
    assert_eq!(found(|it| it.clients[0].exit = None), [Violation::NoResult]);
    assert_eq!(found(|it| it.clients[0] = ClientResult { killed: true, ..ClientResult::default() }), []);
    assert_eq!(found(|it| it.clients[0].exit = Some(1)), [Violation::NoResult]);
}

#[test]
fn process_that_ends_by_itself_is_a_violation() {
    assert_eq!(found(|it| it.ended.push("w1".into())), [Violation::Ended]);
}

fn classic_log() -> Vec<(i64, Vec<Change>)> {
    vec![
        (LEADER, vec![create("/master/0000000000", "m", true)]),
        (OTHER, vec![create("/master/0000000001", "m", true)]),
        (WORKER, vec![create("/workers/w1", "non", true)]),
        (CLIENT, vec![create("/data/a", "1", true), create("/tasks/a", "a", true)]),
        (LEADER, vec![set("/tasks/a", "a,w1"), set("/workers/w1", "a")]),
        (WORKER, vec![set("/tasks/a", "a=1"), set("/workers/w1", "non")]),
        (CLIENT, vec![delete("/tasks/a"), delete("/data/a")]),
        (CLIENT, vec![Change::Closed]),
        (WORKER, vec![Change::Closed]),
    ]
}

fn classic(log: Vec<(i64, Vec<Change>)>, exit: Option<i32>) -> CheckReport {
    check(&History {
        programs: Programs::Classic,
        transactions: transactions(log),
        clients: vec![ClientResult { task: Some("a".into()), killed: false, exit }],
        ..History::default()
    })
}

#[test]
fn good_classic_schedule_has_no_violation() {
    let findings = classic(classic_log(), Some(0));
    assert_eq!(findings.violations, []);
    assert_eq!((findings.counts.results, findings.counts.abandoned), (1, 0));
}

#[test]
fn classic_task_that_ends_with_the_session_of_its_client_is_abandoned() {
    let mut log = classic_log();
    log.drain(5..7);
    let findings = classic(log.clone(), Some(75));
    assert_eq!((findings.violations, findings.counts.abandoned), (vec![], 1));
    assert_eq!(kinds(&classic(log, None)), [Violation::NoResult], "it does not notice");
}

#[test]
fn classic_client_that_gives_up_a_finished_task_is_a_violation() {
    assert_eq!(kinds(&classic(classic_log(), Some(75))), [Violation::NoResult]);
}

#[test]
fn classic_assignment_by_a_deposed_master_and_second_results_are_violations() {
    let mut log = classic_log();
    log[4].0 = OTHER;
    assert_eq!(kinds(&classic(log, Some(0))), [Violation::Deposed]);
    let mut log = classic_log();
    log.insert(6, (WORKER, vec![set("/tasks/a", "a=2")]));
    assert_eq!(kinds(&classic(log, Some(0))), [Violation::TwoResults]);
}
