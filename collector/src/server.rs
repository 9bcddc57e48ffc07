//! A collector: options, start and orderly shutdown. Accepted requests are answered before it ends.

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

use crate::api::App;
use crate::connections::Connections;
use crate::hosts::Hosts;
use crate::limits::Limits;
use crate::proxies::Proxies;
use crate::store::{Horizon, PRUNED_AT_ONCE, Store};
use crate::tls::Tls;
use crate::tokens::Tokens;

/// Options of a collector. The default: no authentication, and reports are kept indefinitely.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Tokens of the clients.
    pub tokens: Tokens,
    /// Certificate for HTTPS; `None`: HTTP.
    pub tls: Option<Tls>,
    /// Limits on sizes, rates and durations.
    pub limits: Limits,
    /// Trusted proxies, which determine the address of a client.
    pub proxies: Proxies,
    /// Names in `Host` that it answers to. They are not checked on connections with TLS, where the browser checks the
    /// name, nor with a known token.
    pub hosts: Hosts,
    /// Age after which reports are replaced by sums per hour.
    pub keep_reports: Option<Duration>,
    /// Age after which the sums per hour are deleted.
    pub keep_hours: Option<Duration>,
}

/// Collector that listens, and answers once [`Collector::run`] is called.
pub struct Collector {
    listener: TcpListener,
    app: Arc<App>,
    options: Options,
}

/// Interval at which the retention is applied.
const PRUNING: Duration = Duration::from_secs(60);

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
        let Options { tokens, tls, limits, proxies, hosts, .. } = options.clone();
        let mut app = App::new(store, tokens, limits, proxies);
        app.secure = tls.is_some();
        app.hosts = hosts;
        let app = Arc::new(app);
        Collector { listener, app, options }
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
        let Collector { listener, app, options } = self;
        let mut pruning = JoinSet::new();
        if let Some(keep) = options.keep_reports {
            pruning.spawn(prune(Arc::clone(&app), keep, options.keep_hours));
        }
        let stop_within = options.limits.stop;
        let mut connections = Connections::new(Arc::clone(&app), options);
        stop.run_until_cancelled(connections.accept_from(&listener)).await;
        // No further connection is accepted.
        drop(listener);
        app.stopping.cancel();
        connections.end(stop_within).await;
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
                    info!(count, "reports were summed up");
                    if count == PRUNED_AT_ONCE {
                        continue;
                    }
                }
                Err(error) => warn!(%error, "reports could not be summed up"),
            }
        }
        sleep(PRUNING).await;
    }
}
