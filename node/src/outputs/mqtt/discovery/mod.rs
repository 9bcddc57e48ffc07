//! Home Assistant's MQTT discovery: one announcement for the node with its sensors, one for the averages of the fleet.
//!
//! An announcement is retained. After each connect, the node reads the retained one and publishes its own if it differs.
//! Components of sensors that boards.toml no longer has are removed; a sensor that only fails is still in boards.toml and
//! stays. The leader announces averages. It removes one after a day without this average.

mod device;
mod units;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::device::{MAX_COMPONENTS, Names};
use super::client::Message;
use super::topics::Topics;
use crate::model::json::to_json;
use crate::model::node_info::SensorStatus;

/// Time for which a retained announcement is waited for after a connect.
const COMPARE_TIMEOUT: Duration = Duration::from_secs(2);
/// Time without an average after which it is no longer announced.
const AVERAGE_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Time without any average after which this node is not considered to have led throughout.
const MAX_LEADING_GAP: Duration = Duration::from_secs(3600);
/// Payload of Home Assistant's birth message.
const ONLINE: &[u8] = b"online";

/// Announcements of one output.
#[derive(Debug)]
pub(super) struct Announcer {
    names: Names,
    birth_topic: String,
    node: Device,
    averages: Device,
    /// Announced averages, with the time of the last one.
    known_averages: BTreeMap<String, Instant>,
    last_average: Option<Instant>,
    /// Time at which all announcements are repeated for Home Assistant.
    repeat_at: Option<Instant>,
}

#[derive(Debug)]
struct Device {
    topic: String,
    /// Announcement as it should be. `None` until it is known.
    wanted: Option<Value>,
    /// Newest announcement that the broker has.
    published: Option<Value>,
    /// Time until which the retained announcement is waited for. `None` before the first connect.
    compare_until: Option<Instant>,
    /// True once the retained announcement was read, or is not waited for any more.
    is_compared: bool,
}

impl Announcer {
    pub(super) fn new(prefix: &str, fleet: &str, node: &str, topics: Topics) -> Announcer {
        let names = Names { fleet: fleet.to_owned(), node: node.to_owned(), topics };
        let device = |object: String| Device {
            topic: format!("{prefix}/device/{object}/config"),
            wanted: None,
            published: None,
            compare_until: None,
            is_compared: false,
        };
        Announcer {
            birth_topic: format!("{prefix}/status"),
            node: device(names.node_object()),
            averages: device(names.averages_object()),
            names,
            known_averages: BTreeMap::new(),
            last_average: None,
            repeat_at: None,
        }
    }

    pub(super) fn subscriptions(&self) -> [String; 3] {
        [self.birth_topic.clone(), self.node.topic.clone(), self.averages.topic.clone()]
    }

    /// Begins to compare the announcements with those of the broker.
    pub(super) fn on_connected(&mut self, now: Instant) {
        for device in [&mut self.node, &mut self.averages] {
            device.published = None;
            device.compare_until = Some(now + COMPARE_TIMEOUT);
            device.is_compared = false;
        }
    }

    /// Handles a message of the broker. `random` determines the delay after a birth message.
    pub(super) fn on_message(
        &mut self,
        topic: &str,
        payload: &[u8],
        is_retained: bool,
        now: Instant,
        random: u64,
    ) {
        if topic == self.birth_topic {
            if payload == ONLINE {
                self.repeat_at.get_or_insert(now + repeat_delay(random));
            }
        } else if topic == self.node.topic && is_retained {
            self.node.on_retained(payload);
        } else if topic == self.averages.topic {
            self.learn_averages(payload, now);
            if is_retained {
                self.averages.on_retained(payload);
            }
        }
    }

    /// Sets the sensors of boards.toml. They are not known before the first sample: until then the list is empty.
    pub(super) fn set_sensors(&mut self, sensors: &[SensorStatus]) {
        if !sensors.is_empty() {
            self.node.wanted = Some(self.names.node(sensors));
        }
    }

    /// Notes that the leader sends an average. Returns true if an announcement is due.
    pub(super) fn note_average(&mut self, unit: Option<&str>, now: Instant) -> bool {
        let gap = self.last_average.replace(now).map(|last| now - last);
        if gap.is_none_or(|gap| gap > MAX_LEADING_GAP) {
            self.known_averages.values_mut().for_each(|seen| *seen = now);
        }
        let key = device::average_key(unit);
        if self.known_averages.len() < MAX_COMPONENTS || self.known_averages.contains_key(&key) {
            self.known_averages.insert(key, now);
        }
        self.known_averages.retain(|_, seen| now - *seen < AVERAGE_LIFETIME);
        let wanted = Some(self.names.averages(self.known_averages.keys()));
        let is_new = self.averages.wanted != wanted;
        self.averages.wanted = wanted;
        is_new
    }

    /// Takes over averages that other leaders have announced.
    fn learn_averages(&mut self, payload: &[u8], now: Instant) {
        let announcement = device::parse(payload);
        let is_current = self.averages.published == self.averages.wanted;
        for (key, is_announced) in device::components(&announcement) {
            let is_average = device::unit_of_key(key).is_some();
            if is_average && is_announced && self.known_averages.len() < MAX_COMPONENTS {
                self.known_averages.entry(key.to_owned()).or_insert(now);
            } else if !is_announced {
                self.known_averages.remove(key);
            }
        }
        if self.averages.wanted.is_some() {
            self.averages.wanted = Some(self.names.averages(self.known_averages.keys()));
            if is_current {
                // An announcement of another leader is not repeated by this one, which would be endless.
                self.averages.published.clone_from(&self.averages.wanted);
            }
        }
    }

    pub(super) fn due(&mut self, now: Instant) -> Vec<Message> {
        let repeats = self.repeat_at.is_some_and(|at| at <= now);
        if repeats {
            self.repeat_at = None;
        }
        let devices = [&mut self.node, &mut self.averages];
        devices.into_iter().flat_map(|device| device.due(now, repeats)).collect()
    }

    /// Returns the next time at which [`due`](Announcer::due) must be called.
    pub(super) fn next(&self) -> Option<Instant> {
        let compare = |device: &Device| device.compare_until.filter(|_| !device.is_compared);
        let compare = [compare(&self.node), compare(&self.averages)];
        compare.into_iter().chain([self.repeat_at]).flatten().min()
    }
}

impl Device {
    /// Compares with the retained announcement, the first of a connection only: another client that announces the same
    /// device must not cause an endless exchange.
    fn on_retained(&mut self, payload: &[u8]) {
        if !std::mem::replace(&mut self.is_compared, true) {
            self.published = Some(device::parse(payload));
        }
    }

    fn due(&mut self, now: Instant, repeats: bool) -> Vec<Message> {
        self.is_compared |= self.compare_until.is_some_and(|until| until <= now);
        let Some(wanted) = self.wanted.as_ref().filter(|_| self.is_compared) else { return Vec::new() };
        let mut announcements = device::transition(self.published.as_ref(), wanted);
        if announcements.is_empty() && repeats {
            announcements.push(wanted.clone());
        }
        self.published = Some(wanted.clone());
        let message = |payload| Message { topic: self.topic.clone(), payload: to_json(&payload) };
        announcements.into_iter().map(message).collect()
    }
}

/// Returns the delay after a birth message: 1 to 30 seconds, so that the nodes of a fleet do not answer at once.
fn repeat_delay(random: u64) -> Duration {
    Duration::from_millis(1_000 + random % 29_001)
}

#[cfg(test)]
mod tests;
