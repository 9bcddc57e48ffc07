//! Connection that the sensors of a broker share, and its thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::client;
use super::messages::{Access, Message, Messages, NoMessage};

/// Time after the start of the connection until which reads wait for the first message of their topic. No longer than a
/// slow chip converts.
const FIRST_MESSAGE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) access: Access,
    messages: Arc<Messages>,
    worker: Mutex<Option<Worker>>,
}

#[derive(Debug)]
struct Worker {
    thread: JoinHandle<()>,
    started: Instant,
    /// Ends the thread when it is dropped.
    _stop: oneshot::Sender<()>,
}

impl Connection {
    /// Creates a connection without connecting.
    pub(super) fn new(access: Access) -> Connection {
        Connection { access, messages: Arc::default(), worker: Mutex::default() }
    }

    /// Adds a topic, before the first read. Returns its number.
    pub(super) fn add_topic(&self, name: &str) -> usize {
        self.messages.add_topic(name)
    }

    /// Returns the newest message of a topic. Connects if this is the first read.
    ///
    /// # Errors
    /// No message has arrived yet, or the newest one is older than `max_age`.
    pub(super) fn newest(&self, topic: usize, max_age: Duration) -> Result<Message, NoMessage> {
        let started = self.ensure_started().map_err(|error| NoMessage::NoBroker(error.to_string()))?;
        self.messages.newest(topic, max_age, started + FIRST_MESSAGE)
    }

    /// Starts the thread unless it runs, also after a panic. Returns the time of its start.
    fn ensure_started(&self) -> std::io::Result<Instant> {
        let mut worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worker) = worker.as_ref().filter(|worker| !worker.thread.is_finished()) {
            return Ok(worker.started);
        }
        let (stop, stopped) = oneshot::channel();
        let (access, messages) = (self.access.clone(), Arc::clone(&self.messages));
        let name = format!("mqtt {}", self.access.broker.host());
        let thread =
            thread::Builder::new().name(name).spawn(move || client::run(&access, &messages, stopped))?;
        let started = Instant::now();
        *worker = Some(Worker { thread, started, _stop: stop });
        Ok(started)
    }
}
