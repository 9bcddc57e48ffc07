//! The recipes other than locks and elections: on the server in memory, where a failure happens at a chosen moment, and
//! on Apache ZooKeeper beside an unmodified Kazoo.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "serves tests only")]

mod support;

mod barrier;
mod counter;
mod counter_with_kazoo;
mod double_barrier;
mod lease;
mod lease_on_any_schedule;
mod lease_under_failures;
mod lease_with_kazoo;
mod locking_queue;
mod on_an_ensemble;
mod on_apache;
mod party;
mod queue;
mod refusals;
mod set_partitioner;
mod watches;
mod wrong_znodes;
