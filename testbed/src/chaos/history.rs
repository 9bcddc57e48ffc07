//! History for the checker.

use std::collections::BTreeSet;

use crate::api::Recorded;
use crate::collector::StoredReport;
use crate::journal::{Change, Transaction};
use crate::time::millis;

/// Requests to the API and transactions committed by ZooKeeper, of one fleet.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Transactions in order, starting before the fleet's first one; paths as the fleet sees them.
    pub transactions: Vec<Transaction>,
    /// Requests in the order of arrival.
    pub arrivals: Vec<Arrival>,
    /// Reports stored by a collector at the end, in the order in which it recorded them, if a collector was the
    /// receiver; then the arrivals are exactly these reports.
    pub stored: Option<Vec<StoredReport>>,
    pub posted: bool,
    pub lock_step: bool,
    /// True if each measurement is counted in the transaction that publishes it.
    pub counted: bool,
    /// Age in milliseconds from which a measurement may be too old to be averaged.
    pub life: i64,
    /// Last cycle that had enough undisturbed time to be delivered.
    pub settled: u64,
    /// Sessions of other clients, which are not part of the fleet.
    pub foreign: BTreeSet<i64>,
    /// Log lines of the nodes, process by process.
    pub log: Vec<LogLine>,
    /// True if no node has lost its standard error, so that all logs are complete.
    pub complete_log: bool,
    /// Times in which a node's standard error was stalled while no other fault disturbed the fleet.
    pub stalls: Vec<Stall>,
    /// Session timeout of the nodes, in milliseconds.
    pub session: i64,
    /// Time at which the first ZooKeeper server was killed, in milliseconds since 1970. Deadlines hold before.
    pub disturbed: Option<i64>,
}

/// A period in which nothing read the full pipe of a node's standard error, in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    pub node: String,
    pub from: i64,
    pub to: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The process that wrote it, as `node-1-2`.
    pub process: String,
    /// Time of arrival, in milliseconds since 1970.
    pub time: i64,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// `Idempotency-Key` of the request.
    pub key: Option<String>,
    pub mean: Option<f64>,
    /// Time at which the request was complete, in milliseconds since 1970.
    pub time: i64,
    /// True if the API kept it, see [`Recorded::kept`].
    pub kept: bool,
    /// Id of the node that sent it, from its `User-Agent`.
    pub node: Option<String>,
}

/// Returns the node id in a `User-Agent`.
fn node(agent: &str) -> Option<String> {
    Some(agent.split_once("(node ")?.1.strip_suffix(')')?.to_owned())
}

impl From<&StoredReport> for Arrival {
    fn from(stored: &StoredReport) -> Arrival {
        Arrival {
            key: stored.key(),
            mean: Some(stored.mean),
            time: stored.received,
            kept: true,
            node: stored.reporter.as_deref().and_then(node),
        }
    }
}

impl From<&Recorded> for Arrival {
    fn from(request: &Recorded) -> Arrival {
        Arrival {
            key: request.header("idempotency-key").map(str::to_owned),
            mean: request.dato(),
            time: millis(request.wall),
            kept: request.kept,
            node: request.agent().and_then(node),
        }
    }
}

/// Returns the changes below `chroot`, with paths as the fleet sees them. Openings and closings of sessions stay,
/// because sessions have no path.
pub(crate) fn below(chroot: &str, transactions: Vec<Transaction>) -> Vec<Transaction> {
    let concerns = |change: &mut Change| {
        let Some(path) = change.path_mut() else { return true };
        let rest = path.strip_prefix(chroot).filter(|rest| rest.starts_with('/')).map(str::to_owned);
        rest.map(|rest| *path = rest).is_some()
    };
    let trimmed = transactions.into_iter().map(|mut transaction| {
        transaction.changes.retain_mut(concerns);
        transaction
    });
    trimmed.filter(|transaction| !transaction.changes.is_empty()).collect()
}
