//! The recipes under random schedules of lost requests and replies, expiries, pauses and cancellations, on the server in
//! memory.
//!
//! `ATALAYA_CHAOS` says how many schedules of each recipe (a few unless set; `cargo xtask chaos recipes` wants 10 000).
//! The seed is printed, and `ATALAYA_SEED` sets it: it decides the schedules, not how fast the machine is. A schedule
//! that fails is made smaller until it no longer does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "serves tests only")]

mod holders;
mod schedule;
mod stage;
