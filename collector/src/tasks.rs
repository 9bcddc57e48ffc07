//! The tasks in a fleet status. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::values::{needed_integer, without_negative_zero};

/// Maximum number of tasks in a status. Leaders send at most 20.
pub const MAX_TASKS: usize = 100;

/// The newest tasks of the fleet: live ones first, then those that ended last.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct Tasks {
    /// Number of live tasks.
    #[serde(default, deserialize_with = "needed_integer")]
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    pub live: u64,
    /// The tasks, 100 at most.
    #[serde(default)]
    #[schema(max_items = 100)]
    pub list: Vec<Task>,
}

/// Task, as the leader records it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct Task {
    /// Id of the task.
    pub id: String,
    /// Action of the task.
    #[serde(default)]
    pub action: String,
    /// State of the task.
    #[serde(default)]
    pub state: TaskState,
    /// The node of a task for one node, once it is assigned.
    #[serde(default)]
    pub node: Option<String>,
    /// Progress that the action reports, for people.
    #[serde(default)]
    pub progress: Option<String>,
    /// Number of nodes that are done.
    #[serde(default, deserialize_with = "needed_integer")]
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    pub done: u64,
    /// Number of nodes that failed.
    #[serde(default, deserialize_with = "needed_integer")]
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    pub failed: u64,
    /// Number of nodes.
    #[serde(default, deserialize_with = "needed_integer")]
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    pub all: u64,
    /// Seconds since the submission.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub age: Option<f64>,
    /// Seconds since the end; null: the task is live.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub ended: Option<f64>,
    /// Reason of the state, for people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// State of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Waits for a node.
    Queued,
    /// Waits for another attempt.
    Waiting,
    /// Assigned to nodes, which may execute it already.
    Assigned,
    /// Executed with success.
    Done,
    /// Failed.
    Failed,
    /// Exceeded its time limit.
    TimedOut,
    /// Cancelled by a client.
    Cancelled,
    /// Its worker was lost, and it must not be executed twice.
    Lost,
    /// Not started in time.
    Expired,
    /// Not started, because a roll-out was stopped.
    Skipped,
    /// The state is not known.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Tasks {
    /// Returns all texts, which must be checked.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &String> {
        self.list.iter().flat_map(|task| {
            let optional = [task.node.as_ref(), task.progress.as_ref(), task.reason.as_ref()];
            [&task.id, &task.action].into_iter().chain(optional.into_iter().flatten())
        })
    }

    /// Returns all ages.
    pub(crate) fn seconds(&self) -> impl Iterator<Item = f64> {
        self.list.iter().flat_map(|task| [task.age, task.ended]).flatten()
    }

    /// Turns every negative zero into zero.
    pub(crate) fn normalize(&mut self) {
        for seconds in self.list.iter_mut().flat_map(|task| [&mut task.age, &mut task.ended]).flatten() {
            *seconds = without_negative_zero(*seconds);
        }
    }
}
