//! Tasks: clients submit them, a leader assigns them, workers execute them.

pub(crate) mod classic;
