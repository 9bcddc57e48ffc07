//! Actions: what a node may execute for clients, and how it executes it.
//!
//! The built-in actions only read. Every other action is a command of the allow-list in boards.toml. A client chooses
//! only the action and the values of its typed arguments: no shell, no other program, no environment.
//!
//! A command runs below a guardian process, which ends all processes of the command
//! - before the local lease of the worker's session ends, also while the worker is stopped (SIGSTOP);
//! - at once when the worker ends or is killed;
//! - at the time limit, and when the worker orders it.
//!
//! When [`Executor::execute`] returns, no process of the command is left. If its future is dropped, the guardian kills
//! them shortly afterwards.

mod built_in;
#[cfg(unix)]
mod command;
mod executor;
#[cfg(unix)]
pub(crate) mod guardian;
mod install;
#[cfg(unix)]
mod output;
mod refusal;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atalaya_recipes::Session;
use tokio::sync::watch;

pub use executor::{ActionConfig, BoardActions, Executor};
pub use install::{BoardsInstaller, ReloadRequest};
pub use refusal::refusal;

use crate::model::leader_state::LeaderState;
use crate::model::node_info::SensorStatus;
pub use crate::model::task::worker_info::ActionInfo;
use crate::sampling::{BusReservations, LatestSample};

/// Maximum length of the output in an [`Execution`], in bytes.
pub const MAX_OUTPUT: usize = 8 * 1024;
/// Maximum length of a progress text, in characters.
pub const MAX_PROGRESS: usize = 200;

/// Execution of an assigned task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutionRequest {
    /// Name of the task, `ATALAYA_TASK` of the command.
    pub task: String,
    /// Name of the action.
    pub action: String,
    /// Arguments by name.
    pub args: BTreeMap<String, String>,
    /// Number of the attempt, from 1: `ATALAYA_ATTEMPT` of the command.
    pub attempt: u32,
    /// Fencing token: `ATALAYA_FENCE` of the command.
    pub fence: i64,
    /// Time limit, if it is shorter than that of the action.
    pub run_for: Option<Duration>,
    /// Id of the file that the action installs.
    pub file: Option<String>,
}

/// Local lease of the session in which the task is claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalLease {
    /// Time until the lease ends; zero if the session of the claim is not connected, or has been replaced.
    pub remaining: Duration,
    /// Timeout of the session.
    pub session_timeout: Duration,
}

/// Reason to stop an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A client has cancelled the task.
    Cancelled,
    /// The node shuts down.
    Shutdown,
    /// The session of the claim is lost, or its local lease ends.
    LeaseEnding,
}

/// Result of an [`ExecutionRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    /// How it ended.
    pub outcome: ExecutionOutcome,
    /// Exit code of the command, if it has exited.
    pub exit_code: Option<i32>,
    /// Number of the signal that ended the command.
    pub signal: Option<i32>,
    /// Time from the request to the end of the last process.
    pub duration: Duration,
    /// The last [`MAX_OUTPUT`] bytes of stdout and stderr. Control characters other than line breaks and tabs are
    /// replaced.
    pub output: String,
    /// Number of bytes before `output` that were discarded.
    pub output_cut: u64,
    /// Reason why the outcome is not [`ExecutionOutcome::Done`].
    pub reason: Option<String>,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExecutionOutcome {
    /// The action succeeded.
    Done,
    /// The action failed, or could not be started.
    #[default]
    Failed,
    /// The time limit was reached.
    TimedOut,
    /// The execution was stopped.
    Stopped(StopReason),
}

/// Parts of a running node that the built-in actions use. A worker without sensors has none of them, and offers only
/// the action `status`.
#[derive(Clone, Debug, Default)]
pub struct ActionHandles {
    /// Sensors and buses.
    pub sensors: Option<SensorHandles>,
    /// State of the leader; `None` in it while the node does not lead.
    pub leader: Option<watch::Receiver<Option<LeaderState>>>,
    /// Session with ZooKeeper.
    pub session: Option<Session>,
    /// Replaces boards.toml; `None` if the node has none.
    pub install: Option<BoardsInstaller>,
}

/// The sensors of a running node.
#[derive(Clone, Debug)]
pub struct SensorHandles {
    /// Description and health.
    pub info: watch::Receiver<Vec<SensorStatus>>,
    /// Newest sample; `None` before the first one.
    pub latest: watch::Receiver<Option<Arc<LatestSample>>>,
    /// Buses that are in use by tasks.
    pub reservations: BusReservations,
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Execution {
    /// Returns an execution that failed before anything was started.
    pub(crate) fn not_started(outcome: ExecutionOutcome, reason: impl Into<String>) -> Execution {
        Execution { outcome, reason: Some(reason.into()), ..Execution::default() }
    }
}
