//! One suite of client behaviour, run against the in-memory server and against Apache ZooKeeper: each test exists
//! twice, as `…::memory::…` and as `…::apache::…`, and expects the same of both. Where they disagree, Apache is right.
//!
//! The order of events and error codes are verified with a raw client ([`raw`]) that shares no code with the server.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on ends")]

mod raw;
mod target;
mod wire;

/// Generates a test on both servers for every named scenario.
macro_rules! on_both {
    ($($scenario:ident),+ $(,)?) => {
        mod memory {
            $(#[test] fn $scenario() { super::$scenario(&crate::target::Target::memory()); })+
        }
        mod apache {
            $(#[test] fn $scenario() { super::$scenario(&crate::target::Target::apache()); })+
        }
    };
}

mod acl;
mod client;
mod crud;
mod differential;
mod extreme_values;
mod faults;
mod four_letter;
mod kazoo;
mod lengths;
mod limits;
mod modes;
mod multi;
mod quotas;
mod random_requests;
mod restart;
mod sessions;
mod stat;
mod watches;
