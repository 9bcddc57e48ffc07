//! Public API of the server, and its listener. The state is owned by the [`keeper`](super::keeper).

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
use super::keeper::{Keeper, Life};
use super::{Builder, LoggedOnce};

/// Capacity of the queue to the server's task; connections wait while it is full.
const QUEUE: usize = 1024;

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
    pub(super) async fn start(builder: Builder) -> io::Result<(Self, JoinHandle<()>)> {
        let listener = TcpListener::bind(builder.address()).await?;
        let address = listener.local_addr()?;
        let (messages, inbox) = mpsc::channel(QUEUE);
        let (commands, orders) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (ends, ended) = oneshot::channel();
        let refusing = Arc::new(AtomicBool::new(false));
        let faults = Faults::new(commands, refusing.clone());
        let (keeper, life) = Keeper::new(&builder, address.port());
        let running = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            tasks.spawn(keeper.run(inbox, orders));
            tokio::select! {
                () = accept(listener, messages, refusing, life, &mut tasks) => {}
                _ = stopped => {}
            }
            tasks.shutdown().await;
            // The receiver may be gone.
            let _ = ends.send(());
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

/// Accepts connections, and starts a task for each.
async fn accept(
    listener: TcpListener,
    messages: mpsc::Sender<Message>,
    refusing: Arc<AtomicBool>,
    life: watch::Receiver<Life>,
    tasks: &mut JoinSet<()>,
) {
    let logged = Arc::new(Mutex::new(LoggedOnce::default()));
    for connection in 1.. {
        let (stream, address, life) = loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(_) if refusing.load(Ordering::Relaxed) => {}
                    Ok((stream, address)) => {
                        let mut life = life.clone();
                        if !life.borrow_and_update().stopped {
                            break (stream, address, life);
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
        let number = life.borrow().number;
        let client = serve(stream, address, connection, number, messages.clone(), logged.clone());
        tasks.spawn(until_stopped(client, life));
    }
}

/// Serves one client, unless the server is stopped: then the connection is closed immediately.
async fn until_stopped(client: impl Future<Output = ()>, mut life: watch::Receiver<Life>) {
    tokio::select! {
        biased;
        _ = life.changed() => {}
        () = client => {}
    }
}
