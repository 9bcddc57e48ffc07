//! A server that stores reports, over all of its processes, and its faults.

use std::time::{Duration, Instant};

use super::faults::{ProcessFault, Receiver};
use crate::influxdb::Influxdb;
use crate::mosquitto::Mosquitto;
use crate::prometheus::Prometheus;
use crate::redis::Redis;
use crate::server::Server;

/// Configuration of Redis in which every acknowledged write is on the disk.
const DURABLE: &str = "appendonly yes\nappendfsync always";

pub(super) enum Store {
    Redis(Redis),
    Influxdb(Influxdb),
    Prometheus(Prometheus),
    Mosquitto(Mosquitto),
}

/// A server, over all of its processes.
pub(super) struct FaultyServer {
    pub(super) store: Store,
    name: &'static str,
    /// Time of its restart, if it is down.
    away: Option<Instant>,
    /// Faults that keep it stopped.
    stops: Vec<usize>,
}

impl FaultyServer {
    /// Starts the server of a receiver that has one.
    pub(super) fn start(receiver: Receiver) -> Option<FaultyServer> {
        let name = receiver.server()?;
        let store = match receiver {
            Receiver::Testbed | Receiver::Sqlite => return None,
            Receiver::Redis => Store::Redis(Redis::with(DURABLE)),
            Receiver::Influxdb => Store::Influxdb(Influxdb::start()),
            Receiver::Prometheus => Store::Prometheus(Prometheus::receiver("")),
            Receiver::Mqtt => Store::Mosquitto(Mosquitto::persistent()),
        };
        Some(FaultyServer { store, name, away: None, stops: Vec::new() })
    }

    fn server(&mut self) -> &mut Server {
        match &mut self.store {
            Store::Redis(redis) => redis,
            Store::Influxdb(influxdb) => influxdb,
            Store::Prometheus(prometheus) => prometheus,
            Store::Mosquitto(mosquitto) => mosquitto,
        }
    }

    pub(super) fn inject(&mut self, number: usize, fault: ProcessFault, lasts: Duration) -> bool {
        if !self.server().is_running() {
            return false;
        }
        if fault == ProcessFault::Stop {
            if self.stops.is_empty() {
                self.server().stop_process();
            }
            self.stops.push(number);
        } else {
            if !std::mem::take(&mut self.stops).is_empty() {
                self.server().continue_process();
            }
            match fault {
                ProcessFault::End => self.server().end(),
                ProcessFault::Kill | ProcessFault::Stop => self.server().kill(),
            }
            self.away = Some(Instant::now() + lasts);
        }
        true
    }

    pub(super) fn end(&mut self, number: usize) {
        let before = self.stops.len();
        self.stops.retain(|stop| *stop != number);
        if self.stops.is_empty() && before > 0 {
            self.server().continue_process();
        }
    }

    /// Restarts it when it is due. Returns a violation if it ended by itself.
    pub(super) fn supervise(&mut self) -> Option<String> {
        if self.away.is_some_and(|until| until <= Instant::now()) {
            self.away = None;
            self.server().restart();
        } else if self.away.is_none() && !self.server().is_running() {
            self.away = Some(Instant::now());
            return Some(format!("{} ended by itself", self.name));
        }
        None
    }

    /// Ends all faults; the server runs when this returns.
    pub(super) fn heal(&mut self) {
        if !self.server().is_running() {
            self.away = None;
            self.server().restart();
        }
        if !std::mem::take(&mut self.stops).is_empty() {
            self.server().continue_process();
        }
    }

    /// Kills and restarts the server, so that it contains only data from its disk.
    pub(super) fn wake_from_disk(&mut self) {
        self.server().kill();
        self.server().restart();
    }
}
