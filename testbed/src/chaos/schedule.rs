//! Faults of a fleet and their times, decided by a seed. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::fault_kinds::FaultKind;
use super::faults::{Fault, POINTS, PointFault, Receiver, ScheduledFault, Target};
use super::node_id;
use super::rng::Rng;
use crate::api::ApiMode;

/// A fleet, and its faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub seed: u64,
    pub nodes: usize,
    pub lock_step: bool,
    /// True if the leader continues as soon as all have published.
    pub complete: bool,
    pub period: Duration,
    pub session: Duration,
    /// Maximum number of contenders: the other nodes wait until one leaves.
    pub contenders: u32,
    /// True if the faults start before the fleet is complete.
    pub cold: bool,
    /// Time after the start at which all faults end.
    pub length: Duration,
    pub receiver: Receiver,
    /// True if reports are sent by POST, false if by GET.
    pub post: bool,
    /// Fault of each process of each node: the first process, the second, and so on.
    pub point_faults: Vec<Vec<Option<PointFault>>>,
    /// Faults, in the order of their start.
    pub faults: Vec<ScheduledFault>,
    /// Kinds of faults that the schedule was drawn from.
    pub kinds: BTreeSet<FaultKind>,
}

/// Seed of the generator that decides between GET and POST, so that it does not change the faults.
const METHOD_SEED: u64 = 0x636f_6c6c_6563_7431_u64.rotate_left(1);

/// Seed of the generator that decides about the number of contenders.
const CONTENDERS_SEED: u64 = 0x636f_6e74_656e_6431;
/// Maximum number of contenders if the schedule does not decide: the default of nodes.
const CONTENDERS: u32 = 7;

/// Maximum number of processes of a node with a fault point.
const DEATHS: usize = 3;

impl Schedule {
    /// Returns the schedule of this seed. The seed also decides about lock-step unless `lock_step` is given.
    pub fn of(seed: u64, lock_step: Option<bool>) -> Schedule {
        let mut rng = Rng::of(seed);
        let drawn = rng.percent(50);
        let complete = rng.percent(33);
        let nodes = rng.one(&[3, 3, 4]);
        let period = Duration::from_millis(rng.one(&[100, 150, 200, 300]));
        let session = Duration::from_millis(rng.one(&[1_000, 1_500, 2_000]));
        let cold = rng.percent(20);
        let length = rng.millis(5_000, 9_000);
        let fault = |rng: &mut Rng, chance: u64| {
            let (drawn, point, number) =
                (rng.percent(chance), rng.one(&POINTS), rng.one(&[1, 1, 2, 3, 5, 8, 13]));
            let stops = rng.percent(35).then(|| a_while(rng, session));
            drawn.then_some(PointFault { point, number, stops })
        };
        let point_faults = (0..nodes)
            .map(|_| (0..DEATHS).map(|death| fault(&mut rng, if death == 0 { 60 } else { 25 })).collect())
            .collect();
        let count = rng.between(2, 5);
        let latest = u64::try_from(length.as_millis()).unwrap_or(u64::MAX) - 500;
        let mut faults: Vec<ScheduledFault> = (0..count)
            .map(|_| {
                let at = rng.millis(300, latest);
                let (fault, lasts) = scheduled(&mut rng, nodes, session);
                ScheduledFault { at, lasts, fault }
            })
            .collect();
        faults.sort_by_key(|scheduled| scheduled.at);
        let lock_step = lock_step.unwrap_or(drawn);
        let post = Rng::of(seed ^ METHOD_SEED).percent(50);
        let mut rng = Rng::of(seed ^ CONTENDERS_SEED);
        let contenders = if rng.percent(60) { rng.one(&[1, 1, 2, 3]) } else { CONTENDERS };
        let staged = Schedule::staged(lock_step, length, faults);
        Schedule { seed, nodes, complete, period, session, contenders, cold, post, point_faults, ..staged }
    }

    /// Returns a schedule with one fault: the API is down for half a minute, at one report a second.
    pub fn outage(lock_step: bool) -> Schedule {
        let (at, lasts) = (Duration::from_secs(4), Duration::from_secs(30));
        let away = ScheduledFault::new(at, lasts, Fault::Api(ApiMode::Refuse));
        Schedule::staged(lock_step, Duration::from_secs(38), vec![away])
    }

    /// Returns a schedule with one kind of fault: the leader is stopped, six times, for longer than its session.
    pub fn stops(lock_step: bool) -> Schedule {
        let at = |number| Duration::from_secs(4 + 10 * number);
        let stop =
            |number| ScheduledFault::new(at(number), Duration::from_secs(5), Fault::Stop(Target::Leader));
        Schedule::staged(lock_step, Duration::from_secs(64), (0_u64..6).map(stop).collect())
    }

    /// Returns a schedule with one kind of fault: the ZooKeeper server that leads the others is killed in `cycles`
    /// successive cycles, and restarted a second later.
    pub fn leading_servers(cycles: u64) -> Schedule {
        let period = Duration::from_secs(5);
        // At a different moment of each cycle.
        let at = |cycle: u64| Duration::from_millis(4_000 + 5_000 * cycle + cycle * 7 % 10 * 200);
        let kill = |cycle| ScheduledFault::new(at(cycle), Duration::from_secs(1), Fault::LeadingServer);
        let calm = Schedule::staged(true, at(cycles) + period * 3, (0..cycles).map(kill).collect());
        let nodes = 6;
        Schedule { nodes, period, session: period * 2, point_faults: vec![Vec::new(); nodes], ..calm }
    }

    /// Returns a schedule with one kind of fault: leaders die at this one of [`POINTS`]. The first leader dies when it
    /// end it for the second time, and so does each of the two that follow. If `stops` is true, they do not die, but
    /// stop for two session timeouts.
    pub fn dying(point: &'static str, stops: bool, lock_step: bool) -> Schedule {
        let (period, session) = (Duration::from_millis(200), Duration::from_secs(1));
        let fault = vec![Some(PointFault { point, number: 2, stops: stops.then_some(session * 2) })];
        let calm = Schedule::staged(lock_step, Duration::from_secs(6), Vec::new());
        Schedule { point_faults: vec![fault; calm.nodes], period, session, ..calm }
    }

    fn staged(lock_step: bool, length: Duration, faults: Vec<ScheduledFault>) -> Schedule {
        Schedule {
            seed: 0,
            nodes: 3,
            lock_step,
            complete: false,
            period: Duration::from_secs(1),
            session: Duration::from_secs(2),
            contenders: CONTENDERS,
            cold: false,
            length,
            receiver: Receiver::Testbed,
            post: false,
            point_faults: vec![Vec::new(); 3],
            faults,
            kinds: FaultKind::BASIC.into(),
        }
    }
}

/// Returns a duration shorter or longer than the session, most often close to it.
fn a_while(rng: &mut Rng, session: Duration) -> Duration {
    let share = if rng.percent(50) { rng.between(80, 160) } else { rng.between(20, 300) };
    session * u32::try_from(share).unwrap_or(100) / 100
}

fn scheduled(rng: &mut Rng, nodes: usize, session: Duration) -> (Fault, Duration) {
    let node = rng.index(nodes);
    let target = if rng.percent(65) { Target::Leader } else { Target::Node(node) };
    match rng.between(1, 100) {
        1..=18 => (Fault::Kill(target), rng.millis(50, 2_000)),
        19..=50 => (Fault::Stop(target), a_while(rng, session)),
        51..=66 => {
            let first = rng.index(3);
            let killed = rng.one(&[1, 1, 2, 3]);
            let servers = (first..first + killed).map(|server| server % 3).collect();
            (Fault::Servers(servers), rng.millis(100, 3_500))
        }
        _ => {
            let delay = rng.millis(50, 2_000);
            let mode = rng.one(&[
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
            (Fault::Api(mode), rng.millis(300, 4_000))
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pace = match (self.lock_step, self.complete) {
            (false, _) => "free",
            (true, false) => "lock-step",
            (true, true) => "lock-step, released when complete",
        };
        let Schedule { seed, nodes, period, session, contenders, length, cold, .. } = self;
        let when = if *cold { ", from the very start" } else { "" };
        let method = if self.post { "POST" } else { "GET" };
        writeln!(
            f,
            "schedule {seed}: {nodes} nodes, {pace}, period {period:?}, session {session:?}, contenders {contenders}, {method}, healed after {length:?}{when}"
        )?;
        for (node, deaths) in self.point_faults.iter().enumerate() {
            for (process, fault) in deaths.iter().enumerate() {
                if let Some(PointFault { point, number, stops }) = fault {
                    let (id, process) = (node_id(node), process + 1);
                    match stops {
                        None => {
                            writeln!(f, "  process {process} of node {id} dies at {point}, time {number}")?
                        }
                        Some(time) => writeln!(
                            f,
                            "  process {process} of node {id} is stopped at {point}, time {number}, for {time:?}"
                        )?,
                    }
                }
            }
        }
        self.faults.iter().try_for_each(|scheduled| {
            writeln!(f, "  {:?} {}, for {:?}", scheduled.at, scheduled.fault, scheduled.lasts)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::seed_of;

    #[test]
    fn a_seed_decides_everything() {
        for seed in 0..200 {
            let schedule = Schedule::of(seed, None);
            assert_eq!(schedule, Schedule::of(seed, None));
            let forced = Schedule::of(seed, Some(true));
            assert_eq!(forced.faults, schedule.faults, "how they keep time changes nothing else");
            assert!(schedule.faults.is_sorted_by_key(|scheduled| scheduled.at));
            assert!(schedule.faults.iter().all(|scheduled| scheduled.at < schedule.length));
        }
    }

    #[test]
    fn everything_happens_in_two_hundred_of_them() {
        let mut seen = BTreeSet::new();
        for number in 0..200 {
            let schedule = Schedule::of(seed_of(1, number), None);
            seen.insert(format!("lock-step: {}", schedule.lock_step));
            seen.insert(format!("contenders: {}", schedule.contenders));
            for fault in schedule.point_faults.iter().flatten().flatten() {
                seen.insert(format!("{} {}", fault.point, fault.stops.is_some()));
            }
            for scheduled in &schedule.faults {
                seen.insert(match &scheduled.fault {
                    Fault::Kill(Target::Leader) => "kill leader".into(),
                    Fault::Kill(_) => "kill".into(),
                    Fault::Stop(Target::Leader) => "stop leader".into(),
                    Fault::Stop(_) => "stop".into(),
                    Fault::Servers(servers) => format!("{} servers", servers.len()),
                    Fault::LeadingServer => "server that leads".into(),
                    Fault::Api(ApiMode::Slow(_)) => "slow".into(),
                    Fault::Api(mode) => format!("{mode:?}"),
                    _ => unreachable!("not with the testbed's own API, and not of the basic kinds"),
                });
            }
        }
        // 2 sampling modes, 4 numbers of contenders, 7 points at which they die or stop, 4 of nodes, 3 of servers, 8 of the API.
        assert_eq!(seen.len(), 35, "{seen:#?}");
    }
}
