//! Accepts connections, divides them among addresses, and serves them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
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

use crate::api::{self, App, Peer};
use crate::limits::neighbourhood;
use crate::places::{Entry, Id, Phase, Places};
use crate::server::Options;
use crate::transport::Impatient;

/// Interval at which waiting connections are checked even if none has ended: others may have become stale.
const LOOK: Duration = Duration::from_millis(250);

/// All connections of a collector.
pub(crate) struct Connections {
    app: Arc<App>,
    options: Options,
    router: axum::Router,
    http: http1::Builder,
    graceful: GracefulShutdown,
    shared: Arc<Shared>,
    /// Accepted connections that wait for a slot.
    waiting: VecDeque<(TcpStream, SocketAddr)>,
    tasks: JoinSet<()>,
}

struct Shared {
    places: Mutex<Places>,
    left: Notify,
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    pub(crate) fn new(app: Arc<App>, options: Options) -> Connections {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(options.limits.headers).max_buf_size(64 << 10);
        let places = Mutex::new(Places::new(&options.limits));
        Connections {
            router: api::router(&app),
            app,
            options,
            http,
            graceful: GracefulShutdown::new(),
            shared: Arc::new(Shared { places, left: Notify::new() }),
            waiting: VecDeque::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Accepts and serves connections until it is dropped.
    pub(crate) async fn accept_from(&mut self, listener: &TcpListener) {
        let shared = Arc::clone(&self.shared);
        loop {
            let look = async {
                match self.waiting.is_empty() {
                    true => std::future::pending().await,
                    false => sleep(LOOK).await,
                }
            };
            tokio::select! {
                accepted = accept(listener) => self.enter(accepted.0, accepted.1),
                () = shared.left.notified() => self.admit_waiting(),
                () = look => self.admit_waiting(),
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    /// Closes idle connections at once, and the others after their answer or after `within`.
    pub(crate) async fn end(mut self, within: Duration) {
        self.waiting.clear();
        if timeout(within, self.graceful.shutdown()).await.is_err() {
            warn!("some connections are broken off");
        }
        self.tasks.shutdown().await;
    }

    fn enter(&mut self, stream: TcpStream, peer: SocketAddr) {
        let address = (!self.options.proxies.include(peer.ip())).then(|| neighbourhood(peer.ip()));
        let waiting =
            self.waiting.iter().filter(|(_, other)| Some(neighbourhood(other.ip())) == address).count();
        match self.try_enter(address, waiting) {
            Entry::Admitted(id, evict) => self.serve(stream, peer, id, evict),
            Entry::Wait if self.waiting.len() < 2 * self.options.limits.connections => {
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
            let address = (!self.options.proxies.include(peer.ip())).then(|| peer.ip());
            // Waiting connections have already been checked against their share.
            match self.try_enter(address, 0) {
                Entry::Admitted(id, evict) => self.serve(stream, peer, id, evict),
                Entry::Wait | Entry::Refused => self.waiting.push_back((stream, peer)),
            }
        }
    }

    fn try_enter(&self, address: Option<IpAddr>, waiting: usize) -> Entry {
        let mut places = self.shared.places();
        let before = places.evicted();
        let entry = places.enter(address, waiting, Instant::now());
        self.app.metrics.turned_away.inc_by(places.evicted() - before);
        entry
    }

    fn serve(&mut self, stream: TcpStream, peer: SocketAddr, id: Id, evict: CancellationToken) {
        self.app.metrics.connections.inc();
        let place = Arc::new(Place { app: Arc::clone(&self.app), shared: Arc::clone(&self.shared), id });
        let router = self.router.clone().layer(Extension(Peer(peer.ip())));
        let stream = Impatient::new(stream, self.options.limits.send);
        let (http, watcher) = (self.http.clone(), self.graceful.watcher());
        let (tls, headers) = (self.options.tls.clone(), self.options.limits.headers);
        self.tasks.spawn(async move {
            let served = async {
                let stream = match &tls {
                    None => Either::Left(stream),
                    Some(tls) => {
                        let handshake = timeout(headers, tls.acceptor().accept(stream));
                        // There is no request yet, so the shutdown does not wait for it.
                        let handshake = place.app.stopping.run_until_cancelled(handshake).await;
                        let handshake = handshake.ok_or("the collector is stopping")?;
                        Either::Right(handshake.map_err(|_| "the TLS handshake takes too long")??)
                    }
                };
                let router = TowerToHyperService::new(router);
                let service = service_fn(|request| answer(&router, Arc::clone(&place), request));
                watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
            };
            match evict.run_until_cancelled(served).await {
                Some(Ok(())) => {}
                Some(Err(error)) => debug!(%peer, %error, "a connection broke"),
                None => debug!(%peer, "a slow or idle connection was closed: its place was needed"),
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
                warn!(%error, "a connection is not accepted");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Answers one request, and records the progress of its connection.
async fn answer(
    router: &TowerToHyperService<axum::Router>,
    place: Arc<Place>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Answer>, Infallible> {
    let busy = Busy::new(place);
    let response: Response = router.call(request).await?;
    Ok(response.map(|body| Answer { body, _busy: busy }))
}

/// Slot of a connection, held until it is dropped.
struct Place {
    app: Arc<App>,
    shared: Arc<Shared>,
    id: Id,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.app.metrics.connections.dec();
        self.shared.places().leave(self.id);
        self.shared.left.notify_one();
    }
}

/// Marks a connection as busy until it is dropped.
struct Busy(Arc<Place>);

impl Busy {
    fn new(place: Arc<Place>) -> Busy {
        place.shared.places().note(place.id, Phase::Busy, Instant::now());
        Busy(place)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.shared.places().note(self.0.id, Phase::Idle, Instant::now());
    }
}

/// Body of an answer: the connection is busy until it is sent.
struct Answer {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
