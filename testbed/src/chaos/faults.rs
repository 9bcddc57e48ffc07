//! Faults of a fleet, and their printed form. Pure.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;

use super::fault_kinds::FaultKind;
use super::node_id;
use super::poison::{MEASUREMENTS, REPORTS};
use super::wrong_znode::WrongZnode;
use crate::api::ApiMode;

/// Fault points, between the computation of an average and the knowledge that it was accepted, at which a leader can be
/// made to die; in the order in which it passes them.
pub const POINTS: [&str; 7] =
    ["gathered", "committing", "committed", "sending", "answered", "deleting", "deleted"];

/// Receiver of the reports of a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Receiver {
    /// An API that fails on demand and records every request.
    #[default]
    Testbed,
    /// `atalaya collect` with SQLite.
    #[value(name = "collector:sqlite")]
    Sqlite,
    /// `atalaya collect` with a Redis server.
    #[value(name = "collector:redis")]
    Redis,
    /// No API, and an output to an InfluxDB server.
    Influxdb,
    /// No API, and an output to the remote write receiver of Prometheus.
    Prometheus,
    /// No API, and an output to Mosquitto, an MQTT broker.
    Mqtt,
}

impl Receiver {
    /// Returns the name of the server that stores the reports. `None`: the receiver stores them itself.
    pub(super) fn server(self) -> Option<&'static str> {
        match self {
            Receiver::Testbed | Receiver::Sqlite => None,
            Receiver::Redis => Some("Redis"),
            Receiver::Influxdb => Some("InfluxDB"),
            Receiver::Prometheus => Some("Prometheus"),
            Receiver::Mqtt => Some("Mosquitto"),
        }
    }

    /// Returns true if the fleet has an output instead of an API.
    pub fn is_output(self) -> bool {
        matches!(self, Receiver::Influxdb | Receiver::Prometheus | Receiver::Mqtt)
    }
}

/// Fault of a process of the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessFault {
    /// `kill -9`, and a new process after the time.
    Kill,
    /// SIGSTOP, and SIGCONT after the time.
    Stop,
    /// SIGTERM, and a new process after it has ended and the time has passed.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StderrFault {
    /// The reader of the pipe closes it and does not reopen it.
    Closed,
    /// Nothing reads the full pipe until the fault ends.
    Stalled,
    /// The node is killed, and its processes start with standard error on `/dev/full` until the fault ends.
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The leader at that moment.
    Leader,
    /// The node with this number, from 0.
    Node(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, and a new process after the time.
    Kill(Target),
    /// SIGSTOP, and SIGCONT after the time.
    Stop(Target),
    /// `kill -9` of these ZooKeeper servers, and restarts after the time.
    Servers(Vec<usize>),
    /// `kill -9` of the server that leads the other two, and a restart after the time.
    LeadingServer,
    /// The API is in this mode for the time.
    Api(ApiMode),
    /// A fault of the collector, if there is one.
    Collector(ProcessFault),
    /// A fault of the Redis server behind the collector.
    Server(&'static str, ProcessFault),
    Stderr(Target, StderrFault),
    /// Another client creates a znode of the wrong type, and removes it after the time.
    WrongZnode(WrongZnode),
    /// This znode is read-only (`world:anyone:r`) for the time.
    ReadOnly(&'static str),
    /// Another client puts the poisoned report of this number into the outbox. The first flag is true if it is the first
    /// report of all, and false if it is behind the others. The second is true if the client notifies the leader.
    PoisonedReport(usize, bool, bool),
    /// Another client publishes the poisoned measurement of this number, as an ephemeral znode or as a persistent one, and
    /// removes it after the time.
    PoisonedMeasurement(usize, bool),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledFault {
    /// Time after the start.
    pub at: Duration,
    pub lasts: Duration,
    pub fault: Fault,
}

/// Death or stop of a process at a fault point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointFault {
    /// One of [`POINTS`].
    pub point: &'static str,
    /// Number of the pass at which it happens, from 1.
    pub number: u32,
    /// Duration for which the process stops (SIGSTOP) instead of dying.
    pub stops: Option<Duration>,
}

impl ScheduledFault {
    pub(super) fn new(at: Duration, lasts: Duration, fault: Fault) -> ScheduledFault {
        ScheduledFault { at, lasts, fault }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Leader => f.write_str("the leader"),
            Target::Node(node) => write!(f, "node {}", node_id(*node)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill(target) => write!(f, "kill -9 of {target}"),
            Fault::Stop(target) => write!(f, "SIGSTOP of {target}"),
            Fault::Servers(servers) => write!(f, "kill -9 of ZooKeeper servers {servers:?}"),
            Fault::LeadingServer => write!(f, "kill -9 of the ZooKeeper server that leads"),
            Fault::Api(mode) => write!(f, "the API: {mode:?}"),
            Fault::Collector(fault) => write!(f, "{fault} of the collector"),
            Fault::Server(server, fault) => write!(f, "{fault} of {server}"),
            Fault::Stderr(target, fault) => write!(f, "standard error of {target} {fault}"),
            Fault::WrongZnode(wrong_znode) => wrong_znode.fmt(f),
            Fault::ReadOnly(path) => write!(f, "{path} read-only (world:anyone:r)"),
            Fault::PoisonedReport(poison, first, notifies) => {
                let place = if *first { "before" } else { "behind" };
                let told = if *notifies { "" } else { ", the leader not notified" };
                write!(f, "a report in the outbox, {place} the others, with {}{told}", REPORTS[*poison].0)
            }
            Fault::PoisonedMeasurement(poison, ephemeral) => {
                let kind = if *ephemeral { "an ephemeral" } else { "a persistent" };
                write!(f, "{kind} measurement of another client: {}", MEASUREMENTS[*poison].0)
            }
        }
    }
}

impl Fault {
    pub(super) fn kind(&self) -> FaultKind {
        match self {
            Fault::Kill(_) | Fault::Stop(_) => FaultKind::Processes,
            Fault::Servers(_) | Fault::LeadingServer => FaultKind::Servers,
            Fault::Api(_) | Fault::Collector(_) | Fault::Server(..) => FaultKind::Receiver,
            Fault::Stderr(..) => FaultKind::Stderr,
            Fault::WrongZnode(_) => FaultKind::Znodes,
            Fault::ReadOnly(_) => FaultKind::Acl,
            Fault::PoisonedReport(..) => FaultKind::Outbox,
            Fault::PoisonedMeasurement(..) => FaultKind::Measurements,
        }
    }

    /// Describes the fault without its target node, for counting.
    pub(super) fn subject(&self) -> String {
        match self {
            Fault::Stderr(_, fault) => format!("stderr {fault}"),
            Fault::WrongZnode(WrongZnode::Measurement(_)) => {
                "wrong znode: measurement of a node that is down".to_owned()
            }
            Fault::WrongZnode(WrongZnode::NodeInfo(_)) => {
                "wrong znode: info of a node that is down".to_owned()
            }
            Fault::WrongZnode(wrong_znode) => format!("wrong znode: {wrong_znode}"),
            Fault::ReadOnly(path) => format!("read-only: {path}"),
            Fault::PoisonedReport(poison, ..) => format!("poisoned report: {}", REPORTS[*poison].0),
            Fault::PoisonedMeasurement(poison, ephemeral) => {
                let kind = if *ephemeral { "ephemeral" } else { "persistent" };
                format!("poisoned measurement, {kind}: {}", MEASUREMENTS[*poison].0)
            }
            what => what.to_string(),
        }
    }
}

impl ProcessFault {
    /// Describes the fault of the process `target`.
    pub(super) fn to(self, target: &str) -> String {
        match self {
            ProcessFault::Kill => format!("{target} killed"),
            ProcessFault::Stop => format!("{target} stopped"),
            ProcessFault::End => format!("{target} ended in order"),
        }
    }
}

impl fmt::Display for ProcessFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProcessFault::Kill => "kill -9",
            ProcessFault::Stop => "SIGSTOP",
            ProcessFault::End => "SIGTERM",
        })
    }
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
