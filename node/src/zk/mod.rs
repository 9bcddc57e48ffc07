//! ZooKeeper tasks of a node that every node runs, leader or not.

pub(crate) mod barrier_watch;
pub(crate) mod id_owner;
pub(crate) mod node_info_publisher;
