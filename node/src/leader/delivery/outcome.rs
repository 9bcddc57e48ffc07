//! Outcome of a request that delivers a report.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The API has recorded the report.
    Accepted,
    /// The API will never accept the report; a retry does not help.
    Rejected(String),
    /// No connection, no response, or too many requests: the report must be sent again.
    Failed(String),
    /// The response may concern only this report or all reports.
    Doubtful(Doubt),
    /// This report can never be sent or accepted. Other reports are not affected.
    Invalid(String),
    /// The collector has reports of a later epoch; see [`crate::leader::delivery::outbox`].
    Stale(Stale),
}

impl Outcome {
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Outcome::Accepted => "accepted",
            Outcome::Rejected(_) | Outcome::Invalid(_) => "rejected",
            Outcome::Failed(_) | Outcome::Doubtful(_) => "failed",
            Outcome::Stale(_) => "stale",
        }
    }
}

/// A response that may concern only one report or all reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Doubt {
    pub(crate) reason: String,
    /// Number of attempts for a report before those behind it are tried as well.
    pub(crate) tries: u32,
    /// Number of refusals, each after another report was accepted, that prove that only this report is refused.
    pub(crate) proofs: u32,
}

impl Doubt {
    /// Returns the doubt after an error of a server, which concerns all reports more often than one.
    pub(super) fn of_server_error(reason: String) -> Doubt {
        Doubt { reason, tries: 12, proofs: 3 }
    }

    /// Returns the doubt after a response about the sender (401, 403), which may concern one report only.
    pub(super) fn of_sender(reason: String) -> Doubt {
        Doubt { reason, tries: 3, proofs: 1 }
    }
}

/// Reason of a collector to refuse a report: a later leader has reported the same cycle, or an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stale {
    pub(crate) epoch: i64,
    /// Lowest cycle that the later leader reported.
    pub(crate) first_cycle: u64,
}
