//! How one gets a place of a semaphore, and gives it back. Pure; driven by [`crate::semaphore`].
//!
//! Places are znodes below one, and no more than so many of them. They are counted, and a new one is made, by whoever is
//! at the head of a line (the entry) only. What was or may have been made is looked for over every new connection before
//! the line is joined again: whoever has a place must not wait behind one who waits for it.

use crate::contender_state::{self, ContenderState};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Wait for a connection.
    AwaitLink,
    /// Do this in the entry's line.
    Enter(contender_state::Step),
    /// Look who owns our place, if it is there.
    Find,
    /// Count the places, the entry being ours by this znode.
    Count { entry: String },
    /// Make our place, if this znode in the entry still stands.
    Sit { entry: String },
    /// Delete our place.
    Vacate,
    /// Have it.
    OwnedNode,
    /// Nothing of ours is left.
    Rest,
}

/// What came of it, or happened meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A connection was made or made again, in the session with this id.
    LinkUp(i64),
    /// It was lost.
    LinkDown,
    /// In the entry's line.
    Entered(contender_state::Event),
    /// Which session owns our place, if it is there.
    Found(Option<i64>),
    /// There is a place to be had.
    Free,
    /// There is none, or there was none and that may have changed.
    Full,
    /// Our place was made.
    Sat,
    /// Our place is gone.
    Vacated,
    /// An operation failed, or may have; or the place that was to be held is not there.
    Unclear,
    /// Give everything back.
    Withdraw,
}

/// The line to the place where places are counted.
pub(crate) trait Entry {
    fn step(&self) -> contender_state::Step;
    fn on(&mut self, event: contender_state::Event);
    /// Joins the line again, after it was left.
    fn again(&mut self);
}

impl Entry for ContenderState {
    fn step(&self) -> contender_state::Step {
        ContenderState::step(self)
    }

    fn on(&mut self, event: contender_state::Event) {
        ContenderState::on(self, event);
    }

    fn again(&mut self) {
        self.join_again();
    }
}

/// What is known of our own place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// There is none.
    None,
    /// There is none, but one to be had.
    Free,
    /// There may be one.
    Unknown,
    /// There is one, of this session.
    Ours,
    /// There is one, of an earlier session.
    Stale,
}

/// One's way to a place.
#[derive(Clone, Debug)]
pub(crate) struct PermitState<E> {
    pub(crate) entry: E,
    place: Place,
    session: i64,
    connected: bool,
    leaving: bool,
}

impl<E: Entry> PermitState<E> {
    pub(crate) fn new(entry: E) -> PermitState<E> {
        PermitState { entry, place: Place::None, session: 0, connected: false, leaving: false }
    }

    /// What to do next.
    pub(crate) fn step(&self) -> Step {
        let entry = self.entry.step();
        match (self.place, entry) {
            (Place::None, contender_state::Step::Rest) if self.leaving => Step::Rest,
            _ if !self.connected => Step::AwaitLink,
            (Place::Unknown | Place::Ours | Place::Stale, _) if self.leaving => Step::Vacate,
            (Place::Unknown, _) => Step::Find,
            (Place::Stale, _) => Step::Vacate,
            (Place::Ours, contender_state::Step::Rest) => Step::OwnedNode,
            (Place::None, contender_state::Step::Lead { own }) => Step::Count { entry: own },
            (Place::Free, contender_state::Step::Lead { own }) => Step::Sit { entry: own },
            (_, step) => Step::Enter(step),
        }
    }

    /// Takes note of what happened.
    pub(crate) fn on(&mut self, event: Event) {
        // Once making a place was the step, it may have been made, whatever is heard of it.
        if matches!(self.step(), Step::Sit { .. }) && event != Event::Sat {
            self.place = Place::Unknown;
        }
        match event {
            Event::LinkUp(session) => {
                self.connected = true;
                self.session = session;
                self.doubt();
                self.entry.on(contender_state::Event::LinkUp(session));
            }
            Event::LinkDown => {
                self.connected = false;
                self.doubt();
                self.entry.on(contender_state::Event::LinkDown);
            }
            Event::Entered(event) => {
                if self.place == Place::Free {
                    self.place = Place::None;
                }
                self.entry.on(event);
            }
            Event::Unclear => {
                self.doubt();
                self.entry.on(contender_state::Event::Unclear);
            }
            Event::Withdraw => {
                self.leaving = true;
                self.doubt();
                self.entry.on(contender_state::Event::Withdraw);
            }
            Event::Found(owner) => self.found(owner),
            Event::Free if self.place == Place::None => self.place = Place::Free,
            // Whether we are still at the head of the line is looked at again, and then the places.
            Event::Full => self.entry.on(contender_state::Event::Stirred),
            Event::Sat => self.found(Some(self.session)),
            Event::Vacated => self.place = Place::None,
            Event::Free => {}
        }
        if self.place == Place::None && !self.leaving && self.entry.step() == contender_state::Step::Rest {
            self.entry.again();
        }
    }

    fn found(&mut self, owner: Option<i64>) {
        self.place = match owner {
            None => Place::None,
            Some(owner) if owner == self.session => Place::Ours,
            Some(_) => Place::Stale,
        };
        if self.place == Place::Ours {
            self.entry.on(contender_state::Event::Withdraw);
        }
    }

    /// What was known may be otherwise.
    fn doubt(&mut self) {
        self.place = match self.place {
            Place::None | Place::Free => Place::None,
            Place::Unknown | Place::Ours | Place::Stale => Place::Unknown,
        };
    }
}

#[cfg(test)]
#[path = "permit_state_tests.rs"]
mod tests;
