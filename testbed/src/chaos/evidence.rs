//! What the judge is shown.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::api::Recorded;
use crate::collector::Held;
use crate::journal::{Change, Transaction};

/// What the API was sent and what ZooKeeper committed, of one fleet.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// In order, from before the fleet's first one on; paths as the fleet sees them.
    pub transactions: Vec<Transaction>,
    /// In the order in which they came.
    pub arrivals: Vec<Arrival>,
    /// What a collector holds in the end, in the order in which it recorded it, if one was the receiver; then the arrivals are
    /// no more than that.
    pub held: Option<Vec<Held>>,
    /// Whether reports were posted.
    pub posted: bool,
    /// Whether the fleet measures in lock-step.
    pub lock_step: bool,
    /// Whether each measurement is counted with its publication.
    pub counted: bool,
    /// What was written so many milliseconds ago may be too old to be averaged.
    pub life: i64,
    /// Cycles up to this one have had all the time and calm that they needed to be delivered.
    pub settled: u64,
    /// Sessions of other clients, which are not part of the fleet.
    pub foreign: BTreeSet<i64>,
    /// Log lines of the nodes, process by process.
    pub log: Vec<LogLine>,
    /// True if no node has lost its standard error, so that all logs are complete.
    pub complete_log: bool,
    /// Times in which a node's standard error was stalled, and nothing else disturbed the fleet.
    pub stalls: Vec<Stall>,
    /// Session timeout of the nodes, in milliseconds.
    pub session: i64,
    /// Time at which the first ZooKeeper server was killed, in milliseconds since 1970. Deadlines hold before.
    pub disturbed: Option<i64>,
}

/// A time in which nothing read the full pipe of a node's standard error, in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// The id of the node.
    pub node: String,
    /// Its begin.
    pub from: i64,
    /// Its end.
    pub to: i64,
}

/// A line that a node logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The process that wrote it, as `node-1-2`.
    pub process: String,
    /// Time of arrival, in milliseconds since 1970.
    pub time: i64,
    /// The line.
    pub text: String,
}

/// A request that the API was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrival {
    /// Its `Idempotency-Key`.
    pub key: Option<String>,
    /// The average it brings.
    pub mean: Option<f64>,
    /// When it was complete, in milliseconds since 1970.
    pub time: i64,
    /// Whether the API kept it, see [`Recorded::kept`].
    pub kept: bool,
    /// The id of the node that sent it, by its `User-Agent`.
    pub node: Option<String>,
}

/// The node that an agent says it is.
fn node(agent: &str) -> Option<String> {
    Some(agent.split_once("(node ")?.1.strip_suffix(')')?.to_owned())
}

impl From<&Held> for Arrival {
    fn from(held: &Held) -> Arrival {
        Arrival {
            key: held.key(),
            mean: Some(held.mean),
            time: held.received,
            kept: true,
            node: held.reporter.as_deref().and_then(node),
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

/// Milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What of these transactions concerns the fleet below `chroot`, with paths as it sees them. Sessions are everybody's: they
/// stay.
pub(crate) fn below(chroot: &str, transactions: Vec<Transaction>) -> Vec<Transaction> {
    let inside = |path: &mut String| match path.strip_prefix(chroot) {
        Some(rest) if rest.starts_with('/') => {
            *path = rest.to_owned();
            true
        }
        _ => false,
    };
    let concerns = |change: &mut Change| match change {
        Change::Create { path, .. }
        | Change::Set { path, .. }
        | Change::Delete { path }
        | Change::Check { path } => inside(path),
        Change::Opened | Change::Closed => true,
    };
    let trimmed = transactions.into_iter().map(|mut transaction| {
        transaction.changes = std::mem::take(&mut transaction.changes)
            .into_iter()
            .filter_map(|mut change| concerns(&mut change).then_some(change))
            .collect();
        transaction
    });
    trimmed.filter(|transaction| !transaction.changes.is_empty()).collect()
}
