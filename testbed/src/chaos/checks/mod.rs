//! Checks of single aspects, called by the checker. Pure.

pub(super) mod averages;
pub(super) mod delivery;
pub(super) mod foreign;
pub(super) mod logs;
pub(super) mod store;
#[cfg(test)]
mod store_tests;
