//! Runs a schedule with real nodes on real servers, and end the history to the checker.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::check_report::CheckReport;
use super::checker::check;
use super::fault_kinds::FaultKind;
use super::faults::ScheduledFault;
use super::foreign_client::ForeignClient;
use super::history::{History, LogLine, Stall, below};
use super::kazoo_counts::{self, KazooCounts};
use super::managed_process::Logs;
use super::node_process::NodeProcess;
use super::outcome::Outcome;
use super::output_sink::as_of_api;
use super::pauses;
use super::report_sink::{ReportSink, SinkResults};
use super::schedule::Schedule;
use super::timeline::Timeline;
use super::tree::{Snapshot, snapshot};
use crate::ensemble::Ensemble;
use crate::journal::Transaction;
use crate::kazoo::Kazoo;
use crate::process::Line;
use crate::scratch::Scratch;
use crate::security::{FLEET_ACL, Security};
use crate::time::{millis, whole_millis};

/// Poll interval for faults that are due and processes that have ended.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Poll interval for ZooKeeper's log in the calm at the end.
pub(super) const LOG_INTERVAL: Duration = Duration::from_millis(200);
/// Timeout for a start of servers or the recovery of a fleet, on a busy machine.
pub(super) const TIMEOUT: Duration = Duration::from_secs(90);
/// Maximum time until the first report of a fleet, if the only faults are those of the processes themselves.
const FIRST_REPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of periods without a write after which a measurement does not count, but never before [`SHORTEST_LIFE`].
const STALE_PERIODS: u32 = 3;
const SHORTEST_LIFE: Duration = Duration::from_secs(1);

/// Every measured number is unique: a second publication of it is recognised, and sums are exact.
const BOARDS: &str = r#"
[boards.chaos]
backend = "sim"
sensors = [{ name = "s", chip = "random", sim = { temperature = { uniform = [0, 1_000_000_000_000], step = 1 } } }]
"#;

#[derive(Clone, Debug)]
pub enum NodeProgram {
    /// This program: `atalaya`, built with the feature `fault-points`.
    Atalaya(PathBuf),
    /// `testbed/kazoo/fleet.py`, for comparison: its losses are counted, not checked.
    Kazoo(Kazoo),
}

impl NodeProgram {
    /// Returns the program that is a collector, too.
    fn collector(&self) -> Option<&Path> {
        match self {
            NodeProgram::Atalaya(binary) => Some(binary),
            NodeProgram::Kazoo(_) => None,
        }
    }
}

/// Three ZooKeeper servers on which fleets run, one after the other.
pub struct Cluster {
    ensemble: Ensemble,
    program: NodeProgram,
    /// Certificates and passwords, if the servers are secured.
    security: Option<Arc<Security>>,
    runs: u64,
    /// First transaction of the next fleet; earlier ones in ZooKeeper's log belong to earlier fleets.
    next: i64,
}

enum Event {
    Begin(usize),
    End(usize),
}

/// State while one schedule runs.
pub(super) struct Run<'a> {
    pub(super) ensemble: &'a mut Ensemble,
    pub(super) program: &'a NodeProgram,
    pub(super) security: Option<&'a Security>,
    pub(super) schedule: &'a Schedule,
    pub(super) chroot: String,
    pub(super) first: i64,
    pub(super) scratch: Scratch,
    pub(super) sink: ReportSink,
    pub(super) nodes: Vec<NodeProcess>,
    pub(super) targets: BTreeMap<usize, usize>,
    /// Down times of leading servers that are killed as soon as that is possible.
    pub(super) leader_kills: Vec<Duration>,
    /// Number of the killed server, and the time of its restart.
    pub(super) killed_server: Option<(usize, Instant)>,
    /// Time of the last check that all servers serve.
    pub(super) servers_checked: Instant,
    /// Faults of the API that have begun and not ended.
    pub(super) api_faults: Vec<usize>,
    pub(super) healed: bool,
    /// Number of Kazoo processes that ended by themselves.
    pub(super) ended: u64,
    pub(super) injected: BTreeMap<String, u64>,
    pub(super) findings: CheckReport,
    /// Another client of ZooKeeper, if the schedule has one.
    pub(super) client: Option<ForeignClient>,
    /// Faults of other clients and of standard error that have begun and not ended.
    pub(super) active: BTreeSet<usize>,
    /// True if a node has lost its standard error.
    pub(super) has_lost_logs: bool,
    /// Start of each stall of standard error, with the number of the process, and the stalls that have ended.
    pub(super) stalled: BTreeMap<usize, (i64, usize)>,
    pub(super) stalls: Vec<Stall>,
    /// Time at which the first ZooKeeper server was killed.
    pub(super) disturbed: Option<i64>,
}

impl Cluster {
    #[track_caller]
    pub fn start(program: NodeProgram) -> Cluster {
        Cluster { ensemble: Ensemble::start(), program, security: None, runs: 0, next: 0 }
    }

    /// Starts servers like [`start`](Self::start), but they require TLS and SASL. The nodes use `acl = "fleet"`; the
    /// other client of ZooKeeper is the administrator.
    #[track_caller]
    pub fn start_secured(program: NodeProgram, security: Arc<Security>) -> Cluster {
        let ensemble = Ensemble::secured(&security);
        Cluster { ensemble, program, security: Some(security), runs: 0, next: 0 }
    }

    /// Runs a schedule and checks its history.
    pub fn run(&mut self, schedule: &Schedule) -> Outcome {
        self.runs += 1;
        let scratch = Scratch::new("chaos");
        let sink = ReportSink::start(schedule.receiver, self.program.collector());
        let boards = format!("{}{BOARDS}", sink.configuration());
        fs::write(scratch.path().join("boards.toml"), boards).expect("write the boards of a fleet");
        let run = Run {
            ensemble: &mut self.ensemble,
            program: &self.program,
            security: self.security.as_deref(),
            schedule,
            chroot: format!("/chaos-{}-{}", self.runs, schedule.seed),
            first: self.next,
            scratch,
            sink,
            nodes: (0..schedule.nodes).map(NodeProcess::new).collect(),
            targets: BTreeMap::new(),
            leader_kills: Vec::new(),
            killed_server: None,
            servers_checked: Instant::now(),
            api_faults: Vec::new(),
            healed: false,
            ended: 0,
            injected: BTreeMap::new(),
            findings: CheckReport::default(),
            client: None,
            active: BTreeSet::new(),
            has_lost_logs: false,
            stalled: BTreeMap::new(),
            stalls: Vec::new(),
            disturbed: None,
        };
        let (outcome, next) = run.run();
        self.next = next;
        outcome
    }
}

impl Run<'_> {
    fn run(mut self) -> (Outcome, i64) {
        (0..self.nodes.len()).for_each(|node| self.start(node));
        if self.needs_client() {
            let hosts = format!("{}{}", self.ensemble.connect_string(), self.chroot);
            let kazoo = self
                .security
                .map_or_else(Kazoo::ready, |security| Kazoo::secured(security, "admin", FLEET_ACL));
            self.client = Some(ForeignClient::start(kazoo, hosts));
        }
        let started = Instant::now();
        while !self.schedule.cold && !self.sink.has_some() && started.elapsed() < FIRST_REPORT_TIMEOUT {
            self.supervise();
            thread::sleep(POLL_INTERVAL);
        }
        self.inject_faults();
        let end = millis(SystemTime::now());
        let settled = self.heal();
        self.stop();
        self.evaluate(end, settled)
    }

    /// Begins and ends the faults at their times.
    fn inject_faults(&mut self) {
        let (schedule, length) = (self.schedule, self.schedule.length);
        let events = schedule.faults.iter().enumerate().flat_map(|(number, fault)| {
            [(fault.at, Event::Begin(number)), (fault.at + fault.lasts, Event::End(number))]
        });
        let mut timeline = Timeline::start(events.filter(|(at, _)| *at < length).collect());
        while timeline.is_before(length) {
            while let Some(event) = timeline.next_due() {
                match event {
                    Event::Begin(number) => self.begin(number),
                    Event::End(number) => self.end(number),
                }
            }
            self.supervise();
            self.supervise_servers();
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Collects the history and checks it. Returns the first transaction of the next fleet, too.
    fn evaluate(mut self, end: i64, settled: u64) -> (Outcome, i64) {
        let foreign = self.finish_client();
        let mut findings = std::mem::take(&mut self.findings);
        let mut logs: Logs = self.nodes.into_iter().flat_map(|node| node.managed.logs).collect();
        let transactions = self.ensemble.journal(self.first);
        let next = transactions.last().map_or(self.first, |last| last.zxid + 1);
        let transactions = fleet_transactions(&self.chroot, transactions);
        let SinkResults { arrivals, stored, logs: sink_logs } = self.sink.close(&transactions, &mut findings);
        logs.extend(sink_logs);
        let schedule = self.schedule;
        let history = History {
            transactions,
            arrivals,
            stored,
            posted: schedule.post,
            lock_step: schedule.lock_step,
            counted: schedule.can_count(),
            life: whole_millis((schedule.period * STALE_PERIODS).max(SHORTEST_LIFE)),
            settled,
            foreign,
            log: log_lines(&logs),
            complete_log: !self.has_lost_logs,
            stalls: self.stalls,
            session: whole_millis(schedule.session),
            disturbed: self.disturbed,
        };
        let mut kazoo = None;
        match self.program {
            NodeProgram::Atalaya(_) => {
                let checked = check(&history);
                findings.violations.extend(checked.violations);
                findings.counts.add(&checked.counts);
                findings.notes = checked.notes;
            }
            NodeProgram::Kazoo(_) => {
                let lines = logs.iter().flat_map(|(_, log)| log).map(|line| line.text.as_str());
                kazoo = Some(KazooCounts { ended: self.ended, ..kazoo_counts::count(&history, lines) });
            }
        }
        let pauses = pauses::measure(&history, disconnects(&logs), end, whole_millis(schedule.period));
        let injected = self.injected;
        (Outcome { findings, injected, kazoo, pauses, schedule: schedule.clone(), history, logs }, next)
    }

    /// Returns true if the schedule has faults that another client of ZooKeeper causes.
    fn needs_client(&self) -> bool {
        const KINDS: [FaultKind; 4] =
            [FaultKind::Znodes, FaultKind::Acl, FaultKind::Outbox, FaultKind::Measurements];
        let needs = |fault: &ScheduledFault| KINDS.contains(&fault.fault.kind());
        matches!(self.program, NodeProgram::Atalaya(_)) && self.schedule.faults.iter().any(needs)
    }

    pub(super) fn count(&mut self, what: impl Into<String>) {
        *self.injected.entry(what.into()).or_default() += 1;
    }

    /// Returns the state in ZooKeeper, from the log of the leading server, or any other if there is none.
    pub(super) fn snapshot(&self) -> Snapshot {
        let foreign = self.client.as_ref().map(ForeignClient::sessions).unwrap_or_default();
        let server = self.ensemble.leader().unwrap_or(0);
        snapshot(
            &fleet_transactions(&self.chroot, self.ensemble.server(server).journal(self.first)),
            &foreign,
        )
    }
}

/// Returns the changes of a fleet, with paths as the fleet sees them, and those of an output as if it were the API.
fn fleet_transactions(chroot: &str, transactions: Vec<Transaction>) -> Vec<Transaction> {
    let mut transactions = below(chroot, transactions);
    as_of_api(&mut transactions);
    transactions
}

/// Returns the log lines of the nodes, with times since 1970.
fn log_lines(logs: &[(String, Vec<Line>)]) -> Vec<LogLine> {
    let (now, wall) = (Instant::now(), millis(SystemTime::now()));
    let nodes = logs.iter().filter(|(name, _)| name.starts_with("node-"));
    let lines = nodes.flat_map(|(name, log)| log.iter().map(move |line| (name, line)));
    lines
        .map(|(process, line)| LogLine {
            process: process.clone(),
            time: wall - whole_millis(now - line.at),
            text: line.text.clone(),
        })
        .collect()
}

/// Returns the times from the loss of a connection to the next one, from the nodes' logs.
fn disconnects(logs: &[(String, Vec<Line>)]) -> Vec<(i64, i64)> {
    let (now, wall) = (Instant::now(), millis(SystemTime::now()));
    let time = |at: Instant| wall - whole_millis(now - at);
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
