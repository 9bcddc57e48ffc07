//! ZooKeeper recipes on [`zookeeper_client`]: a session that is kept, and what is built on it.
//!
//! | module | what it gives |
//! |---|---|
//! | [`session`] | one ZooKeeper session after another, every call bounded in time, a local lease |
//! | [`election`] | leader election, Kazoo's on the wire, that never leads without a lease |
//! | [`persistent_node`] | an ephemeral znode that comes back with every session and is never shared |
//! | [`children_watch`] | the children of a znode, kept current |
//! | [`connect_string`] | `host:port,host:port/chroot`, checked before anything connects |
//!
//! Decisions are plain structs without I/O ([`candidacy`], [`claim`], [`lease`], [`contenders`]); the modules above
//! are the thin asynchronous shells around them. The crate knows nothing of sensors.
//!
//! # Macs in debug builds
//! `zookeeper-client` finds tokio through a linker section. Apple's linker drops it from unoptimised builds: build
//! with `--release`, or set `lto = "thin"` in the profile that you use.

pub mod candidacy;
pub mod children_watch;
pub mod claim;
pub mod clock;
pub mod connect_string;
pub mod contenders;
pub mod election;
mod error;
pub mod lease;
pub mod persistent_node;
pub mod session;

pub use connect_string::ConnectString;
pub use election::{Election, Leadership, Standing};
pub use error::Error;
pub use persistent_node::PersistentNode;
pub use session::{Link, Phase, Session, SessionOptions, View};
pub use zookeeper_client::Stat;
