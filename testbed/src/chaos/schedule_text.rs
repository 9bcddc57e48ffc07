//! The printed form of a schedule. Pure.

use std::fmt;

use super::schedule::{Fault, Schedule, What, Whom};
use super::squatter::Squatter;

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whom::Leader => f.write_str("the leader"),
            Whom::Node(node) => write!(f, "node {}", Schedule::id(*node)),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Kill(whom) => write!(f, "kill -9 of {whom}"),
            What::Stop(whom) => write!(f, "SIGSTOP of {whom}"),
            What::Servers(servers) => write!(f, "kill -9 of ZooKeeper servers {servers:?}"),
            What::LeadingServer => write!(f, "kill -9 of the ZooKeeper server that leads"),
            What::Api(mode) => write!(f, "the API: {mode:?}"),
            What::Collector(blow) => write!(f, "{blow} of the collector"),
            What::Store(blow) => write!(f, "{blow} of Redis"),
            What::Stderr(whom, fault) => write!(f, "standard error of {whom} {fault}"),
            What::Squatter(squatter) => squatter.fmt(f),
            What::ReadOnly(path) => write!(f, "{path} read-only (world:anyone:r)"),
            What::PoisonedReport(poison, first, rings) => {
                let place = if *first { "before" } else { "behind" };
                let told = if *rings { "" } else { ", the leader not notified" };
                write!(f, "a report in the outbox, {place} the others, with {poison}{told}")
            }
            What::PoisonedMeasurement(poison, ephemeral) => {
                let kind = if *ephemeral { "an ephemeral" } else { "a persistent" };
                write!(f, "{kind} measurement of another client: {poison}")
            }
        }
    }
}

impl What {
    /// Describes the fault without its target node, for counting.
    pub(super) fn subject(&self) -> String {
        match self {
            What::Stderr(_, fault) => format!("stderr {fault}"),
            What::Squatter(Squatter::Measurement(_)) => {
                "squatter: measurement of a node that is down".to_owned()
            }
            What::Squatter(Squatter::NodeInfo(_)) => "squatter: info of a node that is down".to_owned(),
            What::Squatter(squatter) => format!("squatter: {squatter}"),
            What::ReadOnly(path) => format!("read-only: {path}"),
            What::PoisonedReport(poison, ..) => format!("poisoned report: {poison}"),
            What::PoisonedMeasurement(poison, ephemeral) => {
                let kind = if *ephemeral { "ephemeral" } else { "persistent" };
                format!("poisoned measurement, {kind}: {poison}")
            }
            what => what.to_string(),
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
        let Schedule { seed, nodes, period, session, length, cold, .. } = self;
        let when = if *cold { ", from the very start" } else { "" };
        let method = if self.post { "POST" } else { "GET" };
        writeln!(
            f,
            "schedule {seed}: {nodes} nodes, {pace}, period {period:?}, session {session:?}, {method}, healed after {length:?}{when}"
        )?;
        for (node, deaths) in self.faults.iter().enumerate() {
            for (process, fault) in deaths.iter().enumerate() {
                if let Some(Fault { point, number, stops }) = fault {
                    let (id, process) = (Schedule::id(node), process + 1);
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
        self.acts.iter().try_for_each(|act| writeln!(f, "  {:?} {}, for {:?}", act.at, act.what, act.lasts))
    }
}
