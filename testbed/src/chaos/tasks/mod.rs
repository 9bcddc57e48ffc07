//! Tasks under random schedules of faults, and their judge: each has one result, and no two executions at once.
//!
//! A [`Schedule`] contains the faults, decided by a seed. A [`Stage`] has a server and runs the schedule with real
//! processes: Atalaya's native tasks, its classic mode, or Python programs of the classic layout. [`judge`] uses what
//! ZooKeeper committed, what the executions wrote into a file, and how the clients ended. Used by `cargo xtask chaos
//! tasks` and by a small sample in the node's tests.

mod judge;
#[cfg(test)]
mod judge_tests;
mod parties;
mod replay;
mod schedule;
mod stage;

pub use judge::{Client, Evidence, Figures, Judgement, Problem, Witness, judge};
pub use schedule::{Fault, Party, Schedule, Submission, What};
pub use stage::{Outcome, Programs, Stage};
