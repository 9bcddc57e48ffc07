//! Parties, submissions and faults of a schedule, decided by a seed. Pure.

use std::fmt;
use std::time::Duration;

use super::super::rng::Rng;

/// Timeout of all sessions: the shortest one that works on a machine with other load.
pub(super) const SESSION: Duration = Duration::from_secs(2);
/// Time in which tasks are submitted and faults begin.
const LENGTH: u64 = 5_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Programs {
    /// `atalaya run` and `atalaya work`.
    #[default]
    Native,
    /// `atalaya classic`.
    Classic,
    /// `testbed/kazoo/classic.py`.
    Python,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A leader or master, from 0.
    Leader(usize),
    /// A worker, from 0.
    Worker(usize),
    /// The client of the submission with this number, from 0.
    Client(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and a new process after the time; clients are not replaced.
    Kill(Role),
    /// SIGSTOP, and SIGCONT after the time.
    Stop(Role),
    /// SIGKILL of ZooKeeper, and a restart after the time.
    Server,
    /// All connections of the role are closed, and new ones refused for the time.
    Cut(Role),
    /// The reply to the next request with this op code is lost with the connection; it was executed.
    LoseReply(Role, i32),
    /// The next request with this op code is lost with the connection; it was not executed.
    LoseRequest(Role, i32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledFault {
    /// Time after the start.
    pub at: Duration,
    pub lasts: Duration,
    pub fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Time after the start.
    pub at: Duration,
    /// Duration of the execution.
    pub run: Duration,
    /// True for a task that must not be started twice. Only native tasks have that promise.
    pub once: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub seed: u64,
    /// Number of leaders or masters.
    pub leaders: usize,
    pub workers: usize,
    /// Tasks of all clients. Each has a separate process.
    pub submissions: Vec<Submission>,
    /// Faults, in the order of their start.
    pub faults: Vec<ScheduledFault>,
}

/// Op codes of ZooKeeper: create, setData, multi.
const OP_CODES: [i32; 3] = [1, 5, 14];

impl Schedule {
    /// Returns the schedule of this seed. It does not depend on the programs, so all of them run the same one.
    pub fn of(seed: u64) -> Schedule {
        let mut rng = Rng::of(seed);
        let number = |rng: &mut Rng, low, high| usize::try_from(rng.between(low, high)).unwrap_or(1);
        let leaders = number(&mut rng, 1, 2);
        let workers = number(&mut rng, 1, 3);
        let clients = rng.between(1, 2);
        let count = (0..clients).map(|_| rng.between(3, 8)).sum();
        let mut submissions: Vec<Submission> = (0..count)
            .map(|_| Submission {
                at: Duration::from_millis(rng.between(0, LENGTH)),
                run: Duration::from_millis(rng.one(&[0, 0, 200, 500, 1_000, 2_000])),
                once: rng.percent(25),
            })
            .collect();
        submissions.sort_by_key(|submission| submission.at);
        let tasks = submissions.len() as u64;
        let role = |rng: &mut Rng| match rng.between(0, 9) {
            0..=3 => Role::Leader(number(rng, 0, leaders as u64 - 1)),
            4..=7 => Role::Worker(number(rng, 0, workers as u64 - 1)),
            _ => Role::Client(number(rng, 0, tasks - 1)),
        };
        let count = rng.between(1, 4);
        let mut faults: Vec<ScheduledFault> = (0..count)
            .map(|_| {
                let session = u64::try_from(SESSION.as_millis()).unwrap_or(1);
                let (kind, at) = (rng.between(0, 99), rng.between(300, LENGTH));
                let role = role(&mut rng);
                let (fault, low, high) = match kind {
                    0..=24 => (Fault::Kill(role), 100, 2 * session),
                    25..=49 => (Fault::Stop(role), session / 2, 5 * session),
                    50..=57 => (Fault::Server, 100, session),
                    58..=69 => (Fault::Cut(role), 50, 2 * session),
                    70..=89 => (Fault::LoseReply(role, rng.one(&OP_CODES)), 100, session),
                    _ => (Fault::LoseRequest(role, rng.one(&OP_CODES)), 100, session),
                };
                // A client is short-lived, so its fault happens at its submission.
                let at = match role {
                    Role::Client(client) if fault != Fault::Server => {
                        at.min(300) + u64::try_from(submissions[client].at.as_millis()).unwrap_or(0)
                    }
                    _ => at,
                };
                ScheduledFault {
                    at: Duration::from_millis(at),
                    lasts: Duration::from_millis(rng.between(low, high)),
                    fault,
                }
            })
            .collect();
        faults.sort_by_key(|fault| fault.at);
        Schedule { seed, leaders, workers, submissions, faults }
    }

    /// Returns the time after which all faults have ended.
    pub(super) fn quiet(&self) -> Duration {
        let faults = self.faults.iter().map(|fault| fault.at + fault.lasts);
        let submissions = self.submissions.iter().map(|submission| submission.at);
        faults.chain(submissions).max().unwrap_or_default()
    }

    /// Returns the time after that within which each task must have its result: one worker executes every task once
    /// more, after some sessions have expired.
    pub(super) fn bound(&self) -> Duration {
        let execution: Duration = self.submissions.iter().map(|submission| submission.run).sum();
        2 * execution + 5 * SESSION + Duration::from_secs(15)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Schedule { seed, leaders, workers, submissions, faults } = self;
        writeln!(f, "schedule {seed}: {leaders} leaders, {workers} workers, {} tasks", submissions.len())?;
        for (number, Submission { at, run, once }) in submissions.iter().enumerate() {
            let once = if *once { ", at most once" } else { "" };
            writeln!(f, "  {:5} ms: task {number}, {} ms{once}", at.as_millis(), run.as_millis())?;
        }
        for ScheduledFault { at, lasts, fault } in faults {
            writeln!(f, "  {:5} ms: {fault:?} for {} ms", at.as_millis(), lasts.as_millis())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_stay_within_their_limits_and_are_the_same_for_the_same_seed() {
        let mut kinds = [0; 6];
        for seed in 0..500 {
            let schedule = Schedule::of(seed);
            assert_eq!(schedule, Schedule::of(seed));
            assert!((1..=2).contains(&schedule.leaders) && (1..=3).contains(&schedule.workers));
            assert!((3..=16).contains(&schedule.submissions.len()), "{schedule}");
            assert!((1..=4).contains(&schedule.faults.len()), "{schedule}");
            assert!(schedule.faults.is_sorted_by_key(|fault| fault.at));
            for fault in &schedule.faults {
                kinds[match fault.fault {
                    Fault::Kill(_) => 0,
                    Fault::Stop(_) => 1,
                    Fault::Server => 2,
                    Fault::Cut(_) => 3,
                    Fault::LoseReply(..) => 4,
                    Fault::LoseRequest(..) => 5,
                }] += 1;
                assert!(fault.lasts <= 5 * SESSION, "{schedule}");
            }
        }
        assert!(kinds.iter().all(|count| *count > 20), "{kinds:?}");
    }
}
