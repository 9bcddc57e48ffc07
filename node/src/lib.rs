//! The node: a sensor firmware host. Measures with whatever its board carries, publishes in ZooKeeper, takes part in
//! the election, and, when it leads, averages what the whole fleet measured and reports it to a REST API.
//!
//! Path of a reading:
//!
//! ```text
//! chip ─ hal ─ Sensor::read ─ filters ─ sensing ─ measurement ─ /mediciones/{id}
//!                                                                     │ (ZooKeeper)
//!                      REST API <─ leader::delivery <─ leader::aggregate <─ leader::read_fleet
//! ```
//!
//! This library exists for the binary `atalaya` and for its tests and benchmarks; its interface may change with every
//! version.

pub mod commands;
#[cfg(feature = "demo")]
mod demo;
pub mod dynamic_config;
mod fail_points;
pub mod fleet_status;
pub mod inspect;
pub mod leader;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod node;
pub mod observe;
pub mod process;
pub mod reload;
pub mod sampling;
pub mod settings;
mod zk;
