//! Tasks under random schedules of faults, and their judge: one result each, no two executions at once.
//!
//! [`Schedule`] says what happens, decided by a seed. A [`Stage`] has a server and plays it with real processes: Atalaya's
//! native tasks, its classic mode, or Python programs of the classic layout. [`judge`] takes what ZooKeeper committed, what
//! the executions wrote into a file, and how the clients ended. Used by `cargo xtask chaos tasks` and by the sample of it in
//! the node's tests.

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
