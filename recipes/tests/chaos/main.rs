//! The recipes under random schedules of lost requests and replies, expiries, pauses and cancellations, on the
//! in-memory server.
//!
//! `ATALAYA_CHAOS` sets the number of schedules per recipe (12 by default; `cargo xtask chaos recipes` runs 10,000).
//! The seed is printed, and `ATALAYA_SEED` sets it: it determines the schedules, but not the speed of the machine. A
//! failing schedule is shrunk.
//!
//! [`schedule`] defines the possible steps, [`runner`] runs them. Each other file covers one recipe or a group of
//! recipes: the acts of its clients, the invariants, and the final state without faults.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "serves tests only")]

mod drop_after_polls;
mod observer;
mod runner;
mod schedule;

mod barriers;
mod cancellation;
mod counters;
mod double_barriers;
mod elections;
mod holders;
mod locking_queues;
mod parties;
mod partitions;
mod queues;
