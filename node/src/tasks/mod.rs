//! Tasks: clients submit them, the leader assigns them, nodes execute them.

pub mod actions;
pub(crate) mod client;
pub(crate) mod explain;
