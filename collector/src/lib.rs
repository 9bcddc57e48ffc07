#![doc = include_str!("../README.md")]

mod api;
mod app;
mod auth;
mod body;
mod connection_slots;
mod connections;
mod cross_site;
pub mod fence;
pub mod findings;
pub mod fleet;
mod fleet_name;
mod fleets;
mod guard;
mod hosts;
mod interval_set;
mod invalid;
mod lateness;
mod limits;
pub mod measurements;
mod metrics;
pub mod moments;
mod options;
mod page;
mod params;
mod plausibility;
mod problem;
mod proxies;
mod refusal_log;
pub mod report;
mod rivals;
mod server;
pub mod store;
mod stream_slots;
pub mod tasks;
mod tls;
mod tokens;
mod values;
mod write_timeout;
mod zones;

pub use api::openapi;
pub use fleet_name::{FleetName, ZoneName};
pub use hosts::Hosts;
pub use invalid::Invalid;
pub use limits::Limits;
pub use options::{KeepMeasurements, Options};
pub use proxies::Proxies;
pub use report::{Key, Record, Report};
pub use server::Collector;
pub use store::{
    MemoryStore, OpenError, Outcome, RedisAccess, SqliteOptions, SqliteStore, Store, StoreError, open_store,
    open_store_with,
};
#[cfg(feature = "redis")]
pub use store::{RedisOptions, RedisStore};
pub use tls::{Tls, TlsError};
pub use tokens::{TokenError, Tokens};
