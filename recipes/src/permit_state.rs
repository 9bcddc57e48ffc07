//! State machine of a semaphore's waiter: acquires and releases a permit. No I/O; [`crate::semaphore`] drives it.
//!
//! Permits are znodes below the semaphore's znode. Only the contender at the head of a queue counts them and creates a
//! new one. Over every new connection the waiter looks for a permit that it has, or may have, created before it joins
//! the queue again: a waiter that owns a permit must not wait behind one that waits for that permit.

use crate::acquire_task::Acquirable;
use crate::contender_state as queue;
use crate::lock_queue::Contender;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    AwaitConnection,
    /// Carry out this step of the queue.
    Queue(queue::Step),
    /// Read the owner of our permit, if it exists.
    FindPermit,
    /// Count the permits. `contender` is our znode in the queue.
    CountPermits {
        contender: String,
    },
    /// Create our permit, provided that our znode `contender` in the queue still exists.
    CreatePermit {
        contender: String,
    },
    DeletePermit,
    Hold,
    /// Nothing: no znode of ours is left.
    Left,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Event of the queue. The events that are not the outcome of one of its steps concern the permit too: a failed
    /// operation may also have been one on the permit, and the permit to be held may not exist.
    Queue(queue::Event),
    /// Session that owns our permit, or `None` if the permit does not exist.
    PermitFound(Option<i64>),
    PermitAvailable,
    /// No permit was available; this may have changed since.
    NoPermitAvailable,
    PermitCreated,
    PermitDeleted,
}

/// Knowledge about our permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permit {
    /// Does not exist.
    None,
    /// Does not exist, and can be created.
    Available,
    /// May exist.
    Unknown,
    /// Exists, created by this session.
    Owned,
    /// Exists, created by an earlier session.
    Stale,
}

#[derive(Debug)]
pub(crate) struct PermitState {
    pub(crate) queue: Contender,
    permit: Permit,
    leaving: bool,
}

impl PermitState {
    pub(crate) fn new(queue: Contender) -> PermitState {
        PermitState { queue, permit: Permit::None, leaving: false }
    }

    pub(crate) fn step(&self) -> Step {
        match (self.permit, self.queue.state.step()) {
            (Permit::None, queue::Step::Left) if self.leaving => Step::Left,
            _ if self.queue.state.session.is_none() => Step::AwaitConnection,
            (Permit::Unknown | Permit::Owned | Permit::Stale, _) if self.leaving => Step::DeletePermit,
            (Permit::Unknown, _) => Step::FindPermit,
            (Permit::Stale, _) => Step::DeletePermit,
            (Permit::Owned, queue::Step::Left) => Step::Hold,
            (Permit::None, queue::Step::Hold { own }) => Step::CountPermits { contender: own },
            (Permit::Available, queue::Step::Hold { own }) => Step::CreatePermit { contender: own },
            (_, step) => Step::Queue(step),
        }
    }

    pub(crate) fn on(&mut self, event: Event) {
        // Once the next action was to create the permit, its request may have been sent, whatever the event is.
        if matches!(self.step(), Step::CreatePermit { .. }) && event != Event::PermitCreated {
            self.permit = Permit::Unknown;
        }
        match event {
            Event::Queue(event) => {
                match event {
                    queue::Event::Connected(_)
                    | queue::Event::Disconnected
                    | queue::Event::OutcomeUnknown => {
                        self.invalidate();
                    }
                    queue::Event::Withdraw => {
                        self.leaving = true;
                        self.invalidate();
                    }
                    _ if self.permit == Permit::Available => self.permit = Permit::None,
                    _ => {}
                }
                self.queue.on(event);
            }
            Event::PermitFound(owner) => self.set_owner(owner),
            Event::PermitAvailable if self.permit == Permit::None => self.permit = Permit::Available,
            // List the queue again, to check that we are still first, and then count the permits again.
            Event::NoPermitAvailable => self.queue.on(queue::Event::WatchFired),
            Event::PermitCreated => self.set_owner(self.queue.state.session),
            Event::PermitDeleted => self.permit = Permit::None,
            Event::PermitAvailable => {}
        }
        if self.permit == Permit::None && !self.leaving && self.queue.state.step() == queue::Step::Left {
            self.queue.rejoin();
        }
    }

    fn set_owner(&mut self, owner: Option<i64>) {
        self.permit = match owner {
            None => Permit::None,
            owner if owner == self.queue.state.session => Permit::Owned,
            Some(_) => Permit::Stale,
        };
        if self.permit == Permit::Owned {
            self.queue.on(queue::Event::Withdraw);
        }
    }

    /// Downgrades the knowledge about the permit, which may have changed.
    fn invalidate(&mut self) {
        self.permit = match self.permit {
            Permit::None | Permit::Available => Permit::None,
            Permit::Unknown | Permit::Owned | Permit::Stale => Permit::Unknown,
        };
    }
}

#[cfg(test)]
#[path = "permit_state_tests.rs"]
mod tests;
