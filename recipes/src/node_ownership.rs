//! Decides who owns an ephemeral znode, and what may be done with it. No I/O; used by [`crate::persistent_node`].
//!
//! A name belongs to the session that created its znode. A [`NodeOwnership`] never lets a znode be written that another
//! session owns. It waits until that session ends. If that session turns out to be alive, the result is a [`Conflict`].
//!
//! ZooKeeper does not tell whether the owner is alive or has not expired yet. A session that ended abnormally keeps its
//! znodes for one session timeout and up to a tick more (a tick is at most half of the timeout). Therefore an owner
//! that has written since the znode was first seen, and still owns it after one timeout, is alive; a silent owner gets
//! half a timeout more.

use std::time::Duration;

use crate::clock::BootInstant;
use crate::wrong_znode::is_ephemeral;

/// Reason why the znode cannot be owned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Another live session owns the znode.
    #[error("session {session:#x} holds it and is alive")]
    Held {
        /// Id of that session.
        session: i64,
    },
    /// The znode is persistent, so the end of a session does not delete it.
    #[error("it is persistent: it remains when the session that created it ends")]
    Persistent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    AwaitConnection,
    /// Create the znode with the current data.
    Create,
    /// Read the owner and the version of the znode.
    Inspect,
    /// Write the current data, if the znode is at this version.
    Write(i32),
    /// Delete the znode, which an earlier session of this process left, if it is at this version.
    Remove(i32),
    /// Wait until the znode changes, or until `until`; then inspect it.
    AwaitOwner {
        session: i64,
        until: BootInstant,
    },
    /// Wait for new data: the znode is owned and current, at this version.
    AwaitData(i32),
    GiveUp(Conflict),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Connected {
        session: i64,
        timeout: Duration,
    },
    Disconnected,
    /// The znode was created, at version 0.
    Created,
    /// The znode was not created, because it exists.
    Exists,
    Found {
        /// Session that owns the znode; 0 if it is persistent.
        owner: i64,
        version: i32,
        /// True if the owner is an earlier session of this process.
        is_leftover: bool,
    },
    Missing,
    Written {
        owner: i64,
        version: i32,
    },
    /// The znode was not written or deleted, because it is at another version.
    Stale,
    /// The action failed, or its outcome is unknown.
    Unclear,
    NewData,
    /// The wait for another session ended: the znode has changed, or the time has come.
    Waited,
}

/// Another session that owns the znode.
#[derive(Clone, Debug)]
struct OtherOwner {
    session: i64,
    first_seen: BootInstant,
    first_version: i32,
}

/// State of one process's claim to one znode.
#[derive(Clone, Debug)]
pub(crate) struct NodeOwnership {
    session: i64,
    timeout: Duration,
    step: Step,
    other: Option<OtherOwner>,
}

impl Default for NodeOwnership {
    fn default() -> Self {
        NodeOwnership { session: 0, timeout: Duration::ZERO, step: Step::AwaitConnection, other: None }
    }
}

impl NodeOwnership {
    pub(crate) fn step(&self) -> Step {
        self.step.clone()
    }

    /// Returns true if the znode was verified or written over the current connection.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.step, Step::Write(_) | Step::AwaitData(_))
    }

    pub(crate) fn on(&mut self, event: Event, now: BootInstant) {
        match (event, &self.step) {
            (_, Step::GiveUp(_)) => {}
            // In the other steps, the znode is created or written with the current data later.
            (Event::NewData, Step::AwaitData(version)) => self.step = Step::Write(*version),
            (Event::Disconnected, _) => self.step = Step::AwaitConnection,
            (Event::Connected { session, timeout }, _) => {
                self.session = session;
                self.timeout = timeout;
                // If the znode exists, the create fails and an inspection follows.
                self.step = Step::Create;
            }
            (_, Step::AwaitConnection) => {}
            (Event::Created, Step::Create) => self.own(0),
            (Event::Exists, Step::Create) => self.step = Step::Inspect,
            (Event::Found { owner, version, is_leftover }, Step::Inspect) => {
                self.step = self.judge(owner, version, is_leftover, now);
            }
            (Event::Written { owner, version }, Step::Write(_)) if owner == self.session => self.own(version),
            // Another session replaced the znode between two writes, and the versions happened to agree.
            (Event::Written { .. }, Step::Write(_)) => self.step = Step::Inspect,
            (Event::Missing, _) => {
                self.other = None;
                self.step = Step::Create;
            }
            (Event::Stale | Event::Waited | Event::Unclear, _) => self.step = Step::Inspect,
            _ => {}
        }
    }

    fn own(&mut self, version: i32) {
        self.other = None;
        self.step = Step::AwaitData(version);
    }

    fn judge(&mut self, owner: i64, version: i32, is_leftover: bool, now: BootInstant) -> Step {
        if owner == self.session {
            self.other = None;
            return Step::Write(version);
        }
        if !is_ephemeral(owner) {
            return Step::GiveUp(Conflict::Persistent);
        }
        if is_leftover {
            return Step::Remove(version);
        }
        let other = match &self.other {
            Some(other) if other.session == owner => other,
            _ => self.other.insert(OtherOwner { session: owner, first_seen: now, first_version: version }),
        };
        let wait = if version == other.first_version { self.timeout * 3 / 2 } else { self.timeout };
        let until = other.first_seen + wait;
        if now >= until {
            Step::GiveUp(Conflict::Held { session: owner })
        } else {
            Step::AwaitOwner { session: owner, until }
        }
    }
}

#[cfg(test)]
#[path = "node_ownership_tests.rs"]
mod tests;
