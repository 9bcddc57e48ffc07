//! A ZooKeeper server in memory, for development and tests.
//!
//! It implements ZooKeeper's protocol, so that any client can use it; it starts within milliseconds and needs neither
//! Java nor a folder. **Nothing is persistent**: all data is lost when the server ends. It is a single server, not an
//! ensemble. Production runs Apache ZooKeeper.
//!
//! ```
//! use std::time::Duration;
//! use atalaya_zookeeper::Server;
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
//! # Features
//!
//! All operations on znodes of Apache ZooKeeper 3.8: every create mode, `multi` and `MultiRead`, watches of every kind,
//! ACLs (`world`, `digest`, `ip`, `auth`, and `sasl` with DIGEST-MD5), sessions with negotiation, reattachment and
//! expiry, quotas (hard limits are enforced if [configured](Builder::enforce_quota)), and the four-letter words `ruok`,
//! `srvr`, `stat`, `mntr`, `isro`, `cons`, `envi`, `conf`, `dump`, `wchs`, `wchc`, `wchp`, `srst`, `crst`. Clients
//! observe the same behaviour as with Apache ZooKeeper; `tests/conformance` compares both servers.
//!
//! # Differences from Apache ZooKeeper 3.8.0
//!
//! * One connection may watch a path in several ways; in Apache ZooKeeper a later watch replaces the earlier one
//!   (ZOOKEEPER-4466).
//! * A create with `Stat` inside a `multi` is answered with its `Stat` (ZOOKEEPER-4026).
//! * `CheckWatches` considers the watches of the connection that asks; in Apache ZooKeeper, those of any connection on
//!   that path.
//! * A wrong password has no effect on the session's connection; Apache ZooKeeper closes that connection before it
//!   checks the password.
//! * Paths beyond the basic plane are returned in UTF-8; by Apache ZooKeeper, in surrogates.
//! * Limits on the root (`/zookeeper/quota/zookeeper_limits`) have no effect, and values in limits or stats that are
//!   not numbers are ignored; in both cases Apache ZooKeeper terminates.
//! * Exceeding a soft limit of a quota is logged once; by Apache ZooKeeper, at each request, and only if quotas are
//!   enforced.
//! * SASL without [users](Builder::sasl_users) is refused; Apache ZooKeeper without a SASL configuration sends an empty
//!   answer. Names and passwords of users are ASCII.
//! * A version never becomes -1, which means any version (ZOOKEEPER-4743); in Apache ZooKeeper it does, after -2.
//! * A `check` outside a `multi` is answered; Apache ZooKeeper never answers it.
//! * A watch on a null path (`AddWatch`, or a persistent one in `SetWatches2`) is a marshalling error; Apache ZooKeeper
//!   sets it, and then never closes the connection.
//! * A connection may have 100 identities, including its address; one more closes the connection. Apache ZooKeeper has
//!   no limit.
//! * An ACL that has more than 87,381 entries after `auth` was replaced by the caller's identities is refused; Apache
//!   ZooKeeper stores it.
//!
//! # Limitations
//!
//! Nothing is written to disk. TLS is not supported: a connection that begins with a TLS handshake is closed, which is
//! logged once per address. A request for a reconfiguration is refused with the error that reconfiguration is disabled.
//!
//! # Layers
//!
//! `jute`, `protocol` and `frames` implement the wire format; `tree`, `sessions` and `watches` are the state, and
//! `core` applies requests to it, without I/O or a clock; `server`, `keeper` and `connection` are the asynchronous
//! shell; `faults` controls it.

mod acl;
mod builder;
mod connection;
mod error;
mod faults;
mod four_letter;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod jute;
mod logged_once;
mod path;
mod protocol;
mod sasl;
mod server;
mod server_actor;
mod sessions;
mod state_machine;
mod tree;
mod watches;

pub use builder::Builder;
pub use faults::{Faults, PendingDisconnect, ServerStats};
pub use protocol::Operation;
pub use server::Server;
pub use state_machine::{Disconnect, RequestFilter};

use builder::Settings;
use logged_once::LoggedOnce;
