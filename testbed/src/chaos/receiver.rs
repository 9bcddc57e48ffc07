//! Receivers of the reports, and their faults, decided by a seed. Pure.

use std::fmt;
use std::time::Duration;

use super::schedule::{Act, Dice, Schedule, What};

/// Receiver of the reports of a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Receiver {
    /// [`Api`](crate::Api), which fails on demand and records every request.
    #[default]
    Testbed,
    /// `atalaya collect` with SQLite.
    Sqlite,
    /// `atalaya collect` with a Redis server.
    Redis,
}

/// Fault of a process of the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// `kill -9`, and a new process after the time.
    Kill,
    /// SIGSTOP, and SIGCONT after the time.
    Stop,
    /// SIGTERM, and a new process after it has ended and the time has passed.
    End,
}

/// Seed of the receiver's dice. Its faults are drawn by separate dice, so that they do not change other faults.
const DICE: u64 = 0x636f_6c6c_6563_7431;

impl Schedule {
    /// Returns the schedule with reports to this receiver. The faults of the API are replaced by faults of the
    /// collector, and a few are added.
    #[must_use]
    pub fn to(mut self, receiver: Receiver) -> Schedule {
        self.receiver = receiver;
        if receiver == Receiver::Testbed {
            return self;
        }
        let mut dice = Dice::of(self.seed ^ DICE);
        for act in self.acts.iter_mut().filter(|act| matches!(act.what, What::Api(_))) {
            (act.what, act.lasts) = blow(&mut dice, receiver);
        }
        let latest = u64::try_from(self.length.as_millis()).unwrap_or(u64::MAX).saturating_sub(500);
        for _ in 0..dice.between(1, 3) {
            let at = dice.millis(300, latest);
            let (what, lasts) = blow(&mut dice, receiver);
            self.acts.push(Act { at, lasts, what });
        }
        self.acts.sort_by_key(|act| act.at);
        self
    }

    /// Returns true if reports of this seed are sent by POST.
    pub(super) fn posts(seed: u64) -> bool {
        Dice::of(seed ^ DICE.rotate_left(1)).percent(50)
    }
}

fn blow(dice: &mut Dice, receiver: Receiver) -> (What, Duration) {
    if receiver == Receiver::Redis && dice.percent(50) {
        let blow = if dice.percent(65) { Blow::Kill } else { Blow::Stop };
        return (What::Store(blow), dice.millis(50, 4_000));
    }
    let (blow, longest) = match dice.between(1, 100) {
        1..=45 => (Blow::Kill, 2_500),
        46..=75 => (Blow::Stop, 4_000),
        _ => (Blow::End, 2_000),
    };
    (What::Collector(blow), dice.millis(50, longest))
}

impl Blow {
    /// Describes the fault of the process `whom`.
    pub(super) fn to(self, whom: &str) -> String {
        match self {
            Blow::Kill => format!("{whom} killed"),
            Blow::Stop => format!("{whom} stopped"),
            Blow::End => format!("{whom} ended in order"),
        }
    }
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Blow::Kill => "kill -9",
            Blow::Stop => "SIGSTOP",
            Blow::End => "SIGTERM",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::schedule::seed_of;
    use super::*;

    #[test]
    fn the_receiver_changes_nothing_else() {
        for seed in 0..200 {
            let to_api = Schedule::of(seed, None);
            let receiver = if seed % 2 == 0 { Receiver::Sqlite } else { Receiver::Redis };
            let to_collector = Schedule::of(seed, None).to(receiver);
            assert_eq!(to_collector, Schedule::of(seed, None).to(receiver));
            let others = |schedule: &Schedule| {
                let others =
                    |act: &&Act| !matches!(act.what, What::Api(_) | What::Collector(_) | What::Store(_));
                schedule.acts.iter().filter(others).cloned().collect::<Vec<_>>()
            };
            assert_eq!(others(&to_api), others(&to_collector));
            assert!(to_collector.acts.is_sorted_by_key(|act| act.at));
            assert!(
                to_collector.acts.iter().any(|act| matches!(act.what, What::Collector(_) | What::Store(_)))
            );
            assert!(!to_collector.acts.iter().any(|act| matches!(act.what, What::Api(_))));
            assert_eq!((&to_api.faults, to_api.post), (&to_collector.faults, to_collector.post));
        }
    }

    #[test]
    fn everything_happens_to_it_in_fifty_of_them() {
        let mut seen = BTreeSet::new();
        for number in 0..50 {
            let schedule = Schedule::of(seed_of(1, number), None).to(Receiver::Redis);
            seen.insert(format!("posts {}", schedule.post));
            for act in schedule.acts {
                if let What::Collector(_) | What::Store(_) = act.what {
                    seen.insert(act.what.to_string());
                }
            }
        }
        let expected = [
            "SIGSTOP of Redis",
            "SIGSTOP of the collector",
            "SIGTERM of the collector",
            "kill -9 of Redis",
            "kill -9 of the collector",
            "posts false",
            "posts true",
        ];
        assert_eq!(seen, expected.map(str::to_owned).into());
    }
}
