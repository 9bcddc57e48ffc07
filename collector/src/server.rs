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

/// How a collector is run. The default: for everybody, and nothing is forgotten.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who may do what.
    pub tokens: Tokens,
    /// With what certificate it answers; without: by HTTP.
    pub tls: Option<Tls>,
    /// How much and how long.
    pub limits: Limits,
    /// Who tells whose request it is.
    pub proxies: Proxies,
    /// Names in `Host` that it answers to. They are not checked on connections with TLS, where the browser checks the name,
    /// nor with a token that is known.
    pub hosts: Hosts,
    /// Reports older than this are summed up by the hour.
    pub keep_reports: Option<Duration>,
    /// Hours older than this are forgotten.
    pub keep_hours: Option<Duration>,
}

/// Listens, and answers once it is run.
pub struct Collector {
    listener: TcpListener,
    app: Arc<App>,
    options: Options,
}

/// The retention is looked after so often.
const PRUNING: Duration = Duration::from_secs(60);

impl Collector {
    /// Listens at `address`.
    ///
    /// # Errors
    /// It cannot listen there.
    pub async fn bind(
        address: impl ToSocketAddrs,
        store: Arc<dyn Store>,
        options: Options,
    ) -> io::Result<Collector> {
        Ok(Collector::of(TcpListener::bind(address).await?, store, options))
    }

    /// Answers at `listener`, which somebody else has bound. It is to be called within a runtime.
    ///
    /// # Errors
    /// The system does not let it be used like this.
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

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` is cancelled, then finishes what it has accepted, and closes the store. If it is dropped
    /// instead, connections break, and whoever waits for an answer does not get it.
    pub async fn run(self, stop: CancellationToken) {
        let Collector { listener, app, options } = self;
        let mut pruning = JoinSet::new();
        if let Some(keep) = options.keep_reports {
            pruning.spawn(prune(Arc::clone(&app), keep, options.keep_hours));
        }
        let stop_within = options.limits.stop;
        let mut connections = Connections::new(Arc::clone(&app), options);
        stop.run_until_cancelled(connections.accept_from(&listener)).await;
        // No further connection gets in.
        drop(listener);
        app.stopping.cancel();
        connections.end(stop_within).await;
        pruning.shutdown().await;
        app.store.close().await;
    }
}

/// Sums up what is past the retention, until it is cancelled.
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
