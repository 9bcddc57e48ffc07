//! The connection of an output to its broker: it connects again after each loss, with increasing delays.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::future::OptionFuture;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::warn;

use super::broker::{Broker, Secrets};
use super::client::{Client, Connection, Event, Lost, Message, Options, PublishError, open};
use super::discovery::Announcer;
use crate::model::node_info::SensorStatus;

/// Delays between attempts to connect.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(15);
/// Duration of a connection after which the delays begin with the smallest again.
const STABLE: Duration = Duration::from_secs(10);
/// Maximum time for reading the password and the certificates.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of messages of the broker that wait to be handled. Further ones are dropped.
const MAX_WAITING: usize = 16;

/// Connection to a broker.
#[derive(Debug)]
pub(super) struct Link {
    broker: Broker,
    /// Topic of the node's availability. `None`: the output has no measurements.
    status: Option<String>,
    /// Announcements for Home Assistant. `None`: they are switched off.
    announcer: Option<Mutex<Announcer>>,
    /// Notified when an announcement is due.
    announce: Notify,
    state: watch::Sender<State>,
    /// Number of the connection that must end.
    reset: watch::Sender<u64>,
}

enum State {
    /// Not connected. `attempts` counts the connections that were lost or not established.
    Away {
        attempts: u64,
        reason: String,
    },
    Connected {
        client: Client,
        max_packet: u32,
        number: u64,
    },
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            State::Away { reason, .. } => write!(f, "Away({reason})"),
            State::Connected { number, .. } => write!(f, "Connected({number})"),
        }
    }
}

impl Link {
    pub(super) fn new(broker: Broker, status: Option<String>, announcer: Option<Announcer>) -> Link {
        let state = State::Away { attempts: 0, reason: "not connected yet".to_owned() };
        Link {
            broker,
            status,
            announcer: announcer.map(Mutex::new),
            announce: Notify::new(),
            state: watch::Sender::new(state),
            reset: watch::Sender::new(0),
        }
    }

    /// Returns the client of the current connection, its maximum size of packets, and its number. Waits for one attempt to
    /// connect, at most until `deadline`. The error is the reason of the last failure.
    pub(super) async fn connected(
        &self,
        deadline: tokio::time::Instant,
    ) -> Result<(Client, u32, u64), String> {
        let mut states = self.state.subscribe();
        let failed = match &*states.borrow_and_update() {
            State::Away { attempts, .. } => *attempts,
            State::Connected { .. } => 0,
        };
        let is_decided = |state: &State| match state {
            State::Away { attempts, .. } => *attempts > failed,
            State::Connected { .. } => true,
        };
        // The sender lives as long as this value. After a timeout, the reason of the last attempt is returned.
        let _ = tokio::time::timeout_at(deadline, states.wait_for(is_decided)).await;
        match &*states.borrow() {
            State::Away { reason, .. } => Err(reason.clone()),
            State::Connected { client, max_packet, number } => Ok((client.clone(), *max_packet, *number)),
        }
    }

    /// Returns the reason why the connection with this number was lost.
    pub(super) async fn reason_of_loss(&self, lost: u64) -> String {
        let mut states = self.state.subscribe();
        let has_ended = |state: &State| match state {
            State::Away { attempts, .. } => *attempts >= lost,
            State::Connected { number, .. } => *number > lost,
        };
        match states.wait_for(has_ended).await.as_deref() {
            Ok(State::Away { reason, .. }) => reason.clone(),
            _ => "the connection was lost".to_owned(),
        }
    }

    /// Ends the connection with this number.
    pub(super) fn reset(&self, number: u64) {
        self.reset.send_modify(|reset| *reset = number.max(*reset));
    }

    /// Notes that the leader sends an average, which is announced if it is new.
    pub(super) fn note_average(&self, unit: Option<&str>) {
        if self.announcer().is_some_and(|mut announcer| announcer.note_average(unit, Instant::now())) {
            self.announce.notify_one();
        }
    }

    fn announcer(&self) -> Option<MutexGuard<'_, Announcer>> {
        self.announcer.as_ref().map(|announcer| announcer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps a connection until dropped. Announces `sensors`, if they are known.
    pub(super) async fn run(self: Arc<Link>, mut sensors: Option<watch::Receiver<Vec<SensorStatus>>>) {
        let delays = || {
            let delays = ExponentialBuilder::new().with_min_delay(MIN_BACKOFF).with_max_delay(MAX_BACKOFF);
            delays.without_max_times().with_jitter().build()
        };
        let (mut backoff, mut reads_messages) = (delays(), true);
        for number in 1.. {
            let start = Instant::now();
            let Lost { reason, is_too_large } = self.hold(number, &mut sensors, reads_messages).await;
            if is_too_large && reads_messages {
                warn!(
                    "a message of the MQTT broker {} is too large; announcing without reading messages",
                    self.broker.host
                );
                reads_messages = false;
            }
            self.state.send_replace(State::Away { attempts: number, reason });
            if start.elapsed() >= STABLE {
                backoff = delays();
            }
            tokio::time::sleep(backoff.next().unwrap_or(MAX_BACKOFF)).await;
        }
    }

    /// Connects once, and returns when the connection has ended.
    async fn hold(
        &self,
        number: u64,
        sensors: &mut Option<watch::Receiver<Vec<SensorStatus>>>,
        reads_messages: bool,
    ) -> Lost {
        let (credentials, tls) = match self.read_secrets().await {
            Ok(secrets) => secrets,
            Err(reason) => return Lost::new(reason),
        };
        let will = self.status.clone().map(|topic| Message { topic, payload: b"offline".to_vec() });
        let (client, connection) = match open(Options { broker: &self.broker, credentials, tls, will }) {
            Ok(opened) => opened,
            Err(lost) => return lost,
        };
        let (events, received) = mpsc::channel(MAX_WAITING);
        let mut reset = self.reset.subscribe();
        tokio::select! {
            lost = self.drive(connection, events) => lost,
            lost = self.serve(number, &client, received, sensors, reads_messages) => lost,
            _ = reset.wait_for(|reset| *reset >= number) => {
                Lost::new("the broker did not acknowledge a message in time")
            }
        }
    }

    /// Reads the files in a separate thread, because the disk may hang.
    async fn read_secrets(&self) -> Result<Secrets, String> {
        let (sender, secrets) = oneshot::channel();
        let broker = self.broker.clone();
        let read = move || drop(sender.send(broker.secrets()));
        let thread = std::thread::Builder::new().name("mqtt".to_owned()).spawn(read);
        thread.map_err(|error| format!("cannot start a thread: {error}"))?;
        match tokio::time::timeout(READ_TIMEOUT, secrets).await {
            Ok(Ok(secrets)) => secrets,
            _ => Err("the password and the certificates cannot be read".to_owned()),
        }
    }

    /// Polls the connection, and passes its messages on.
    async fn drive(&self, mut connection: Connection, events: mpsc::Sender<Event>) -> Lost {
        loop {
            match connection.next(&self.broker).await {
                Ok(Event::Other) => {}
                // If messages arrive faster than they are handled, some are dropped: the connection must be polled.
                Ok(event) => drop(events.try_send(event)),
                Err(lost) => return lost,
            }
        }
    }

    /// Publishes availability and announcements, and handles the messages of the broker.
    async fn serve(
        &self,
        number: u64,
        client: &Client,
        mut events: mpsc::Receiver<Event>,
        sensors: &mut Option<watch::Receiver<Vec<SensorStatus>>>,
        reads_messages: bool,
    ) -> Lost {
        let max_packet = loop {
            match events.recv().await {
                Some(Event::Connected { max_packet }) => break max_packet,
                Some(_) => {}
                None => return std::future::pending().await,
            }
        };
        let publish = async |message| match client.publish(message, max_packet).await {
            Err(PublishError::Lost) => Err(Lost::new("the connection was lost")),
            // A refused announcement is not repeated.
            Ok(_) | Err(PublishError::Refused(_) | PublishError::Failed(_)) => Ok(()),
        };
        let prepare = async {
            if let Some(topic) = self.status.clone() {
                publish(Message { topic, payload: b"online".to_vec() }).await?;
            }
            let subscriptions = self.announcer().filter(|_| reads_messages).map(|a| a.subscriptions());
            for topic in subscriptions.into_iter().flatten() {
                client.subscribe(topic).await?;
            }
            Ok(())
        };
        if let Err(lost) = prepare.await {
            return lost;
        }
        if let Some(mut announcer) = self.announcer() {
            announcer.on_connected(Instant::now());
        }
        self.state.send_replace(State::Connected { client: client.clone(), max_packet, number });
        loop {
            let (due, next) = self.announcements(sensors.as_mut());
            for message in due {
                if let Err(lost) = publish(message).await {
                    return lost;
                }
            }
            let sensors_changed = OptionFuture::from(sensors.as_mut().map(|sensors| sensors.changed()));
            let next_is_due = next.map(|at| tokio::time::sleep_until(at.into()));
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Message { topic, payload, is_retained }) => {
                        if let Some(mut announcer) = self.announcer() {
                            announcer.on_message(&topic, &payload, is_retained, Instant::now(), random());
                        }
                    }
                    Some(_) => {}
                    None => return std::future::pending().await,
                },
                () = self.announce.notified() => {}
                // `announcements` reads them.
                Some(Ok(())) = sensors_changed => sensors.iter_mut().for_each(watch::Receiver::mark_changed),
                Some(()) = OptionFuture::from(next_is_due) => {}
            }
        }
    }

    /// Returns the announcements to publish now, and the time of the next ones.
    fn announcements(
        &self,
        sensors: Option<&mut watch::Receiver<Vec<SensorStatus>>>,
    ) -> (Vec<Message>, Option<Instant>) {
        let Some(mut announcer) = self.announcer() else { return (Vec::new(), None) };
        if let Some(sensors) = sensors {
            let sensors = sensors.borrow_and_update();
            if sensors.has_changed() {
                announcer.set_sensors(&sensors);
            }
        }
        (announcer.due(Instant::now()), announcer.next())
    }
}

fn random() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::hash::RandomState::new().build_hasher().finish()
}
