//! Recipes as commands for shell scripts, and the two hidden commands that `lock`, `elect` and `command` sensors need.

mod barrier;
mod config;
mod connection;
mod counter;
mod exec;
mod guarded_command;
mod inspect;
#[cfg(target_os = "linux")]
mod keep;
mod lock_elect;
mod queue;

pub(super) use barrier::{BarrierCommand, main as barrier};
pub(super) use config::{ConfigCommand, main as config};
pub(super) use connection::{with_session, with_session_from};
pub(super) use counter::{CounterCommand, main as counter};
pub(super) use exec::{ExecArgs, main as exec};
pub(super) use guarded_command::end_remaining_processes;
pub(super) use inspect::{InspectArgs, main as inspect};
#[cfg(target_os = "linux")]
pub(super) use keep::{KeepArgs, main as keep};
pub(super) use lock_elect::{ElectArgs, LockArgs, elect, lock};
pub(super) use queue::{QueueCommand, main as queue};
