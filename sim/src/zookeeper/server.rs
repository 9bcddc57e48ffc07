//! The server as its users see it, and where it takes connections in. Its state is with the [`keeper`](super::keeper).

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

/// How many messages wait for the server's task before connections do.
const QUEUE: usize = 1024;

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
        let (keeper, life) = Keeper::new(&builder, address.port());
        let running = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            tasks.spawn(keeper.run(inbox, orders));
            tokio::select! {
                () = accept(listener, messages, refusing, life, &mut tasks) => {}
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
        let number = life.borrow().number;
        let client = serve(stream, address, connection, number, messages.clone(), logged.clone());
        tasks.spawn(until_stopped(client, life));
    }
}

/// Serves one client, unless the server is stopped: then its connection is closed in whatever it is doing.
async fn until_stopped(client: impl Future<Output = ()>, mut life: watch::Receiver<Life>) {
    tokio::select! {
        biased;
        _ = life.changed() => {}
        () = client => {}
    }
}
