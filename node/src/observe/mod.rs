//! Observation of a running node: status, health, metrics over HTTP, notifications to systemd.
//!
//! Reads all other layers. Only [`crate::node`] and [`crate::commands`] import it, and the demo, which shows the
//! status.

mod browser_requests;
mod connection_limits;
mod exposition;
mod health;
mod http_server;
mod metric_encoder;
pub mod node_status;
mod observer;
mod process_stats;
mod status_line;
pub(crate) mod systemd_notifications;
mod text_format;
mod watchdog;

pub(crate) use http_server::HttpServer;
pub(crate) use observer::{NodeHandles, Observer};
