//! The record of a node: the sessions of its processes and the znodes that they create. No I/O; stored by
//! [`StateFile`](super::StateFile) and used for the cleanup of stale sessions.

use atalaya_recipes::connect_string::check_path;
use serde::{Deserialize, Serialize};

/// Contents of a node's state file. It has no secrets: the connect string has no credentials.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct NodeRecord {
    pub(crate) node: String,
    /// Connect string of the ZooKeeper ensemble that has the znodes.
    pub(crate) zookeeper: String,
    /// Processes that ran this node and may have left znodes, newest last.
    #[serde(rename = "lives")]
    pub(crate) processes: Vec<ProcessRecord>,
}

/// Everything that one process may have in ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ProcessRecord {
    /// Process id on this machine.
    pub process: u32,
    /// Session ids, newest last.
    #[serde(with = "sessions")]
    pub sessions: Vec<i64>,
    /// Paths of the ephemeral znodes that the process creates sooner or later. Other processes may create them too.
    pub znodes: Vec<String>,
    /// Parent of the election znode.
    pub election: String,
    /// Prefix of the election znode's name. It has a random number, so no other process has the same prefix.
    pub contender: String,
    /// Mark of the executions of this process; `None` in a record of a version without it.
    #[serde(default)]
    pub mark: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) path: String,
    /// Session that owns the znode; 0 if it is persistent.
    pub(crate) owner: i64,
    pub(crate) version: i32,
}

/// Minimum length of a text that no other process has, in bytes.
const MIN_UNIQUE: usize = 32;
/// Maximum number of sessions per process. Older ones no longer matter: znodes exist at most one session timeout
/// longer than their session is used.
const MAX_SESSIONS: usize = 16;
/// Maximum number of processes. Each of them died before it could clean up after the one before.
const MAX_PROCESSES: usize = 16;
pub(in crate::process) const MAX_SIZE: u64 = 256 * 1024;

impl NodeRecord {
    pub(crate) fn new(node: &str, zookeeper: &str) -> NodeRecord {
        NodeRecord { node: node.to_owned(), zookeeper: zookeeper.to_owned(), processes: Vec::new() }
    }

    /// Parses and checks the contents of a state file.
    pub(crate) fn parse(text: &[u8]) -> Result<NodeRecord, String> {
        let record: NodeRecord = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        for process in &record.processes {
            for path in process.znodes.iter().chain([&process.election]) {
                check_path(path).map_err(|problem| format!("bad znode path: {problem}"))?;
            }
            // It is compared with the names of all contenders: a prefix that is too short would match those of others.
            if process.contender.len() < MIN_UNIQUE || process.contender.contains('/') {
                return Err("bad name of a contender".to_owned());
            }
            // Processes whose mark starts with this text are killed. A short one would match those of other users, too.
            if process.mark.as_ref().is_some_and(|mark| mark.len() < MIN_UNIQUE) {
                return Err("bad mark of executions".to_owned());
            }
        }
        Ok(record)
    }

    #[expect(clippy::expect_used, reason = "strings and numbers can always be serialised")]
    pub(crate) fn text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).expect("the record is serialisable");
        text.push(b'\n');
        text
    }

    pub(crate) fn add_process(&mut self, process: ProcessRecord) {
        self.remove_processes_without_session();
        self.processes.push(process);
        let surplus = self.processes.len().saturating_sub(MAX_PROCESSES);
        self.processes.drain(..surplus);
    }

    pub(crate) fn add_session(&mut self, session: i64) {
        let Some(process) = self.processes.last_mut() else { return };
        process.sessions.push(session);
        let surplus = process.sessions.len().saturating_sub(MAX_SESSIONS);
        process.sessions.drain(..surplus);
    }

    /// Removes a process that has no znodes left in ZooKeeper.
    pub(crate) fn remove_process(&mut self, contender: &str) {
        self.processes.retain(|process| process.contender != contender);
    }

    /// Removes processes that never had a session, and so have created no znodes.
    pub(crate) fn remove_processes_without_session(&mut self) {
        self.processes.retain(|process| !process.sessions.is_empty());
    }
}

impl ProcessRecord {
    /// Returns those `children` of the election's znode that belong to this process.
    pub(crate) fn contenders<'a>(&self, children: &'a [String]) -> Vec<&'a str> {
        children.iter().map(String::as_str).filter(|name| name.starts_with(&self.contender)).collect()
    }

    /// Returns those znodes that a session of this process owns.
    pub(crate) fn owned<'a>(&self, found: &'a [Found]) -> Vec<&'a Found> {
        found.iter().filter(|znode| znode.owner != 0 && self.sessions.contains(&znode.owner)).collect()
    }
}

/// Session ids as ZooKeeper's own tools show them. Many JSON parsers would lose digits of a number.
mod sessions {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(sessions: &[i64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(sessions.iter().map(|session| format!("{session:#x}")))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i64>, D::Error> {
        let parse = |text: &String| {
            let digits = text.strip_prefix("0x")?;
            u64::from_str_radix(digits, 16).ok().map(u64::cast_signed)
        };
        let sessions = Vec::<String>::deserialize(deserializer)?.iter().map(parse).collect::<Option<_>>();
        sessions.ok_or_else(|| D::Error::custom("a session id is not a hexadecimal number"))
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
pub(in crate::process) mod tests;
