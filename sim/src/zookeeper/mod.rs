//! A ZooKeeper server in memory, for development and tests.
//!
//! It speaks ZooKeeper's protocol, so that any client can use it: starting takes milliseconds and needs neither Java nor
//! a folder. **It keeps nothing**: when it ends, all is gone. There is one server, no ensemble. Production runs Apache
//! ZooKeeper.
//!
//! ```
//! use std::time::Duration;
//! use atalaya_sim::zookeeper::Server;
//!
//! # async fn example() -> std::io::Result<()> {
//! let server = Server::builder().tick(Duration::from_millis(500)).listen("127.0.0.1:0").start().await?;
//! println!("connect to {}", server.connect_string());
//! server.faults().advance_clock(Duration::from_secs(60)).await; // every silent session is over now
//! server.shutdown().await;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(example())?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What it does
//!
//! All operations on znodes of Apache ZooKeeper 3.8: every create mode, `multi` and `MultiRead`, watches of every kind,
//! ACLs (`world`, `digest`, `ip`, `auth`, and `sasl` with DIGEST-MD5), sessions that are negotiated, attached to again and expire, quotas (hard limits
//! are enforced if [asked for](Builder::enforce_quota)), and the four-letter words `ruok`, `srvr`, `stat`, `mntr`,
//! `isro`, `cons`, `envi`, `conf`, `dump`, `wchs`, `wchc`, `wchp`, `srst`, `crst`. What a client sees is what it would
//! see of Apache ZooKeeper; `tests/conformance` holds both against each other.
//!
//! # Where it is not like Apache ZooKeeper 3.8.0
//!
//! * One connection may watch a path in several ways; there a later way replaces the one before (ZOOKEEPER-4466).
//! * A create with `Stat` inside a `multi` is answered with its `Stat` (ZOOKEEPER-4026).
//! * `CheckWatches` answers for the connection that asks; there, for anybody's watch on that path.
//! * A wrong password leaves the session's connection alone; there it is closed before the password is looked at.
//! * Paths beyond the basic plane come back in UTF-8; there, in surrogates.
//! * Limits on the root (`/zookeeper/quota/zookeeper_limits`) mean nothing, and what is no figure in limits or stats is
//!   passed over; there, the server ends.
//! * Passing a soft limit of a quota is logged once; there, at each request, and only where quotas are enforced.
//! * SASL without [users](Builder::sasl_users) is refused; there, without a configuration for it, it is answered with
//!   nothing. Names and passwords of users are ASCII.
//! * A version never becomes -1, which stands for any (ZOOKEEPER-4743); there it does, after -2.
//! * A `check` outside a `multi` is answered; there it never is.
//! * A watch on a null path (`AddWatch`, or a persistent one in `SetWatches2`) is a marshalling error; there it is
//!   set, and the connection is never closed.
//! * A connection may show 100 identities, its address included; one more ends it. There, any number.
//! * An ACL that has more than 87,381 entries once `auth` stands for the caller's identities is refused; there it
//!   is kept.
//!
//! # What it does not
//!
//! Nothing is written to disk. There is no TLS: a connection that begins with a TLS handshake is closed, and logged once
//! per address. A client that asks for a reconfiguration is told that this is switched off.
//!
//! # Layers
//!
//! `jute`, `protocol` and `frames` know the wire; `tree`, `sessions` and `watches` are the state, and `core` what requests do to
//! it, without I/O or a clock; `server`, `keeper` and `connection` are the asynchronous shell; `faults` is a hand on it.

mod acl;
mod builder;
mod connection;
mod core;
mod error;
mod faults;
mod frames;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod jute;
mod keeper;
mod logged_once;
mod path;
mod protocol;
mod sasl;
mod server;
mod sessions;
mod tree;
mod watches;
mod words;

pub use builder::Builder;
pub use core::Cut;
pub use faults::{Armed, AtRequest, Faults, Figures};
pub use protocol::Operation;
pub use server::Server;

use builder::Limits;
use logged_once::LoggedOnce;
