//! Persistent nodes, on Apache ZooKeeper behind a proxy that fails.

mod counted;
mod newest_data;
mod ownership;
mod recreate;
