//! The real parts that Atalaya's tests run against: Apache ZooKeeper (one server or three), Redis, Mosquitto, an HTTP listener
//! that fails on demand, processes whose log lines are kept with their times, and Kazoo as an independent client.
//!
//! All functions block, so they can be used in plain `#[test]` functions and in async ones. A helper that fails panics
//! with a description of its task: a test never continues with an incomplete testbed, and is never skipped because a
//! part is missing. Missing parts are installed where possible ([`install`]). So the documentation of single functions
//! does not repeat that they panic, or return an error, if a part is missing or a process does not start.
//!
//! Every server listens on loopback, on reserved ports, and is ended by its process id when its value is dropped (a
//! [`PooledZooKeeper`] at the end of this process). On Linux it also ends when the test process itself is killed.
//!
//! ```no_run
//! use std::time::Duration;
//! use atalaya_testbed::{Api, Process, ZooKeeper, node_command};
//!
//! let zookeeper = ZooKeeper::start();
//! let api = Api::start();
//! let mut command = node_command("target/debug/atalaya", "1", &zookeeper.connect_string());
//! command.args(["--api-url", &api.url()]);
//! let mut node = Process::spawn(command);
//! api.wait_for("a first average", Duration::from_secs(10), |requests| !requests.is_empty());
//! node.term();
//! assert!(node.wait_exit(Duration::from_secs(2)).success());
//! ```
#![allow(
    missing_docs,
    reason = "serves this workspace only: an item whose name says everything needs no text"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "serves tests only: a helper that cannot go on ends the test, and shows why on stderr"
)]

mod api;
mod browser;
pub mod chaos;
mod collector;
mod curator;
mod disk;
mod ensemble;
mod http;
mod influxdb;
pub mod install;
mod java;
mod journal;
mod kazoo;
mod mosquitto;
mod mqtt_client;
mod node;
#[cfg(unix)]
pub mod pi;
mod ports;
mod process;
mod prometheus;
mod proxy;
mod redis;
pub mod sample_log;
mod scratch;
mod security;
mod server;
mod signals;
mod spawn;
mod tcp_proxy;
mod terminal;
mod time;
mod tls;
mod wait;
mod zk_probe;
mod zk_request;
mod zookeeper;

pub use api::{Api, ApiMode, Recorded};
pub use browser::Browser;
pub use collector::{Collector, StoredReport, stored_reports};
pub use curator::Curator;
pub use disk::{CuttableDisk, SmallDisk, make_ext4};
pub use ensemble::Ensemble;
pub use http::{Answer, get};
pub use influxdb::Influxdb;
pub use journal::{Change, Transaction};
pub use kazoo::Kazoo;
pub use mosquitto::Mosquitto;
pub use mqtt_client::{MqttClient, MqttMessage};
pub use node::{clean_command, node_command, node_command_in};
pub use ports::Port;
pub use process::{Line, Process, Stream};
pub use prometheus::{Prometheus, promtool};
pub use proxy::Proxy;
pub use redis::Redis;
pub use scratch::{Scratch, target_dir};
pub use security::{FLEET_ACL, Issue, Security};
pub use server::Server;
pub use spawn::parent_death_command;
pub use tcp_proxy::{TcpFault, TcpProxy};
pub use terminal::Terminal;
#[cfg(unix)]
pub use time::thread_time;
pub use tls::{Tls, make_certificate};
pub use wait::{Pauses, eventually};
pub use zk_probe::{Stat, ZkProbe};
pub use zookeeper::{PooledZooKeeper, ZooKeeper};
