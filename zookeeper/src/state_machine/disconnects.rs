//! Disconnects at a chosen request. Part of [`StateMachine`](super::StateMachine), configured by
//! [`faults`](crate::faults).

use crate::protocol::{Operation, Request};

/// Point in the handling of a request at which its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disconnect {
    /// The request reached the server and had no effect.
    BeforeEffect,
    /// The request took effect, and the client receives no reply.
    BeforeReply,
}

/// Selection of the request at which a connection is closed: by default the next one of any client, except pings.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter {
    session: Option<i64>,
    operation: Option<Operation>,
    path: Option<String>,
}

impl RequestFilter {
    /// Selects the next request of any client, except pings.
    pub fn any() -> Self {
        Self::default()
    }

    /// Selects requests of this session.
    #[must_use]
    pub fn session(mut self, session: i64) -> Self {
        self.session = Some(session);
        self
    }

    /// Selects requests of this kind.
    #[must_use]
    pub fn operation(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Selects requests whose path contains this text; for a `multi`, the path of any of its operations.
    #[must_use]
    pub fn path_contains(mut self, part: impl Into<String>) -> Self {
        self.path = Some(part.into());
        self
    }

    fn matches(&self, session: i64, operation: Option<Operation>, request: Option<&Request>) -> bool {
        self.session.is_none_or(|wanted| wanted == session)
            && match self.operation {
                Some(wanted) => operation == Some(wanted),
                None => operation != Some(Operation::Ping),
            }
            && self
                .path
                .as_deref()
                .is_none_or(|wanted| request.is_some_and(|request| request.mentions(wanted)))
    }
}

/// Requests to disconnect at; each matches once.
#[derive(Debug, Default)]
pub(crate) struct Disconnects {
    pending: Vec<(u64, Disconnect, RequestFilter)>,
    next: u64,
    happened: Vec<u64>,
}

impl Disconnects {
    /// Adds a request to disconnect at; the returned number is the one reported by
    /// [`take_happened`](Self::take_happened).
    pub(crate) fn add(&mut self, disconnect: Disconnect, filter: RequestFilter) -> u64 {
        self.next += 1;
        self.pending.push((self.next, disconnect, filter));
        self.next
    }

    /// Returns the point at which to disconnect if this request matches. The entry is then removed.
    pub(super) fn matching(
        &mut self,
        session: i64,
        operation: Option<Operation>,
        request: Option<&Request>,
    ) -> Option<Disconnect> {
        let at =
            self.pending.iter().position(|(_, _, filter)| filter.matches(session, operation, request))?;
        let (number, disconnect, _) = self.pending.remove(at);
        self.happened.push(number);
        Some(disconnect)
    }

    /// Returns the numbers of the disconnects since the last call.
    pub(crate) fn take_happened(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.happened)
    }

    /// Removes all pending entries.
    pub(crate) fn clear(&mut self) {
        self.pending.clear();
    }
}
