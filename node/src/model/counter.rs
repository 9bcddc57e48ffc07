//! The counter of measurements: a number as text. The leader writes it with each cycle, or each node adds its own
//! measurements.

/// Path of the counter, relative to the chroot.
pub const PATH: &str = "/counter";
