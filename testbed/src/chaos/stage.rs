//! Runs a schedule with real nodes on real servers, and passes the evidence to the judge.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::desk::{Desk, Taken};
use super::evidence::{Evidence, LogLine, Stall, below, millis};
use super::fault_kinds::FaultKind;
use super::foreign_client::ForeignClient;
use super::judge::judge;
use super::kazoo::{self, KazooFigures};
use super::outcome::Outcome;
use super::pauses;
use super::processes::Player;
use super::schedule::{Schedule, What};
use super::tree::{Glance, glance};
use super::verdict::Verdict;
use crate::ensemble::Ensemble;
use crate::kazoo::Kazoo;
use crate::process::Line;
use crate::scratch::Scratch;
use crate::security::{FLEET_ACL, Security};

/// Poll interval for acts that are due and processes that have ended.
pub(super) const LOOK: Duration = Duration::from_millis(10);
/// Poll interval for ZooKeeper's log in the calm at the end.
pub(super) const LOOK_AT_LOG: Duration = Duration::from_millis(200);
/// Timeout for a start of servers or the recovery of a fleet, on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// Maximum time until the first report of a fleet, if the only faults are those of the processes themselves.
const COMES_TOGETHER: Duration = Duration::from_secs(10);
/// Timeout for the end of a node. A node closes its session and ends within 2 s; this is for a busy machine.
pub(super) const NODE_ENDS: Duration = Duration::from_secs(10);
/// Number of periods without a write after which a measurement does not count, but never before [`SHORTEST_LIFE`].
const STALE_PERIODS: u32 = 3;
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

/// Every measured number is unique: a second publication of it is recognised, and sums are exact.
const BOARDS: &str = r#"
[boards.chaos]
backend = "sim"
sensors = [{ name = "s", chip = "random", sim = { temperature = { uniform = [0, 1_000_000_000_000], step = 1 } } }]
"#;

/// Programs of the nodes.
#[derive(Clone, Debug)]
pub enum Cast {
    /// This program: `atalaya`, built with the feature `fault-points`.
    Atalaya(PathBuf),
    /// `testbed/kazoo/fleet.py`, for comparison: its losses are counted, not judged.
    Kazoo(Kazoo),
}

impl Cast {
    /// Returns the program that is a collector, too.
    fn program(&self) -> Option<&Path> {
        match self {
            Cast::Atalaya(binary) => Some(binary),
            Cast::Kazoo(_) => None,
        }
    }
}

/// Three ZooKeeper servers on which fleets run, one after the other.
pub struct Theatre {
    ensemble: Ensemble,
    cast: Cast,
    /// Certificates and passwords, if the servers are secured.
    security: Option<Arc<Security>>,
    played: u64,
    /// First transaction of the next fleet; earlier ones in ZooKeeper's log belong to earlier fleets.
    next: i64,
}

/// A due act.
enum Due {
    Begin(usize),
    End(usize),
}

pub(super) struct Play<'a> {
    pub(super) ensemble: &'a mut Ensemble,
    pub(super) cast: &'a Cast,
    pub(super) security: Option<&'a Security>,
    pub(super) schedule: &'a Schedule,
    pub(super) chroot: String,
    pub(super) first: i64,
    pub(super) scratch: Scratch,
    pub(super) desk: Desk,
    pub(super) players: Vec<Player>,
    /// Target node of each act.
    pub(super) whom: BTreeMap<usize, usize>,
    /// Down times of leading servers that are killed as soon as that is possible.
    pub(super) doomed: Vec<Duration>,
    /// Number of the killed server, and the time of its restart.
    pub(super) away: Option<(usize, Instant)>,
    /// Time of the last check that all servers serve.
    pub(super) looked: Instant,
    /// Acts of the API that have begun and not ended.
    pub(super) moods: Vec<usize>,
    pub(super) healed: bool,
    /// Number of Kazoo processes that ended by themselves.
    pub(super) ended: u64,
    pub(super) played: BTreeMap<String, u64>,
    pub(super) logs: Vec<(String, Vec<Line>)>,
    pub(super) verdict: Verdict,
    /// Another client of ZooKeeper, if the schedule has one.
    pub(super) client: Option<ForeignClient>,
    /// Acts of other clients and of standard error that have begun and not ended.
    pub(super) active: BTreeSet<usize>,
    /// True if a node has lost its standard error.
    pub(super) has_lost_logs: bool,
    /// Start of each stall of standard error, with the number of the process, and the stalls that have ended.
    pub(super) stalled: BTreeMap<usize, (i64, usize)>,
    pub(super) stalls: Vec<Stall>,
    /// Time at which the first ZooKeeper server was killed.
    pub(super) disturbed: Option<i64>,
}

impl Theatre {
    /// Starts the servers.
    ///
    /// # Panics
    ///
    /// If they do not start.
    #[track_caller]
    pub fn open(cast: Cast) -> Theatre {
        Theatre { ensemble: Ensemble::start(), cast, security: None, played: 0, next: 0 }
    }

    /// Starts servers like [`open`](Self::open), but they require TLS and SASL. The nodes use `acl = "fleet"`; the
    /// other client of ZooKeeper is the administrator.
    ///
    /// # Panics
    ///
    /// If they do not start.
    #[track_caller]
    pub fn open_secured(cast: Cast, security: Arc<Security>) -> Theatre {
        let ensemble = Ensemble::secured(&security);
        Theatre { ensemble, cast, security: Some(security), played: 0, next: 0 }
    }

    /// Runs a schedule and judges it.
    ///
    /// # Panics
    ///
    /// If ZooKeeper's servers do not come back, or their logs do not agree.
    pub fn play(&mut self, schedule: &Schedule) -> Outcome {
        self.played += 1;
        let scratch = Scratch::new("chaos");
        fs::write(scratch.path().join("boards.toml"), BOARDS).expect("write the boards of a fleet");
        let player = |node| Player {
            id: Schedule::id(node),
            process: None,
            processes: 0,
            again: None,
            fault: None,
            is_mute: false,
            full: BTreeSet::new(),
            stops: None,
            was_stopped: false,
            stands: None,
        };
        let play = Play {
            ensemble: &mut self.ensemble,
            cast: &self.cast,
            security: self.security.as_deref(),
            schedule,
            chroot: format!("/chaos-{}-{}", self.played, schedule.seed),
            first: self.next,
            scratch,
            desk: Desk::open(schedule.receiver, self.cast.program()),
            players: (0..schedule.nodes).map(player).collect(),
            whom: BTreeMap::new(),
            doomed: Vec::new(),
            away: None,
            looked: Instant::now(),
            moods: Vec::new(),
            healed: false,
            ended: 0,
            played: BTreeMap::new(),
            logs: Vec::new(),
            verdict: Verdict::default(),
            client: None,
            active: BTreeSet::new(),
            has_lost_logs: false,
            stalled: BTreeMap::new(),
            stalls: Vec::new(),
            disturbed: None,
        };
        let (outcome, next) = play.run();
        self.next = next;
        outcome
    }
}

impl Play<'_> {
    fn run(mut self) -> (Outcome, i64) {
        for node in 0..self.players.len() {
            self.start(node);
        }
        if self.needs_client() {
            let hosts = format!("{}{}", self.ensemble.connect_string(), self.chroot);
            let kazoo = self
                .security
                .map_or_else(Kazoo::ready, |security| Kazoo::secured(security, "admin", FLEET_ACL));
            self.client = Some(ForeignClient::start(kazoo, hosts));
        }
        let started = Instant::now();
        while !self.schedule.cold && !self.desk.has_some() && started.elapsed() < COMES_TOGETHER {
            self.look_after();
            thread::sleep(LOOK);
        }
        let begin = Instant::now();
        let mut due: Vec<(Duration, Due)> = Vec::new();
        for (number, act) in self.schedule.acts.iter().enumerate() {
            due.push((act.at, Due::Begin(number)));
            due.push((act.at + act.lasts, Due::End(number)));
        }
        due.retain(|(at, _)| *at < self.schedule.length);
        due.sort_by_key(|(at, _)| *at);
        let mut due = due.into_iter().peekable();
        while begin.elapsed() < self.schedule.length {
            while let Some((_, event)) = due.next_if(|(at, _)| *at <= begin.elapsed()) {
                match event {
                    Due::Begin(number) => self.begin(number),
                    Due::End(number) => self.end(number),
                }
            }
            self.look_after();
            self.look_after_servers();
            thread::sleep(LOOK);
        }
        let end = millis(SystemTime::now());
        let settled = self.heal();
        self.stop();
        let foreign = self.finish_client();
        let mut verdict = std::mem::take(&mut self.verdict);
        let Taken { arrivals, held, logs } = self.desk.close(&mut verdict);
        self.logs.extend(logs);
        let transactions = self.ensemble.journal(self.first);
        let next = transactions.last().map_or(self.first, |last| last.zxid + 1);
        let evidence = Evidence {
            transactions: below(&self.chroot, transactions),
            arrivals,
            held,
            posted: self.schedule.post,
            lock_step: self.schedule.lock_step,
            counted: self.schedule.can_count(),
            life: i64::try_from((self.schedule.period * STALE_PERIODS).max(SHORTEST_LIFE).as_millis())
                .unwrap_or(i64::MAX),
            settled,
            foreign,
            log: log_lines(&self.logs),
            complete_log: !self.has_lost_logs,
            stalls: std::mem::take(&mut self.stalls),
            session: i64::try_from(self.schedule.session.as_millis()).unwrap_or(i64::MAX),
            disturbed: self.disturbed,
        };
        let mut kazoo = None;
        match self.cast {
            Cast::Atalaya(_) => {
                let judged = judge(&evidence);
                verdict.violations.extend(judged.violations);
                verdict.figures.add(&judged.figures);
                verdict.notes = judged.notes;
            }
            Cast::Kazoo(_) => {
                let said = self.logs.iter().flat_map(|(_, log)| log).map(|line| line.text.as_str());
                kazoo = Some(KazooFigures { ended: self.ended, ..kazoo::count(&evidence, said) });
            }
        }
        let period = i64::try_from(self.schedule.period.as_millis()).unwrap_or(i64::MAX);
        let pauses = pauses::measure(&evidence, away(&self.logs), end, period);
        let Self { played, logs, .. } = self;
        (Outcome { verdict, played, kazoo, pauses, schedule: self.schedule.clone(), evidence, logs }, next)
    }

    /// Returns true if the schedule has faults that another client of ZooKeeper causes.
    fn needs_client(&self) -> bool {
        const KINDS: [FaultKind; 4] =
            [FaultKind::Znodes, FaultKind::Acl, FaultKind::Outbox, FaultKind::Measurements];
        let needs = |what: &What| KINDS.contains(&FaultKind::of(what));
        matches!(self.cast, Cast::Atalaya(_)) && self.schedule.acts.iter().any(|act| needs(&act.what))
    }

    pub(super) fn count(&mut self, what: impl Into<String>) {
        *self.played.entry(what.into()).or_default() += 1;
    }

    /// Returns the state in ZooKeeper, from the log of the leading server, or any other if there is none.
    pub(super) fn glance(&self) -> Glance {
        let foreign = self.client.as_ref().map(ForeignClient::sessions).unwrap_or_default();
        let server = self.ensemble.leader().unwrap_or(0);
        glance(&below(&self.chroot, self.ensemble.server(server).journal(self.first)), &foreign)
    }
}

/// Returns the log lines of the nodes, with times since 1970.
fn log_lines(logs: &[(String, Vec<Line>)]) -> Vec<LogLine> {
    let (now, wall) = (Instant::now(), millis(SystemTime::now()));
    let nodes = logs.iter().filter(|(name, _)| name.starts_with("node-"));
    let lines = nodes.flat_map(|(name, log)| log.iter().map(move |line| (name, line)));
    lines
        .map(|(process, line)| LogLine {
            process: process.clone(),
            time: wall - i64::try_from((now - line.at).as_millis()).unwrap_or(i64::MAX),
            text: line.text.clone(),
        })
        .collect()
}

/// Returns the times from the loss of a connection to the next one, from the nodes' logs.
fn away(logs: &[(String, Vec<Line>)]) -> Vec<(i64, i64)> {
    let (now, wall) = (Instant::now(), millis(SystemTime::now()));
    let time = |at: Instant| wall - i64::try_from((now - at).as_millis()).unwrap_or(i64::MAX);
    let mut away = Vec::new();
    for (_, log) in logs {
        let mut lost = None;
        for line in log {
            if line.text.contains("connection to ZooKeeper lost") {
                lost.get_or_insert(time(line.at));
            } else if line.text.contains("connected to ZooKeeper") {
                away.extend(lost.take().map(|lost| (lost, time(line.at))));
            }
        }
    }
    away
}
