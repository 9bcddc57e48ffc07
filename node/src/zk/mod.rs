//! Code for ZooKeeper that several parts of a node use.

pub mod bulk_read;
pub mod server_clock;
