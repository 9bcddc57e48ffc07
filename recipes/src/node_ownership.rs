//! Whose an ephemeral znode is, and what may be done with it. Pure; driven by [`crate::persistent_node`].
//!
//! A name belongs to the session that created its znode. A [`NodeOwnership`] never has a znode written whose owner is another
//! session: it waits for that session to end, and when it turns out to be alive, it is a [`Conflict`].
//!
//! Alive or just not yet expired? ZooKeeper does not say. A session that has ended abnormally keeps its znodes for one
//! session timeout and up to a tick more (a tick is at most half of the timeout). So: whoever has written since we first
//! looked, and is still there after one timeout, is alive; whoever is silent gets half a timeout more.

use std::time::Duration;

use crate::clock::BootInstant;
use crate::wrong_znode::is_ephemeral;

/// The znode belongs to somebody else, who lives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// A live session holds it.
    #[error("session {session:#x} holds it and is alive")]
    Held {
        /// The session.
        session: i64,
    },
    /// It is a persistent znode: no session's end will free it.
    #[error("it is a persistent znode, which no session's end will remove")]
    Persistent,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait for a connection.
    AwaitLink,
    /// Create the znode with the present data.
    Create,
    /// Read who owns it, and its version.
    Inspect,
    /// Write the present data, if the znode is at this version.
    Write(i32),
    /// Delete it, if it is at this version: it is an earlier session's of our own.
    Remove(i32),
    /// Another session's: wait until it changes, or until this moment, then inspect it.
    AwaitOwner {
        /// That session.
        session: i64,
        /// When to look again.
        until: BootInstant,
    },
    /// It is ours and current: wait for new data.
    OwnedNode,
    /// Give up.
    GiveUp(Conflict),
}

/// What came of it, or happened meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection was made or made again, in this session, with this session timeout.
    LinkUp(i64, Duration),
    /// The connection was lost.
    LinkDown,
    /// Created, at version 0.
    Created,
    /// Somebody's znode is there already.
    Exists,
    /// The znode as it was found.
    Found {
        /// The owning session; 0 if the znode is persistent.
        owner: i64,
        /// Its version.
        version: i32,
        /// The owner is an earlier session of this process.
        leftover: bool,
    },
    /// The znode is not there.
    Gone,
    /// Written: the owner and version that the reply told.
    Written {
        /// The owning session.
        owner: i64,
        /// The new version.
        version: i32,
    },
    /// Not written: another version.
    Stale,
    /// An operation failed, or may have: look again.
    Unclear,
    /// There is new data to write.
    NewData,
    /// The wait for another session is over, one way or the other.
    Waited,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Offline,
    Creating,
    Inspecting,
    Removing(i32),
    /// Ours, at this version.
    Ours(i32),
    /// Another session's; look again then.
    Theirs(BootInstant),
    Lost(Conflict),
}

/// Another session's znode, since we first saw it.
#[derive(Clone, Debug)]
struct OtherOwner {
    session: i64,
    first_seen: BootInstant,
    first_version: i32,
}

/// One process's claim to one name.
#[derive(Clone, Debug)]
pub struct NodeOwnership {
    session: i64,
    timeout: Duration,
    stage: Stage,
    /// What the znode holds may not be the present data.
    dirty: bool,
    squatter: Option<OtherOwner>,
}

impl Default for NodeOwnership {
    fn default() -> Self {
        NodeOwnership {
            session: 0,
            timeout: Duration::ZERO,
            stage: Stage::Offline,
            dirty: true,
            squatter: None,
        }
    }
}

impl NodeOwnership {
    /// What to do next.
    pub fn step(&self) -> Step {
        match &self.stage {
            Stage::Offline => Step::AwaitLink,
            Stage::Creating => Step::Create,
            Stage::Inspecting => Step::Inspect,
            Stage::Removing(version) => Step::Remove(*version),
            Stage::Ours(version) if self.dirty => Step::Write(*version),
            Stage::Ours(_) => Step::OwnedNode,
            Stage::Theirs(until) => {
                Step::AwaitOwner { session: self.squatter.as_ref().map_or(0, |s| s.session), until: *until }
            }
            Stage::Lost(conflict) => Step::GiveUp(conflict.clone()),
        }
    }

    /// Whether the znode is known to be ours over the present connection.
    pub fn is_held(&self) -> bool {
        matches!(self.stage, Stage::Ours(_))
    }

    /// Takes note of what happened at `now`.
    pub fn on(&mut self, event: Event, now: BootInstant) {
        match (event, &self.stage) {
            (_, Stage::Lost(_)) => {}
            (Event::NewData, _) => self.dirty = true,
            (Event::LinkDown, _) => self.stage = Stage::Offline,
            (Event::LinkUp(session, timeout), _) => {
                self.session = session;
                self.timeout = timeout;
                // A create is answered with "exists" where an inspection would have been needed.
                self.stage = Stage::Creating;
            }
            (_, Stage::Offline) => {}
            (Event::Created, Stage::Creating) => self.own(0, false),
            (Event::Exists, Stage::Creating) => self.stage = Stage::Inspecting,
            (Event::Found { owner, version, leftover }, Stage::Inspecting) => {
                self.stage = self.judge(owner, version, leftover, now);
            }
            (Event::Written { owner, version }, Stage::Ours(_)) if owner == self.session => {
                self.own(version, false)
            }
            // Ours was replaced between two writes, and the versions happened to agree: hands off.
            (Event::Written { .. }, Stage::Ours(_)) => self.stage = Stage::Inspecting,
            (Event::Gone, _) => {
                self.squatter = None;
                self.stage = Stage::Creating;
            }
            (Event::Stale | Event::Waited, _) => self.stage = Stage::Inspecting,
            (Event::Unclear, _) => {
                self.dirty = true;
                self.stage = Stage::Inspecting;
            }
            (Event::Created | Event::Exists | Event::Found { .. } | Event::Written { .. }, _) => {}
        }
    }

    fn own(&mut self, version: i32, dirty: bool) {
        self.squatter = None;
        self.dirty = dirty;
        self.stage = Stage::Ours(version);
    }

    fn judge(&mut self, owner: i64, version: i32, leftover: bool, now: BootInstant) -> Stage {
        if owner == self.session {
            self.squatter = None;
            self.dirty = true;
            return Stage::Ours(version);
        }
        if !is_ephemeral(owner) {
            return Stage::Lost(Conflict::Persistent);
        }
        if leftover {
            return Stage::Removing(version);
        }
        let squatter = match &self.squatter {
            Some(squatter) if squatter.session == owner => squatter,
            _ => self.squatter.insert(OtherOwner { session: owner, first_seen: now, first_version: version }),
        };
        let patience = if version == squatter.first_version { self.timeout * 3 / 2 } else { self.timeout };
        let until = squatter.first_seen + patience;
        if now >= until { Stage::Lost(Conflict::Held { session: owner }) } else { Stage::Theirs(until) }
    }
}

#[cfg(test)]
#[path = "node_ownership_tests.rs"]
mod tests;
