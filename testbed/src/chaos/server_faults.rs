//! A process that receives or stores reports, over all of its processes, and its faults.

use std::time::{Duration, Instant};

use super::faults::{ProcessFault, Receiver};
use super::managed_process::Logs;
use crate::collector::{Collector, StoredReport};
use crate::influxdb::Influxdb;
use crate::mosquitto::Mosquitto;
use crate::process::Process;
use crate::prometheus::Prometheus;
use crate::redis::Redis;
use crate::server::Server;

/// Maximum time until a process has ended: `atalaya collect` gives open requests 10 s; the rest is for a busy machine.
const EXIT_TIMEOUT: Duration = Duration::from_secs(20);
/// Timeout of a request that may fail.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_millis(500);
/// Delay before a restart after the process has ended by itself, which is a violation.
const RESTART_DELAY: Duration = Duration::from_millis(300);
/// Configuration of Redis in which every acknowledged write is on the disk.
const DURABLE: &str = "appendonly yes\nappendfsync always";

pub(super) enum Store {
    Collector(Collector),
    Redis(Redis),
    Influxdb(Influxdb),
    Prometheus(Prometheus),
    Mosquitto(Mosquitto),
}

/// A collector or a server, over all of its processes.
pub(super) struct FaultyServer {
    pub(super) store: Store,
    name: &'static str,
    state: State,
    /// Faults that keep it stopped.
    stops: Vec<usize>,
    pub(super) logs: Logs,
    /// Counts from the metrics of a collector, as far as they were read before a process ended.
    pub(super) repeats: u64,
    pub(super) refused: u64,
    pub(super) violations: Vec<String>,
}

#[derive(Clone, Copy)]
enum State {
    Up,
    /// SIGTERM was sent. The deadline for its end, and the delay before the next process starts.
    Ending(Instant, Duration),
    Down(Instant),
}

impl FaultyServer {
    pub(super) fn new(store: Store, name: &'static str) -> FaultyServer {
        FaultyServer {
            store,
            name,
            state: State::Up,
            stops: Vec::new(),
            logs: Logs::new(),
            repeats: 0,
            refused: 0,
            violations: Vec::new(),
        }
    }

    /// Starts the server of a receiver that has one.
    pub(super) fn start(receiver: Receiver) -> Option<FaultyServer> {
        let name = receiver.server()?;
        let store = match receiver {
            Receiver::Testbed | Receiver::Sqlite => return None,
            Receiver::Redis => Store::Redis(Redis::with(DURABLE)),
            Receiver::Influxdb => Store::Influxdb(Influxdb::start()),
            Receiver::Prometheus => Store::Prometheus(Prometheus::receiver("")),
            Receiver::Mqtt => Store::Mosquitto(Mosquitto::persistent()),
        };
        Some(FaultyServer::new(store, name))
    }

    /// Returns the server, or the collector, which is not one.
    fn server(&mut self) -> Result<&mut Server, &mut Collector> {
        Ok(match &mut self.store {
            Store::Collector(collector) => return Err(collector),
            Store::Redis(redis) => redis,
            Store::Influxdb(influxdb) => influxdb,
            Store::Prometheus(prometheus) => prometheus,
            Store::Mosquitto(mosquitto) => mosquitto,
        })
    }

    fn process(&mut self) -> &mut Process {
        match self.server() {
            Ok(server) => server.process_mut(),
            Err(collector) => collector.process(),
        }
    }

    /// Starts a process. A server answers when this returns; the collector may not listen yet.
    pub(super) fn restart(&mut self) {
        match self.server() {
            Ok(server) => server.restart(),
            Err(collector) => collector.spawn(),
        }
        self.state = State::Up;
    }

    /// Applies a fault. Returns false if it is not running: then nothing happens.
    pub(super) fn inject(&mut self, number: usize, fault: ProcessFault, lasts: Duration) -> bool {
        if !matches!(self.state, State::Up) || !self.process().is_running() {
            return false;
        }
        // A stopped process can end, and tell its metrics, only after it is continued.
        let is_stopped = !self.stops.is_empty();
        if !is_stopped {
            self.count();
        }
        match fault {
            ProcessFault::Kill => {
                self.process().kill9();
                self.is_away(Instant::now() + lasts);
            }
            ProcessFault::Stop => {
                self.stops.push(number);
                self.process().freeze();
            }
            ProcessFault::End => {
                self.process().term();
                let longest_stop = if is_stopped { EXIT_TIMEOUT } else { Duration::ZERO };
                self.state = State::Ending(Instant::now() + EXIT_TIMEOUT + longest_stop, lasts);
            }
        }
        true
    }

    pub(super) fn end(&mut self, number: usize) {
        let before = self.stops.len();
        self.stops.retain(|stop| *stop != number);
        if self.stops.is_empty() && before > 0 {
            self.process().cont();
        }
    }

    /// Records a process that has ended, and starts the next one when it is due.
    pub(super) fn supervise(&mut self) {
        let name = self.name;
        match self.state {
            State::Up => {
                if let Some(exit) = self.process().try_exit() {
                    self.violations.push(format!("{name} ended by itself: {exit}"));
                    self.is_away(Instant::now() + RESTART_DELAY);
                }
            }
            State::Ending(until, lasts) => {
                let exit = match self.process().try_exit() {
                    None if Instant::now() < until => return,
                    None => {
                        self.violations.push(format!("{name} does not end within {EXIT_TIMEOUT:?}"));
                        self.process().kill9();
                        None
                    }
                    exit => exit,
                };
                // A process that has not logged anything does not handle the signal yet.
                let is_started = !self.process().log().is_empty();
                if let Some(exit) = exit.filter(|exit| is_started && !exit.success()) {
                    self.violations.push(format!("{name} ended with {exit} after SIGTERM"));
                }
                self.is_away(Instant::now() + lasts);
            }
            State::Down(until) if until <= Instant::now() => self.restart(),
            State::Down(_) => {}
        }
    }

    /// Ends all faults. A server that was down answers when this returns.
    pub(super) fn heal(&mut self) {
        self.stops.clear();
        self.process().cont();
        match &mut self.state {
            State::Up => {}
            State::Ending(_, lasts) => *lasts = Duration::ZERO,
            State::Down(until) => *until = Instant::now(),
        }
        self.supervise();
    }

    /// Kills it, so that the next process has only data from its disk. Its faults have ended.
    pub(super) fn kill(&mut self) {
        while !matches!(self.state, State::Up) {
            self.supervise();
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Store::Collector(collector) = &self.store {
            collector.listens();
        }
        self.count();
        self.process().kill9();
        self.is_away(Instant::now());
    }

    /// Records that its process has ended.
    fn is_away(&mut self, until: Instant) {
        let process = self.process();
        process.wait_exit(EXIT_TIMEOUT);
        let log = process.log();
        if let Some(line) = log.iter().find(|line| line.text.contains("panicked at")) {
            self.violations.push(format!("{}: {}", self.name, line.text));
        }
        self.logs.push((format!("{}-{}", self.name.trim_start_matches("the "), self.logs.len() + 1), log));
        self.stops.clear();
        self.state = State::Down(until);
    }

    /// Adds the metrics of a collector, which are lost when it ends.
    fn count(&mut self) {
        let Store::Collector(collector) = &self.store else { return };
        let became = |outcome| collector.became(outcome, REQUEST_TIMEOUT).unwrap_or(0);
        let (repeats, refused, conflicts) = (became("repeated"), became("stale"), became("conflict"));
        self.repeats += repeats;
        self.refused += refused;
        if conflicts > 0 {
            self.violations.push(format!("{conflicts} reports had the key of another one"));
        }
    }

    /// Returns all reports of a collector, whose process has ended.
    pub(super) fn reports(&mut self) -> Vec<StoredReport> {
        self.restart();
        let Store::Collector(collector) = &mut self.store else { return Vec::new() };
        collector.listens();
        let stored = collector.try_reports(None);
        let exit = collector.end();
        if !exit.success() {
            self.violations.push(format!("{} ended with {exit} after SIGTERM", self.name));
        }
        self.is_away(Instant::now());
        stored.unwrap_or_else(|problem| {
            self.violations.push(format!("{} does not return its reports: {problem}", self.name));
            Vec::new()
        })
    }
}
