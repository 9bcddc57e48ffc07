//! Messages between clients and server: requests, replies and the records in them, on top of [`jute`](super::jute).
//! Used by the connections, which read requests, and by [`state_machine`](super::state_machine), which answers.
//!
//! Field order follows `zookeeper.jute` of Apache ZooKeeper 3.8.

#[cfg(any(test, fuzzing))]
mod encode;
mod operation;
mod record;
mod reply;
mod request;
#[cfg(test)]
mod tests;

pub use operation::Operation;
pub(crate) use record::{ConnectRequest, ConnectResponse, Stat};
pub(crate) use reply::{EventKind, Item, event, multi, reply};
pub(crate) use request::{
    Create, CreateKind, Read, Request, SetWatches, WatchMode, WatcherKind, Write, header,
};
#[cfg(any(test, fuzzing))]
pub(crate) use request::{Paths, decode};
