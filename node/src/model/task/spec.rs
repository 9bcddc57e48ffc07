//! Specification of a task, as a client submits it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use atalaya_config::Promise;
use serde::{Deserialize, Serialize};

use super::TaskId;
use super::selector::Selector;
use crate::model::node_id::NodeId;
use crate::model::text::sanitize_for_log;

/// Maximum size of a specification, in bytes.
pub const MAX_SIZE: usize = 8 * 1024;
/// Maximum length of a value of an argument, in bytes.
pub const MAX_VALUE: usize = 1024;
/// Maximum number of arguments.
const MAX_ARGS: usize = 32;
/// Maximum length of a name, in bytes.
const MAX_NAME: usize = 64;
/// Highest priority.
pub const MAX_PRIORITY: u8 = 9;
/// Priority of a task that does not ask for one.
pub const DEFAULT_PRIORITY: u8 = 5;
/// Maximum number of attempts.
pub const MAX_ATTEMPTS: u32 = 100;
/// Number of attempts of a task that does not ask for a number, if it may be executed more than once.
pub const DEFAULT_ATTEMPTS: u32 = 3;
/// Longest time limit and longest wait for a start.
pub const MAX_TIME: Duration = Duration::from_secs(31 * 24 * 3600);
/// Time for which a task for all nodes waits for those that are absent, if it does not ask for one.
pub const DEFAULT_START_BY_ALL: Duration = Duration::from_secs(60);
/// Maximum number of batches of a roll-out.
const MAX_BATCHES: usize = 32;

/// Specification of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Random id of the submission: a client that lost the reply finds its task by it.
    pub id: String,
    /// Action to execute.
    pub action: String,
    /// Arguments of the action.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// Nodes that execute it.
    #[serde(default)]
    pub to: Target,
    /// Condition on those nodes.
    #[serde(default, rename = "where", skip_serializing_if = "Selector::is_empty")]
    pub selector: Selector,
    /// Priority, from 0 to [`MAX_PRIORITY`]. Tasks with a higher one are assigned first.
    #[serde(default = "default_priority")]
    pub priority: u8,
    /// Number of executions, of which all but the last may fail.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// Time from submission to the start of the first attempt, in milliseconds. A task that has not started expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_by_ms: Option<u64>,
    /// Time limit of an execution, in milliseconds, if it is below the limit of the action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_for_ms: Option<u64>,
    /// Promise about the number of executions.
    #[serde(default)]
    pub promise: Promise,
    /// Batches, for a task for several nodes. `None`: all nodes at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Task that this one repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<TaskId>,
    /// Client, for people.
    #[serde(default)]
    pub by: String,
    /// Id of the file that the action distributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

fn default_priority() -> u8 {
    DEFAULT_PRIORITY
}

fn default_attempts() -> u32 {
    DEFAULT_ATTEMPTS
}

/// Nodes that execute a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Any one node.
    #[default]
    Any,
    /// All known nodes, present and absent.
    All,
    /// The nodes with these ids.
    Nodes(Vec<String>),
}

/// Batches of a roll-out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Sizes of the batches. The last one is repeated until no node is left.
    pub batches: Vec<BatchSize>,
    /// Pause between two batches, in milliseconds.
    #[serde(default)]
    pub pause_ms: u64,
    /// Number of failed nodes at which no further batch starts.
    #[serde(default = "one")]
    pub stop_after: u32,
}

fn one() -> u32 {
    1
}

/// Size of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchSize {
    /// Number of nodes.
    Nodes(u32),
    /// Part of all nodes, rounded up.
    Percent(u8),
}

impl Rollout {
    /// Parses sizes of batches such as `1,10%,100%`.
    ///
    /// # Errors
    /// A size is not a number from 1 or a percentage from 1 to 100.
    pub fn parse_batches(text: &str) -> Result<Vec<BatchSize>, String> {
        let size = |part: &str| {
            let part = part.trim();
            match part.strip_suffix('%') {
                Some(percent) => {
                    percent.parse().ok().filter(|percent| (1..=100).contains(percent)).map(BatchSize::Percent)
                }
                None => part.parse().ok().filter(|nodes| *nodes >= 1).map(BatchSize::Nodes),
            }
        };
        let batches: Option<Vec<BatchSize>> = text.split(',').map(size).collect();
        match batches {
            Some(batches) if batches.len() <= MAX_BATCHES => Ok(batches),
            _ => Err(format!("\"{}\" is not a list of batches such as 1,10%,100%", sanitize_for_log(text))),
        }
    }

    /// Returns the number of nodes in each batch, for a roster of `total` nodes. Their sum is `total`.
    pub fn sizes(&self, total: usize) -> Vec<usize> {
        let mut sizes = Vec::new();
        let mut left = total;
        let mut batches = self.batches.iter().peekable();
        let mut size = 1;
        while left > 0 {
            match batches.next() {
                Some(BatchSize::Nodes(nodes)) => size = *nodes as usize,
                Some(BatchSize::Percent(percent)) => size = (total * usize::from(*percent)).div_ceil(100),
                None => {}
            }
            let taken = size.clamp(1, left);
            sizes.push(taken);
            left -= taken;
        }
        sizes
    }
}

impl Spec {
    /// Parses the data of a specification's znode.
    ///
    /// # Errors
    /// The data is not a specification of this version; the text is the reason.
    pub fn parse(data: &[u8]) -> Result<Spec, String> {
        if data.len() > MAX_SIZE {
            return Err(format!(
                "the specification has {} bytes, and {MAX_SIZE} are the maximum",
                data.len()
            ));
        }
        let spec: Spec = serde_json::from_slice(data)
            .map_err(|error| sanitize_for_log(&format!("the specification is malformed: {error}")))?;
        spec.check()?;
        Ok(spec)
    }

    /// Checks the limits of all fields.
    ///
    /// # Errors
    /// A field is wrong; the text is the reason.
    pub fn check(&self) -> Result<(), String> {
        let name = |what: &str, name: &str| {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            let is_name = !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(is_allowed);
            if is_name {
                return Ok(());
            }
            Err(format!(
                "\"{}\" is not the name of {what}: letters, digits, dots, dashes and underscores",
                sanitize_for_log(name)
            ))
        };
        name("a submission", &self.id)?;
        name("an action", &self.action)?;
        if let Some(file) = &self.file {
            name("a file", file)?;
        }
        if self.args.len() > MAX_ARGS {
            return Err(format!("there are {} arguments, and {MAX_ARGS} are the maximum", self.args.len()));
        }
        for (key, value) in &self.args {
            name("an argument", key)?;
            if value.len() > MAX_VALUE {
                return Err(format!("the argument {key} is longer than {MAX_VALUE} bytes"));
            }
        }
        if let Target::Nodes(nodes) = &self.to {
            if nodes.is_empty() {
                return Err("the list of nodes is empty".to_owned());
            }
            for node in nodes {
                node.parse::<NodeId>().map_err(|error| error.to_string())?;
            }
            if nodes.iter().collect::<BTreeSet<_>>().len() != nodes.len() {
                return Err("the list of nodes contains one of them twice".to_owned());
            }
        }
        if self.priority > MAX_PRIORITY {
            return Err(format!("a priority is a number from 0 to {MAX_PRIORITY}"));
        }
        if !(1..=MAX_ATTEMPTS).contains(&self.attempts) {
            return Err(format!("the number of attempts is from 1 to {MAX_ATTEMPTS}"));
        }
        let max = MAX_TIME.as_millis() as u64;
        for (name, time) in [("start_by", self.start_by_ms), ("run_for", self.run_for_ms)] {
            if time.is_some_and(|time| time == 0 || time > max) {
                return Err(format!("{name} is longer than 0 and at most 31 days"));
            }
        }
        match &self.rollout {
            None => Ok(()),
            Some(_) if !self.is_broadcast() => Err("batches are for tasks for several nodes".to_owned()),
            Some(rollout) if rollout.batches.is_empty() || rollout.batches.len() > MAX_BATCHES => {
                Err(format!("a roll-out has from 1 to {MAX_BATCHES} batches"))
            }
            Some(rollout) if rollout.pause_ms > max || rollout.stop_after == 0 => {
                Err("a roll-out pauses at most 31 days and stops after at least one failed node".to_owned())
            }
            Some(rollout) => {
                let is_valid = |size: &BatchSize| match size {
                    BatchSize::Nodes(nodes) => *nodes >= 1,
                    BatchSize::Percent(percent) => (1..=100).contains(percent),
                };
                if rollout.batches.iter().all(is_valid) {
                    return Ok(());
                }
                Err("a batch has at least one node, and at most 100%".to_owned())
            }
        }
    }

    /// Returns true if the task is executed on each of several nodes.
    pub fn is_broadcast(&self) -> bool {
        match &self.to {
            Target::Any => false,
            Target::All => true,
            Target::Nodes(nodes) => nodes.len() > 1,
        }
    }

    /// Returns the node of a task for one node.
    pub fn only_node(&self) -> Option<&str> {
        match &self.to {
            Target::Nodes(nodes) if nodes.len() == 1 => nodes.first().map(String::as_str),
            _ => None,
        }
    }

    /// Returns the time limit for the start, in milliseconds after the submission.
    pub fn start_by(&self) -> Option<u64> {
        let default = DEFAULT_START_BY_ALL.as_millis() as u64;
        self.start_by_ms.or_else(|| (self.to == Target::All).then_some(default))
    }

    /// Returns the number of attempts that may fail before the task has failed.
    pub fn allowed_failures(&self) -> u32 {
        match self.promise {
            Promise::AtLeastOnce => self.attempts,
            Promise::AtMostOnce => 1,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
