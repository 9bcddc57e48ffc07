//! Events of a schedule in the order of their times.

use std::iter::Peekable;
use std::time::{Duration, Instant};
use std::vec::IntoIter;

/// Events, with the time since the start at which each is due.
pub(super) struct Timeline<T> {
    begin: Instant,
    events: Peekable<IntoIter<(Duration, T)>>,
}

impl<T> Timeline<T> {
    /// Starts the time.
    pub(super) fn start(mut events: Vec<(Duration, T)>) -> Self {
        events.sort_by_key(|(at, _)| *at);
        Self { begin: Instant::now(), events: events.into_iter().peekable() }
    }

    pub(super) fn next_due(&mut self) -> Option<T> {
        let elapsed = self.begin.elapsed();
        self.events.next_if(|(at, _)| *at <= elapsed).map(|(_, event)| event)
    }

    /// Returns true until this time has passed.
    pub(super) fn is_before(&self, end: Duration) -> bool {
        self.begin.elapsed() < end
    }
}
