//! Entry points of the fuzz targets in the folder `fuzz`; random tests here call them too. Compiled only for tests and
//! with the flag `--cfg fuzzing`, which cargo-fuzz sets.
//!
//! Either function must return: a panic is a finding.

mod codec;
mod input;
mod script;
#[cfg(test)]
mod tests;

pub use codec::codec;
pub use script::frames;
