//! Events that the parts of the demo send to its main loop.

use atalaya_collector::Outcome;

use super::delivery_audit::Key;
use super::log_capture::LogLine;
use crate::model::report::Report;

#[derive(Debug)]
pub(crate) enum Event {
    /// A node, or the ZooKeeper server, has logged a line.
    Logged(LogLine),
    /// A leader has computed an average.
    Averaged(Report),
    /// The API has received a report.
    Received(Key, Outcome),
    /// The thread of a node has ended.
    NodeEnded {
        node: u32,
        /// Incarnation of the node: the number of times it was started.
        incarnation: u32,
        /// Reason; `None` if the node was killed.
        reason: Option<String>,
    },
}
