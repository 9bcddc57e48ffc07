//! Interface to the operating system: state directory, cleanup of stale sessions, process trees, panics, restarts and
//! systemd.

pub(crate) mod child_processes;
#[cfg(unix)]
pub(crate) mod executions;
pub(crate) mod panics;
#[cfg(target_os = "linux")]
pub(crate) mod process_tree;
pub(crate) mod restart_policy;
pub mod stale_sessions;
pub mod state_dir;
pub(crate) mod stdout;
pub mod systemd;
