//! The Redis that a collector keeps its reports in, and what befalls it.

use std::time::{Duration, Instant};

use super::receiver::Blow;
use crate::redis::Redis;

/// What was acknowledged is on its disk.
const DURABLE: &str = "appendonly yes\nappendfsync always";

/// A Redis server, whichever process it is.
pub(super) struct Vault {
    redis: Redis,
    /// It is away until then.
    away: Option<Instant>,
    /// Acts that keep it stopped.
    stops: Vec<usize>,
}

impl Vault {
    pub(super) fn open() -> Vault {
        Vault { redis: Redis::with(DURABLE), away: None, stops: Vec::new() }
    }

    /// As the collector is told.
    pub(super) fn store(&self) -> String {
        format!("{}/0", self.redis.url())
    }

    pub(super) fn befalls(&mut self, number: usize, blow: Blow, lasts: Duration) -> bool {
        if !self.redis.is_running() {
            return false;
        }
        if blow == Blow::Stop {
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

    /// The act of this number is over.
    pub(super) fn passes(&mut self, number: usize) {
        let before = self.stops.len();
        self.stops.retain(|stop| *stop != number);
        if self.stops.is_empty() && before > 0 {
            self.redis.continue_process();
        }
    }

    /// Brings it back when its time has come. Gives what is wrong.
    pub(super) fn look_after(&mut self) -> Option<String> {
        if self.away.is_some_and(|until| until <= Instant::now()) {
            self.away = None;
            self.redis.restart();
        } else if self.away.is_none() && !self.redis.is_running() {
            self.away = Some(Instant::now());
            return Some("Redis ended by itself".to_owned());
        }
        None
    }

    /// It runs when this returns.
    pub(super) fn heal(&mut self) {
        if !self.redis.is_running() {
            self.away = None;
            self.redis.restart();
        }
        if !std::mem::take(&mut self.stops).is_empty() {
            self.redis.continue_process();
        }
    }

    /// From here on it holds what is on its disk.
    pub(super) fn wake_from_disk(&mut self) {
        self.redis.kill();
        self.redis.restart();
    }
}
