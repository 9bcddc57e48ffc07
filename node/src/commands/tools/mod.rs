//! Recipes on the command line: each usable from a shell script.

mod barrier;
mod child;
mod config;
mod connection;
mod counter;
mod guarded;
mod held;
mod inspect;
#[cfg(target_os = "linux")]
mod keeper;
mod queue;

pub(super) use barrier::main as barrier;
pub(super) use config::main as config;
pub(super) use connection::with_session_of;
pub(super) use counter::main as counter;
pub(super) use guarded::main as become_command;
pub(super) use held::{elect, lock};
pub(super) use inspect::main as inspect;
#[cfg(target_os = "linux")]
pub(super) use keeper::main as keep;
pub(super) use queue::main as queue;
