//! Tasks: what a client submits, what the leader records, and what a worker publishes. No I/O.
//!
//! `docs/tasks.md` describes the znodes and the states.

pub mod overview;
pub mod paths;
pub mod record;
pub mod selector;
pub mod spec;
pub mod worker_info;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Prefix of the names of tasks.
pub const PREFIX: &str = "t-";
/// Maximum number of live tasks.
pub const MAX_LIVE: usize = 1_000;
/// Number of digits of a sequence number of ZooKeeper.
const DIGITS: usize = 10;

/// Id of a task: the name of its znode, `t-` and a sequence number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct TaskId(String);

/// Error for a text that is not a task id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task id is a number, such as 12 or t-0000000012")]
pub struct BadTaskId;

impl TaskId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id in the name of a znode; `None` if it is not the complete name of a task.
    pub fn of_znode(name: &str) -> Option<TaskId> {
        let digits = name.strip_prefix(PREFIX)?;
        (digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| TaskId(name.to_owned()))
    }
}

impl FromStr for TaskId {
    type Err = BadTaskId;

    /// Parses `12`, `t-12` or `t-0000000012`.
    fn from_str(text: &str) -> Result<TaskId, BadTaskId> {
        let digits = text.strip_prefix(PREFIX).unwrap_or(text);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = is_number.then(|| digits.parse().ok()).flatten().ok_or(BadTaskId)?;
        TaskId::of_znode(&format!("{PREFIX}{number:010}")).ok_or(BadTaskId)
    }
}

impl TryFrom<String> for TaskId {
    type Error = BadTaskId;

    fn try_from(text: String) -> Result<TaskId, BadTaskId> {
        TaskId::of_znode(&text).ok_or(BadTaskId)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_id_is_parsed_from_a_number_or_the_name_of_a_znode() {
        for text in ["12", "t-12", "t-0000000012"] {
            assert_eq!(text.parse::<TaskId>().unwrap().as_str(), "t-0000000012");
        }
        for wrong in ["", "t-", "x", "-1", "t--1", "99999999999", "t-1a", "1.5", " 1"] {
            assert_eq!(wrong.parse::<TaskId>(), Err(BadTaskId), "{wrong}");
        }
        assert_eq!(TaskId::of_znode("t-12"), None, "a znode has all digits");
        assert!(serde_json::from_str::<TaskId>(r#""t-12/../x""#).is_err());
    }
}
