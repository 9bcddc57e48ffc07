//! A collector: start and orderly shutdown. Accepted requests are answered before it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::app::App;
use crate::connections::Connections;
use crate::options::Options;
use crate::store::{Horizon, PRUNE_BATCH, Store};

/// Collector that listens, and answers once [`Collector::run`] is called.
pub struct Collector {
    listener: TcpListener,
    app: Arc<App>,
}

/// Interval at which the retention is applied.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60);

impl Collector {
    /// Listens at `address`.
    ///
    /// # Errors
    /// Returns an error if it cannot listen at this address.
    pub async fn bind(
        address: impl ToSocketAddrs,
        store: Arc<dyn Store>,
        options: Options,
    ) -> io::Result<Collector> {
        Ok(Collector::of(TcpListener::bind(address).await?, store, options))
    }

    /// Uses a `listener` that is already bound. Must be called within a runtime.
    ///
    /// # Errors
    /// Returns an error if the system does not permit this use of the listener.
    pub fn listening(
        listener: std::net::TcpListener,
        store: Arc<dyn Store>,
        options: Options,
    ) -> io::Result<Collector> {
        listener.set_nonblocking(true)?;
        Ok(Collector::of(TcpListener::from_std(listener)?, store, options))
    }

    fn of(listener: TcpListener, store: Arc<dyn Store>, options: Options) -> Collector {
        Collector { listener, app: Arc::new(App::new(store, options)) }
    }

    /// Returns the address at which it listens.
    ///
    /// # Errors
    /// Returns an error if the system cannot provide the address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` is cancelled, then finishes accepted requests and closes the store. If it is dropped
    /// instead, connections break, and clients that wait for an answer do not get one.
    pub async fn run(self, stop: CancellationToken) {
        let Collector { listener, app } = self;
        let mut pruning = JoinSet::new();
        if let Some(keep) = app.options.keep_reports {
            pruning.spawn(prune(Arc::clone(&app), keep, app.options.keep_hours));
        }
        pruning.spawn(prune_measurements(Arc::clone(&app)));
        let mut connections = Connections::new(Arc::clone(&app));
        stop.run_until_cancelled(connections.accept_from(&listener)).await;
        // No further connection is accepted.
        drop(listener);
        app.stopping.cancel();
        connections.shut_down(app.options.limits.stop).await;
        pruning.shutdown().await;
        app.store.close().await;
    }
}

/// Replaces reports past the retention by sums per hour, until it is cancelled.
async fn prune(app: Arc<App>, keep_reports: Duration, keep_hours: Option<Duration>) {
    loop {
        let before = |keep: Duration| Timestamp::now().checked_sub(keep).ok();
        if let Some(reports) = before(keep_reports) {
            let horizon = Horizon { reports, hours: keep_hours.and_then(before) };
            match app.store.prune(horizon).await {
                Ok(0) => {}
                Ok(count) => {
                    info!(count, "reports past the retention were replaced by sums");
                    if count == PRUNE_BATCH {
                        continue;
                    }
                }
                Err(error) => warn!(%error, "reports past the retention could not be replaced by sums"),
            }
        }
        sleep(PRUNE_INTERVAL).await;
    }
}

/// Deletes measurements past the retention, and those of deleted nodes, until it is cancelled.
async fn prune_measurements(app: Arc<App>) {
    loop {
        let retention = app.options.measurements.retention(Timestamp::now());
        let (mut deleted, mut after) = (0, Some(0));
        while let Some(series) = after {
            match app.store.measurements().prune_samples(retention, series).await {
                Ok(pruned) => {
                    deleted += pruned.deleted;
                    after = pruned.next;
                }
                Err(error) => {
                    warn!(%error, "measurements past the retention could not be deleted");
                    break;
                }
            }
        }
        if deleted > 0 {
            info!(deleted, "samples and sums past the retention were deleted");
        }
        sleep(PRUNE_INTERVAL).await;
    }
}
