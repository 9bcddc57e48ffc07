//! The recipes under random schedules of lost requests and replies, expiries, pauses and cancellations, on the server in
//! memory.
//!
//! `ATALAYA_CHAOS` says how many schedules of each recipe (a few unless set; `cargo xtask chaos recipes` wants 10 000).
//! The seed is printed, and `ATALAYA_SEED` sets it: it decides the schedules, not how fast the machine is. A schedule
//! that fails is made smaller until it no longer does.
//!
//! [`schedule`] says what may happen, [`stage`] makes it happen. Each other file is one recipe, or a kind of them: what
//! its users do, what must hold at every moment, and what must come of it in the calm.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "serves tests only")]

mod dropped;
mod schedule;
mod stage;
mod witness;

mod at_every_await;
mod barriers;
mod counters;
mod double_barriers;
mod elections;
mod holders;
mod locking_queues;
mod parties;
mod partitions;
mod queues;
