//! The Redis server of a collector, and its faults.

use std::time::{Duration, Instant};

use super::faults::ProcessFault;
use crate::redis::Redis;

/// Configuration in which every acknowledged write is on the disk.
const DURABLE: &str = "appendonly yes\nappendfsync always";

/// A Redis server, over all of its processes.
pub(super) struct RedisSink {
    redis: Redis,
    /// Time of its restart, if it is down.
    away: Option<Instant>,
    /// Faults that keep it stopped.
    stops: Vec<usize>,
}

impl RedisSink {
    pub(super) fn start() -> RedisSink {
        RedisSink { redis: Redis::with(DURABLE), away: None, stops: Vec::new() }
    }

    /// Returns the store argument of the collector.
    pub(super) fn store(&self) -> String {
        format!("{}/0", self.redis.url())
    }

    pub(super) fn inject(&mut self, number: usize, fault: ProcessFault, lasts: Duration) -> bool {
        if !self.redis.is_running() {
            return false;
        }
        if fault == ProcessFault::Stop {
            if self.stops.is_empty() {
                self.redis.stop_process();
            }
            self.stops.push(number);
        } else {
            self.redis.kill();
            self.stops.clear();
            self.away = Some(Instant::now() + lasts);
        }
        true
    }

    /// Ends the fault with this number.
    pub(super) fn end(&mut self, number: usize) {
        let before = self.stops.len();
        self.stops.retain(|stop| *stop != number);
        if self.stops.is_empty() && before > 0 {
            self.redis.continue_process();
        }
    }

    /// Restarts it when it is due. Returns a violation if it ended by itself.
    pub(super) fn supervise(&mut self) -> Option<String> {
        if self.away.is_some_and(|until| until <= Instant::now()) {
            self.away = None;
            self.redis.restart();
        } else if self.away.is_none() && !self.redis.is_running() {
            self.away = Some(Instant::now());
            return Some("Redis ended by itself".to_owned());
        }
        None
    }

    /// Ends all faults; the server runs when this returns.
    pub(super) fn heal(&mut self) {
        if !self.redis.is_running() {
            self.away = None;
            self.redis.restart();
        }
        if !std::mem::take(&mut self.stops).is_empty() {
            self.redis.continue_process();
        }
    }

    /// Kills and restarts the server, so that it contains only data from its disk.
    pub(super) fn wake_from_disk(&mut self) {
        self.redis.kill();
        self.redis.restart();
    }
}
