#![doc = include_str!("../README.md")]

mod api;
mod connections;
mod cross_site;
pub mod fence;
pub mod fleet;
mod future;
mod hosts;
mod limits;
mod metrics;
mod page;
mod places;
mod proxies;
pub mod report;
mod server;
pub mod spans;
pub mod store;
pub mod tasks;
mod tls;
mod tokens;
mod transport;

pub use api::openapi;
pub use hosts::Hosts;
pub use limits::Limits;
pub use proxies::Proxies;
pub use report::{Key, Record, Report};
pub use server::{Collector, Options};
pub use store::{
    MemoryStore, OpenError, Outcome, RedisAccess, RedisOptions, RedisStore, SqliteOptions, SqliteStore,
    Store, StoreError, open_store, open_store_with,
};
pub use tls::{Tls, TlsError};
pub use tokens::{TokenError, Tokens};
