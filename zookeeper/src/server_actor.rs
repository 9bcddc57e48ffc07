//! The task that owns the server's state. Connections send to it through one channel, in order; faults use another
//! channel, which has priority. Started by [`server`](super::server).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::connection::{Message, OutputBuffer};
use super::faults::{Command, ServerStats};
use super::sessions::ConnectionId;
use super::state_machine::{Close, Now, Output, StateMachine};
use super::{Builder, four_letter};

/// Maximum number of messages that are processed before their output is written.
const MAX_BATCH: usize = 128;

/// Maximum by which faults can advance the clocks: a thousand years, far below the limits of the time types.
const MAX_OFFSET: Duration = Duration::from_secs(1_000 * 366 * 86_400);

/// Incarnation of the server: from one start to the next stop. Connections do not outlive it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Incarnation {
    /// Number of earlier incarnations.
    pub(crate) number: u64,
    /// True if the server was stopped and has not been started again.
    pub(crate) stopped: bool,
}

/// The task that owns the state.
pub(crate) struct ServerActor {
    state: StateMachine,
    /// Port that the server listens on, for four-letter words.
    port: u16,
    clock: Clock,
    outputs: HashMap<ConnectionId, Arc<OutputBuffer>>,
    /// Senders to notify when a connection was closed at its request.
    disconnects: HashMap<u64, oneshot::Sender<()>>,
    frozen: bool,
    delay: Duration,
    delayed: VecDeque<(Instant, Vec<Output>)>,
    /// Closes connections by changing.
    incarnation: watch::Sender<Incarnation>,
}

/// Real time, plus the time by which faults have advanced it.
#[derive(Debug)]
struct Clock {
    start: Instant,
    offset: Duration,
}

impl Clock {
    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now {
            steady: milliseconds(self.start.elapsed() + self.offset),
            wall: milliseconds(wall + self.offset),
        }
    }

    /// Advances both clocks, at most to [`MAX_OFFSET`].
    fn advance(&mut self, by: Duration) {
        self.offset = self.offset.saturating_add(by).min(MAX_OFFSET);
    }

    /// Returns the instant at which the steady clock shows this time.
    fn at(&self, steady: i64) -> Instant {
        let since = Duration::from_millis(u64::try_from(steady).unwrap_or(0));
        self.start + since.saturating_sub(self.offset)
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl ServerActor {
    /// Creates the task, and the channel by which it signals a stop.
    pub(crate) fn new(builder: &Builder, port: u16) -> (Self, watch::Receiver<Incarnation>) {
        let clock = Clock { start: Instant::now(), offset: Duration::ZERO };
        let (incarnation, incarnations) = watch::channel(Incarnation::default());
        let actor = Self {
            state: StateMachine::new(builder.settings(), builder.users().clone(), clock.now()),
            port,
            clock,
            outputs: HashMap::new(),
            disconnects: HashMap::new(),
            frozen: false,
            delay: Duration::ZERO,
            delayed: VecDeque::new(),
            incarnation,
        };
        (actor, incarnations)
    }

    fn is_stopped(&self) -> bool {
        self.incarnation.borrow().stopped
    }

    /// Runs until all senders are gone.
    pub(crate) async fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        loop {
            let tick =
                self.state.next_tick().filter(|_| !self.is_stopped()).map(|steady| self.clock.at(steady));
            let due = self.delayed.front().map(|(due, _)| *due).filter(|_| !self.frozen);
            let wake = tick.into_iter().chain(due).min();
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(Command::Pause(done)) if !self.is_stopped() => {
                        let _ = done.send(());
                        if !self.wait_for_resume(&mut commands).await {
                            return;
                        }
                    }
                    Some(command) => self.execute(command),
                    None => return,
                },
                () = sleep_until(wake) => self.state.tick(self.clock.now()),
                received = messages.recv_many(&mut batch, MAX_BATCH) => {
                    if received == 0 {
                        return;
                    }
                    let now = self.clock.now();
                    batch.drain(..).for_each(|message| self.receive(message, now));
                }
            }
            self.send_output();
        }
    }

    /// Does nothing until resumed or stopped. Returns false if the channel of commands is closed.
    async fn wait_for_resume(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> bool {
        loop {
            match commands.recv().await {
                None => return false,
                Some(Command::Pause(done)) => drop(done.send(())),
                Some(Command::Resume(done)) => {
                    // Time continued during the pause, so sessions that timed out in it expire now.
                    self.state.tick(self.clock.now());
                    let _ = done.send(());
                    return true;
                }
                Some(command @ Command::Stop(_)) => {
                    self.execute(command);
                    return true;
                }
                Some(command) => self.execute(command),
            }
        }
    }

    /// Closes every connection, and discards its pending output. The other state stays.
    fn stop(&mut self) {
        if self.is_stopped() {
            return;
        }
        self.incarnation.send_modify(|current| {
            *current = Incarnation { number: current.number + 1, stopped: true };
        });
        self.state.stop();
        self.outputs.clear();
        self.delayed.clear();
    }

    fn restart(&mut self) {
        if self.is_stopped() {
            self.state.restart(self.clock.now());
            self.incarnation.send_modify(|current| current.stopped = false);
        }
    }

    fn receive(&mut self, message: Message, now: Now) {
        match message {
            // From a connection that a stop has closed since.
            Message::Connected { incarnation, .. } if incarnation != self.incarnation.borrow().number => {}
            Message::Connected { connection, address, output, .. } => {
                self.state.connected(connection, address);
                self.outputs.insert(connection, output);
            }
            Message::Received { connection, incoming } => {
                incoming.into_iter().for_each(|incoming| self.state.handle(connection, incoming, now));
            }
            Message::Disconnected { connection } => {
                self.state.disconnected(connection);
                self.outputs.remove(&connection);
            }
            // The receiver may be gone.
            Message::FourLetterWord { word, reply } => {
                let _ = reply.send(four_letter::answer(word, &mut self.state, self.port, now));
            }
        }
    }

    fn execute(&mut self, command: Command) {
        let now = self.clock.now();
        // The sender of the command may be gone.
        match command {
            Command::Expire { session, done } => drop(done.send(self.state.end_session(session, now))),
            Command::Disconnect { session, done } => {
                let connection = self.state.sessions.get(session).and_then(|session| session.connection);
                if let Some(connection) = connection {
                    self.state.close(connection, Close::Immediately);
                }
                let _ = done.send(connection.is_some());
            }
            Command::DisconnectAt { disconnect, filter, happened, done } => {
                let number = self.state.disconnects.add(disconnect, filter);
                self.disconnects.insert(number, happened);
                let _ = done.send(());
            }
            Command::Delay { delay, done } => {
                self.delay = delay.min(MAX_OFFSET);
                let _ = done.send(());
            }
            Command::Freeze { frozen, done } => {
                self.frozen = frozen;
                let _ = done.send(());
            }
            Command::Advance { by, done } => {
                self.clock.advance(by);
                if !self.is_stopped() {
                    self.state.tick(self.clock.now());
                }
                let _ = done.send(());
            }
            Command::Sessions(done) => drop(done.send(self.state.sessions.ids().collect())),
            Command::Clear(done) => {
                self.state.disconnects.clear();
                self.disconnects.clear();
                (self.frozen, self.delay) = (false, Duration::ZERO);
                let _ = done.send(());
            }
            Command::Stats(done) => drop(done.send(self.stats())),
            Command::Stop(done) => {
                self.stop();
                let _ = done.send(());
            }
            Command::Restart(done) => {
                self.restart();
                let _ = done.send(());
            }
            Command::Pause(done) | Command::Resume(done) => drop(done.send(())),
        }
    }

    fn stats(&self) -> ServerStats {
        ServerStats {
            sessions: self.state.sessions.len(),
            connections: self.state.peers.len(),
            znodes: self.state.tree.len(),
            watches: self.state.watches.counts().0,
            requests: self.state.requests,
            names_listed: self.state.names_listed,
            zxid: self.state.zxid,
            stopped: self.is_stopped(),
        }
    }

    /// Passes pending output to the connections, unless replies are frozen or not due yet.
    fn send_output(&mut self) {
        for number in self.state.disconnects.take_happened() {
            if let Some(happened) = self.disconnects.remove(&number) {
                let _ = happened.send(());
            }
        }
        if self.frozen {
            return;
        }
        let outputs = &mut self.outputs;
        let mut send = |output: Output| {
            let Output { connection, bytes, close } = output;
            let buffer = match close {
                Some(_) => outputs.remove(&connection),
                None => outputs.get(&connection).cloned(),
            };
            if let Some(buffer) = buffer {
                buffer.append(bytes, close);
            }
        };
        if self.delay.is_zero() && self.delayed.is_empty() {
            return self.state.drain(send);
        }
        let now = Instant::now();
        let mut pending = Vec::new();
        self.state.drain(|output| pending.push(output));
        if !pending.is_empty() {
            // Earlier output is sent earlier, even if the delay has become shorter.
            let due = self.delayed.back().map_or(now + self.delay, |(due, _)| (now + self.delay).max(*due));
            self.delayed.push_back((due, pending));
        }
        while self.delayed.front().is_some_and(|(due, _)| *due <= now) {
            self.delayed.pop_front().into_iter().flat_map(|(_, outputs)| outputs).for_each(&mut send);
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
