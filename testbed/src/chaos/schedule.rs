//! Faults of a fleet and their times, decided by a seed. Pure. Printed by [`schedule_text`](super::schedule_text).

use std::time::Duration;

use super::fault_kinds::{FaultKind, FaultKinds};
use super::hostile::StderrFault;
use super::poison::{PoisonedMeasurement, PoisonedReport};
use super::receiver::{Blow, Receiver};
use super::squatter::Squatter;
use crate::api::ApiMode;

/// Fault points, between the computation of an average and the knowledge that it was accepted, at which a leader can be
/// made to die; in the order in which it passes them.
pub const POINTS: [&str; 7] =
    ["gathered", "committing", "committed", "sending", "answered", "deleting", "deleted"];

/// Target of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// The leader at that moment.
    Leader,
    /// The node with this number, from 0.
    Node(usize),
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// `kill -9`, and a new process after the time.
    Kill(Whom),
    /// SIGSTOP, and SIGCONT after the time.
    Stop(Whom),
    /// `kill -9` of these ZooKeeper servers, and restarts after the time.
    Servers(Vec<usize>),
    /// `kill -9` of the server that leads the other two, and a restart after the time.
    LeadingServer,
    /// The API is in this mode for the time.
    Api(ApiMode),
    /// A fault of the collector, if there is one.
    Collector(Blow),
    /// A fault of the Redis server behind the collector.
    Store(Blow),
    /// A node loses its standard error.
    Stderr(Whom, StderrFault),
    /// Another client creates a znode of the wrong type, and removes it after the time.
    Squatter(Squatter),
    /// This znode is read-only (`world:anyone:r`) for the time.
    ReadOnly(&'static str),
    /// Another client puts a report into the outbox. The first flag is true if it is the first report of all, and false
    /// if it is behind the others. The second is true if the client notifies the leader.
    PoisonedReport(PoisonedReport, bool, bool),
    /// Another client publishes a measurement, as an ephemeral znode or as a persistent one, and removes it after the
    /// time.
    PoisonedMeasurement(PoisonedMeasurement, bool),
}

/// A fault with its time and duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// Time after the start.
    pub at: Duration,
    /// Duration.
    pub lasts: Duration,
    /// Fault.
    pub what: What,
}

/// Death or stop of a process at a fault point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// One of [`POINTS`].
    pub point: &'static str,
    /// Number of the pass at which it happens, from 1.
    pub number: u32,
    /// Duration for which the process stops (SIGSTOP) instead of dying.
    pub stops: Option<Duration>,
}

/// A fleet, and its faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Seed that decides the schedule.
    pub seed: u64,
    /// Number of nodes.
    pub nodes: usize,
    /// True if the nodes sample in lock-step.
    pub lock_step: bool,
    /// True if the leader continues as soon as all have published.
    pub complete: bool,
    /// Sampling period.
    pub period: Duration,
    /// Session timeout.
    pub session: Duration,
    /// True if the faults start before the fleet is complete.
    pub cold: bool,
    /// Time after the start at which all faults end.
    pub length: Duration,
    /// Receiver of the reports.
    pub receiver: Receiver,
    /// True if reports are sent by POST, false if by GET.
    pub post: bool,
    /// Fault of each process of each node: the first process, the second, and so on.
    pub faults: Vec<Vec<Option<Fault>>>,
    /// Acts, in the order of their start.
    pub acts: Vec<Act>,
    /// Kinds of faults that the schedule was drawn from.
    pub kinds: FaultKinds,
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators): the same numbers for the same seed,
/// independent of library versions.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn of(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Returns a number from low to high, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub(super) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        let index = self.between(0, of.len() as u64 - 1);
        of[usize::try_from(index).unwrap_or(0)]
    }

    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.between(1, 100) <= chance
    }

    pub(super) fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    pub(super) fn index(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).unwrap_or(0)
    }
}

/// Returns the seed of schedule `number` of a series.
pub fn seed_of(many: u64, number: u64) -> u64 {
    // Short enough to type.
    Dice::of(many.wrapping_add(number.wrapping_mul(0x5851_F42D_4C95_7F2D))).next() >> 24
}

/// Maximum number of processes of a node with a fault point.
const DEATHS: usize = 3;

impl Schedule {
    /// Returns the schedule of this seed. The seed also decides about lock-step unless `lock_step` is given.
    pub fn of(seed: u64, lock_step: Option<bool>) -> Schedule {
        let mut dice = Dice::of(seed);
        let drawn = dice.percent(50);
        let complete = dice.percent(33);
        let nodes = dice.one(&[3, 3, 4]);
        let period = Duration::from_millis(dice.one(&[100, 150, 200, 300]));
        let session = Duration::from_millis(dice.one(&[1_000, 1_500, 2_000]));
        let cold = dice.percent(20);
        let length = dice.millis(5_000, 9_000);
        let fault = |dice: &mut Dice, chance: u64| {
            let (drawn, point, number) =
                (dice.percent(chance), dice.one(&POINTS), dice.one(&[1, 1, 2, 3, 5, 8, 13]));
            let stops = dice.percent(35).then(|| a_while(dice, session));
            drawn.then_some(Fault { point, number, stops })
        };
        let faults = (0..nodes)
            .map(|_| (0..DEATHS).map(|death| fault(&mut dice, if death == 0 { 60 } else { 25 })).collect())
            .collect();
        let count = dice.between(2, 5);
        let latest = u64::try_from(length.as_millis()).unwrap_or(u64::MAX) - 500;
        let mut acts: Vec<Act> = (0..count)
            .map(|_| {
                let at = dice.millis(300, latest);
                let (what, lasts) = act(&mut dice, nodes, session);
                Act { at, lasts, what }
            })
            .collect();
        acts.sort_by_key(|act| act.at);
        let lock_step = lock_step.unwrap_or(drawn);
        let (receiver, post) = (Receiver::Testbed, Schedule::posts(seed));
        Schedule {
            seed,
            nodes,
            lock_step,
            complete,
            period,
            session,
            cold,
            length,
            receiver,
            post,
            faults,
            acts,
            kinds: FaultKind::BASIC.into_iter().collect(),
        }
    }

    /// Returns a schedule with one fault: the API is down for half a minute, at one report a second.
    pub fn outage(lock_step: bool) -> Schedule {
        let away = Act {
            at: Duration::from_secs(4),
            lasts: Duration::from_secs(30),
            what: What::Api(ApiMode::Refuse),
        };
        Schedule::staged(lock_step, Duration::from_secs(38), vec![away])
    }

    /// Returns a schedule with one kind of fault: the leader is stopped, six times, for longer than its session.
    pub fn stops(lock_step: bool) -> Schedule {
        let stop = |number| Act {
            at: Duration::from_secs(4 + 10 * number),
            lasts: Duration::from_secs(5),
            what: What::Stop(Whom::Leader),
        };
        Schedule::staged(lock_step, Duration::from_secs(64), (0_u64..6).map(stop).collect())
    }

    /// Returns a schedule with one kind of fault: the ZooKeeper server that leads the others is killed in `cycles`
    /// successive cycles, and restarted a second later.
    pub fn leading_servers(cycles: u64) -> Schedule {
        let period = Duration::from_secs(5);
        // At a different moment of each cycle.
        let at = |cycle: u64| Duration::from_millis(4_000 + 5_000 * cycle + cycle * 7 % 10 * 200);
        let kill = |cycle| Act { at: at(cycle), lasts: Duration::from_secs(1), what: What::LeadingServer };
        let calm = Schedule::staged(true, at(cycles) + period * 3, (0..cycles).map(kill).collect());
        let nodes = 6;
        Schedule { nodes, period, session: period * 2, faults: vec![Vec::new(); nodes], ..calm }
    }

    /// Returns a schedule with one kind of fault: leaders die at this one of [`POINTS`]. The first leader dies when it
    /// passes it for the second time, and so does each of the two that follow. If `stops` is true, they do not die, but
    /// stop for two session timeouts.
    pub fn dying(point: &'static str, stops: bool, lock_step: bool) -> Schedule {
        let (period, session) = (Duration::from_millis(200), Duration::from_secs(1));
        let fault = vec![Some(Fault { point, number: 2, stops: stops.then_some(session * 2) })];
        let calm = Schedule::staged(lock_step, Duration::from_secs(6), Vec::new());
        Schedule { faults: vec![fault; calm.nodes], period, session, ..calm }
    }

    fn staged(lock_step: bool, length: Duration, acts: Vec<Act>) -> Schedule {
        Schedule {
            seed: 0,
            nodes: 3,
            lock_step,
            complete: false,
            period: Duration::from_secs(1),
            session: Duration::from_secs(2),
            cold: false,
            length,
            receiver: Receiver::Testbed,
            post: false,
            faults: vec![Vec::new(); 3],
            acts,
            kinds: FaultKind::BASIC.into_iter().collect(),
        }
    }

    /// Returns the id of a node.
    pub fn id(node: usize) -> String {
        (node + 1).to_string()
    }
}

/// Returns a duration shorter or longer than the session, most often close to it.
fn a_while(dice: &mut Dice, session: Duration) -> Duration {
    let share = if dice.percent(50) { dice.between(80, 160) } else { dice.between(20, 300) };
    session * u32::try_from(share).unwrap_or(100) / 100
}

fn act(dice: &mut Dice, nodes: usize, session: Duration) -> (What, Duration) {
    let node = dice.index(nodes);
    let whom = if dice.percent(65) { Whom::Leader } else { Whom::Node(node) };
    match dice.between(1, 100) {
        1..=18 => (What::Kill(whom), dice.millis(50, 2_000)),
        19..=50 => (What::Stop(whom), a_while(dice, session)),
        51..=66 => {
            let first = dice.index(3);
            let killed = dice.one(&[1, 1, 2, 3]);
            let servers = (first..first + killed).map(|server| server % 3).collect();
            (What::Servers(servers), dice.millis(100, 3_500))
        }
        _ => {
            let delay = dice.millis(50, 2_000);
            let mode = dice.one(&[
                ApiMode::Refuse,
                ApiMode::Hang,
                ApiMode::Slow(delay),
                ApiMode::Status(500),
                ApiMode::Status(503),
                ApiMode::Status(429),
                ApiMode::KeepAndAnswer(500),
                ApiMode::KeepAndAnswer(500),
                ApiMode::KeepAndCut,
                ApiMode::KeepAndCut,
            ]);
            (What::Api(mode), dice.millis(300, 4_000))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        for seed in 0..200 {
            let schedule = Schedule::of(seed, None);
            assert_eq!(schedule, Schedule::of(seed, None));
            let forced = Schedule::of(seed, Some(true));
            assert_eq!(forced.acts, schedule.acts, "how they keep time changes nothing else");
            assert!(schedule.acts.is_sorted_by_key(|act| act.at));
            assert!(schedule.acts.iter().all(|act| act.at < schedule.length));
        }
    }

    #[test]
    fn everything_happens_in_two_hundred_of_them() {
        let mut seen = BTreeSet::new();
        for number in 0..200 {
            let schedule = Schedule::of(seed_of(1, number), None);
            seen.insert(format!("lock-step: {}", schedule.lock_step));
            for fault in schedule.faults.iter().flatten().flatten() {
                seen.insert(format!("{} {}", fault.point, fault.stops.is_some()));
            }
            for act in &schedule.acts {
                seen.insert(match &act.what {
                    What::Kill(Whom::Leader) => "kill leader".into(),
                    What::Kill(_) => "kill".into(),
                    What::Stop(Whom::Leader) => "stop leader".into(),
                    What::Stop(_) => "stop".into(),
                    What::Servers(servers) => format!("{} servers", servers.len()),
                    What::LeadingServer => "server that leads".into(),
                    What::Api(ApiMode::Slow(_)) => "slow".into(),
                    What::Api(mode) => format!("{mode:?}"),
                    _ => unreachable!("not with the testbed's own API, and not of the basic kinds"),
                });
            }
        }
        // 2 sampling modes, 7 points at which they die or stop, 4 of nodes, 3 of servers, 8 of the API.
        assert_eq!(seen.len(), 31, "{seen:#?}");
    }
}
