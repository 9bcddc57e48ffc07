//! Draws the faults that other clients of ZooKeeper and the processes around a node cause: lost standard error, znodes
//! of the wrong type, ACL refusals, poisoned reports and measurements. Decided by a seed. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::fault_kinds::FaultKind;
use super::faults::{Fault, ScheduledFault, StderrFault, Target};
use super::poison::{self, REPORTS};
use super::rng::Rng;
use super::schedule::Schedule;
use super::txn_effects::COUNTER;
use super::wrong_znode::WrongZnode;

/// Seed of this generator. Each kind has its own generator, so that the selection of kinds does not change the faults of other
/// kinds.
const SEED: u64 = 0x686f_7374_696c_6531;
/// Chance that a schedule contains a kind, in percent.
const CHANCE: u64 = 70;
/// Minimum length of a schedule with znodes of the wrong type or with read-only znodes: sessions must expire, and the
/// state after that must last long enough to be reported.
const LONG: Duration = Duration::from_secs(9);

const ROOT: &str = "/";
pub(super) const READ_ONLY: [&str; 10] = [
    "/mediciones",
    "/election",
    "/atalaya/reports",
    "/atalaya/aside",
    "/atalaya/nodes",
    "/atalaya/term",
    "/atalaya/standby",
    "/atalaya",
    COUNTER,
    ROOT,
];

impl Schedule {
    /// Keeps only faults of these kinds, and adds the faults of the kinds that [`Schedule::of`] does not draw.
    #[must_use]
    pub fn with(mut self, kinds: &BTreeSet<FaultKind>) -> Schedule {
        self.kinds = kinds.clone();
        self.faults.retain(|scheduled| kinds.contains(&scheduled.fault.kind()));
        if !kinds.contains(&FaultKind::Processes) {
            self.point_faults.iter_mut().for_each(Vec::clear);
        }
        let base = self.clone();
        for kind in FaultKind::ALL {
            // Drawn even if it is not selected, so that the same seed always draws the same faults.
            let mut rng = Rng::of(self.seed ^ SEED.rotate_left(kind as u32));
            if FaultKind::BASIC.contains(&kind) || !rng.percent(CHANCE) || !kinds.contains(&kind) {
                continue;
            }
            if matches!(kind, FaultKind::Znodes | FaultKind::Acl) {
                self.length = self.length.max(LONG);
            }
            self.faults.extend(draw(&mut rng, kind, &base));
        }
        self.faults.sort_by_key(|scheduled| scheduled.at);
        self
    }

    /// Returns true if the counter is writable all the time. Measurements published while it is not are not counted;
    /// the node logs that.
    pub(super) fn can_count(&self) -> bool {
        !self.faults.iter().any(|scheduled| match scheduled.fault {
            Fault::ReadOnly(COUNTER) => true,
            // The counter may not exist yet if the fleet is disturbed from the start.
            Fault::ReadOnly(ROOT) => self.cold,
            _ => false,
        })
    }

    /// Returns true if no fault of another kind keeps nodes from publishing during this fault, which concerns standard
    /// error.
    pub(super) fn is_calm_but_for(&self, number: usize) -> bool {
        /// Time in which a fleet recovers from a killed node.
        const AFTERMATH: Duration = Duration::from_secs(3);
        const HARMLESS: [FaultKind; 4] =
            [FaultKind::Stderr, FaultKind::Receiver, FaultKind::Outbox, FaultKind::Measurements];
        let scheduled = &self.faults[number];
        let disturbs = |(other, its): (usize, &ScheduledFault)| {
            let overlaps =
                its.at < scheduled.at + scheduled.lasts && scheduled.at < its.at + its.lasts + AFTERMATH;
            other != number && overlaps && !HARMLESS.contains(&its.fault.kind())
        };
        self.point_faults.iter().flatten().all(Option::is_none)
            && !self.faults.iter().enumerate().any(disturbs)
    }
}

fn draw(rng: &mut Rng, kind: FaultKind, schedule: &Schedule) -> Vec<ScheduledFault> {
    let latest = u64::try_from(schedule.length.as_millis()).unwrap_or(u64::MAX).saturating_sub(1_500);
    let count = match kind {
        FaultKind::Outbox | FaultKind::Measurements => rng.between(1, 3),
        _ => rng.between(1, 2),
    };
    let mut faults = Vec::new();
    for _ in 0..count {
        let at = rng.millis(300, latest);
        let node = rng.index(schedule.nodes);
        match kind {
            FaultKind::Stderr => faults.push(stderr(rng, at, node)),
            FaultKind::Znodes => faults.extend(wrong_znode(rng, node, schedule.lock_step)),
            FaultKind::Acl => {
                let (path, at) = (rng.one(&READ_ONLY), rng.millis(300, 2_000));
                faults.push(ScheduledFault::new(at, rng.millis(4_000, 7_000), Fault::ReadOnly(path)));
                // The new session writes what the old one wrote before.
                faults.extend(kill(rng, at, Target::Node(node)));
            }
            FaultKind::Outbox => {
                let (poison, first, notifies) = (rng.index(REPORTS.len()), rng.percent(40), rng.percent(60));
                // The leader must handle it: it is not removed before the end.
                let fault = Fault::PoisonedReport(poison, first, notifies);
                faults.push(ScheduledFault::new(at, schedule.length, fault));
            }
            FaultKind::Measurements => {
                let (poison, ephemeral) = (rng.index(poison::MEASUREMENTS.len()), rng.percent(50));
                let fault = Fault::PoisonedMeasurement(poison, ephemeral);
                faults.push(ScheduledFault::new(at, rng.millis(500, 5_000), fault));
            }
            FaultKind::Processes | FaultKind::Servers | FaultKind::Receiver => {}
        }
    }
    faults
}

fn stderr(rng: &mut Rng, at: Duration, node: usize) -> ScheduledFault {
    let fault = rng.one(&[StderrFault::Closed, StderrFault::Stalled, StderrFault::Full]);
    let target = if rng.percent(50) { Target::Leader } else { Target::Node(node) };
    ScheduledFault { at, lasts: rng.millis(1_000, 4_500), fault: Fault::Stderr(target, fault) }
}

fn wrong_znode(rng: &mut Rng, node: usize, lock_step: bool) -> Vec<ScheduledFault> {
    let (at, lasts) = (rng.millis(300, 1_500), rng.millis(5_500, 7_500));
    let wrong_znode = match rng.between(1, 100) {
        1..=35 => WrongZnode::Contender,
        36..=60 if lock_step => WrongZnode::BarrierChild,
        61..=75 => WrongZnode::Measurement(node),
        76..=90 => WrongZnode::NodeInfo(node),
        // A fleet without lock-step has no barrier.
        _ => WrongZnode::NodeInfoChild,
    };
    let scheduled = ScheduledFault { at, lasts, fault: Fault::WrongZnode(wrong_znode) };
    let death = if wrong_znode == WrongZnode::Contender { kill(rng, at, Target::Leader) } else { None };
    [scheduled].into_iter().chain(death).collect()
}

/// Draws a kill of the node shortly after, in most cases.
fn kill(rng: &mut Rng, at: Duration, target: Target) -> Option<ScheduledFault> {
    let (killed, delay, lasts) = (rng.percent(75), rng.millis(100, 400), rng.millis(50, 400));
    killed.then_some(ScheduledFault { at: at + delay, lasts, fault: Fault::Kill(target) })
}

#[cfg(test)]
mod tests {
    use super::super::rng::seed_of;
    use super::*;

    #[test]
    fn schedule_with_one_kind_contains_the_same_acts_of_that_kind() {
        for seed in 0..200 {
            let all = Schedule::of(seed, None).with(&FaultKind::ALL.into());
            assert_eq!(
                all,
                Schedule::of(seed, None).with(&FaultKind::ALL.into()),
                "a seed decides everything"
            );
            assert!(all.faults.is_sorted_by_key(|scheduled| scheduled.at));
            assert!(all.faults.iter().all(|scheduled| scheduled.at < all.length));
            for kind in FaultKind::ALL {
                let alone = Schedule::of(seed, None).with(&[kind].into());
                let of_kind = |schedule: &Schedule| {
                    let faults = schedule.faults.iter().filter(|scheduled| scheduled.fault.kind() == kind);
                    faults.cloned().collect::<Vec<_>>()
                };
                if kind != FaultKind::Processes {
                    assert_eq!(of_kind(&alone), of_kind(&all), "{kind} of seed {seed}");
                    assert!(alone.point_faults.iter().all(Vec::is_empty));
                }
            }
        }
    }

    #[test]
    fn schedule_with_the_basic_kinds_is_what_was_drawn_before() {
        for seed in 0..200 {
            let (before, kinds) = (Schedule::of(seed, None), FaultKind::BASIC.into());
            let after = before.clone().with(&kinds);
            assert_eq!(
                (after.faults, after.point_faults, after.length),
                (before.faults, before.point_faults, before.length)
            );
        }
    }

    #[test]
    fn counter_cannot_be_created_below_a_root_that_is_read_only_from_the_start() {
        let mut schedule = Schedule::of(1, None);
        let lasts = Duration::from_secs(4);
        for (path, cold, can_count) in
            [("/mediciones", true, true), ("/counter", false, false), ("/", false, true), ("/", true, false)]
        {
            schedule.cold = cold;
            schedule.faults = vec![ScheduledFault::new(Duration::ZERO, lasts, Fault::ReadOnly(path))];
            assert_eq!(schedule.can_count(), can_count, "{path}, {cold}");
        }
    }

    #[test]
    fn every_hostile_fault_occurs_in_four_hundred_schedules() {
        let mut seen = BTreeSet::new();
        for number in 0..400 {
            let schedule = Schedule::of(seed_of(1, number), None).with(&FaultKind::ALL.into());
            for scheduled in schedule.faults {
                if !FaultKind::BASIC.contains(&scheduled.fault.kind()) {
                    seen.insert(scheduled.fault.subject());
                }
            }
        }
        // 3 of stderr, 5 wrong znodes, the read-only paths, and poison: as ephemeral and as persistent znode.
        let expected = 3 + 5 + READ_ONLY.len() + REPORTS.len() + 2 * poison::MEASUREMENTS.len();
        assert_eq!(seen.len(), expected, "{seen:#?}");
    }
}
