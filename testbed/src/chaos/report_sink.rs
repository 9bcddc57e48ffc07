//! Receiver of a fleet's reports: the processes behind a [`Receiver`], and the faults applied to them.

use std::path::Path;
use std::time::Duration;

use super::check_report::{CheckReport, Violation};
use super::faults::{ProcessFault, Receiver};
use super::history::Arrival;
use super::managed_process::Logs;
use super::output_sink::OutputSink;
use super::server_faults::{FaultyServer, REQUEST_TIMEOUT, Store};
use crate::api::{Api, ApiMode};
use crate::collector::{Collector, StoredReport};
use crate::journal::Transaction;

pub(super) enum ReportSink {
    Testbed(Api),
    /// A collector, and Redis if it stores the reports there.
    Collector(Box<FaultyServer>, Option<Box<FaultyServer>>),
    Output(Box<OutputSink>),
}

/// Received reports and the logs of the receiver.
pub(super) struct SinkResults {
    pub(super) arrivals: Vec<Arrival>,
    pub(super) stored: Option<Vec<StoredReport>>,
    pub(super) logs: Logs,
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
        let collector = Store::Collector(Collector::start(binary, &args));
        let collector = FaultyServer::new(collector, "the collector");
        ReportSink::Collector(Box::new(collector), redis.map(Box::new))
    }

    /// Returns the address of the API. `None`: the fleet has an output instead.
    pub(super) fn url(&self) -> Option<String> {
        match self {
            ReportSink::Testbed(api) => Some(api.url()),
            ReportSink::Collector(collector, _) => match &collector.store {
                Store::Collector(collector) => Some(collector.url()),
                _ => None,
            },
            ReportSink::Output(_) => None,
        }
    }

    /// Returns the outputs of the fleet, as boards.toml has them.
    pub(super) fn configuration(&self) -> String {
        match self {
            ReportSink::Output(sink) => sink.configuration(),
            ReportSink::Testbed(_) | ReportSink::Collector(..) => String::new(),
        }
    }

    /// Returns true if any request has arrived.
    pub(super) fn has_some(&self) -> bool {
        match self {
            ReportSink::Testbed(api) => !api.requests().is_empty(),
            ReportSink::Collector(collector, _) => {
                let Store::Collector(collector) = &collector.store else { return false };
                let listed = collector.try_get("/listar?limit=1", None, REQUEST_TIMEOUT);
                listed.is_ok_and(|answer| answer.status == 200 && !answer.body.is_empty())
            }
            ReportSink::Output(sink) => sink.has_some(),
        }
    }

    /// Returns the number of requests that the testbed's API has kept.
    pub(super) fn kept(&self) -> usize {
        match self {
            ReportSink::Testbed(api) => api.requests().iter().filter(|request| request.kept).count(),
            ReportSink::Collector(..) | ReportSink::Output(_) => 0,
        }
    }

    /// Sets the mode of the testbed's API.
    pub(super) fn set(&self, mode: ApiMode) {
        if let ReportSink::Testbed(api) = self {
            api.set(mode);
        }
    }

    /// Returns the collector, and the server that stores the reports.
    fn servers(&mut self) -> [Option<&mut FaultyServer>; 2] {
        match self {
            ReportSink::Testbed(_) => [None, None],
            ReportSink::Collector(collector, redis) => [Some(collector), redis.as_deref_mut()],
            ReportSink::Output(sink) => [None, Some(&mut sink.server)],
        }
    }

    /// Applies a fault to the collector. Returns false if it is not running: then nothing happens.
    pub(super) fn inject(&mut self, number: usize, fault: ProcessFault, lasts: Duration) -> bool {
        let [collector, _] = self.servers();
        collector.is_some_and(|collector| collector.inject(number, fault, lasts))
    }

    /// Applies a fault to the server that stores the reports.
    pub(super) fn inject_into_server(&mut self, number: usize, fault: ProcessFault, lasts: Duration) -> bool {
        let [_, server] = self.servers();
        server.is_some_and(|server| server.inject(number, fault, lasts))
    }

    /// Ends the fault with this number.
    pub(super) fn end(&mut self, number: usize) {
        self.servers().into_iter().flatten().for_each(|server| server.end(number));
    }

    /// Records processes that have ended, and starts the replacements that are due.
    pub(super) fn supervise(&mut self) {
        self.servers().into_iter().flatten().for_each(FaultyServer::supervise);
    }

    pub(super) fn heal(&mut self) {
        self.set(ApiMode::Once);
        // A collector needs its Redis.
        self.servers().into_iter().flatten().rev().for_each(FaultyServer::heal);
    }

    /// Returns the received requests and, for a collector or an output, the stored reports. A collector and a database
    /// are killed before the query, so that they return only data on the disk.
    pub(super) fn close(mut self, transactions: &[Transaction], findings: &mut CheckReport) -> SinkResults {
        let stored = match &mut self {
            ReportSink::Testbed(api) => {
                let arrivals = api.requests().iter().map(Arrival::from).collect();
                return SinkResults { arrivals, stored: None, logs: Logs::new() };
            }
            ReportSink::Collector(collector, redis) => {
                collector.kill();
                if let Some(redis) = redis {
                    redis.kill();
                    redis.restart();
                }
                collector.reports()
            }
            ReportSink::Output(sink) => sink.stored(transactions),
        };
        let mut logs = Logs::new();
        for server in self.servers().into_iter().flatten() {
            findings.counts.repeats += server.repeats;
            findings.counts.refused += server.refused;
            server.violations.drain(..).for_each(|wrong| findings.add(Violation::Other, wrong));
            logs.append(&mut server.logs);
        }
        SinkResults { arrivals: stored.iter().map(Arrival::from).collect(), stored: Some(stored), logs }
    }
}
