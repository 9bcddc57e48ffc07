//! The node: a sensor firmware host. Measures with whatever its board carries, publishes in ZooKeeper, takes part in
//! the election, and, when it leads, averages what the whole fleet measured and reports it to a REST API.
//!
//! A reading's way through the house:
//!
//! ```text
//! chip ─ hal ─ Sensor::read ─ filters ─ sensing ─ measurement ─ /mediciones/{id}
//!                                                                     │ (ZooKeeper)
//!                      REST API <─ leader::deliver <─ leader::aggregate <─ leader::gather
//! ```
//!
//! This library exists for the binary `atalaya` and for its tests and benchmarks; its interface may change with every
//! version.

pub mod bearer;
pub mod cli;
pub mod commands;
#[cfg(feature = "demo")]
pub mod demo;
pub mod exit;
mod farewell;
pub mod fault;
pub mod figures;
#[cfg(test)]
mod foreign;
pub mod id;
pub mod inspection;
pub mod leader;
pub mod live;
pub mod lockstep;
pub mod logging;
pub mod measurement;
pub mod node;
pub mod overview;
pub mod panics;
pub mod presence;
pub mod reload;
pub mod remembrance;
pub mod restarts;
pub mod senml;
pub mod sensing;
pub mod settings;
pub mod supervisor;
pub mod text;
pub mod vitals;
