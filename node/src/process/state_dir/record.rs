//! What is written down of a node: which sessions it had and which znodes it made in them. Pure; kept by
//! [`crate::process::state_dir::StateFile`], read by whoever reaps.

use atalaya_recipes::connect_string::check_path;
use serde::{Deserialize, Serialize};

/// What stands in a node's file. No secrets: where ZooKeeper is, and how to get in, is not the same.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Record {
    /// The node's id.
    pub node: String,
    /// The connect string that it used: what is left of it stands there.
    pub zookeeper: String,
    /// The processes that were this node and may have left something, the newest last.
    pub lives: Vec<ProcessRecord>,
}

/// What one process may have in ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ProcessRecord {
    /// Its id on this machine.
    pub process: u32,
    /// Its sessions, the newest last.
    #[serde(with = "sessions")]
    pub sessions: Vec<i64>,
    /// The paths of its ephemeral znodes, whether it has come to making them or not. Others may make the same.
    pub znodes: Vec<String>,
    /// The parent of its election znode.
    pub election: String,
    /// What the name of its election znode begins with: a random number, and so nobody else's.
    pub contender: String,
}

/// A znode as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its path.
    pub path: String,
    /// The session that it belongs to; 0 if it is persistent.
    pub owner: i64,
    /// Its version.
    pub version: i32,
}

/// Sessions of one process that can matter: its znodes go one session timeout after their session at the latest.
const SESSIONS: usize = 16;
/// Processes that can matter: each of them died before it could reap the one before.
const LIVES: usize = 16;
/// Largest file that is read.
pub(in crate::process) const LARGEST: u64 = 256 * 1024;

impl Record {
    /// Of a node that has done nothing yet.
    pub fn new(node: &str, zookeeper: &str) -> Record {
        Record { node: node.to_owned(), zookeeper: zookeeper.to_owned(), lives: Vec::new() }
    }

    /// What stands in a file, if that makes sense.
    ///
    /// # Errors
    /// What does not.
    pub fn parse(text: &[u8]) -> Result<Record, String> {
        let record: Record = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        for life in &record.lives {
            for path in life.znodes.iter().chain([&life.election]) {
                check_path(path).map_err(|problem| format!("bad znode path: {problem}"))?;
            }
            // It is sought among all contenders: one that is too short would find others'.
            if life.contender.len() < 32 || life.contender.contains('/') {
                return Err("bad name of a contender".to_owned());
            }
        }
        Ok(record)
    }

    /// As it stands in the file.
    pub fn text(&self) -> Vec<u8> {
        // Strings and numbers only: this cannot fail.
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// A process begins to be this node.
    pub fn begin(&mut self, life: ProcessRecord) {
        self.forget_the_idle();
        self.lives.push(life);
        let surplus = self.lives.len().saturating_sub(LIVES);
        self.lives.drain(..surplus);
    }

    /// The newest process begins a session.
    pub fn note(&mut self, session: i64) {
        let Some(life) = self.lives.last_mut() else { return };
        life.sessions.push(session);
        let surplus = life.sessions.len().saturating_sub(SESSIONS);
        life.sessions.drain(..surplus);
    }

    /// Nothing of this process is left in ZooKeeper.
    pub fn forget(&mut self, contender: &str) {
        self.lives.retain(|life| life.contender != contender);
    }

    /// Forgets who never had a session, and so made nothing.
    pub fn forget_the_idle(&mut self) {
        self.lives.retain(|life| !life.sessions.is_empty());
    }
}

impl ProcessRecord {
    /// Those among the children of its election's znode that are its own.
    pub fn contenders<'a>(&self, children: &'a [String]) -> Vec<&'a str> {
        children.iter().map(String::as_str).filter(|name| name.starts_with(&self.contender)).collect()
    }

    /// Which of these znodes it has left, once it is dead: those of its sessions, and nothing else.
    pub fn left<'a>(&self, found: &'a [Found]) -> Vec<&'a Found> {
        found.iter().filter(|znode| znode.owner != 0 && self.sessions.contains(&znode.owner)).collect()
    }
}

/// Session ids as ZooKeeper's own tools show them. As JSON numbers they would lose digits in many a reader.
mod sessions {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(in crate::process) fn serialize<S: Serializer>(
        sessions: &[i64],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(sessions.iter().map(|session| format!("{session:#x}")))
    }

    pub(in crate::process) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<i64>, D::Error> {
        let session = |text: &String| {
            let digits = text.strip_prefix("0x")?;
            u64::from_str_radix(digits, 16).ok().map(u64::cast_signed)
        };
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts
            .iter()
            .map(|text| {
                session(text).ok_or_else(|| D::Error::custom("a session id is no hexadecimal number"))
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
pub(in crate::process) mod tests;
