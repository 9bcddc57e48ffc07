//! Code for ZooKeeper that several parts of a node use.

pub(crate) mod barrier_watch;
pub(crate) mod bulk_read;
pub(crate) mod id_owner;
pub(crate) mod listing_size;
pub(crate) mod node_info_publisher;
pub(crate) mod server_clock;
