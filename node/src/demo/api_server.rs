//! The REST API of the demo: the collector with its web page, which can be stopped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use atalaya_collector::{Collector, Limits, MemoryStore, Options, Store};
use reqwest::Url;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Event;
use super::faulty_store::FaultyStore;
use super::script::ApiMode;

/// Maximum age of stored reports. A demo may run for days.
const KEEP_REPORTS: Duration = Duration::from_secs(24 * 3600);

/// The API server. Stops when dropped.
pub(super) struct ApiServer {
    address: SocketAddr,
    mode: watch::Sender<ApiMode>,
    /// Survives a stop of the server, as a file would.
    store: Arc<dyn Store>,
    /// Runtime of the running server. Shutting it down closes all connections, as the end of a process does.
    runtime: Option<Runtime>,
}

impl ApiServer {
    pub(super) fn start(address: SocketAddr, events: mpsc::UnboundedSender<Event>) -> io::Result<ApiServer> {
        let mode = watch::Sender::new(ApiMode::Up);
        let store = Arc::new(FaultyStore { inner: MemoryStore::new(), mode: mode.subscribe(), events });
        let mut server = ApiServer { address, mode, store, runtime: None };
        server.open()?;
        Ok(server)
    }

    /// Returns the URL of the web page. As the URL of the API, it means `nuevo` below it.
    pub(super) fn page_url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Returns the address for samples of single sensors.
    pub(super) fn samples_url(&self) -> Url {
        let url = format!("{}api/v1/measurements", self.page_url());
        #[expect(clippy::expect_used, reason = "an address and a constant path")]
        Url::parse(&url).expect("an address and a path are a URL")
    }

    pub(super) fn mode(&self) -> ApiMode {
        *self.mode.borrow()
    }

    /// Changes the behaviour of the API. Fails if it was stopped and another program now uses its port.
    pub(super) fn set_mode(&mut self, mode: ApiMode) -> io::Result<()> {
        if mode == ApiMode::Down {
            self.close();
        } else if self.runtime.is_none() {
            self.open()?;
        }
        self.mode.send_replace(mode);
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        // A thread of its own, so that the API answers even while the screen is busy.
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("api").enable_all().build()?;
        // Without the usual limit on the time of an answer, because a hanging API must not answer at all.
        let limits = Limits { answer: Duration::MAX, ..Limits::default() };
        let options = Options { limits, keep_reports: Some(KEEP_REPORTS), ..Options::default() };
        let listener = std::net::TcpListener::bind(self.address)?;
        let collector = {
            let _guard = runtime.enter();
            Collector::listening(listener, Arc::clone(&self.store), options)?
        };
        self.address = collector.address()?;
        runtime.spawn(collector.run(CancellationToken::new()));
        self.runtime = Some(runtime);
        Ok(())
    }

    fn close(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // A plain drop of the runtime would wait for its thread, which panics inside another runtime.
        self.close();
    }
}
