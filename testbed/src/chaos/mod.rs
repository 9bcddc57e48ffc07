//! Whole fleets under random schedules of faults, and the checker of the results: nothing may be lost, and nothing may
//! be delivered twice.
//!
//! A [`Schedule`] contains the faults, decided by a seed. A [`Cluster`] has the servers and runs the schedule with real
//! nodes. [`check`] uses the requests to the API and the transactions that ZooKeeper committed, and no data of the
//! nodes about themselves. Used by `cargo xtask chaos fleet` and by a small sample in the node's tests.

mod actions;
mod check_report;
mod checker;
mod checks;
mod fault_kinds;
mod faults;
mod files;
mod foreign_client;
mod history;
mod hostile;
mod kazoo_counts;
mod managed_process;
mod measurement;
mod node_process;
mod outcome;
mod output_sink;
mod pauses;
mod poison;
mod processes;
mod receiver_faults;
mod recovery;
mod report_sink;
mod rng;
mod runner;
mod schedule;
mod server_faults;
pub mod tasks;
mod timeline;
mod tree;
mod txn_effects;
mod wrong_znode;

pub use check_report::{CheckReport, Counts, Finding, Violation};
pub use checker::check;
pub use fault_kinds::FaultKind;
pub use faults::{Fault, POINTS, PointFault, ProcessFault, Receiver, ScheduledFault, StderrFault, Target};
pub use history::{Arrival, History, LogLine, Stall};
pub use kazoo_counts::KazooCounts;
pub use outcome::Outcome;
pub use pauses::Pauses;
pub use rng::seed_of;
pub use runner::{Cluster, NodeProgram};
pub use schedule::Schedule;
pub use wrong_znode::WrongZnode;

fn node_id(node: usize) -> String {
    (node + 1).to_string()
}
