//! What the fuzz targets of `sim/fuzz` call; random tests here call it too. With feature `fuzz` only.
//!
//! Nothing but a return is expected of either function: a panic is a finding.

mod codec;
mod input;
mod script;
#[cfg(test)]
mod tests;

pub use codec::codec;
pub use script::frames;
