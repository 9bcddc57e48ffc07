//! A server that stores reports, over all of its processes, and its faults.

use std::time::{Duration, Instant};

use super::faults::{ProcessFault, Receiver};
use crate::influxdb::Influxdb;
use crate::mosquitto::Mosquitto;
use crate::prometheus::Prometheus;
use crate::redis::Redis;

/// Configuration of Redis in which every acknowledged write is on the disk.
const DURABLE: &str = "appendonly yes\nappendfsync always";

/// A server that stores reports.
pub(super) enum Server {
    Redis(Redis),
    Influxdb(Influxdb),
    Prometheus(Prometheus),
    Mosquitto(Mosquitto),
}

impl Server {
    fn is_running(&mut self) -> bool {
        match self {
            Server::Redis(redis) => redis.is_running(),
            Server::Influxdb(influxdb) => influxdb.is_running(),
            Server::Prometheus(prometheus) => prometheus.is_running(),
            Server::Mosquitto(mosquitto) => mosquitto.is_running(),
        }
    }

    /// Ends it: by SIGKILL, or in order.
    fn end(&mut self, fault: ProcessFault) {
        match (self, fault) {
            (Server::Mosquitto(mosquitto), ProcessFault::End) => mosquitto.end(),
            (Server::Redis(redis), _) => redis.kill(),
            (Server::Influxdb(influxdb), _) => influxdb.kill(),
            (Server::Prometheus(prometheus), _) => prometheus.kill(),
            (Server::Mosquitto(mosquitto), _) => mosquitto.kill(),
        }
    }

    fn restart(&mut self) {
        match self {
            Server::Redis(redis) => redis.restart(),
            Server::Influxdb(influxdb) => influxdb.restart(),
            Server::Prometheus(prometheus) => prometheus.restart(),
            Server::Mosquitto(mosquitto) => mosquitto.restart(),
        }
    }

    fn stop_process(&mut self) {
        match self {
            Server::Redis(redis) => redis.stop_process(),
            Server::Influxdb(influxdb) => influxdb.stop_process(),
            Server::Prometheus(prometheus) => prometheus.stop_process(),
            Server::Mosquitto(mosquitto) => mosquitto.stop_process(),
        }
    }

    fn continue_process(&self) {
        match self {
            Server::Redis(redis) => redis.continue_process(),
            Server::Influxdb(influxdb) => influxdb.continue_process(),
            Server::Prometheus(prometheus) => prometheus.continue_process(),
            Server::Mosquitto(mosquitto) => mosquitto.continue_process(),
        }
    }
}

/// A server, over all of its processes.
pub(super) struct FaultyServer {
    pub(super) server: Server,
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
        let server = match receiver {
            Receiver::Testbed | Receiver::Sqlite => return None,
            Receiver::Redis => Server::Redis(Redis::with(DURABLE)),
            Receiver::Influxdb => Server::Influxdb(Influxdb::start()),
            Receiver::Prometheus => Server::Prometheus(Prometheus::receiver("")),
            Receiver::Mqtt => Server::Mosquitto(Mosquitto::persistent()),
        };
        Some(FaultyServer { server, name, away: None, stops: Vec::new() })
    }

    pub(super) fn inject(&mut self, number: usize, fault: ProcessFault, lasts: Duration) -> bool {
        if !self.server.is_running() {
            return false;
        }
        if fault == ProcessFault::Stop {
            if self.stops.is_empty() {
                self.server.stop_process();
            }
            self.stops.push(number);
        } else {
            if !std::mem::take(&mut self.stops).is_empty() {
                self.server.continue_process();
            }
            self.server.end(fault);
            self.away = Some(Instant::now() + lasts);
        }
        true
    }

    /// Ends the fault with this number.
    pub(super) fn end(&mut self, number: usize) {
        let before = self.stops.len();
        self.stops.retain(|stop| *stop != number);
        if self.stops.is_empty() && before > 0 {
            self.server.continue_process();
        }
    }

    /// Restarts it when it is due. Returns a violation if it ended by itself.
    pub(super) fn supervise(&mut self) -> Option<String> {
        if self.away.is_some_and(|until| until <= Instant::now()) {
            self.away = None;
            self.server.restart();
        } else if self.away.is_none() && !self.server.is_running() {
            self.away = Some(Instant::now());
            return Some(format!("{} ended by itself", self.name));
        }
        None
    }

    /// Ends all faults; the server runs when this returns.
    pub(super) fn heal(&mut self) {
        if !self.server.is_running() {
            self.away = None;
            self.server.restart();
        }
        if !std::mem::take(&mut self.stops).is_empty() {
            self.server.continue_process();
        }
    }

    /// Kills and restarts the server, so that it contains only data from its disk.
    pub(super) fn wake_from_disk(&mut self) {
        self.server.end(ProcessFault::Kill);
        self.server.restart();
    }
}
