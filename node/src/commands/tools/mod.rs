//! Recipes on the command line: each usable from a shell script.

mod barrier;
mod child;
mod config;
mod connection;
mod counter;
mod guarded_command;
mod inspect;
#[cfg(target_os = "linux")]
mod keep;
mod lock_elect;
mod queue;

pub(super) use barrier::{BarrierCommand, main as barrier};
pub(super) use config::{ConfigCommand, main as config};
pub(super) use connection::with_session_of;
pub(super) use counter::{CounterCommand, main as counter};
pub(super) use guarded_command::{ExecArgs, main as exec};
pub(super) use inspect::{InspectArgs, main as inspect};
#[cfg(target_os = "linux")]
pub(super) use keep::{KeepArgs, main as keep};
pub(super) use lock_elect::{ElectArgs, LockArgs, elect, lock};
pub(super) use queue::{QueueCommand, main as queue};
