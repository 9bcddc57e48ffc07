//! Accepts connections, divides them among addresses, and serves them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::app::{App, Peer};
use crate::connection_slots::{ConnectionSlots, Entry, Id, Phase};
use crate::guard::limit_and_count;
use crate::limits::client_prefix;
use crate::problem::Problem;
use crate::write_timeout::WriteTimeout;
use crate::{api, page};

/// Interval at which waiting connections are checked even if none has ended: others may have become stale.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// All connections of a collector.
pub(crate) struct Connections {
    app: Arc<App>,
    router: axum::Router,
    http: http1::Builder,
    graceful: GracefulShutdown,
    shared: Arc<Shared>,
    /// Accepted connections that wait for a slot.
    waiting: VecDeque<(TcpStream, SocketAddr)>,
    tasks: JoinSet<()>,
}

struct Shared {
    slots: Mutex<ConnectionSlots>,
    /// Notified when a connection ends.
    ended: Notify,
}

impl Shared {
    fn slots(&self) -> MutexGuard<'_, ConnectionSlots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns all routes: the API and the page, behind the checks of every request.
fn router(app: &Arc<App>) -> axum::Router {
    api::router(app)
        .merge(page::router())
        .fallback(async || Problem::not_found("see /api/v1/openapi.json"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(from_fn_with_state(Arc::clone(app), limit_and_count))
        .with_state(Arc::clone(app))
}

impl Connections {
    pub(crate) fn new(app: Arc<App>) -> Connections {
        let limits = &app.options.limits;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.headers).max_buf_size(64 << 10);
        let slots = Mutex::new(ConnectionSlots::new(limits));
        Connections {
            router: router(&app),
            app,
            http,
            graceful: GracefulShutdown::new(),
            shared: Arc::new(Shared { slots, ended: Notify::new() }),
            waiting: VecDeque::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Accepts and serves connections until it is dropped.
    pub(crate) async fn accept_from(&mut self, listener: &TcpListener) {
        let shared = Arc::clone(&self.shared);
        loop {
            let check = async {
                match self.waiting.is_empty() {
                    true => std::future::pending().await,
                    false => sleep(CHECK_INTERVAL).await,
                }
            };
            tokio::select! {
                accepted = accept(listener) => self.enter(accepted.0, accepted.1),
                () = shared.ended.notified() => self.admit_waiting(),
                () = check => self.admit_waiting(),
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    /// Closes idle connections at once, and the others after their answer or after `limit`.
    pub(crate) async fn shut_down(mut self, limit: Duration) {
        self.waiting.clear();
        if timeout(limit, self.graceful.shutdown()).await.is_err() {
            warn!("some connections were aborted at the shutdown");
        }
        self.tasks.shutdown().await;
    }

    fn enter(&mut self, stream: TcpStream, peer: SocketAddr) {
        let address = (!self.app.options.proxies.include(peer.ip())).then(|| client_prefix(peer.ip()));
        let waiting =
            self.waiting.iter().filter(|(_, other)| Some(client_prefix(other.ip())) == address).count();
        match self.try_enter(address, waiting) {
            Entry::Admitted(id, evict) => self.serve(stream, peer, id, evict),
            Entry::Wait if self.waiting.len() < 2 * self.app.options.limits.connections => {
                self.waiting.push_back((stream, peer));
            }
            Entry::Wait | Entry::Refused => {
                self.app.metrics.turned_away.inc();
            }
        }
    }

    fn admit_waiting(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some((stream, peer)) = self.waiting.pop_front() else { return };
            let address = (!self.app.options.proxies.include(peer.ip())).then(|| peer.ip());
            // Waiting connections have already been checked against their share.
            match self.try_enter(address, 0) {
                Entry::Admitted(id, evict) => self.serve(stream, peer, id, evict),
                Entry::Wait | Entry::Refused => self.waiting.push_back((stream, peer)),
            }
        }
    }

    fn try_enter(&self, address: Option<IpAddr>, waiting: usize) -> Entry {
        let mut slots = self.shared.slots();
        let before = slots.evicted();
        let entry = slots.enter(address, waiting, Instant::now());
        self.app.metrics.turned_away.inc_by(slots.evicted() - before);
        entry
    }

    fn serve(&mut self, stream: TcpStream, peer: SocketAddr, id: Id, evict: CancellationToken) {
        self.app.metrics.connections.inc();
        let slot = Arc::new(Slot { app: Arc::clone(&self.app), shared: Arc::clone(&self.shared), id });
        let router = self.router.clone().layer(Extension(Peer(peer.ip())));
        let stream = WriteTimeout::new(stream, self.app.options.limits.send);
        let (http, watcher) = (self.http.clone(), self.graceful.watcher());
        let (tls, headers) = (self.app.options.tls.clone(), self.app.options.limits.headers);
        self.tasks.spawn(async move {
            let served = async {
                let stream = match &tls {
                    None => Either::Left(stream),
                    Some(tls) => {
                        let handshake = timeout(headers, tls.acceptor().accept(stream));
                        // No request has arrived yet, so the shutdown does not wait for it.
                        let handshake = slot.app.stopping.run_until_cancelled(handshake).await;
                        let handshake = handshake.ok_or("the collector is stopping")?;
                        Either::Right(handshake.map_err(|_| "the TLS handshake takes too long")??)
                    }
                };
                let router = TowerToHyperService::new(router);
                let service = service_fn(|request| answer(&router, Arc::clone(&slot), request));
                watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            };
            match evict.run_until_cancelled(served).await {
                Some(Ok(())) => {}
                Some(Err(error)) => debug!(%peer, %error, "connection failed"),
                None => debug!(%peer, "a slow or idle connection was closed, because its slot was needed"),
            }
        });
    }
}

/// Accepts one connection.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are small, and the client waits for them.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            // The client has closed the connection, or too many files are open, which is temporary.
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Answers one request, and records the progress of its connection.
async fn answer(
    router: &TowerToHyperService<axum::Router>,
    slot: Arc<Slot>,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let busy = Busy::new(slot);
    let response: Response = router.call(request).await?;
    // The body owns `busy`: the connection is busy until the body is sent.
    let with_busy = |body: Body| {
        Body::new(body.map_err(move |error| {
            let _busy = &busy;
            error
        }))
    };
    Ok(response.map(with_busy))
}

/// Slot of a connection, held until it is dropped.
struct Slot {
    app: Arc<App>,
    shared: Arc<Shared>,
    id: Id,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.app.metrics.connections.dec();
        self.shared.slots().leave(self.id);
        self.shared.ended.notify_one();
    }
}

/// Marks a connection as busy until it is dropped.
struct Busy(Arc<Slot>);

impl Busy {
    fn new(slot: Arc<Slot>) -> Busy {
        slot.shared.slots().note(slot.id, Phase::Busy, Instant::now());
        Busy(slot)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.shared.slots().note(self.0.id, Phase::Idle, Instant::now());
    }
}
