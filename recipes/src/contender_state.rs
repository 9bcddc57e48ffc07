//! How a contender gets to the head of the line, and knows when it no longer stands there. Pure; driven by the line that
//! [`crate::election`] and [`crate::lock`] stand in.
//!
//! A [`ContenderState`] says what to do next ([`ContenderState::step`]) and is told what came of it ([`ContenderState::on`]). Whatever
//! goes wrong leads back to looking at what is there: a create whose reply was lost is found by the token in its name
//! (so no ghost stays in line), a znode of an earlier session of ours is deleted (so nobody waits for it), and nobody
//! leads who has not seen, over the present connection, its own znode at the head of the line.

use crate::node_names::{ContenderId, Position, Role, position, sorted_contenders};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait for a connection.
    AwaitLink,
    /// List the line, and read who owns the znodes that carry our token.
    Look,
    /// Delete a znode of ours that is of no use.
    Delete(String),
    /// Create a znode in line.
    Create,
    /// Wait until the one ahead, or our own, changes.
    Wait {
        /// Our own znode.
        own: String,
        /// The one just ahead.
        predecessor: String,
        /// How many are ahead in all.
        ahead: usize,
    },
    /// Nothing more: the line was left, and nothing of ours stands in it.
    Rest,
    /// Lead, for as long as the lease holds and our own znode stands.
    Lead {
        /// Our own znode.
        own: String,
    },
}

/// What came of it, or happened meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A connection was made or made again, in the session with this id.
    LinkUp(i64),
    /// The connection was lost.
    LinkDown,
    /// The line as it stands: every child, and of those that carry our token the owning session.
    Seen {
        /// All children of the election's znode.
        children: Vec<String>,
        /// Name and owner of those that carry our token.
        ours: Vec<(String, i64)>,
    },
    /// A znode of ours was created under this name.
    Created(String),
    /// A znode of ours is gone.
    Deleted(String),
    /// An operation failed, or may have: look again.
    Unclear,
    /// The one ahead, or our own znode, has changed.
    Stirred,
    /// Leading has ended: the lease, or our own znode.
    Deposed,
    /// The leader's code is done: leave the line, for good.
    Done,
    /// Leave the line, for good, wherever it stands: also if a request is under way.
    Withdraw,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Offline,
    Looking,
    Sweeping(Vec<String>),
    Creating,
    Waiting { own: String, predecessor: String, ahead: usize },
    Leading { own: String },
    Left,
}

/// One contender's way to the head of the line.
#[derive(Clone, Debug)]
pub(crate) struct ContenderState {
    role: Role,
    token: ContenderId,
    session: i64,
    stage: Stage,
    /// Nothing of ours can be there before the first create.
    pristine: bool,
    /// What of ours is there is to go.
    leaving: bool,
    connected: bool,
}

impl ContenderState {
    /// A contender that has not begun.
    pub(crate) fn new(role: impl Into<Role>, token: ContenderId) -> ContenderState {
        let role = role.into();
        ContenderState {
            role,
            token,
            session: 0,
            stage: Stage::Offline,
            pristine: true,
            leaving: false,
            connected: false,
        }
    }

    /// Joins the line again, after it was [left](Step::Rest): nothing else changes that.
    pub(crate) fn join_again(&mut self) {
        if self.stage == Stage::Left {
            self.leaving = false;
            self.stage = if self.connected { Stage::Looking } else { Stage::Offline };
        }
    }

    /// What our znodes' names begin with.
    pub(crate) fn prefix(&self) -> String {
        self.role.prefix(&self.token)
    }

    /// What it stands in line for.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Which of `children` carry our token.
    pub(crate) fn ours<'a>(&self, children: &'a [String]) -> Vec<&'a str> {
        children.iter().map(String::as_str).filter(|name| self.token.owns(name)).collect()
    }

    /// What to do next.
    pub(crate) fn step(&self) -> Step {
        match &self.stage {
            Stage::Offline => Step::AwaitLink,
            Stage::Looking => Step::Look,
            Stage::Sweeping(names) => names.last().map_or(Step::Look, |name| Step::Delete(name.clone())),
            Stage::Creating => Step::Create,
            Stage::Waiting { own, predecessor, ahead } => {
                Step::Wait { own: own.clone(), predecessor: predecessor.clone(), ahead: *ahead }
            }
            Stage::Leading { own } => Step::Lead { own: own.clone() },
            Stage::Left => Step::Rest,
        }
    }

    /// Takes note of what happened. Events that belong to no present step (a late answer) change nothing.
    pub(crate) fn on(&mut self, event: Event) {
        // Once a create was the step, it may have been sent, whatever is heard of it.
        self.pristine &= self.stage != Stage::Creating;
        match event {
            Event::LinkUp(session) => {
                self.connected = true;
                self.session = session;
            }
            Event::LinkDown => self.connected = false,
            _ => {}
        }
        match (event, &mut self.stage) {
            (_, Stage::Left) => {}
            (Event::Done, Stage::Leading { own }) => {
                self.leaving = true;
                self.stage = Stage::Sweeping(vec![std::mem::take(own)]);
            }
            (Event::Withdraw, stage) => {
                self.leaving = true;
                match stage {
                    Stage::Waiting { own, .. } | Stage::Leading { own } => {
                        *stage = Stage::Sweeping(vec![std::mem::take(own)]);
                    }
                    Stage::Offline if self.pristine => *stage = Stage::Left,
                    Stage::Offline => {}
                    // What is swept may be but the surplus; what is being created will be there when we look.
                    _ => *stage = Stage::Looking,
                }
            }
            (Event::LinkDown, stage) => *stage = Stage::Offline,
            (Event::LinkUp(_), stage) => {
                *stage = if self.pristine { Stage::Creating } else { Stage::Looking };
            }
            (_, Stage::Offline) => {}
            (Event::Seen { children, ours }, Stage::Looking) => self.stage = self.judge(&children, &ours),
            (Event::Created(_), stage @ Stage::Creating) => *stage = Stage::Looking,
            (Event::Deleted(gone), Stage::Sweeping(names)) => {
                names.retain(|name| *name != gone);
                if names.is_empty() {
                    self.stage = if self.leaving { Stage::Left } else { Stage::Looking };
                }
            }
            (Event::Unclear | Event::Stirred | Event::Deposed, stage) => *stage = Stage::Looking,
            (Event::Seen { .. } | Event::Created(_) | Event::Deleted(_) | Event::Done, _) => {}
        }
    }

    /// What follows from the line as it stands.
    fn judge(&self, children: &[String], ours: &[(String, i64)]) -> Stage {
        let names: Vec<String> = ours.iter().map(|(name, _)| name.clone()).collect();
        // The foremost of this session's stays; others are a create done twice, or an earlier session's.
        let living: Vec<String> =
            ours.iter().filter(|(_, owner)| *owner == self.session).map(|(name, _)| name.clone()).collect();
        let own = sorted_contenders(self.role, &living).first().map(|name| (*name).to_owned());
        let own = own.filter(|_| !self.leaving);
        let surplus: Vec<String> = names.into_iter().filter(|name| Some(name) != own.as_ref()).collect();
        if !surplus.is_empty() {
            return Stage::Sweeping(surplus);
        }
        let Some(own) = own else { return if self.leaving { Stage::Left } else { Stage::Creating } };
        match position(self.role, children, &own) {
            Position::First => Stage::Leading { own },
            Position::Behind { predecessor, ahead } => Stage::Waiting { own, predecessor, ahead },
            Position::Absent => Stage::Looking,
        }
    }
}

#[cfg(test)]
#[path = "contender_state_tests.rs"]
mod tests;
