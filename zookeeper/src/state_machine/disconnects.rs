//! Disconnects at a chosen request. Part of [`Core`](super::Core), configured by [`faults`](super::super::faults).

use super::super::protocol::{Operation, Request};

/// Point in the handling of a request at which its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cut {
    /// The request reached the server and had no effect.
    BeforeEffect,
    /// The request took effect, and the client receives no reply.
    BeforeReply,
}

/// Selection of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Which {
    pub(crate) session: Option<i64>,
    /// None selects all operations except pings.
    pub(crate) operation: Option<Operation>,
    pub(crate) path: Option<String>,
}

/// Requests to disconnect at; each matches once.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    waiting: Vec<(u64, Cut, Which)>,
    next: u64,
    happened: Vec<u64>,
}

impl Cuts {
    /// Adds a request to disconnect at; the returned number is the one reported by
    /// [`take_happened`](Self::take_happened).
    pub(crate) fn add(&mut self, cut: Cut, which: Which) -> u64 {
        self.next += 1;
        self.waiting.push((self.next, cut, which));
        self.next
    }

    /// Returns the point at which to disconnect if this request matches. The entry is then removed.
    pub(super) fn matching(
        &mut self,
        session: i64,
        operation: Option<Operation>,
        request: Option<&Request>,
    ) -> Option<Cut> {
        if self.waiting.is_empty() {
            return None;
        }
        let is_meant = |which: &Which| {
            which.session.is_none_or(|wanted| wanted == session)
                && match which.operation {
                    Some(wanted) => operation == Some(wanted),
                    None => operation != Some(Operation::Ping),
                }
                && which
                    .path
                    .as_deref()
                    .is_none_or(|wanted| request.is_some_and(|request| request.mentions(wanted)))
        };
        let at = self.waiting.iter().position(|(_, _, which)| is_meant(which))?;
        let (number, cut, _) = self.waiting.remove(at);
        self.happened.push(number);
        Some(cut)
    }

    /// Returns the numbers of the disconnects since the last call.
    pub(crate) fn take_happened(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.happened)
    }

    /// Removes all pending entries.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}
