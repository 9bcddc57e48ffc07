//! A node of a fleet, over all of its processes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::faults::{POINTS, PointFault};
use super::managed_process::ManagedProcess;
use super::node_id;

pub(super) struct NodeProcess {
    pub(super) id: String,
    pub(super) managed: ManagedProcess,
    /// Fault point at which its current process dies or stops.
    pub(super) fault: Option<PointFault>,
    /// True if the current process cannot log: its last line is inferred.
    pub(super) is_mute: bool,
    /// Faults that make its processes start with standard error on `/dev/full`.
    pub(super) full: BTreeSet<usize>,
    /// Duration of the stop at its fault point.
    pub(super) stop_time: Option<Duration>,
    /// True if the process was stopped, by itself or by a fault.
    pub(super) was_stopped: bool,
    /// End of its stop at the fault point.
    pub(super) stopped_until: Option<Instant>,
}

impl NodeProcess {
    pub(super) fn new(node: usize) -> Self {
        let id = node_id(node);
        Self {
            managed: ManagedProcess::new(format!("node-{id}")),
            id,
            fault: None,
            is_mute: false,
            full: BTreeSet::new(),
            stop_time: None,
            was_stopped: false,
            stopped_until: None,
        }
    }

    /// Returns the fault point at which a process that cannot log has died or stopped.
    pub(super) fn inferred_point(&self) -> Option<&'static str> {
        self.fault.filter(|_| self.is_mute).map(|fault| fault.point)
    }
}

/// Returns the fault point at which a process died or stopped, from its last line.
pub(super) fn point_of(last: &str) -> Option<&'static str> {
    let (_, text) = last.split_once("fault point: ")?;
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .find_map(|word| POINTS.into_iter().find(|point| *point == word))
}
