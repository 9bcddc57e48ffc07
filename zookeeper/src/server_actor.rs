//! The task that owns the server's state. Connections send to it through one channel, in order; faults use another
//! channel, which has priority. Started by [`server`](super::server).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::connection::{Message, Outbox};
use super::core::{Core, End, Now, Output};
use super::faults::{Command, Figures};
use super::sessions::ConnectionId;
use super::{Builder, words};

/// Maximum number of messages that are processed before their output is written.
const BATCH: usize = 128;

/// Maximum by which faults can advance the clocks: a thousand years, far below the limits of the time types.
const MAX_AHEAD: Duration = Duration::from_secs(1_000 * 366 * 86_400);

/// Incarnation of the server: from one start to the next stop. Connections do not outlive it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Life {
    /// Number of earlier incarnations.
    pub(crate) number: u64,
    /// True if the server was stopped and has not been started again.
    pub(crate) stopped: bool,
}

/// The task that owns the state.
pub(crate) struct Keeper {
    core: Core,
    /// Port that the server listens on, for four-letter words.
    port: u16,
    clock: Clock,
    outboxes: HashMap<ConnectionId, Arc<Outbox>>,
    /// Senders to notify when a connection was closed at its request.
    cuts: HashMap<u64, oneshot::Sender<()>>,
    frozen: bool,
    delay: Duration,
    delayed: VecDeque<(Instant, Vec<Output>)>,
    /// Closes connections by changing.
    life: watch::Sender<Life>,
}

/// Real time, plus the time by which faults have advanced it.
#[derive(Debug)]
struct Clock {
    start: Instant,
    ahead: Duration,
}

impl Clock {
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { steady: milliseconds(self.start.elapsed() + self.ahead), wall: milliseconds(wall + self.ahead) }
    }

    /// Advances both clocks, at most to [`MAX_AHEAD`].
    fn advance(&mut self, by: Duration) {
        self.ahead = self.ahead.saturating_add(by).min(MAX_AHEAD);
    }

    /// Returns the instant at which the steady clock shows this time.
    fn at(&self, steady: i64) -> Instant {
        let since = Duration::from_millis(u64::try_from(steady).unwrap_or(0));
        self.start + since.saturating_sub(self.ahead)
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Keeper {
    /// Creates the task, and the channel by which it signals a stop.
    pub(crate) fn new(builder: &Builder, port: u16) -> (Self, watch::Receiver<Life>) {
        let clock = Clock { start: Instant::now(), ahead: Duration::ZERO };
        let (life, lives) = watch::channel(Life::default());
        let keeper = Self {
            core: Core::new(builder.limits(), builder.users().clone(), clock.now()),
            port,
            clock,
            outboxes: HashMap::new(),
            cuts: HashMap::new(),
            frozen: false,
            delay: Duration::ZERO,
            delayed: VecDeque::new(),
            life,
        };
        (keeper, lives)
    }

    fn is_stopped(&self) -> bool {
        self.life.borrow().stopped
    }

    /// Runs until all senders are gone.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Message>,
        mut orders: mpsc::UnboundedReceiver<Command>,
    ) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let tick =
                self.core.next_tick().filter(|_| !self.is_stopped()).map(|steady| self.clock.at(steady));
            let due = self.delayed.front().map(|(due, _)| *due).filter(|_| !self.frozen);
            let wake = tick.into_iter().chain(due).min();
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Command::Pause(done)) if !self.is_stopped() => {
                        let _ = done.send(());
                        if !self.paused(&mut orders).await {
                            return;
                        }
                    }
                    Some(order) => self.obey(order),
                    None => return,
                },
                () = until(wake) => self.core.tick(self.clock.now()),
                received = inbox.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return;
                    }
                    let now = self.clock.now();
                    batch.drain(..).for_each(|message| self.receive(message, now));
                }
            }
            self.tell();
        }
    }

    /// Does nothing until resumed or stopped. Returns false if the channel of commands is closed.
    async fn paused(&mut self, orders: &mut mpsc::UnboundedReceiver<Command>) -> bool {
        loop {
            match orders.recv().await {
                None => return false,
                Some(Command::Pause(done)) => drop(done.send(())),
                Some(Command::Resume(done)) => {
                    // Time continued during the pause, so sessions that timed out in it expire now.
                    self.core.tick(self.clock.now());
                    let _ = done.send(());
                    return true;
                }
                Some(order @ Command::Stop(_)) => {
                    self.obey(order);
                    return true;
                }
                Some(order) => self.obey(order),
            }
        }
    }

    /// Closes every connection, and discards its pending output. The other state stays.
    fn stop(&mut self) {
        if self.is_stopped() {
            return;
        }
        self.life.send_modify(|life| *life = Life { number: life.number + 1, stopped: true });
        self.core.stop();
        self.outboxes.clear();
        self.delayed.clear();
    }

    fn start_again(&mut self) {
        if self.is_stopped() {
            self.core.start_again(self.clock.now());
            self.life.send_modify(|life| life.stopped = false);
        }
    }

    fn receive(&mut self, message: Message, now: Now) {
        match message {
            // From a connection that a stop has closed since.
            Message::Opened { life, .. } if life != self.life.borrow().number => {}
            Message::Opened { connection, address, outbox, .. } => {
                self.core.connected(connection, address);
                self.outboxes.insert(connection, outbox);
            }
            Message::Brought { connection, incoming } => {
                incoming.into_iter().for_each(|incoming| self.core.handle(connection, incoming, now));
            }
            Message::Closed { connection } => {
                self.core.disconnected(connection);
                self.outboxes.remove(&connection);
            }
            // The receiver may be gone.
            Message::Asked { word, answer } => {
                let _ = answer.send(words::answer(word, &mut self.core, self.port, now));
            }
        }
    }

    fn obey(&mut self, order: Command) {
        let now = self.clock.now();
        // The sender of the command may be gone.
        match order {
            Command::Expire { session, done } => drop(done.send(self.core.end_session(session, now))),
            Command::Disconnect { session, done } => {
                let connection = self.core.sessions.get(session).and_then(|session| session.connection);
                if let Some(connection) = connection {
                    self.core.end(connection, End::AtOnce);
                }
                let _ = done.send(connection.is_some());
            }
            Command::Cut { cut, which, happened, done } => {
                let number = self.core.cuts.add(cut, which);
                self.cuts.insert(number, happened);
                let _ = done.send(());
            }
            Command::Delay { delay, done } => {
                self.delay = delay.min(MAX_AHEAD);
                let _ = done.send(());
            }
            Command::Freeze { frozen, done } => {
                self.frozen = frozen;
                let _ = done.send(());
            }
            Command::Advance { by, done } => {
                self.clock.advance(by);
                if !self.is_stopped() {
                    self.core.tick(self.clock.now());
                }
                let _ = done.send(());
            }
            Command::Sessions(done) => drop(done.send(self.core.sessions.ids().collect())),
            Command::Clear(done) => {
                self.core.cuts.clear();
                self.cuts.clear();
                (self.frozen, self.delay) = (false, Duration::ZERO);
                let _ = done.send(());
            }
            Command::Figures(done) => drop(done.send(self.figures())),
            Command::Stop(done) => {
                self.stop();
                let _ = done.send(());
            }
            Command::StartAgain(done) => {
                self.start_again();
                let _ = done.send(());
            }
            Command::Pause(done) | Command::Resume(done) => drop(done.send(())),
        }
    }

    fn figures(&self) -> Figures {
        Figures {
            sessions: self.core.sessions.len(),
            connections: self.core.peers.len(),
            znodes: self.core.tree.len(),
            watches: self.core.watches.counts().0,
            requests: self.core.requests,
            zxid: self.core.zxid,
            stopped: self.is_stopped(),
        }
    }

    /// Passes pending output to the connections, unless replies are frozen or not due yet.
    fn tell(&mut self) {
        for number in self.core.cuts.take_happened() {
            if let Some(happened) = self.cuts.remove(&number) {
                let _ = happened.send(());
            }
        }
        if self.frozen {
            return;
        }
        let outboxes = &mut self.outboxes;
        let mut put = |output: Output| {
            let Output { connection, bytes, end } = output;
            let outbox = match end {
                Some(_) => outboxes.remove(&connection),
                None => outboxes.get(&connection).cloned(),
            };
            if let Some(outbox) = outbox {
                outbox.put(bytes, end);
            }
        };
        if self.delay.is_zero() && self.delayed.is_empty() {
            return self.core.drain(put);
        }
        let now = Instant::now();
        let mut told = Vec::new();
        self.core.drain(|output| told.push(output));
        if !told.is_empty() {
            // Earlier output is sent earlier, even if the delay has become shorter.
            let due = self.delayed.back().map_or(now + self.delay, |(due, _)| (now + self.delay).max(*due));
            self.delayed.push_back((due, told));
        }
        while self.delayed.front().is_some_and(|(due, _)| *due <= now) {
            self.delayed.pop_front().into_iter().flat_map(|(_, outputs)| outputs).for_each(&mut put);
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
