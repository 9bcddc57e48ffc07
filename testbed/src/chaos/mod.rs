//! Whole fleets under random schedules of faults, and the judge of the results: nothing may be lost, and nothing may be
//! delivered twice.
//!
//! A [`Schedule`] contains the faults, decided by a seed. A [`Theatre`] has the servers and runs the schedule with real
//! nodes. [`judge`] uses the requests to the API and the transactions that ZooKeeper committed, and no data of the
//! nodes about themselves. Used by `cargo xtask chaos fleet` and by a small sample in the node's tests.

mod acts;
mod average_checks;
mod deeds;
mod desk;
mod evidence;
mod fault_kinds;
mod foreign_checks;
#[cfg(test)]
mod foreign_checks_tests;
mod foreign_client;
mod hostile;
mod judge;
#[cfg(test)]
mod judge_tests;
mod kazoo;
mod kept;
#[cfg(test)]
mod kept_tests;
mod log_checks;
mod mail;
mod means;
mod measurement;
mod measurement_checks;
mod outcome;
mod pauses;
mod poison;
mod processes;
mod receiver;
mod recovery;
mod schedule;
mod schedule_text;
mod squatter;
mod stage;
pub mod tasks;
mod tree;
mod vault;
mod verdict;

pub(crate) use deeds::millis_of;
pub use evidence::{Arrival, Evidence, LogLine, Stall};
pub use fault_kinds::{FaultKind, FaultKinds, UnknownFaultKind};
pub use hostile::StderrFault;
pub use judge::judge;
pub use kazoo::KazooFigures;
pub use outcome::Outcome;
pub use pauses::Pauses;
pub use poison::{PoisonedMeasurement, PoisonedReport};
pub use receiver::{Blow, Receiver};
pub use schedule::{Act, Fault, POINTS, Schedule, What, Whom, seed_of};
pub use squatter::Squatter;
pub use stage::{Cast, Theatre};
pub use verdict::{Figures, Kind, Verdict, Violation};
