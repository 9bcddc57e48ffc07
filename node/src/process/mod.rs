//! Interface of a node to the operating system: state directory, cleanup of stale sessions, panics, restarts and systemd.

pub mod panics;
pub mod restart_policy;
pub mod stale_sessions;
pub mod state_dir;
pub mod systemd;
