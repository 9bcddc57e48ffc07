//! Receivers of the reports, and their faults, decided by a seed. Pure.

use std::time::Duration;

use super::faults::{Fault, ProcessFault, Receiver, ScheduledFault};
use super::rng::Rng;
use super::schedule::Schedule;

/// Seed of the generator for faults of the receiver. Its faults are drawn by a separate generator, so that they do not change other faults.
const SEED: u64 = 0x636f_6c6c_6563_7431;

impl Schedule {
    /// Returns the schedule with reports to this receiver. The faults of the API are replaced by faults of the
    /// collector, and a few are added.
    #[must_use]
    pub fn to(mut self, receiver: Receiver) -> Schedule {
        self.receiver = receiver;
        if receiver == Receiver::Testbed {
            return self;
        }
        if receiver.is_output() {
            // An output has all fields of a report.
            self.post = true;
        }
        let mut rng = Rng::of(self.seed ^ SEED);
        for scheduled in self.faults.iter_mut().filter(|scheduled| matches!(scheduled.fault, Fault::Api(_))) {
            (scheduled.fault, scheduled.lasts) = fault(&mut rng, receiver);
        }
        let latest = u64::try_from(self.length.as_millis()).unwrap_or(u64::MAX).saturating_sub(500);
        for _ in 0..rng.between(1, 3) {
            let at = rng.millis(300, latest);
            let (fault, lasts) = fault(&mut rng, receiver);
            self.faults.push(ScheduledFault { at, lasts, fault });
        }
        self.faults.sort_by_key(|scheduled| scheduled.at);
        self
    }
}

fn fault(rng: &mut Rng, receiver: Receiver) -> (Fault, Duration) {
    if let Some(server) = receiver.server()
        && (receiver.is_output() || rng.percent(50))
    {
        let fault = match rng.percent(65) {
            false => ProcessFault::Stop,
            // A broker that is killed may lose messages that it has acknowledged.
            true if receiver == Receiver::Mqtt => ProcessFault::End,
            true => ProcessFault::Kill,
        };
        return (Fault::Server(server, fault), rng.millis(50, 4_000));
    }
    let (fault, longest) = match rng.between(1, 100) {
        1..=45 => (ProcessFault::Kill, 2_500),
        46..=75 => (ProcessFault::Stop, 4_000),
        _ => (ProcessFault::End, 2_000),
    };
    (Fault::Collector(fault), rng.millis(50, longest))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::ValueEnum as _;

    use super::super::rng::seed_of;
    use super::*;

    #[test]
    fn the_receiver_changes_nothing_else() {
        for seed in 0..200 {
            let to_api = Schedule::of(seed, None);
            let receiver = Receiver::value_variants()[1 + usize::try_from(seed % 5).unwrap()];
            let to_collector = Schedule::of(seed, None).to(receiver);
            assert_eq!(to_collector, Schedule::of(seed, None).to(receiver));
            let others = |schedule: &Schedule| {
                let others = |scheduled: &&ScheduledFault| {
                    !matches!(scheduled.fault, Fault::Api(_) | Fault::Collector(_) | Fault::Server(..))
                };
                schedule.faults.iter().filter(others).cloned().collect::<Vec<_>>()
            };
            assert_eq!(others(&to_api), others(&to_collector));
            assert!(to_collector.faults.is_sorted_by_key(|scheduled| scheduled.at));
            assert!(
                to_collector
                    .faults
                    .iter()
                    .any(|scheduled| matches!(scheduled.fault, Fault::Collector(_) | Fault::Server(..)))
            );
            assert!(!to_collector.faults.iter().any(|scheduled| matches!(scheduled.fault, Fault::Api(_))));
            assert_eq!(to_api.point_faults, to_collector.point_faults);
            assert_eq!(to_collector.post, to_api.post || receiver.is_output());
        }
    }

    #[test]
    fn everything_happens_to_it_in_fifty_of_them() {
        let mut seen = BTreeSet::new();
        for number in 0..50 {
            let schedule = Schedule::of(seed_of(1, number), None).to(Receiver::Redis);
            seen.insert(format!("posts {}", schedule.post));
            for scheduled in schedule.faults {
                if let Fault::Collector(_) | Fault::Server(..) = scheduled.fault {
                    seen.insert(scheduled.fault.to_string());
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
