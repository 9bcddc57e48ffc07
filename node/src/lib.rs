//! The node, a sensor firmware host: it samples the sensors of its board, publishes the measurement in ZooKeeper, and
//! takes part in the leader election. The leader averages the measurements of the fleet and reports them to a REST API.
//!
//! The way of a reading:
//!
//! ```text
//! chip ─ hal: driver, filters ─ sampling ─ model::measurement ─ /mediciones/{id} in ZooKeeper
//!                                                                        │
//! REST API ─ leader::delivery ─ leader::cycle ─ leader::aggregate ─ leader::read_fleet
//! ```
//!
//! Each reading also goes to a collector and to outputs, if there are any: sampling ─ history ─ collector, outputs.
//!
//! Layers, from top to bottom; imports point downwards: `commands`, `node`, `demo` and `observe`, `reload`, `leader`,
//! `tasks`, `sampling`, `history` and `zk`, `dynamic_config`, `process`, `settings`, `metrics`, `model`.
//!
//! This library exists for the binary `atalaya` and for its tests and benchmarks. Its interface may change with every
//! version.

pub mod commands;
#[cfg(feature = "demo")]
mod demo;
pub mod dynamic_config;
mod fail_points;
pub mod fleet_status;
#[cfg(feature = "history")]
mod history;
#[cfg(not(feature = "history"))]
#[path = "history/absent.rs"]
mod history;
mod http_client;
pub mod inspect;
pub mod leader;
pub mod logging;
pub mod metrics;
pub mod model;
pub mod node;
pub mod observe;
#[allow(dead_code, reason = "a build without history, or without a type of receiver, uses a part of it")]
#[cfg_attr(
    not(any(
        feature = "output-influxdb",
        feature = "output-mqtt",
        feature = "output-prometheus",
        feature = "output-webhook"
    )),
    allow(unused_variables, reason = "no type of receiver is built")
)]
mod outputs;
pub mod process;
pub mod reload;
pub mod sampling;
pub mod settings;
pub mod tasks;
mod zk;
