//! Tests of the recipes, one file or folder for each: on the in-memory server, where a failure happens at a chosen request, on
//! Apache ZooKeeper behind a proxy that fails, and beside unmodified Kazoo and Curator.
//!
//! One program for all of them: most tests wait, so they wait in parallel.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "serves tests only")]

mod support;

/// Makes each named scenario a test on both servers, `memory::…` and `apache::…`.
macro_rules! on_both {
    ($($scenario:ident),+ $(,)?) => {
        mod memory {
            $(#[test] fn $scenario() { super::$scenario(&crate::support::TestBed::memory()); })+
        }
        mod apache {
            $(#[test] fn $scenario() { super::$scenario(&crate::support::TestBed::apache()); })+
        }
    };
}

mod acl;
mod apache;
mod barrier;
mod children_watch;
mod counter;
mod data_watch;
mod double_barrier;
mod election;
mod ensemble;
mod lease;
mod limits;
mod lock;
mod locking_queue;
mod party;
mod persistent_node;
mod queue;
mod refusals;
#[cfg(feature = "sasl-digest-md5")]
mod sasl;
mod semaphore;
mod session;
mod set_partitioner;
#[cfg(feature = "tls")]
mod tls;
mod wrong_znodes;
