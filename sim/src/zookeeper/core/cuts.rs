//! Connections that are to be lost at a chosen request. A part of [`Core`](super::Core), set by
//! [`faults`](super::super::faults).

use super::super::protocol::{Operation, Request};

/// At which moment of a request its connection is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cut {
    /// The request reached the server and had no effect.
    BeforeEffect,
    /// The request took effect, and the client is not told.
    BeforeReply,
}

/// Which request it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Which {
    pub(crate) session: Option<i64>,
    /// None for any but a ping.
    pub(crate) operation: Option<Operation>,
    pub(crate) path: Option<String>,
}

/// Requests that are waited for; each happens once.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    waiting: Vec<(u64, Cut, Which)>,
    next: u64,
    happened: Vec<u64>,
}

impl Cuts {
    /// Waits for a request; the number is for [`take_happened`](Self::take_happened).
    pub(crate) fn add(&mut self, cut: Cut, which: Which) -> u64 {
        self.next += 1;
        self.waiting.push((self.next, cut, which));
        self.next
    }

    /// Whether this request is waited for. It no longer is then.
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

    /// Those that happened since the last time.
    pub(crate) fn take_happened(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.happened)
    }

    /// No longer waits for any.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}
