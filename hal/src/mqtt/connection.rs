//! Connection that the sensors of a broker share: the newest message of each topic, and the thread that receives them.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::address::BrokerUrl;
use super::{MAX_PAYLOAD, client};

/// Time after the start of the connection until which reads wait for the first message of their topic. No longer than a
/// slow chip converts.
const FIRST_MESSAGE: Duration = Duration::from_secs(1);

/// Parameters of a connection. Sensors with equal ones share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) broker: BrokerUrl,
    pub(super) user: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) ca: Option<PathBuf>,
}

/// Connection to a broker.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) access: Access,
    shared: Arc<Shared>,
    worker: Mutex<Option<Worker>>,
}

#[derive(Debug)]
struct Worker {
    thread: JoinHandle<()>,
    started: Instant,
    /// Ends the thread when it is dropped.
    _stop: oneshot::Sender<()>,
}

/// State that the thread writes, and the sensors read.
#[derive(Debug, Default)]
pub(super) struct Shared {
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

impl Connection {
    /// Creates a connection without connecting.
    pub(super) fn new(access: Access) -> Connection {
        Connection { access, shared: Arc::default(), worker: Mutex::default() }
    }

    /// Adds a topic, before the first read. Returns its number.
    pub(super) fn add_topic(&self, name: &str) -> usize {
        let mut state = self.shared.lock();
        let known = state.topics.iter().position(|topic| topic.name == name);
        known.unwrap_or_else(|| {
            state.topics.push(Topic { name: name.to_owned(), is_refused: false, newest: None });
            state.topics.len() - 1
        })
    }

    /// Returns the newest message of a topic. Connects if this is the first read.
    ///
    /// # Errors
    /// No message has arrived yet, or the newest one is older than `max_age`.
    pub(super) fn newest(&self, topic: usize, max_age: Duration) -> Result<Message, NoMessage> {
        let deadline =
            self.ensure_started().map_err(|error| NoMessage::NoBroker(error.to_string()))? + FIRST_MESSAGE;
        let mut state = self.shared.lock();
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
            state = self.shared.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Starts the thread unless it runs, also after a panic. Returns the time of its start.
    fn ensure_started(&self) -> std::io::Result<Instant> {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worker) = worker.as_ref().filter(|worker| !worker.thread.is_finished()) {
            return Ok(worker.started);
        }
        let (stop, stopped) = oneshot::channel();
        let (access, shared) = (self.access.clone(), Arc::clone(&self.shared));
        let name = format!("mqtt {}", self.access.broker.host());
        let thread =
            thread::Builder::new().name(name).spawn(move || client::run(&access, &shared, stopped))?;
        let started = Instant::now();
        *worker = Some(Worker { thread, started, _stop: stop });
        Ok(started)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Returns the names of all topics.
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

    fn shared() -> Shared {
        let topics = ["a", "b"].map(|name| Topic { name: name.to_owned(), is_refused: false, newest: None });
        Shared {
            state: Mutex::new(State { link: Link::Connecting, topics: topics.into() }),
            ..Shared::default()
        }
    }

    fn newest(shared: &Shared, topic: usize) -> Option<(Option<Vec<u8>>, Instant)> {
        let state = shared.lock();
        let message = state.topics[topic].newest.as_ref()?;
        Some((message.payload.as_ref().map(|payload| payload.to_vec()), message.arrived))
    }

    #[test]
    fn an_unchanged_retained_message_keeps_its_first_arrival() {
        let shared = shared();
        shared.received(b"a", b"1", true);
        let (payload, first) = newest(&shared, 0).unwrap();
        assert_eq!(payload.as_deref(), Some(&b"1"[..]));
        shared.received(b"a", b"1", true);
        assert_eq!(newest(&shared, 0).unwrap().1, first);
        shared.received(b"a", b"1", false);
        let second = newest(&shared, 0).unwrap().1;
        assert!(second > first);
        shared.received(b"a", b"2", true);
        let (payload, third) = newest(&shared, 0).unwrap();
        assert!(third > second && payload.as_deref() == Some(b"2"));
        assert!(newest(&shared, 1).is_none());
    }

    #[test]
    fn large_messages_and_those_of_other_topics_are_not_stored() {
        let shared = shared();
        shared.received(b"c", b"1", false);
        shared.received(b"b", &vec![b'1'; MAX_PAYLOAD], false);
        assert_eq!(newest(&shared, 1).unwrap().0.unwrap().len(), MAX_PAYLOAD);
        shared.received(b"b", &vec![b'1'; MAX_PAYLOAD + 1], false);
        assert_eq!(newest(&shared, 1).unwrap().0, None);
        assert!(newest(&shared, 0).is_none());
    }
}
