//! State machine of a contender in an election or a lock. No I/O; [`crate::lock_queue`] drives it.
//!
//! [`ContenderState::step`] returns the next action, and [`ContenderState::on`] takes its outcome. After every failure
//! the next action is to list the queue, which gives three guarantees:
//!
//! * A create whose reply was lost is found by the [`ContenderId`] in its name, so no orphaned znode stays in the
//!   queue.
//! * A znode of an earlier session of this contender is deleted, so no other contender waits for it.
//! * A contender holds only after it has seen, over the current connection, its own znode at the head of the queue.

use crate::node_names::{ContenderId, Position, Role, position};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    AwaitConnection,
    /// List the queue, and read the owners of the znodes that carry our id.
    List,
    /// Delete these znodes of ours, which are not needed.
    Delete(Vec<String>),
    Create,
    /// Wait until the predecessor or our own znode changes.
    Wait {
        own: String,
        predecessor: String,
        ahead: usize,
    },
    /// Act as the holder while the session's lease holds and our own znode exists.
    Hold {
        own: String,
    },
    /// Nothing: none of our znodes is in the queue, and none will be created.
    Left,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A connection was established, in the session with this id.
    Connected(i64),
    Disconnected,
    /// All children of the parent, and name and owning session of those that carry our id.
    Listed {
        children: Vec<String>,
        own: Vec<(String, i64)>,
    },
    Created(String),
    /// All of the unneeded znodes were deleted.
    Deleted,
    /// An operation failed, and may have taken effect.
    OutcomeUnknown,
    /// The watch on the predecessor or on our own znode fired.
    WatchFired,
    /// Holding has ended, because the session's lease has expired or our own znode was deleted.
    Deposed,
    /// The work of the holder is done: leave the queue permanently.
    Done,
    /// Leave the queue permanently, from any state and also while a request is in progress.
    Withdraw,
}

#[derive(Clone, Debug)]
pub(crate) struct ContenderState {
    pub(crate) role: Role,
    id: ContenderId,
    /// Id of the session, while it is connected.
    pub(crate) session: Option<i64>,
    step: Step,
    /// No create was sent yet, so none of our znodes can exist.
    never_created: bool,
    /// Our remaining znodes must be deleted.
    leaving: bool,
}

impl ContenderState {
    pub(crate) fn new(role: impl Into<Role>, id: ContenderId) -> ContenderState {
        ContenderState {
            role: role.into(),
            id,
            session: None,
            step: Step::AwaitConnection,
            never_created: true,
            leaving: false,
        }
    }

    /// Joins the queue again after [`Step::Left`]. Does nothing in other states.
    pub(crate) fn rejoin(&mut self) {
        if self.step == Step::Left {
            self.leaving = false;
            self.step = if self.session.is_some() { Step::List } else { Step::AwaitConnection };
        }
    }

    /// Returns the beginning of the names of our znodes.
    pub(crate) fn prefix(&self) -> String {
        self.role.prefix(&self.id)
    }

    /// Returns those of `children` that carry our id.
    pub(crate) fn own_names<'a>(&self, children: &'a [String]) -> Vec<&'a str> {
        children.iter().map(String::as_str).filter(|name| self.id.owns(name)).collect()
    }

    pub(crate) fn step(&self) -> Step {
        self.step.clone()
    }

    /// Handles an event. Events that do not fit the current state, such as late replies, change nothing.
    pub(crate) fn on(&mut self, event: Event) {
        // Once the next action was a create, its request may have been sent, whatever the event is.
        self.never_created &= self.step != Step::Create;
        match event {
            Event::Connected(session) => self.session = Some(session),
            Event::Disconnected => self.session = None,
            _ => {}
        }
        match (event, &mut self.step) {
            (_, Step::Left) => {}
            (Event::Done, Step::Hold { own }) => {
                self.leaving = true;
                self.step = Step::Delete(vec![std::mem::take(own)]);
            }
            (Event::Withdraw, step) => {
                self.leaving = true;
                match step {
                    Step::Wait { own, .. } | Step::Hold { own } => {
                        *step = Step::Delete(vec![std::mem::take(own)]);
                    }
                    Step::AwaitConnection if self.never_created => *step = Step::Left,
                    Step::AwaitConnection => {}
                    // Listing finds all our znodes: the ones being deleted may be only the surplus, and the effect of
                    // a create in progress is visible by then.
                    _ => *step = Step::List,
                }
            }
            (Event::Disconnected, step) => *step = Step::AwaitConnection,
            (Event::Connected(_), step) => {
                *step = if self.never_created { Step::Create } else { Step::List };
            }
            (_, Step::AwaitConnection) => {}
            (Event::Listed { children, own }, Step::List) => self.step = self.next_step(&children, &own),
            (Event::Created(_), step @ Step::Create) => *step = Step::List,
            (Event::Deleted, step @ Step::Delete(_)) => {
                *step = if self.leaving { Step::Left } else { Step::List };
            }
            (Event::OutcomeUnknown | Event::WatchFired | Event::Deposed, step) => *step = Step::List,
            (Event::Listed { .. } | Event::Created(_) | Event::Deleted | Event::Done, _) => {}
        }
    }

    fn next_step(&self, children: &[String], own_znodes: &[(String, i64)]) -> Step {
        // The first znode of this session is kept. Others come from a repeated create or from an earlier session.
        let current = own_znodes.iter().filter(|(_, owner)| !self.leaving && Some(*owner) == self.session);
        let own = current.filter_map(|(name, _)| Some((self.role.sequence(name)?, name))).min();
        let own = own.map(|(_, name)| name.clone());
        let names = own_znodes.iter().map(|(name, _)| name.clone());
        let surplus: Vec<String> = names.filter(|name| Some(name) != own.as_ref()).collect();
        if !surplus.is_empty() {
            return Step::Delete(surplus);
        }
        let Some(own) = own else { return if self.leaving { Step::Left } else { Step::Create } };
        match position(self.role, children, &own) {
            Position::First => Step::Hold { own },
            Position::Behind { predecessor, ahead } => Step::Wait { own, predecessor, ahead },
            Position::Absent => Step::List,
        }
    }
}

#[cfg(test)]
#[path = "contender_state_tests.rs"]
mod tests;
