//! The REST API of the demo: takes reports as an existing one would, and can be taken away.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Json, State};
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::happening::Happening;
use super::ledger::Arrival;
use super::script::ApiMode;

/// Largest report that is read, in bytes.
const LARGEST: usize = 64 * 1024;

/// The API. Dropping it takes it away.
pub(super) struct Sink {
    address: SocketAddr,
    mode: ApiMode,
    happenings: mpsc::UnboundedSender<Happening>,
    /// What it runs in, while it is there: with it every connection goes, as with a process.
    running: Option<(Runtime, Arc<Manners>)>,
}

/// How it treats requests.
#[derive(Debug, Default)]
struct Manners {
    hanging: AtomicBool,
    failing: AtomicBool,
}

#[derive(Clone)]
struct Desk {
    manners: Arc<Manners>,
    happenings: mpsc::UnboundedSender<Happening>,
}

impl Sink {
    /// One at a free port of the loopback.
    pub(super) fn start(happenings: mpsc::UnboundedSender<Happening>) -> io::Result<Sink> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut sink = Sink { address, mode: ApiMode::Up, happenings, running: None };
        sink.open()?;
        Ok(sink)
    }

    /// Where reports are posted.
    pub(super) fn url(&self) -> String {
        format!("http://{}/nuevo", self.address)
    }

    pub(super) fn mode(&self) -> ApiMode {
        self.mode
    }

    /// Behaves like this from now on.
    ///
    /// # Errors
    /// It was away, and somebody else has taken its port.
    pub(super) fn set(&mut self, mode: ApiMode) -> io::Result<()> {
        if mode == ApiMode::Away {
            self.close();
        } else {
            if self.running.is_none() {
                self.open()?;
            }
            if let Some((_, manners)) = &self.running {
                manners.hanging.store(mode == ApiMode::Hanging, Ordering::Relaxed);
                manners.failing.store(mode == ApiMode::Failing, Ordering::Relaxed);
            }
        }
        self.mode = mode;
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        // A thread of its own, so that it answers however busy the screen is.
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("api").enable_all().build()?;
        let listener = std::net::TcpListener::bind(self.address)?;
        listener.set_nonblocking(true)?;
        self.address = listener.local_addr()?;
        let listener = {
            let _inside = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let manners = Arc::new(Manners::default());
        let desk = Desk { manners: manners.clone(), happenings: self.happenings.clone() };
        let routes =
            Router::new().route("/nuevo", post(take)).layer(DefaultBodyLimit::max(LARGEST)).with_state(desk);
        runtime.spawn(async move {
            // It never fails; it ends with its runtime.
            let _ = axum::serve(listener, routes).await;
        });
        self.running = Some((runtime, manners));
        Ok(())
    }

    fn close(&mut self) {
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Waiting for its thread is not allowed where other tasks run.
        self.close();
    }
}

async fn take(State(desk): State<Desk>, report: Result<Json<Arrival>, JsonRejection>) -> StatusCode {
    if desk.manners.failing.load(Ordering::Relaxed) {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    if desk.manners.hanging.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    let (happening, status) = match report {
        Ok(Json(arrival)) => (Happening::Arrived(arrival), StatusCode::OK),
        Err(rejection) => {
            (Happening::Unintelligible(rejection.body_text()), StatusCode::UNPROCESSABLE_ENTITY)
        }
    };
    // At the end nobody listens.
    let _ = desk.happenings.send(happening);
    status
}
