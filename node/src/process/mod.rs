//! The operating system's side of a node: its state directory, the cleanup of dead processes, panics, restarts and systemd.

pub mod panics;
pub(crate) mod restart_policy;
pub mod stale_sessions;
pub mod state_dir;
pub mod systemd;
