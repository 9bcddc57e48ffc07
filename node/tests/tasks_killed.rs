//! Tasks while clients, workers, leaders and servers are killed and paused, and while replies are lost: each task has one
//! result, is never executed twice at a time, and waits for no free worker.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[macro_use]
#[path = "program/common/mod.rs"]
mod common;

#[path = "tasks_killed/broadcast.rs"]
mod broadcast;
#[path = "tasks_killed/history.rs"]
mod history;
#[path = "tasks_killed/lost_replies.rs"]
mod lost_replies;
#[path = "tasks_killed/schedule.rs"]
mod schedule;
#[path = "tasks_killed/stage.rs"]
mod stage;

use std::sync::Mutex;
use std::time::Instant;

use atalaya_testbed::{Ensemble, eventually};

use self::common::server::Server;
use self::common::{DEADLINE, Fleet};
use self::schedule::{Fault, LEADER_POINTS, SCENARIOS, Schedule, WORKER_POINTS};
use self::stage::{SESSION, Servers, Stage, Submission, play_all};

on_both!(
    parties_killed_at_each_step,
    parties_paused_at_each_step,
    leader_deposed_at_each_step_while_its_session_lives,
    parties_paused_for_ten_session_timeouts_at_each_step,
);

/// Number of schedules that most tests play at the same time. Twice as many overload two processors for a minute.
const PARALLEL: usize = 3;

fn servers(fleet: &Fleet) -> Servers<'_> {
    let journal = match &fleet.server {
        Server::Apache(server) => Some(&**server),
        Server::Memory(_) => None,
    };
    Servers { hosts: fleet.hosts.clone(), journal }
}

/// Returns the schedules of one fault at each step, with the scenarios in turn: two for each step in memory, all four
/// on Apache ZooKeeper.
fn at_each_step(fault: &[Fault], is_apache: bool) -> Vec<Schedule> {
    schedules(fault, is_apache, if is_apache { 4 } else { 2 })
}

/// Returns `turns` schedules for each step.
fn schedules(fault: &[Fault], is_apache: bool, turns: usize) -> Vec<Schedule> {
    let worker = WORKER_POINTS.iter().map(|point| (true, *point));
    let leader = LEADER_POINTS.iter().map(|point| (false, *point));
    let mut schedules = Vec::new();
    for (number, (is_worker, point)) in worker.chain(leader).enumerate() {
        for turn in 0..turns {
            let parties = SCENARIOS[(number + turn) % SCENARIOS.len()];
            let fault = fault[(number + turn) % fault.len()];
            // Both promises at each step, over the two servers.
            let at_most_once_first = (number / 2 + turn + usize::from(is_apache)).is_multiple_of(2);
            schedules.push(Schedule { parties, is_worker, point, fault, at_most_once_first });
        }
    }
    schedules
}

fn parties_killed_at_each_step(fleet: Fleet) {
    let is_apache = matches!(fleet.server, Server::Apache(_));
    play_all(&servers(&fleet), &at_each_step(&[Fault::Kill], is_apache), PARALLEL);
}

fn parties_paused_at_each_step(fleet: Fleet) {
    let is_apache = matches!(fleet.server, Server::Apache(_));
    play_all(&servers(&fleet), &at_each_step(&[Fault::Pause(15), Fault::Pause(30)], is_apache), PARALLEL);
}

fn leader_deposed_at_each_step_while_its_session_lives(fleet: Fleet) {
    let is_apache = matches!(fleet.server, Server::Apache(_));
    let mut schedules = at_each_step(&[Fault::Depose], is_apache);
    schedules.retain(|schedule| !schedule.is_worker);
    play_all(&servers(&fleet), &schedules, PARALLEL);
}

fn parties_paused_for_ten_session_timeouts_at_each_step(fleet: Fleet) {
    let is_apache = matches!(fleet.server, Server::Apache(_));
    // All at the same time, because they mostly wait, and so no more turns.
    let schedules = schedules(&[Fault::Pause(100)], is_apache, 1);
    play_all(&servers(&fleet), &schedules, schedules.len());
}

/// A worker that is started again ends what its predecessor has left before it gives up the claim.
#[test]
fn processes_of_a_worker_that_is_killed_with_its_guardian_end_before_the_next_attempt() {
    let fleet = Fleet::memory();
    let servers = servers(&fleet);
    // The session of the killed worker does not expire meanwhile.
    let stage = Stage::new(&servers, SESSION * 7);
    let _leader = stage.leader("n1", None);
    let mut worker = stage.worker("w1", None);
    let task = Submission { name: "one".to_owned(), at_most_once: false, holds: true };
    let submitted = stage.submit([task]);
    eventually("the first execution", DEADLINE, || (!stage.witness().is_empty()).then_some(()));
    let children = format!("/proc/{0}/task/{0}/children", worker.pid());
    let guardian = std::fs::read_to_string(children).unwrap();
    let guardian = rustix::process::Pid::from_raw(guardian.trim().parse().unwrap()).unwrap();
    // The worker would end them itself.
    worker.stop();
    rustix::process::kill_process(guardian, rustix::process::Signal::KILL).unwrap();
    worker.kill9();
    let next = stage.worker("w1", None);
    stage.all_end(&submitted, || ());
    stage.check(&submitted);
    assert!(stage.witness().contains(&"end t-0000000000 2 w1".to_owned()), "{:?}", stage.witness());
    drop(next);
}

/// Each scenario while a party is killed or paused, and one of three servers is killed and restarted in turn.
#[test]
fn parties_and_one_of_three_servers_killed() {
    let ensemble = Ensemble::start();
    let servers = Servers { hosts: ensemble.connect_string(), journal: None };
    let mut schedules = Vec::new();
    for (number, parties) in SCENARIOS.into_iter().enumerate() {
        let (point, leader_point) = [
            ("executing", "tasks-committing:1"),
            ("tasks-reporting", "tasks-committed:1"),
            ("tasks-claiming", "tasks-committing:2"),
            ("tasks-executed", "tasks-committed:2"),
        ][number];
        let fault = [Fault::Kill, Fault::Pause(15)][number % 2];
        let at_most_once_first = number % 2 == 0;
        schedules.push(Schedule { parties, is_worker: true, point, fault, at_most_once_first });
        schedules.push(Schedule {
            parties,
            is_worker: false,
            point: leader_point,
            fault,
            at_most_once_first,
        });
    }
    let (ensemble, over) = (Mutex::new(ensemble), Mutex::new(false));
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let (mut ensemble, mut killed) = (ensemble.lock().unwrap(), 0);
            let is_over = || *over.lock().unwrap();
            while !is_over() || killed < 2 {
                // The server that leads the others, and then each of them in turn.
                let server = if killed == 0 { ensemble.leader().unwrap() } else { killed % 3 };
                ensemble.kill(server);
                ensemble.wait_for_quorum(DEADLINE);
                // A new leader of the servers renews all sessions, also those of the dead.
                let since = Instant::now();
                eventually("the next server", DEADLINE, || {
                    (since.elapsed() > 3 * SESSION || is_over()).then_some(())
                });
                ensemble.restart(server);
                ensemble.wait_for_quorum(DEADLINE);
                killed += 1;
            }
        });
        // Ends the other thread also if a schedule fails.
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            play_all(&servers, &schedules, PARALLEL)
        }));
        *over.lock().unwrap() = true;
        killer.join().unwrap();
        if let Err(panic) = played {
            std::panic::resume_unwind(panic);
        }
    });
}
