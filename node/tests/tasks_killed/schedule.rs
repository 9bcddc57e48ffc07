//! Schedules: which party dies or pauses, and where.

use std::fmt;
use std::time::{Duration, Instant};

use atalaya::model::task::record::State;
use atalaya_testbed::{Process, eventually};

use super::stage::{SESSION, Stage, Submission};
use crate::common::DEADLINE;

/// Numbers of parties.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parties {
    pub(crate) clients: usize,
    pub(crate) workers: usize,
    pub(crate) leaders: usize,
}

pub(crate) const SCENARIOS: [Parties; 4] = [
    Parties { clients: 1, workers: 1, leaders: 1 },
    Parties { clients: 1, workers: 2, leaders: 1 },
    Parties { clients: 2, workers: 2, leaders: 1 },
    Parties { clients: 2, workers: 2, leaders: 2 },
];

/// Steps of a worker: fail points, and a command in progress.
pub(crate) const WORKER_POINTS: [&str; 7] = [
    "tasks-claim",
    "tasks-claiming",
    "tasks-claimed",
    "executing",
    "tasks-executed",
    "tasks-reporting",
    "tasks-reported",
];

/// Steps of a leader: the transactions that accept and assign, and those that record results.
pub(crate) const LEADER_POINTS: [&str; 5] = [
    "tasks-committing:1",
    "tasks-committed:1",
    "tasks-committing:2",
    "tasks-committed:2",
    "tasks-committing:3",
];

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Kill,
    /// Pause, in tenths of a session timeout.
    Pause(u32),
    /// Deletion of the leader's election znode during a short pause: it is deposed, and its session lives.
    Depose,
}

/// One schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) parties: Parties,
    /// True if a worker dies, false if the leader does.
    pub(crate) is_worker: bool,
    pub(crate) point: &'static str,
    pub(crate) fault: Fault,
    /// True if the first task must not be executed twice.
    pub(crate) at_most_once_first: bool,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parties { clients, workers, leaders } = self.parties;
        let who = if self.is_worker { "worker" } else { "leader" };
        let first = if self.at_most_once_first { "at most once" } else { "at least once" };
        let Schedule { point, fault, .. } = self;
        write!(f, "{clients}/{workers}/{leaders} {who} {fault:?} at {point}, first task {first}")
    }
}

impl Schedule {
    fn is_executing(&self) -> bool {
        self.point == "executing"
    }

    /// Returns the value of `ATALAYA_FAULT`.
    fn fail_point(&self) -> Option<String> {
        if self.is_executing() {
            return None;
        }
        let pass = if self.point.contains(':') { "" } else { ":1" };
        let action = if matches!(self.fault, Fault::Kill) { "" } else { ":stop" };
        Some(format!("{}{pass}{action}", self.point))
    }

    /// Returns the session timeout of the fleet. The session of a deposed leader outlives its pause on a slow machine.
    pub(crate) fn session_timeout(&self) -> Duration {
        if matches!(self.fault, Fault::Depose) { SESSION * 7 } else { SESSION }
    }

    /// Plays the schedule on a fleet of its own, and checks everything.
    pub(crate) fn play(&self, stage: &Stage<'_>) {
        let Parties { clients, workers, leaders } = self.parties;
        let leader_fault = self.fail_point().filter(|_| !self.is_worker);
        let worker_fault = self.fail_point().filter(|_| self.is_worker);
        let mut leader = stage.leader("n1", leader_fault.as_deref());
        let mut others: Vec<Process> = (1..leaders).map(|_| stage.follower("n2")).collect();
        let mut worker = stage.worker("w1", worker_fault.as_deref());
        if !self.is_worker {
            // The second worker of the other schedules starts after the fault, so that the first one reaches it.
            others.extend((1..workers).map(|_| stage.worker("w2", None)));
        }
        let tasks = |client: usize| {
            (0..3).map(move |number| Submission {
                name: format!("c{client}-{number}"),
                at_most_once: self.at_most_once_first == (number % 2 == 0),
                holds: self.is_executing(),
            })
        };
        let mut submitted = stage.submit(tasks(1));
        if self.is_executing() {
            eventually("the first execution", DEADLINE, || (!stage.witness().is_empty()).then_some(()));
        }
        let victim = if self.is_worker { &mut worker } else { &mut leader };
        self.strike(victim);
        let struck = Instant::now();
        if matches!(self.fault, Fault::Depose) {
            // Before anything else: the leader does not send while it is paused.
            stage.depose_leader();
        }
        if self.is_worker {
            others.extend((1..workers).map(|_| stage.worker("w2", None)));
        }
        submitted.extend((2..=clients).flat_map(|client| stage.submit(tasks(client))));
        match self.fault {
            Fault::Kill if self.is_worker && workers == 1 => worker = stage.worker("w1", None),
            Fault::Kill if !self.is_worker && leaders == 1 => leader = stage.leader("n1", None),
            Fault::Kill => {}
            Fault::Depose => leader.cont(),
            Fault::Pause(tenths) => {
                let pause = SESSION * tenths / 10;
                eventually("the end of the pause", pause * 2, || (struck.elapsed() >= pause).then_some(()));
                let victim = if self.is_worker { &worker } else { &leader };
                victim.cont();
            }
        }
        let is_restarted = self.is_worker && workers == 1 && matches!(self.fault, Fault::Kill);
        stage.all_end(&submitted, || {
            // A supervisor starts it again: after servers were killed, the session of its predecessor may live for longer
            // than the session timeout, and then the id counts as in use.
            if is_restarted && !worker.is_running() {
                worker = stage.worker("w1", None);
            }
        });
        self.check_paused_worker(stage, &worker);
        stage.check(&submitted);
        drop(others);
        drop((leader, worker));
        stage.check_history(&submitted);
    }

    /// Kills or pauses the victim, or waits until it has done so itself.
    fn strike(&self, victim: &mut Process) {
        match self.fault {
            Fault::Kill if self.is_executing() => {
                victim.kill9();
            }
            Fault::Pause(_) if self.is_executing() => victim.stop(),
            Fault::Kill => {
                victim.wait_for_line("fault point: dying here", DEADLINE);
                victim.wait_exit(DEADLINE);
            }
            Fault::Pause(_) | Fault::Depose => {
                victim.wait_for_line("fault point: stopping here", DEADLINE);
                // It stops after it has logged that. A signal to continue would have no effect before.
                eventually("the victim has stopped", DEADLINE, || victim.has_stopped().then_some(()));
            }
        }
    }

    /// A worker that returns after its session has expired drops its result.
    fn check_paused_worker(&self, stage: &Stage<'_>, worker: &Process) {
        let has_result = ["tasks-claimed", "executing", "tasks-executed"].contains(&self.point);
        if matches!(self.fault, Fault::Pause(_)) && has_result {
            worker.wait_for_line("the result is dropped", DEADLINE);
            if self.at_most_once_first {
                assert_eq!(stage.record(stage.first_task()).state, State::Lost);
            }
        }
    }
}

/// Longest time from the end of a pause, or from a death, to the end of all tasks.
pub(crate) const ALL_END: Duration = Duration::from_secs(30);
