//! Sessions, on Apache ZooKeeper behind a proxy that fails.

mod callback;
mod chroot;
mod close;
mod expiry;
mod reconnect;
mod start;
mod timeouts;
