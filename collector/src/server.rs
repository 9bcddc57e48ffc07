//! Accepts connections, so many at a time, and ends them in order: what was accepted is answered first.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::api::{self, App, Peer};
use crate::limits::{Guests, Limits};
use crate::proxies::Proxies;
use crate::store::{Horizon, PRUNED_AT_ONCE, Store};
use crate::tls::Tls;
use crate::tokens::Tokens;
use crate::transport::Impatient;

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
        let Options { tokens, tls, limits, proxies, .. } = options.clone();
        let mut app = App::new(store, tokens, limits, proxies);
        app.secure = tls.is_some();
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
        let router = api::router(&app);
        let limits = &options.limits;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.headers).max_buf_size(64 << 10);
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(limits.connections));
        let guests = Arc::new(Mutex::new(Guests::default()));
        let mut connections = JoinSet::new();
        let mut pruning = JoinSet::new();
        if let Some(keep) = options.keep_reports {
            pruning.spawn(prune(Arc::clone(&app), keep, options.keep_hours));
        }
        while let Some((stream, peer, place)) = accept(&listener, &places, &stop).await {
            while connections.try_join_next().is_some() {}
            let counted = !options.proxies.include(peer.ip());
            if counted && !lock(&guests).enter(peer.ip(), limits.connections_of_one) {
                app.metrics.turned_away.inc();
                continue;
            }
            app.metrics.connections.inc();
            let guest = Guest {
                app: Arc::clone(&app),
                counted: counted.then(|| (Arc::clone(&guests), peer.ip())),
                _place: place,
            };
            let router = router.clone().layer(Extension(Peer(peer.ip())));
            let stream = Impatient::new(stream, limits.send);
            let (http, watcher) = (http.clone(), graceful.watcher());
            let (tls, patience) = (options.tls.clone(), limits.headers);
            connections.spawn(async move {
                let served = async {
                    let stream = match &tls {
                        None => Either::Left(stream),
                        Some(tls) => {
                            let greeting = timeout(patience, tls.acceptor().accept(stream));
                            // Nothing was asked yet: the end need not wait for it.
                            let greeted = guest.app.stopping.run_until_cancelled(greeting).await;
                            let greeted = greeted.ok_or("it is stopped")?;
                            Either::Right(greeted.map_err(|_| "it takes too long to greet")??)
                        }
                    };
                    let service = TowerToHyperService::new(router);
                    watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await?;
                    Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
                };
                if let Err(error) = served.await {
                    debug!(%peer, %error, "a connection broke");
                }
            });
        }
        // Nobody else gets in.
        drop(listener);
        app.stopping.cancel();
        if timeout(limits.stop, graceful.shutdown()).await.is_err() {
            warn!("some connections are broken off");
        }
        connections.shutdown().await;
        pruning.shutdown().await;
        app.store.close().await;
    }
}

/// Counts a connection until it is dropped.
struct Guest {
    app: Arc<App>,
    counted: Option<(Arc<Mutex<Guests>>, IpAddr)>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.app.metrics.connections.dec();
        if let Some((guests, address)) = &self.counted {
            lock(guests).leave(*address);
        }
    }
}

fn lock(guests: &Mutex<Guests>) -> MutexGuard<'_, Guests> {
    guests.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next connection, once there is a place for it. `None`: enough.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let accepted = async {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // Answers are small, and waited for.
                    let _ = stream.set_nodelay(true);
                    return Some((stream, peer, place));
                }
                // The other side has gone again, or there are too many files: the latter passes.
                Err(error) => {
                    warn!(%error, "a connection is not accepted");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => None,
        accepted = accepted => accepted,
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
