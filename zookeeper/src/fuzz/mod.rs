//! Entry points of the fuzz targets in `sim/fuzz`; random tests here call them too. With feature `fuzz` only.
//!
//! Either function must return: a panic is a finding.

mod codec;
mod input;
mod script;
#[cfg(test)]
mod tests;

pub use codec::codec;
pub use script::frames;
