#![doc = include_str!("../README.md")]

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
