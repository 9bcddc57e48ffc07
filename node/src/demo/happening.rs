//! What the demo is told by its parts.

use super::journal::Said;
use super::ledger::{Arrival, Verdict};
use crate::model::report::Report;

/// Something happened.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Somebody logged a line.
    Said(Said),
    /// A leader has computed an average.
    Averaged(Report),
    /// A report has arrived at the API, which says this of it.
    Arrived(Arrival, Verdict),
    /// A node's thread has ended.
    Ended {
        /// Its number.
        node: u32,
        /// The how-many-eth life of the node it was.
        life: u32,
        /// Why, if not because it was killed.
        why: Option<String>,
    },
}
