//! The counter of measurements: a number as text. The leader writes it per cycle, or each node adds its own.

/// Path of the counter, relative to the chroot.
pub const PATH: &str = "/counter";
