//! The server as its users see it, and the task that owns its state. Connections reach that task by one channel, in the
//! order in which they send; faults reach it by another, which comes first.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::connection::{Message, Outbox, serve};
use super::core::{Core, End, Now, Output};
use super::faults::{Command, Faults};
use super::sessions::ConnectionId;
use super::{Builder, words};

/// How many messages wait for the server's task before connections do.
const QUEUE: usize = 1024;
/// How many messages take effect before what they have to tell is written.
const BATCH: usize = 128;

/// A ZooKeeper server that runs. Dropping it stops it, though not at once; [`shutdown`](Self::shutdown) waits for that.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    faults: Faults,
    /// Ends the server by being dropped.
    stop: oneshot::Sender<()>,
    /// Told, or dropped, when it has ended.
    ended: oneshot::Receiver<()>,
}

impl Server {
    /// A server that is yet to be started, with ticks of 2 s.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The server, and the task that ends when it has.
    pub(super) async fn start(builder: Builder) -> io::Result<(Self, JoinHandle<()>)> {
        let listener = TcpListener::bind(builder.address()).await?;
        let address = listener.local_addr()?;
        let (messages, inbox) = mpsc::channel(QUEUE);
        let (commands, orders) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (ends, ended) = oneshot::channel();
        let refusing = Arc::new(AtomicBool::new(false));
        let faults = Faults::new(commands, refusing.clone());
        let keeper = Keeper::new(builder);
        let running = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            tasks.spawn(keeper.run(inbox, orders));
            tokio::select! {
                () = accept(listener, messages, refusing, &mut tasks) => {}
                _ = stopped => {}
            }
            tasks.shutdown().await;
            // Nobody may be waiting.
            let _ = ends.send(());
        });
        Ok((Self { address, faults, stop, ended }, running))
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// `host:port`, as clients want it.
    pub fn connect_string(&self) -> String {
        self.address.to_string()
    }

    /// What can be made to go wrong.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Stops, and returns once every connection and the port are closed.
    pub async fn shutdown(self) {
        drop(self.stop);
        let _ = self.ended.await;
    }
}

/// Takes connections in, and gives each a task.
async fn accept(
    listener: TcpListener,
    messages: mpsc::Sender<Message>,
    refusing: Arc<AtomicBool>,
    tasks: &mut JoinSet<()>,
) {
    for connection in 1.. {
        let (stream, address) = loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(_) if refusing.load(Ordering::Relaxed) => {}
                    Ok(accepted) => break accepted,
                    // Too many open files, most likely: others may go.
                    Err(error) => {
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
            }
        };
        // It is an optimisation only.
        let _ = stream.set_nodelay(true);
        tasks.spawn(serve(stream, address, connection, messages.clone()));
    }
}

/// The task that owns the state.
struct Keeper {
    core: Core,
    clock: Clock,
    outboxes: HashMap<ConnectionId, Arc<Outbox>>,
    /// Told when a request happened that a connection was to be lost at.
    cuts: HashMap<u64, oneshot::Sender<()>>,
    frozen: bool,
    delay: Duration,
    delayed: VecDeque<(Instant, Vec<Output>)>,
}

/// Real time, and how far faults have moved it.
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

    /// When the steady clock shows this.
    fn at(&self, steady: i64) -> Instant {
        let since = Duration::from_millis(u64::try_from(steady).unwrap_or(0));
        self.start + since.saturating_sub(self.ahead)
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Keeper {
    fn new(builder: Builder) -> Self {
        let clock = Clock { start: Instant::now(), ahead: Duration::ZERO };
        Self {
            core: Core::new(builder.limits(), clock.now()),
            clock,
            outboxes: HashMap::new(),
            cuts: HashMap::new(),
            frozen: false,
            delay: Duration::ZERO,
            delayed: VecDeque::new(),
        }
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Message>, mut orders: mpsc::UnboundedReceiver<Command>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let tick = self.core.next_tick().map(|steady| self.clock.at(steady));
            let due = self.delayed.front().map(|(due, _)| *due).filter(|_| !self.frozen);
            let wake = tick.into_iter().chain(due).min();
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Command::Pause(done)) => {
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

    /// Nothing happens until it is told to go on. Whether there still is somebody to tell it.
    async fn paused(&mut self, orders: &mut mpsc::UnboundedReceiver<Command>) -> bool {
        loop {
            match orders.recv().await {
                None => return false,
                Some(Command::Pause(done)) => drop(done.send(())),
                Some(Command::Resume(done)) => {
                    // Time went by all the same: those that were silent too long are over.
                    self.core.tick(self.clock.now());
                    let _ = done.send(());
                    return true;
                }
                Some(order) => self.obey(order),
            }
        }
    }

    fn receive(&mut self, message: Message, now: Now) {
        match message {
            Message::Opened { connection, address, outbox } => {
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
            // The asker may have gone.
            Message::Asked { word, answer } => drop(answer.send(words::answer(word, &self.core))),
        }
    }

    fn obey(&mut self, order: Command) {
        let now = self.clock.now();
        // Who gave the order may have gone.
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
                self.delay = delay;
                let _ = done.send(());
            }
            Command::Freeze { frozen, done } => {
                self.frozen = frozen;
                let _ = done.send(());
            }
            Command::Advance { by, done } => {
                self.clock.ahead += by;
                self.core.tick(self.clock.now());
                let _ = done.send(());
            }
            Command::Sessions(done) => drop(done.send(self.core.sessions.ids().collect())),
            Command::Clear(done) => {
                self.core.cuts.clear();
                self.cuts.clear();
                (self.frozen, self.delay) = (false, Duration::ZERO);
                let _ = done.send(());
            }
            Command::Pause(done) | Command::Resume(done) => drop(done.send(())),
        }
    }

    /// Passes on what there is to tell, unless replies are frozen or not due yet.
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
            // What was told earlier goes out earlier, also when the delay became shorter.
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
