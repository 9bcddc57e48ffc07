//! Receiver of a fleet's reports: the processes behind a [`Receiver`], and the faults applied to them.

use std::path::Path;
use std::time::{Duration, Instant};

use super::check_report::{CheckReport, Violation};
use super::faults::{ProcessFault, Receiver};
use super::history::Arrival;
use super::output_sink::OutputSink;
use super::server_faults::{FaultyServer, Store};
use crate::api::{Api, ApiMode};
use crate::collector::{Collector, StoredReport};
use crate::journal::Transaction;
use crate::process::Line;

/// Maximum time until `atalaya collect` has ended: it gives open requests 10 s; the rest is for a busy machine.
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);
/// Timeout of a request that may fail.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(500);
/// Delay before a restart after the process has ended by itself, which is a violation.
const RESTART_DELAY: Duration = Duration::from_millis(300);

pub(super) enum ReportSink {
    Testbed(Api),
    Collector(Box<CollectorSink>),
    Output(Box<OutputSink>),
}

/// Received reports and the logs of the receiver.
pub(super) struct SinkResults {
    pub(super) arrivals: Vec<Arrival>,
    pub(super) stored: Option<Vec<StoredReport>>,
    pub(super) logs: Vec<(String, Vec<Line>)>,
}

/// A collector, over all of its processes.
pub(super) struct CollectorSink {
    collector: Collector,
    redis: Option<FaultyServer>,
    state: State,
    /// Faults that keep it stopped.
    stops: Vec<usize>,
    logs: Vec<(String, Vec<Line>)>,
    /// Counts from its metrics, as far as they were read before a process ended.
    repeats: u64,
    refused: u64,
    violations: Vec<String>,
}

#[derive(Clone, Copy)]
enum State {
    Up,
    /// SIGTERM was sent. The deadline for its end, and the delay before the next process starts.
    Ending(Instant, Duration),
    Down(Instant),
}

impl ReportSink {
    pub(super) fn start(receiver: Receiver, binary: Option<&Path>) -> ReportSink {
        let redis = match receiver {
            Receiver::Testbed => {
                let api = Api::start();
                api.set(ApiMode::Once);
                return ReportSink::Testbed(api);
            }
            Receiver::Sqlite | Receiver::Redis => FaultyServer::start(receiver),
            Receiver::Influxdb | Receiver::Prometheus | Receiver::Mqtt => {
                return ReportSink::Output(Box::new(OutputSink::start(receiver)));
            }
        };
        let store = redis.as_ref().and_then(|redis| match &redis.store {
            Store::Redis(redis) => Some(format!("{}/0", redis.url())),
            _ => None,
        });
        let args: Vec<&str> = store.iter().flat_map(|store| ["--store", store]).collect();
        let binary = binary.expect("a collector is a program");
        ReportSink::Collector(Box::new(CollectorSink {
            collector: Collector::start(binary, &args),
            redis,
            state: State::Up,
            stops: Vec::new(),
            logs: Vec::new(),
            repeats: 0,
            refused: 0,
            violations: Vec::new(),
        }))
    }

    /// Returns the address of the API. `None`: the fleet has an output instead.
    pub(super) fn url(&self) -> Option<String> {
        match self {
            ReportSink::Testbed(api) => Some(api.url()),
            ReportSink::Collector(sink) => Some(sink.collector.url()),
            ReportSink::Output(_) => None,
        }
    }

    /// Returns the outputs of the fleet, as boards.toml has them.
    pub(super) fn configuration(&self) -> String {
        match self {
            ReportSink::Output(sink) => sink.configuration(),
            ReportSink::Testbed(_) | ReportSink::Collector(_) => String::new(),
        }
    }

    /// Returns true if any request has arrived.
    pub(super) fn has_some(&self) -> bool {
        match self {
            ReportSink::Testbed(api) => !api.requests().is_empty(),
            ReportSink::Collector(sink) => {
                let listed = sink.collector.try_get("/listar?limit=1", None, REQUEST_TIMEOUT);
                listed.is_ok_and(|answer| answer.status == 200 && !answer.body.is_empty())
            }
            ReportSink::Output(sink) => sink.has_some(),
        }
    }

    /// Returns the number of requests that the testbed's API has kept.
    pub(super) fn kept(&self) -> usize {
        match self {
            ReportSink::Testbed(api) => api.requests().iter().filter(|request| request.kept).count(),
            ReportSink::Collector(_) | ReportSink::Output(_) => 0,
        }
    }

    /// Sets the mode of the testbed's API.
    pub(super) fn set(&self, mode: ApiMode) {
        if let ReportSink::Testbed(api) = self {
            api.set(mode);
        }
    }

    /// Applies a fault to the collector. Returns false if it is not running: then nothing happens.
    pub(super) fn inject(&mut self, number: usize, fault: ProcessFault, lasts: Duration) -> bool {
        let ReportSink::Collector(sink) = self else { return false };
        sink.inject(number, fault, lasts)
    }

    /// Applies a fault to the server that stores the reports.
    pub(super) fn inject_into_server(&mut self, number: usize, fault: ProcessFault, lasts: Duration) -> bool {
        self.server().is_some_and(|server| server.inject(number, fault, lasts))
    }

    fn server(&mut self) -> Option<&mut FaultyServer> {
        match self {
            ReportSink::Testbed(_) => None,
            ReportSink::Collector(sink) => sink.redis.as_mut(),
            ReportSink::Output(sink) => Some(&mut sink.server),
        }
    }

    pub(super) fn end(&mut self, number: usize) {
        if let Some(server) = self.server() {
            server.end(number);
        }
        let ReportSink::Collector(sink) = self else { return };
        let before = sink.stops.len();
        sink.stops.retain(|stop| *stop != number);
        if sink.stops.is_empty() && before > 0 {
            sink.collector.process().cont();
        }
    }

    /// Records processes that have ended, and starts the replacements that are due.
    pub(super) fn supervise(&mut self) {
        match self {
            ReportSink::Testbed(_) => {}
            ReportSink::Collector(sink) => sink.supervise(),
            ReportSink::Output(sink) => sink.violations.extend(sink.server.supervise()),
        }
    }

    pub(super) fn heal(&mut self) {
        match self {
            ReportSink::Testbed(api) => api.set(ApiMode::Once),
            ReportSink::Collector(sink) => {
                if let Some(redis) = &mut sink.redis {
                    redis.heal();
                }
                sink.stops.clear();
                sink.collector.process().cont();
                if let State::Down(until) = &mut sink.state {
                    *until = Instant::now();
                }
            }
            ReportSink::Output(sink) => sink.server.heal(),
        }
    }

    /// Returns the received requests and, for a collector, the stored reports. A collector is killed before the query,
    /// so that it returns only data on the disk.
    pub(super) fn close(self, transactions: &[Transaction], findings: &mut CheckReport) -> SinkResults {
        match self {
            ReportSink::Testbed(api) => SinkResults {
                arrivals: api.requests().iter().map(Arrival::from).collect(),
                stored: None,
                logs: Vec::new(),
            },
            ReportSink::Collector(sink) => {
                let (stored, logs) = sink.close(findings);
                SinkResults {
                    arrivals: stored.iter().map(Arrival::from).collect(),
                    stored: Some(stored),
                    logs,
                }
            }
            ReportSink::Output(mut sink) => {
                let (stored, repeats) = sink.stored(transactions);
                findings.counts.repeats += repeats;
                sink.violations.into_iter().for_each(|wrong| findings.add(Violation::Other, wrong));
                let arrivals = stored.iter().map(Arrival::from).collect();
                SinkResults { arrivals, stored: Some(stored), logs: Vec::new() }
            }
        }
    }
}

impl CollectorSink {
    fn inject(&mut self, number: usize, fault: ProcessFault, lasts: Duration) -> bool {
        if !matches!(self.state, State::Up) || !self.collector.process().is_running() {
            return false;
        }
        if self.stops.is_empty() {
            self.count();
        }
        match fault {
            ProcessFault::Kill => {
                self.collector.process().kill9();
                self.is_away(Instant::now() + lasts);
            }
            ProcessFault::Stop => {
                self.stops.push(number);
                self.collector.process().freeze();
            }
            ProcessFault::End => {
                self.collector.process().term();
                self.state = State::Ending(Instant::now() + EXIT_TIMEOUT + self.longest_stop(), lasts);
            }
        }
        true
    }

    /// A stopped process can end only after it is continued.
    fn longest_stop(&self) -> Duration {
        if self.stops.is_empty() { Duration::ZERO } else { EXIT_TIMEOUT }
    }

    fn supervise(&mut self) {
        self.violations.extend(self.redis.as_mut().and_then(FaultyServer::supervise));
        match self.state {
            State::Up => {
                if let Some(exit) = self.collector.process().try_exit() {
                    self.violations.push(format!("the collector ended by itself: {exit}"));
                    self.is_away(Instant::now() + RESTART_DELAY);
                }
            }
            State::Ending(until, lasts) => {
                let process = self.collector.process();
                let exit = match process.try_exit() {
                    None if Instant::now() < until => return,
                    None => {
                        self.violations.push(format!("the collector does not end within {EXIT_TIMEOUT:?}"));
                        self.collector.process().kill9();
                        None
                    }
                    exit => exit,
                };
                // A process that has not logged anything does not handle the signal yet.
                let is_started = !self.collector.process().log().is_empty();
                if let Some(exit) = exit.filter(|exit| is_started && !exit.success()) {
                    self.violations.push(format!("the collector ended with {exit} after SIGTERM"));
                }
                self.is_away(Instant::now() + lasts);
            }
            State::Down(until) if until <= Instant::now() => {
                self.collector.spawn();
                self.state = State::Up;
            }
            State::Down(_) => {}
        }
    }

    /// Records that its process has ended.
    fn is_away(&mut self, until: Instant) {
        let process = self.collector.process();
        process.wait_exit(EXIT_TIMEOUT);
        let log = process.log();
        if let Some(line) = log.iter().find(|line| line.text.contains("panicked at")) {
            self.violations.push(format!("the collector: {}", line.text));
        }
        self.logs.push((format!("collector-{}", self.logs.len() + 1), log));
        self.stops.clear();
        self.state = State::Down(until);
    }

    /// Adds its metrics, which are lost when it ends.
    fn count(&mut self) {
        let became = |outcome| self.collector.became(outcome, REQUEST_TIMEOUT).unwrap_or(0);
        let (repeats, refused, conflicts) = (became("repeated"), became("stale"), became("conflict"));
        self.repeats += repeats;
        self.refused += refused;
        if conflicts > 0 {
            self.violations.push(format!("{conflicts} reports had the key of another one"));
        }
    }

    fn close(mut self, findings: &mut CheckReport) -> (Vec<StoredReport>, Vec<(String, Vec<Line>)>) {
        // `heal` has restarted it, or its restart is due.
        while !matches!(self.state, State::Up) {
            self.supervise();
            std::thread::sleep(Duration::from_millis(10));
        }
        self.collector.listens();
        self.count();
        self.collector.process().kill9();
        self.is_away(Instant::now());
        if let Some(redis) = &mut self.redis {
            redis.wake_from_disk();
        }
        self.collector.restart();
        let stored = self.collector.try_reports(None).unwrap_or_else(|problem| {
            self.violations.push(format!("the collector does not return its reports: {problem}"));
            Vec::new()
        });
        let exit = self.collector.end();
        if !exit.success() {
            self.violations.push(format!("the collector ended with {exit} after SIGTERM"));
        }
        self.is_away(Instant::now());
        findings.counts.repeats += self.repeats;
        findings.counts.refused += self.refused;
        self.violations.into_iter().for_each(|wrong| findings.add(Violation::Other, wrong));
        (stored, self.logs)
    }
}
