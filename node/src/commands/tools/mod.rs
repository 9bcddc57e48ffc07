//! Recipes as commands for shell scripts, and the hidden commands that `lock`, `elect`, `command` sensors and tasks need.

pub(super) mod barrier;
pub(super) mod config;
pub(super) mod connection;
pub(super) mod counter;
pub(super) mod exec;
#[cfg(unix)]
pub(super) mod guard;
pub(super) mod guarded_command;
pub(super) mod inspect;
#[cfg(target_os = "linux")]
pub(super) mod keep;
pub(super) mod lock_elect;
pub(super) mod queue;
