//! Receiver of a fleet's reports: the processes behind a [`Receiver`], and the faults applied to them.

use std::path::Path;
use std::time::{Duration, Instant};

use super::evidence::Arrival;
use super::receiver::{Blow, Receiver};
use super::vault::Vault;
use super::verdict::{Kind, Verdict};
use crate::api::{Api, ApiMode};
use crate::collector::{Collector, Held};
use crate::process::Line;

/// Maximum time until `atalaya collect` has ended: it gives open requests 10 s; the rest is for a busy machine.
const ENDS: Duration = Duration::from_secs(20);
/// Timeout of a request that may fail.
const GLANCE: Duration = Duration::from_millis(500);
/// Delay before a restart after the process has ended by itself, which is a violation.
const AGAIN: Duration = Duration::from_millis(300);

/// Receiver of the reports.
pub(super) enum Desk {
    Testbed(Api),
    Collector(Box<Office>),
}

/// Received reports and the logs of the receiver.
pub(super) struct Taken {
    pub(super) arrivals: Vec<Arrival>,
    pub(super) held: Option<Vec<Held>>,
    /// Logs of its processes.
    pub(super) logs: Vec<(String, Vec<Line>)>,
}

/// A collector, over all of its processes.
pub(super) struct Office {
    collector: Collector,
    vault: Option<Vault>,
    state: State,
    /// Acts that keep it stopped.
    stops: Vec<usize>,
    logs: Vec<(String, Vec<Line>)>,
    /// Counts from its metrics, as far as they were read before a process ended.
    repeats: u64,
    refused: u64,
    wrong: Vec<String>,
}

#[derive(Clone, Copy)]
enum State {
    Up,
    /// SIGTERM was sent. The deadline for its end, and the delay before the next process starts.
    Ending(Instant, Duration),
    Down(Instant),
}

impl Desk {
    pub(super) fn open(receiver: Receiver, binary: Option<&Path>) -> Desk {
        let vault = match receiver {
            Receiver::Testbed => {
                let api = Api::start();
                api.set(ApiMode::Once);
                return Desk::Testbed(api);
            }
            Receiver::Sqlite => None,
            Receiver::Redis => Some(Vault::open()),
        };
        let store = vault.as_ref().map(Vault::store);
        let args: Vec<&str> = store.iter().flat_map(|store| ["--store", store]).collect();
        let binary = binary.expect("a collector is a program");
        Desk::Collector(Box::new(Office {
            collector: Collector::start(binary, &args),
            vault,
            state: State::Up,
            stops: Vec::new(),
            logs: Vec::new(),
            repeats: 0,
            refused: 0,
            wrong: Vec::new(),
        }))
    }

    pub(super) fn url(&self) -> String {
        match self {
            Desk::Testbed(api) => api.url(),
            Desk::Collector(office) => office.collector.url(),
        }
    }

    /// Returns true if any request has arrived.
    pub(super) fn has_some(&self) -> bool {
        match self {
            Desk::Testbed(api) => !api.requests().is_empty(),
            Desk::Collector(office) => {
                let listed = office.collector.try_get("/listar?limit=1", None, GLANCE);
                listed.is_ok_and(|answer| answer.status == 200 && !answer.body.is_empty())
            }
        }
    }

    /// Returns the number of requests that the testbed's API has kept.
    pub(super) fn kept(&self) -> usize {
        match self {
            Desk::Testbed(api) => api.requests().iter().filter(|request| request.kept).count(),
            Desk::Collector(_) => 0,
        }
    }

    /// Sets the mode of the testbed's API.
    pub(super) fn set(&self, mode: ApiMode) {
        if let Desk::Testbed(api) = self {
            api.set(mode);
        }
    }

    /// Applies the fault of this act to the collector. Returns false if it is not running: then nothing happens.
    pub(super) fn befalls(&mut self, number: usize, blow: Blow, lasts: Duration) -> bool {
        let Desk::Collector(office) = self else { return false };
        office.befalls(number, blow, lasts)
    }

    /// Applies the fault of this act to the Redis server of the collector.
    pub(super) fn befalls_store(&mut self, number: usize, blow: Blow, lasts: Duration) -> bool {
        let Desk::Collector(office) = self else { return false };
        office.vault.as_mut().is_some_and(|vault| vault.befalls(number, blow, lasts))
    }

    /// Ends the act with this number.
    pub(super) fn passes(&mut self, number: usize) {
        let Desk::Collector(office) = self else { return };
        if let Some(vault) = &mut office.vault {
            vault.passes(number);
        }
        let before = office.stops.len();
        office.stops.retain(|stop| *stop != number);
        if office.stops.is_empty() && before > 0 {
            office.collector.process().cont();
        }
    }

    /// Records processes that have ended, and starts the replacements that are due.
    pub(super) fn look_after(&mut self) {
        if let Desk::Collector(office) = self {
            office.look_after();
        }
    }

    /// Ends all faults.
    pub(super) fn heal(&mut self) {
        match self {
            Desk::Testbed(api) => api.set(ApiMode::Once),
            Desk::Collector(office) => {
                if let Some(vault) = &mut office.vault {
                    vault.heal();
                }
                office.stops.clear();
                office.collector.process().cont();
                if let State::Down(until) = &mut office.state {
                    *until = Instant::now();
                }
            }
        }
    }

    /// Returns the received requests and, for a collector, the stored reports. A collector is killed before the query,
    /// so that it returns only data on the disk.
    pub(super) fn close(self, verdict: &mut Verdict) -> Taken {
        match self {
            Desk::Testbed(api) => Taken {
                arrivals: api.requests().iter().map(Arrival::from).collect(),
                held: None,
                logs: Vec::new(),
            },
            Desk::Collector(office) => {
                let (held, logs) = office.close(verdict);
                Taken { arrivals: held.iter().map(Arrival::from).collect(), held: Some(held), logs }
            }
        }
    }
}

impl Office {
    fn befalls(&mut self, number: usize, blow: Blow, lasts: Duration) -> bool {
        if !matches!(self.state, State::Up) || !self.collector.process().is_running() {
            return false;
        }
        if self.stops.is_empty() {
            self.count();
        }
        match blow {
            Blow::Kill => {
                self.collector.process().kill9();
                self.is_away(Instant::now() + lasts);
            }
            Blow::Stop => {
                self.stops.push(number);
                self.collector.process().freeze();
            }
            Blow::End => {
                self.collector.process().term();
                self.state = State::Ending(Instant::now() + ENDS + self.longest_stop(), lasts);
            }
        }
        true
    }

    /// A stopped process can end only after it is continued.
    fn longest_stop(&self) -> Duration {
        if self.stops.is_empty() { Duration::ZERO } else { ENDS }
    }

    fn look_after(&mut self) {
        self.wrong.extend(self.vault.as_mut().and_then(Vault::look_after));
        match self.state {
            State::Up => {
                if let Some(exit) = self.collector.process().try_exit() {
                    self.wrong.push(format!("the collector ended by itself: {exit}"));
                    self.is_away(Instant::now() + AGAIN);
                }
            }
            State::Ending(until, lasts) => {
                let process = self.collector.process();
                let exit = match process.try_exit() {
                    None if Instant::now() < until => return,
                    None => {
                        self.wrong.push(format!("the collector does not end within {ENDS:?}"));
                        self.collector.process().kill9();
                        None
                    }
                    exit => exit,
                };
                if let Some(exit) = exit.filter(|exit| !exit.success()) {
                    self.wrong.push(format!("the collector was told to end and did so with {exit}"));
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
        process.wait_exit(ENDS);
        let log = process.log();
        if let Some(line) = log.iter().find(|line| line.text.contains("panicked at")) {
            self.wrong.push(format!("the collector: {}", line.text));
        }
        self.logs.push((format!("collector-{}", self.logs.len() + 1), log));
        self.stops.clear();
        self.state = State::Down(until);
    }

    /// Adds its metrics, which are lost when it ends.
    fn count(&mut self) {
        let became = |outcome| self.collector.became(outcome, GLANCE).unwrap_or(0);
        let (repeats, refused, conflicts) = (became("repeated"), became("stale"), became("conflict"));
        self.repeats += repeats;
        self.refused += refused;
        if conflicts > 0 {
            self.wrong.push(format!("{conflicts} reports had the key of another one"));
        }
    }

    fn close(mut self, verdict: &mut Verdict) -> (Vec<Held>, Vec<(String, Vec<Line>)>) {
        // `heal` has restarted it, or its restart is due.
        while !matches!(self.state, State::Up) {
            self.look_after();
            std::thread::sleep(Duration::from_millis(10));
        }
        self.collector.listens();
        self.count();
        self.collector.process().kill9();
        self.is_away(Instant::now());
        if let Some(vault) = &mut self.vault {
            vault.wake_from_disk();
        }
        self.collector.restart();
        let held = self.collector.try_reports(None).unwrap_or_else(|problem| {
            self.wrong.push(format!("the collector does not tell what it holds: {problem}"));
            Vec::new()
        });
        let exit = self.collector.end();
        if !exit.success() {
            self.wrong.push(format!("the collector was told to end and did so with {exit}"));
        }
        self.is_away(Instant::now());
        verdict.figures.repeats += self.repeats;
        verdict.figures.refused += self.refused;
        self.wrong.into_iter().for_each(|wrong| verdict.add(Kind::Other, wrong));
        (held, self.logs)
    }
}
