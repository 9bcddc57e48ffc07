//! Newest message of each topic, and the state of the connection: written by the thread of the connection, read by the
//! sensors.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::MAX_PAYLOAD;
use super::address::BrokerUrl;

/// Parameters of a connection. Sensors with equal ones share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) broker: BrokerUrl,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) ca: Option<PathBuf>,
}

/// Newest messages of a connection.
#[derive(Debug, Default)]
pub(super) struct Messages {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    link: Link,
    topics: Vec<Topic>,
}

/// State of the connection.
#[derive(Debug, Default)]
enum Link {
    #[default]
    Connecting,
    Connected,
    /// Not connected, for this reason.
    Down(String),
}

#[derive(Debug)]
struct Topic {
    name: String,
    is_refused: bool,
    newest: Option<Message>,
}

/// Message as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// `None` for a message of more than [`MAX_PAYLOAD`] bytes.
    pub(super) payload: Option<Arc<[u8]>>,
    pub(super) arrived: Instant,
}

/// Reason for the absence of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoMessage {
    /// The broker cannot be reached, or refuses the connection.
    NoBroker(String),
    /// The newest message is too old.
    Silent,
    Other(&'static str),
}

impl Messages {
    /// Adds a topic unless it is known. Returns its number.
    pub(super) fn add_topic(&self, name: &str) -> usize {
        let mut state = self.lock();
        let known = state.topics.iter().position(|topic| topic.name == name);
        known.unwrap_or_else(|| {
            state.topics.push(Topic { name: name.to_owned(), is_refused: false, newest: None });
            state.topics.len() - 1
        })
    }

    /// Returns the newest message of a topic. Until `deadline`, waits for the first one.
    ///
    /// # Errors
    /// No message has arrived yet, or the newest one is older than `max_age`.
    pub(super) fn newest(
        &self,
        topic: usize,
        max_age: Duration,
        deadline: Instant,
    ) -> Result<Message, NoMessage> {
        let mut state = self.lock();
        loop {
            let Topic { newest, is_refused, .. } = &state.topics[topic];
            let is_silent = newest.is_some();
            if let Some(message) = newest.as_ref().filter(|message| message.arrived.elapsed() <= max_age) {
                return Ok(message.clone());
            }
            let error = match &state.link {
                Link::Down(reason) => return Err(NoMessage::NoBroker(reason.clone())),
                Link::Connected if *is_refused => {
                    return Err(NoMessage::Other("the broker refuses the subscription"));
                }
                Link::Connected if is_silent => return Err(NoMessage::Silent),
                Link::Connected => NoMessage::Other("no message since the connection began"),
                Link::Connecting => NoMessage::Other("not connected yet"),
            };
            let wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Err(error);
            }
            state = self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    pub(super) fn topics(&self) -> Vec<String> {
        self.lock().topics.iter().map(|topic| topic.name.clone()).collect()
    }

    pub(super) fn connected(&self) {
        self.update(|state| state.link = Link::Connected);
    }

    /// Records that the connection cannot be made, or has ended.
    pub(super) fn down(&self, reason: String) {
        self.update(|state| {
            state.link = Link::Down(reason);
            state.topics.iter_mut().for_each(|topic| topic.is_refused = false);
        });
    }

    /// Records that the broker refuses the subscription of a topic.
    pub(super) fn refused(&self, topic: usize) {
        self.update(|state| state.topics[topic].is_refused = true);
    }

    /// Records a message. Those of other topics are ignored.
    pub(super) fn received(&self, topic: &[u8], payload: &[u8], is_retained: bool) {
        let payload: Option<Arc<[u8]>> = (payload.len() <= MAX_PAYLOAD).then(|| payload.into());
        self.update(|state| {
            let Some(topic) = state.topics.iter_mut().find(|known| known.name.as_bytes() == topic) else {
                return;
            };
            // Delivered again after a reconnection, and not published again.
            if is_retained && topic.newest.as_ref().is_some_and(|newest| newest.payload == payload) {
                return;
            }
            topic.newest = Some(Message { payload, arrived: Instant::now() });
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Messages {
        let topics = ["a", "b"].map(|name| Topic { name: name.to_owned(), is_refused: false, newest: None });
        Messages {
            state: Mutex::new(State { link: Link::Connecting, topics: topics.into() }),
            ..Messages::default()
        }
    }

    fn newest(messages: &Messages, topic: usize) -> Option<(Option<Vec<u8>>, Instant)> {
        let state = messages.lock();
        let message = state.topics[topic].newest.as_ref()?;
        Some((message.payload.as_ref().map(|payload| payload.to_vec()), message.arrived))
    }

    #[test]
    fn an_unchanged_retained_message_keeps_its_first_arrival() {
        let messages = messages();
        messages.received(b"a", b"1", true);
        let (payload, first) = newest(&messages, 0).unwrap();
        assert_eq!(payload.as_deref(), Some(&b"1"[..]));
        messages.received(b"a", b"1", true);
        assert_eq!(newest(&messages, 0).unwrap().1, first);
        messages.received(b"a", b"1", false);
        let second = newest(&messages, 0).unwrap().1;
        assert!(second > first);
        messages.received(b"a", b"2", true);
        let (payload, third) = newest(&messages, 0).unwrap();
        assert!(third > second && payload.as_deref() == Some(b"2"));
        assert!(newest(&messages, 1).is_none());
    }

    #[test]
    fn large_messages_and_those_of_other_topics_are_not_stored() {
        let messages = messages();
        messages.received(b"c", b"1", false);
        messages.received(b"b", &vec![b'1'; MAX_PAYLOAD], false);
        assert_eq!(newest(&messages, 1).unwrap().0.unwrap().len(), MAX_PAYLOAD);
        messages.received(b"b", &vec![b'1'; MAX_PAYLOAD + 1], false);
        assert_eq!(newest(&messages, 1).unwrap().0, None);
        assert!(newest(&messages, 0).is_none());
    }
}
