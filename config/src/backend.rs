//! Backend of a board.

use serde::{Deserialize, Serialize};

/// Backend of the sensors of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Simulated sensors, from atalaya-sim.
    Sim,
    /// Buses of this Linux machine.
    Linux,
}
