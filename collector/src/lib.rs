#![doc = include_str!("../README.md")]

pub mod fence;
pub mod report;
pub mod spans;
pub mod store;

pub use report::{Key, Record, Report};
pub use store::{MemoryStore, Outcome, SqliteOptions, SqliteStore, Store, StoreError};
