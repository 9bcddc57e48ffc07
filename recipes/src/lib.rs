#![doc = include_str!("../README.md")]

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
mod trouble;

pub use connect_string::ConnectString;
pub use election::{Election, Leadership, Standing};
pub use error::Error;
pub use persistent_node::PersistentNode;
pub use session::{Link, Phase, Session, SessionOptions, View};
pub use zookeeper_client::Stat;
