//! Tasks: clients submit them, the leader assigns them, and workers execute them.

pub mod actions;
pub(crate) mod classic;
pub(crate) mod client;
pub(crate) mod explain;
pub(crate) mod master;
pub mod worker;
