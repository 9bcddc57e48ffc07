//! Public API of the server, and its listener. The state is owned by the [`server_actor`](super::server_actor).

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::connection::{Message, serve};
use super::faults::Faults;
use super::server_actor::{Incarnation, ServerActor};
use super::{Builder, LoggedOnce};

/// Capacity of the queue to the server's task; connections wait while it is full.
const QUEUE_CAPACITY: usize = 1024;

/// A running ZooKeeper server. Dropping it starts the shutdown but does not wait; [`shutdown`](Self::shutdown) waits
/// for the end.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    faults: Faults,
    /// Stops the server when dropped.
    stop: oneshot::Sender<()>,
    /// Completes when the server has stopped.
    ended: oneshot::Receiver<()>,
}

impl Server {
    /// Creates the builder of a server, with ticks of 2 s.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts the server; returns it with the task that ends after its shutdown.
    async fn start(builder: Builder) -> io::Result<(Self, JoinHandle<()>)> {
        let listener = TcpListener::bind(builder.address()).await?;
        let address = listener.local_addr()?;
        let (message_sender, messages) = mpsc::channel(QUEUE_CAPACITY);
        let (command_sender, commands) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (ended_sender, ended) = oneshot::channel();
        let refusing = Arc::new(AtomicBool::new(false));
        let faults = Faults::new(command_sender, refusing.clone());
        let (actor, incarnation) = ServerActor::new(&builder, address.port());
        let running = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            tasks.spawn(actor.run(messages, commands));
            tokio::select! {
                () = accept(listener, message_sender, refusing, incarnation, &mut tasks) => {}
                _ = stopped => {}
            }
            tasks.shutdown().await;
            // The receiver may be gone.
            let _ = ended_sender.send(());
        });
        Ok((Self { address, faults, stop, ended }, running))
    }

    /// Returns the address that the server listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns `host:port`, the connect string of clients.
    pub fn connect_string(&self) -> String {
        self.address.to_string()
    }

    /// Returns a handle for injecting faults.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Stops the server, and returns when every connection and the port are closed.
    pub async fn shutdown(self) {
        drop(self.stop);
        let _ = self.ended.await;
    }
}

impl Builder {
    /// Starts the server, in tasks of the current tokio runtime.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot listen on the address.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with I/O and time.
    pub async fn start(self) -> io::Result<Server> {
        Server::start(self).await.map(|(server, _)| server)
    }

    /// Starts the server in its own thread, for programs without a tokio runtime, and for tests that block theirs.
    /// Dropping the server ends the thread.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot listen on the address or cannot start a thread.
    pub fn start_thread(self) -> io::Result<Server> {
        let (started, start_result) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = async move {
            match Server::start(self).await {
                Ok((server, running)) => {
                    // If the caller is gone, the server is dropped and stops.
                    let _ = started.send(Ok(server));
                    let _ = running.await;
                }
                Err(error) => drop(started.send(Err(error))),
            }
        };
        std::thread::Builder::new().name("zookeeper".to_owned()).spawn(move || runtime.block_on(serve))?;
        start_result.recv().map_err(|_| io::Error::other("the server's thread ended while starting"))?
    }
}

/// Accepts connections, and starts a task for each.
async fn accept(
    listener: TcpListener,
    messages: mpsc::Sender<Message>,
    refusing: Arc<AtomicBool>,
    incarnation: watch::Receiver<Incarnation>,
    tasks: &mut JoinSet<()>,
) {
    let logged = Arc::new(Mutex::new(LoggedOnce::default()));
    for connection in 1.. {
        let (stream, address, incarnation) = loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(_) if refusing.load(Ordering::Relaxed) => {}
                    Ok((stream, address)) => {
                        let mut incarnation = incarnation.clone();
                        if !incarnation.borrow_and_update().stopped {
                            break (stream, address, incarnation);
                        }
                    }
                    // Most likely too many open files: other connections may close.
                    Err(error) => {
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
            }
        };
        // An optimisation only, so errors are ignored.
        let _ = stream.set_nodelay(true);
        let number = incarnation.borrow().number;
        let client = serve(stream, address, connection, number, messages.clone(), logged.clone());
        tasks.spawn(until_stopped(client, incarnation));
    }
}

/// Serves one client, unless the server is stopped: then the connection is closed immediately.
async fn until_stopped(client: impl Future<Output = ()>, mut incarnation: watch::Receiver<Incarnation>) {
    tokio::select! {
        biased;
        _ = incarnation.changed() => {}
        () = client => {}
    }
}
