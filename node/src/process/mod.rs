//! Interface to the operating system: state directory, cleanup of stale sessions, panics, restarts and systemd.

pub(crate) mod child_processes;
pub(crate) mod panics;
pub(crate) mod restart_policy;
pub mod stale_sessions;
pub mod state_dir;
pub(crate) mod stdout;
pub mod systemd;
