//! Draws the faults that other clients of ZooKeeper and the processes around a node cause: lost standard error, znodes
//! of the wrong type, ACL refusals, poisoned reports and measurements. Decided by a seed. Pure.

use std::fmt;
use std::time::Duration;

use super::deeds::COUNTER;
use super::fault_kinds::{FaultKind, FaultKinds};
use super::poison::{PoisonedMeasurement, PoisonedReport};
use super::schedule::{Act, Dice, Schedule, What, Whom};
use super::squatter::Squatter;

/// Fault of a node's standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StderrFault {
    /// The reader of the pipe closes it and does not reopen it.
    Closed,
    /// Nothing reads the full pipe until the act ends.
    Stalled,
    /// The node is killed, and its processes start with standard error on `/dev/full` until the act ends.
    Full,
}

/// Seed of these dice. Each kind has its own dice, so that the selection of kinds does not change the faults of other
/// kinds.
const DICE: u64 = 0x686f_7374_696c_6531;
/// Chance that a schedule contains a kind, in percent.
const CHANCE: u64 = 70;
/// Minimum length of a schedule with znodes of the wrong type or with read-only znodes: sessions must expire, and the
/// state after that must last long enough to be reported.
const LONG: Duration = Duration::from_secs(9);

/// Root of the fleet.
const ROOT: &str = "/";
/// Znodes that become read-only.
pub(super) const READ_ONLY: [&str; 9] = [
    "/mediciones",
    "/election",
    "/atalaya/reports",
    "/atalaya/aside",
    "/atalaya/nodes",
    "/atalaya/term",
    "/atalaya",
    COUNTER,
    ROOT,
];

impl Schedule {
    /// Keeps only faults of these kinds, and adds the faults of the kinds that [`Schedule::of`] does not draw.
    #[must_use]
    pub fn with(mut self, kinds: &FaultKinds) -> Schedule {
        self.kinds = kinds.clone();
        self.acts.retain(|act| kinds.has(FaultKind::of(&act.what)));
        if !kinds.has(FaultKind::Processes) {
            self.faults.iter_mut().for_each(Vec::clear);
        }
        let base = self.clone();
        for kind in FaultKind::ALL {
            // Drawn even if it is not selected, so that the same seed always draws the same faults.
            let mut dice = Dice::of(self.seed ^ DICE.rotate_left(kind as u32));
            if FaultKind::BASIC.contains(&kind) || !dice.percent(CHANCE) || !kinds.has(kind) {
                continue;
            }
            if matches!(kind, FaultKind::Znodes | FaultKind::Acl) {
                self.length = self.length.max(LONG);
            }
            self.acts.extend(draw(&mut dice, kind, &base));
        }
        self.acts.sort_by_key(|act| act.at);
        self
    }
}

impl Schedule {
    /// Returns true if the counter is writable all the time. Measurements published while it is not are not counted;
    /// the node logs that.
    pub(super) fn can_count(&self) -> bool {
        !self.acts.iter().any(|act| match act.what {
            What::ReadOnly(COUNTER) => true,
            // The counter may not exist yet if the fleet is disturbed from the start.
            What::ReadOnly(ROOT) => self.cold,
            _ => false,
        })
    }

    /// Returns true if no act of another kind keeps nodes from publishing during this act, which concerns standard
    /// error.
    pub(super) fn is_calm_but_for(&self, number: usize) -> bool {
        /// Time in which a fleet recovers from a killed node.
        const AFTERMATH: Duration = Duration::from_secs(3);
        const HARMLESS: [FaultKind; 4] =
            [FaultKind::Stderr, FaultKind::Receiver, FaultKind::Outbox, FaultKind::Measurements];
        let act = &self.acts[number];
        let disturbs = |(other, its): (usize, &Act)| {
            let overlaps = its.at < act.at + act.lasts && act.at < its.at + its.lasts + AFTERMATH;
            other != number && overlaps && !HARMLESS.contains(&FaultKind::of(&its.what))
        };
        self.faults.iter().flatten().all(Option::is_none) && !self.acts.iter().enumerate().any(disturbs)
    }
}

/// Draws the acts of one kind.
fn draw(dice: &mut Dice, kind: FaultKind, schedule: &Schedule) -> Vec<Act> {
    let latest = u64::try_from(schedule.length.as_millis()).unwrap_or(u64::MAX).saturating_sub(1_500);
    let count = match kind {
        FaultKind::Outbox | FaultKind::Measurements => dice.between(1, 3),
        _ => dice.between(1, 2),
    };
    let mut acts = Vec::new();
    for _ in 0..count {
        let at = dice.millis(300, latest);
        let node = dice.index(schedule.nodes);
        match kind {
            FaultKind::Stderr => acts.push(stderr(dice, at, node)),
            FaultKind::Znodes => acts.extend(squatter(dice, node, schedule.lock_step)),
            FaultKind::Acl => {
                let (path, at) = (dice.one(&READ_ONLY), dice.millis(300, 2_000));
                acts.push(Act { at, lasts: dice.millis(4_000, 7_000), what: What::ReadOnly(path) });
                // The new session writes what the old one wrote before.
                acts.extend(kill(dice, at, Whom::Node(node)));
            }
            FaultKind::Outbox => {
                let (poison, first, rings) =
                    (dice.one(&PoisonedReport::ALL), dice.percent(40), dice.percent(60));
                // The leader must handle it: it is not removed before the end.
                let lasts = schedule.length;
                acts.push(Act { at, lasts, what: What::PoisonedReport(poison, first, rings) });
            }
            FaultKind::Measurements => {
                let (poison, ephemeral) = (dice.one(&PoisonedMeasurement::ALL), dice.percent(50));
                let what = What::PoisonedMeasurement(poison, ephemeral);
                acts.push(Act { at, lasts: dice.millis(500, 5_000), what });
            }
            FaultKind::Processes | FaultKind::Servers | FaultKind::Receiver => {}
        }
    }
    acts
}

fn stderr(dice: &mut Dice, at: Duration, node: usize) -> Act {
    let fault = dice.one(&[StderrFault::Closed, StderrFault::Stalled, StderrFault::Full]);
    let whom = if dice.percent(50) { Whom::Leader } else { Whom::Node(node) };
    Act { at, lasts: dice.millis(1_000, 4_500), what: What::Stderr(whom, fault) }
}

fn squatter(dice: &mut Dice, node: usize, lock_step: bool) -> Vec<Act> {
    let (at, lasts) = (dice.millis(300, 1_500), dice.millis(5_500, 7_500));
    let squatter = match dice.between(1, 100) {
        1..=35 => Squatter::Contender,
        36..=60 if lock_step => Squatter::BarrierChild,
        61..=75 => Squatter::Measurement(node),
        76..=90 => Squatter::NodeInfo(node),
        // A fleet without lock-step has no barrier.
        _ => Squatter::NodeInfoChild,
    };
    let act = Act { at, lasts, what: What::Squatter(squatter) };
    let death = if squatter == Squatter::Contender { kill(dice, at, Whom::Leader) } else { None };
    [act].into_iter().chain(death).collect()
}

/// Draws a kill of the node shortly after, in most cases.
fn kill(dice: &mut Dice, at: Duration, whom: Whom) -> Option<Act> {
    let (killed, delay, lasts) = (dice.percent(75), dice.millis(100, 400), dice.millis(50, 400));
    killed.then_some(Act { at: at + delay, lasts, what: What::Kill(whom) })
}

impl fmt::Display for StderrFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StderrFault::Closed => "closed",
            StderrFault::Stalled => "stalled",
            StderrFault::Full => "on /dev/full",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::schedule::seed_of;
    use super::*;

    #[test]
    fn schedule_with_one_kind_contains_the_same_acts_of_that_kind() {
        for seed in 0..200 {
            let all = Schedule::of(seed, None).with(&FaultKinds::default());
            assert_eq!(
                all,
                Schedule::of(seed, None).with(&FaultKinds::default()),
                "a seed decides everything"
            );
            assert!(all.acts.is_sorted_by_key(|act| act.at));
            assert!(all.acts.iter().all(|act| act.at < all.length));
            for kind in FaultKind::ALL {
                let alone = Schedule::of(seed, None).with(&[kind].into_iter().collect());
                let of_kind = |schedule: &Schedule| {
                    let acts = schedule.acts.iter().filter(|act| FaultKind::of(&act.what) == kind);
                    acts.cloned().collect::<Vec<_>>()
                };
                if kind != FaultKind::Processes {
                    assert_eq!(of_kind(&alone), of_kind(&all), "{kind} of seed {seed}");
                }
                if kind != FaultKind::Processes {
                    assert!(alone.faults.iter().all(Vec::is_empty));
                }
            }
        }
    }

    #[test]
    fn schedule_with_the_basic_kinds_is_what_was_drawn_before() {
        for seed in 0..200 {
            let (before, kinds) = (Schedule::of(seed, None), FaultKind::BASIC.into_iter().collect());
            let after = before.clone().with(&kinds);
            assert_eq!((after.acts, after.faults, after.length), (before.acts, before.faults, before.length));
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
            schedule.acts = vec![Act { at: Duration::ZERO, lasts, what: What::ReadOnly(path) }];
            assert_eq!(schedule.can_count(), can_count, "{path}, {cold}");
        }
    }

    #[test]
    fn every_hostile_fault_occurs_in_four_hundred_schedules() {
        let mut seen = BTreeSet::new();
        for number in 0..400 {
            let schedule = Schedule::of(seed_of(1, number), None).with(&FaultKinds::default());
            for act in schedule.acts {
                if !FaultKind::BASIC.contains(&FaultKind::of(&act.what)) {
                    seen.insert(act.what.subject());
                }
            }
        }
        // 3 of stderr, 5 squatters, the read-only paths, and poison: as ephemeral and as persistent znode.
        let expected =
            3 + 5 + READ_ONLY.len() + PoisonedReport::ALL.len() + 2 * PoisonedMeasurement::ALL.len();
        assert_eq!(seen.len(), expected, "{seen:#?}");
    }
}
