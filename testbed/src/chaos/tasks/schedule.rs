//! Parties, submissions and faults of a schedule, decided by a seed. Pure.

use std::fmt;
use std::time::Duration;

use super::super::schedule::Dice;

/// Timeout of all sessions: the shortest one that works on a machine with other load.
pub(super) const SESSION: Duration = Duration::from_secs(2);
/// Time in which tasks are submitted and faults begin.
const LENGTH: u64 = 5_000;

/// Target of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A leader or master, from 0.
    Leader(usize),
    /// A worker, from 0.
    Worker(usize),
    /// The client of the submission with this number, from 0.
    Client(usize),
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// SIGKILL, and a new process after the time; clients are not replaced.
    Kill(Party),
    /// SIGSTOP, and SIGCONT after the time.
    Stop(Party),
    /// SIGKILL of ZooKeeper, and a restart after the time.
    Server,
    /// All connections of the party are closed, and new ones refused for the time.
    Cut(Party),
    /// The reply to the next request with this op code is lost with the connection; it was executed.
    LoseReply(Party, i32),
    /// The next request with this op code is lost with the connection; it was not executed.
    LoseRequest(Party, i32),
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Time after the start.
    pub at: Duration,
    /// Duration.
    pub lasts: Duration,
    /// Kind.
    pub what: What,
}

/// A task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Time after the start.
    pub at: Duration,
    /// Duration of the execution.
    pub run: Duration,
    /// True for a task that must not be started twice. Only native tasks have that promise.
    pub once: bool,
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Seed.
    pub seed: u64,
    /// Number of leaders or masters.
    pub leaders: usize,
    /// Number of workers.
    pub workers: usize,
    /// Tasks of all clients. Each has a separate process.
    pub submissions: Vec<Submission>,
    /// Faults, in the order of their start.
    pub faults: Vec<Fault>,
}

/// Op codes of ZooKeeper: create, setData, multi.
const OP_CODES: [i32; 3] = [1, 5, 14];

impl Schedule {
    /// Returns the schedule of this seed. It does not depend on the programs, so all of them run the same one.
    pub fn of(seed: u64) -> Schedule {
        let mut dice = Dice::of(seed);
        let number = |dice: &mut Dice, low, high| usize::try_from(dice.between(low, high)).unwrap_or(1);
        let leaders = number(&mut dice, 1, 2);
        let workers = number(&mut dice, 1, 3);
        let clients = dice.between(1, 2);
        let count = (0..clients).map(|_| dice.between(3, 8)).sum();
        let mut submissions: Vec<Submission> = (0..count)
            .map(|_| Submission {
                at: Duration::from_millis(dice.between(0, LENGTH)),
                run: Duration::from_millis(dice.one(&[0, 0, 200, 500, 1_000, 2_000])),
                once: dice.percent(25),
            })
            .collect();
        submissions.sort_by_key(|submission| submission.at);
        let tasks = submissions.len() as u64;
        let party = |dice: &mut Dice| match dice.between(0, 9) {
            0..=3 => Party::Leader(number(dice, 0, leaders as u64 - 1)),
            4..=7 => Party::Worker(number(dice, 0, workers as u64 - 1)),
            _ => Party::Client(number(dice, 0, tasks - 1)),
        };
        let count = dice.between(1, 4);
        let mut faults: Vec<Fault> = (0..count)
            .map(|_| {
                let session = u64::try_from(SESSION.as_millis()).unwrap_or(1);
                let (kind, at) = (dice.between(0, 99), dice.between(300, LENGTH));
                let party = party(&mut dice);
                let (what, low, high) = match kind {
                    0..=24 => (What::Kill(party), 100, 2 * session),
                    25..=49 => (What::Stop(party), session / 2, 5 * session),
                    50..=57 => (What::Server, 100, session),
                    58..=69 => (What::Cut(party), 50, 2 * session),
                    70..=89 => (What::LoseReply(party, dice.one(&OP_CODES)), 100, session),
                    _ => (What::LoseRequest(party, dice.one(&OP_CODES)), 100, session),
                };
                // A client is short-lived, so its fault happens at its submission.
                let at = match party {
                    Party::Client(client) if what != What::Server => {
                        at.min(300) + u64::try_from(submissions[client].at.as_millis()).unwrap_or(0)
                    }
                    _ => at,
                };
                Fault {
                    at: Duration::from_millis(at),
                    lasts: Duration::from_millis(dice.between(low, high)),
                    what,
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
        for Fault { at, lasts, what } in faults {
            writeln!(f, "  {:5} ms: {what:?} for {} ms", at.as_millis(), lasts.as_millis())?;
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
                kinds[match fault.what {
                    What::Kill(_) => 0,
                    What::Stop(_) => 1,
                    What::Server => 2,
                    What::Cut(_) => 3,
                    What::LoseReply(..) => 4,
                    What::LoseRequest(..) => 5,
                }] += 1;
                assert!(fault.lasts <= 5 * SESSION, "{schedule}");
            }
        }
        assert!(kinds.iter().all(|count| *count > 20), "{kinds:?}");
    }
}
