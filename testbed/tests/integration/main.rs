//! Tests of the test environment.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod api;
mod ensemble;
mod kazoo;
mod process;
mod security;
mod zookeeper;
