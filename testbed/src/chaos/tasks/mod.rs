//! Tasks under random schedules of faults, and their checker: each has one result, and no two executions at once.
//!
//! A [`Schedule`] contains the faults, decided by a seed. A [`Cluster`] has a server and runs the schedule with real
//! processes: Atalaya's native tasks, its classic mode, or Python programs of the classic layout. [`check`] uses what
//! ZooKeeper committed, what the executions wrote into a file, and how the clients ended. Used by `cargo xtask chaos
//! tasks` and by a small sample in the node's tests.

mod checker;
#[cfg(test)]
mod checker_tests;
mod delay_monitor;
mod processes;
mod runner;
mod schedule;

pub use checker::{CheckReport, ClientResult, Counts, ExecutionEvent, History, Violation, check};
pub use runner::{Cluster, Outcome};
pub use schedule::{Fault, Programs, Role, Schedule, ScheduledFault, Submission};
