//! The REST API of the demo: the collector, with its page, which can be taken away.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use atalaya_collector::{Collector, Limits, MemoryStore, Options, Store};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::happening::Happening;
use super::script::ApiMode;
use super::watched::{Manners, Watched};

/// A demo may run for days.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// The API. Dropping it takes it away.
pub(super) struct Sink {
    address: SocketAddr,
    mode: ApiMode,
    manners: Arc<Manners>,
    /// It outlasts the API, as a file would.
    store: Arc<dyn Store>,
    /// What it runs in, while it is there: with it every connection goes, as with a process.
    running: Option<Runtime>,
}

impl Sink {
    /// One at this address.
    ///
    /// # Errors
    /// It cannot listen there, or there can be no more threads.
    pub(super) fn start(
        address: SocketAddr,
        happenings: mpsc::UnboundedSender<Happening>,
    ) -> io::Result<Sink> {
        let manners = Arc::new(Manners::default());
        let store = Arc::new(Watched::new(MemoryStore::new(), Arc::clone(&manners), happenings));
        let mut sink = Sink { address, mode: ApiMode::Up, manners, store, running: None };
        sink.open()?;
        Ok(sink)
    }

    /// Where reports are posted.
    pub(super) fn url(&self) -> String {
        format!("{}nuevo", self.page())
    }

    /// Where its page is.
    pub(super) fn page(&self) -> String {
        format!("http://{}/", self.address)
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
            self.manners.are(mode);
            if self.running.is_none() {
                self.open()?;
            }
        }
        self.mode = mode;
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        // A thread of its own, so that it answers however busy the screen is.
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("api").enable_all().build()?;
        // One that hangs never answers.
        let limits = Limits { answer: Duration::MAX, ..Limits::default() };
        let options = Options { limits, keep_reports: Some(KEPT), ..Options::default() };
        let listener = std::net::TcpListener::bind(self.address)?;
        let collector = {
            let _inside = runtime.enter();
            Collector::listening(listener, Arc::clone(&self.store), options)?
        };
        self.address = collector.address()?;
        runtime.spawn(collector.run(CancellationToken::new()));
        self.running = Some(runtime);
        Ok(())
    }

    fn close(&mut self) {
        if let Some(runtime) = self.running.take() {
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
