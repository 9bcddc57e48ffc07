//! Each role is killed or paused, requests are lost, and servers are killed.

use std::collections::VecDeque;
use std::time::Instant;

use atalaya_testbed::{Change, Ensemble, Process, Scratch, Transaction, eventually};
use atalaya_zookeeper::{Disconnect, Operation, RequestFilter};

use super::support::*;
use crate::common::server::Server;
use crate::common::{CALM, DEADLINE, Fleet, TestEnv, wait_until};

/// Op code of a transaction.
const MULTI: i32 = 14;

on_both!(
    task_of_a_killed_worker_runs_on_another,
    task_of_a_killed_client_is_stopped_and_its_worker_becomes_free,
    backup_master_takes_over_after_sigkill,
    two_of_each_with_one_of_each_killed,
    each_task_has_one_result_while_masters_and_workers_are_killed,
    paused_client_reports_its_lost_session,
    paused_master_changes_nothing_after_it_returns,
    paused_worker_cannot_record_a_result,
    execution_stops_before_the_session_can_expire,
    result_is_finished_although_the_client_takes_it_before_the_worker_is_connected_again,
);

fn task_of_a_killed_worker_runs_on_another(fleet: Fleet) {
    let (scratch, probe) = (Scratch::new("classic"), fleet.probe());
    let file = scratch.path().join("log");
    let master = leader(&fleet, "m1");
    let mut first = recording_worker(&fleet, "w1", &file, "sleep 1000");
    let mut client = client(&fleet, "t1", "x");
    wait_until("the first execution", || lines(&file) == ["begin x"]);
    let second = recording_worker(&fleet, "w2", &file, "true");
    first.kill9();
    assert_eq!(output(&mut client), ["x,t1"]);
    master.wait_for_line("assigned again", DEADLINE);
    assert_eq!(lines(&file), ["begin x", "begin x", "end x"]);
    stop([second, master]);
    nothing_is_left(&probe, "");
    one_result(&fleet, "t1");
}

fn task_of_a_killed_client_is_stopped_and_its_worker_becomes_free(fleet: Fleet) {
    let (scratch, probe) = (Scratch::new("classic"), fleet.probe());
    let file = scratch.path().join("log");
    let master = leader(&fleet, "m1");
    let worker = recording_worker(&fleet, "w1", &file, "[ $1 = short ] || sleep 1000");
    let mut long = client(&fleet, "t1", "long");
    wait_until("the execution", || lines(&file) == ["begin long"]);
    let mut waiting = client(&fleet, "t2", "short");
    long.kill9();
    assert_eq!(output(&mut waiting), ["short,t2"]);
    worker.wait_for_line("result dropped", DEADLINE);
    assert_eq!(lines(&file), ["begin long", "begin short", "end short"]);
    stop([worker, master]);
    nothing_is_left(&probe, "");
}

fn backup_master_takes_over_after_sigkill(fleet: Fleet) {
    let probe = fleet.probe();
    let mut first = leader(&fleet, "m1");
    let second = backup(&fleet, "m2");
    let worker = worker(&fleet, "w1");
    let mut running = client(&fleet, "t1", "6");
    worker.wait_for_line("executing", DEADLINE);
    first.kill9();
    let mut waiting = client(&fleet, "t2", "0.1");
    assert_eq!(output(&mut running), ["6"]);
    assert_eq!(output(&mut waiting), ["0.1"]);
    second.wait_for_line("leading", DEADLINE);
    let executed = worker.log().iter().filter(|line| line.text.contains("executing")).count();
    assert_eq!(executed, 2, "a new leader does not assign a task again that is being executed");
    stop([worker, second]);
    nothing_is_left(&probe, "");
}

fn two_of_each_with_one_of_each_killed(fleet: Fleet) {
    let (scratch, probe) = (Scratch::new("classic"), fleet.probe());
    let file = scratch.path().join("log");
    let mut first = leader(&fleet, "m1");
    let second = backup(&fleet, "m2");
    let work = "[ $1 = short ] || sleep 2";
    let mut w1 = recording_worker(&fleet, "w1", &file, work);
    let w2 = recording_worker(&fleet, "w2", &file, work);
    let mut lost = client(&fleet, "t1", "one");
    let mut kept = client(&fleet, "t2", "two");
    wait_until("two executions", || lines(&file).len() == 2);
    first.kill9();
    w1.kill9();
    lost.kill9();
    assert_eq!(output(&mut kept), ["two,t2"]);
    assert_eq!(output(&mut client(&fleet, "t3", "short")), ["short,t3"]);
    stop([w2, second]);
    nothing_is_left(&probe, "");
    one_result(&fleet, "t2");
}

fn each_task_has_one_result_while_masters_and_workers_are_killed(fleet: Fleet) {
    let (scratch, probe) = (Scratch::new("classic"), fleet.probe());
    let file = scratch.path().join("log");
    let worker = |id: usize| recording_worker(&fleet, &format!("w{id}"), &file, "sleep 0.5");
    let mut masters = VecDeque::from([leader(&fleet, "m0"), backup(&fleet, "m1")]);
    let mut workers: VecDeque<Process> = (0..3).map(worker).collect();
    let ids: Vec<String> = (0..12).map(|id| format!("t{id}")).collect();
    let mut clients: Vec<Process> = ids.iter().map(|id| client(&fleet, id, id)).collect();
    for round in 0..4 {
        let begun = || lines(&file).iter().filter(|line| line.starts_with("begin")).count();
        let before = begun();
        wait_until("more executions", || begun() > before || round == 0);
        workers.pop_front().unwrap().kill9();
        if round % 2 == 1 {
            masters.pop_front().unwrap().kill9();
            masters.push_back(backup(&fleet, &format!("m{}", round + 1)));
        }
        workers.push_back(worker(round + 3));
    }
    for (client, id) in clients.iter_mut().zip(&ids) {
        assert_eq!(output(client), [format!("{id},{id}")]);
    }
    assert!(!lines(&file).contains(&"overlap".to_owned()), "{:?}", lines(&file));
    stop(workers.into_iter().chain(masters));
    nothing_is_left(&probe, "");
    ids.iter().for_each(|id| one_result(&fleet, id));
}

fn paused_client_reports_its_lost_session(fleet: Fleet) {
    let probe = fleet.probe();
    let master = leader(&fleet, "m1");
    let worker = worker(&fleet, "w1");
    let mut client = client(&fleet, "t1", "1000");
    worker.wait_for_line("executing", DEADLINE);
    client.stop();
    worker.wait_for_line("result dropped", DEADLINE);
    client.cont();
    assert_eq!(client.wait_exit(DEADLINE).code(), Some(75), "{:?}", client.log());
    client.wait_for_line("the session with ZooKeeper was lost", DEADLINE);
    stop([worker, master]);
    nothing_is_left(&probe, "");
}

fn paused_master_changes_nothing_after_it_returns(fleet: Fleet) {
    let probe = fleet.probe();
    let mut first = leader(&fleet, "m1");
    let second = backup(&fleet, "m2");
    let worker = worker(&fleet, "w1");
    assert_eq!(output(&mut client(&fleet, "t0", "0.1")), ["0.1"]);
    let old = leading_session(&probe);
    first.stop();
    let stopped = Instant::now();
    // The paused master has not seen these tasks. It sees them all when it returns.
    let mut done = 0;
    while stopped.elapsed() < SESSION_TIMEOUT * 3 {
        done += 1;
        assert_eq!(output(&mut client(&fleet, &format!("t{done}"), "0.2")), ["0.2"]);
    }
    let mut running = client(&fleet, "last", "2");
    eventually("an execution", DEADLINE, || probe.text("/tasks/last").filter(|text| text == "last,w1"));
    let new = leading_session(&probe);
    assert_ne!(old, new);
    let returned = Instant::now();
    first.cont();
    first.wait_for_line_since(returned, "waiting to lead", DEADLINE);
    assert_eq!(output(&mut running), ["2"]);
    assert_eq!(output(&mut client(&fleet, "after", "0.1")), ["0.1"]);
    if let Server::Apache(server) = &fleet.server {
        assert_no_writes_of_the_deposed(&server.journal(0), old, new);
    }
    stop([worker, second, first]);
    nothing_is_left(&probe, "");
}

/// Asserts that after the first write to a task or worker by session `new` none by session `old` was committed.
fn assert_no_writes_of_the_deposed(journal: &[Transaction], old: i64, new: i64) {
    let writes = |transaction: &Transaction| {
        transaction.changes.iter().any(|change| {
            matches!(change, Change::Create { .. } | Change::Set { .. } | Change::Delete { .. })
        })
    };
    let assigns = |transaction: &Transaction| {
        transaction
            .changes
            .iter()
            .any(|change| matches!(change, Change::Set { path, .. } if path.starts_with("/tasks/")))
    };
    let of = |session: i64| journal.iter().filter(move |transaction| transaction.session == session);
    let first =
        of(new).find(|transaction| assigns(transaction)).expect("the new leader has assigned tasks").zxid;
    assert!(of(old).any(assigns), "the old leader has assigned a task before");
    let late: Vec<_> =
        of(old).filter(|transaction| transaction.zxid > first && writes(transaction)).collect();
    assert!(late.is_empty(), "{late:?}");
    for transaction in
        journal.iter().filter(|transaction| assigns(transaction) && transaction.changes.len() == 3)
    {
        assert!(matches!(&transaction.changes[0], Change::Check { path } if path.starts_with("/master/")));
    }
}

fn paused_worker_cannot_record_a_result(fleet: Fleet) {
    let probe = fleet.probe();
    let master = leader(&fleet, "m1");
    let mut first = worker(&fleet, "w1");
    let mut client = client(&fleet, "t1", "4.5");
    first.wait_for_line("executing", DEADLINE);
    first.stop();
    let second = worker(&fleet, "w2");
    assert_eq!(output(&mut client), ["4.5"]);
    let returned = Instant::now();
    first.cont();
    first.wait_for_line_since(returned, "registered", DEADLINE);
    assert!(!first.log().iter().any(|line| line.text.contains("finished")), "{:?}", first.log());
    stop([first, second, master]);
    nothing_is_left(&probe, "");
    one_result(&fleet, "t1");
}

fn execution_stops_before_the_session_can_expire(mut fleet: Fleet) {
    // Long, because the worker stops the execution shortly before its end, and a busy machine delays each signal.
    fleet.around.pace.session = SESSION_TIMEOUT * 5;
    let scratch = Scratch::new("classic");
    let file = scratch.path().join("log");
    let master = leader(&fleet, "m1");
    let worker = recording_worker(&fleet, "w1", &file, "trap '' TERM; sleep 1000");
    let mut client = client(&fleet, "t1", "x");
    wait_until("the execution", || lines(&file) == ["begin x"]);
    let lost = Instant::now();
    fleet.server.vanish();
    let stopped = worker.wait_for_line("the session may have ended; stopped the execution", DEADLINE).at;
    assert!(stopped - lost < fleet.pace.session, "stopped after {:?}", stopped - lost);
    fleet.server.come_back();
    // If the client's session has survived, the task is executed again. If not, the task is gone with its client, but may be
    // executed again before that, if the session of the worker ends first.
    let is_executed = eventually("the end of the outage", DEADLINE, || {
        (lines(&file).len() == 2).then_some(true).or_else(|| client.try_exit().map(|_| false))
    });
    if is_executed {
        client.int();
    }
    let exit = client.wait_exit(DEADLINE);
    let is_lost = client.log().iter().any(|line| line.text.contains("the session with ZooKeeper was lost"));
    assert_eq!(exit.code(), Some(if is_lost { 75 } else { 130 }), "{:?}", client.log());
    stop([worker, master]);
    nothing_is_left(&fleet.probe(), "");
}

fn result_is_finished_although_the_client_takes_it_before_the_worker_is_connected_again(fleet: Fleet) {
    let (proxy, probe) = (fleet.server.proxy(), fleet.probe());
    let behind = TestEnv::of(proxy.connect_string(), CALM);
    let master = leader(&fleet, "m1");
    let worker = worker(&behind, "w1");
    // The first transaction of a worker records a result.
    proxy.cut_after_request(MULTI);
    proxy.refuse(true);
    assert_eq!(output(&mut client(&fleet, "t1", "0.1")), ["0.1"]);
    proxy.refuse(false);
    worker.wait_for_line("finished", DEADLINE);
    stop([worker, master]);
    nothing_is_left(&probe, "");
    one_result(&fleet, "t1");
}

/// Each write of each role is lost once, before it took effect and after.
#[test]
fn lost_requests_and_replies_change_nothing() {
    for cut in [Disconnect::BeforeEffect, Disconnect::BeforeReply] {
        let fleet = Fleet::memory();
        let (hand, probe) = (fleet.server.hand(), fleet.probe());
        for parent in ["/tasks", "/workers", "/data", "/master/master_current"] {
            probe.create(parent, b"", false).unwrap();
        }
        let losses = ["/workers/w1", "/master/"].map(|path| {
            hand.cut(cut, RequestFilter::any().operation(Operation::Create2).path_contains(path))
        });
        let master = leader(&fleet, "m1");
        let worker = worker(&fleet, "w1");
        losses.into_iter().for_each(|loss| loss.has_happened());
        let multi = |path: &str| RequestFilter::any().operation(Operation::Multi).path_contains(path);
        // The client creates /data/t1, the master assigns, and the worker finishes the task.
        let loss = hand.cut(cut, multi("/data/t1"));
        let mut client = client(&fleet, "t1", "1");
        loss.has_happened();
        worker.wait_for_line("executing", DEADLINE);
        let loss = hand.cut(cut, multi("/tasks/t1"));
        assert_eq!(output(&mut client), ["1"], "{cut:?}");
        loss.has_happened();
        worker.wait_for_line("finished", DEADLINE);
        let loss = hand.cut(cut, multi("/tasks/t2"));
        let mut second = start(&fleet, &["submit", "0.1", "--id", "t2"]);
        loss.has_happened();
        assert_eq!(output(&mut second), ["0.1"], "{cut:?}");
        let executed = worker.log().iter().filter(|line| line.text.contains("executing")).count();
        assert_eq!(executed, 2, "{:?}", worker.log());
        stop([worker, master]);
        nothing_is_left(&probe, "");
    }
}

/// Two workers, two clients, two masters on three servers, of which each is killed once.
#[test]
fn tasks_continue_while_one_of_three_servers_is_killed() {
    let mut ensemble = Ensemble::start();
    let around = TestEnv::of(ensemble.connect_string(), CALM);
    let scratch = Scratch::new("classic");
    let file = scratch.path().join("log");
    let masters = [leader(&around, "m1"), backup(&around, "m2")];
    let workers = ["w1", "w2"].map(|id| recording_worker(&around, id, &file, "sleep 1"));
    for server in 0..3 {
        let ids = [0, 1, 2, 3].map(|number| format!("s{server}t{number}"));
        let mut clients = ids.each_ref().map(|id| client(&around, id, id));
        wait_until("two executions", || lines(&file).len() >= 2);
        ensemble.kill(server);
        for (client, id) in clients.iter_mut().zip(&ids) {
            assert_eq!(output(client), [format!("{id},{id}")]);
        }
        ensemble.restart(server);
        ensemble.wait_for_quorum(DEADLINE);
        std::fs::remove_file(&file).unwrap();
    }
    stop(workers.into_iter().chain(masters));
    nothing_is_left(&around.probe(), "");
}
