//! A collector that listens on loopback, and its clients.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(dead_code, unreachable_pub, reason = "each test file includes it, and not every one uses all of it")]

pub mod child;
pub mod ledger;
pub mod proxy;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use atalaya_collector::{Collector, Limits, MemoryStore, Options, SqliteOptions, SqliteStore, Store, Tokens};
use atalaya_testbed::Pauses;
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::crypto::ring;
use tokio_util::sync::CancellationToken;

pub const WRITER: &str = "writer-0123456789";
pub const READER: &str = "reader-0123456789";

pub struct Running {
    pub address: SocketAddr,
    pub client: Client,
    pub stop: CancellationToken,
    pub done: JoinHandle<()>,
}

/// Returns the builder of a client. It uses no proxy that the environment names.
pub fn client() -> ClientBuilder {
    // reqwest takes the process-wide provider; this fails if it is set already.
    let _ = ring::default_provider().install_default();
    Client::builder().no_proxy()
}

/// Returns options without authentication and without a rate limit: the rate of a test depends on the machine.
pub fn open_to_all() -> Options {
    let limits = Limits { rate: f64::MAX, burst: f64::MAX, ..Limits::default() };
    Options { limits, ..Options::default() }
}

/// Starts a collector with a store in memory and without authentication.
pub async fn started() -> Running {
    run(Arc::new(MemoryStore::new()), open_to_all()).await
}

/// Starts a collector with a store in memory, a writer's and a reader's token.
pub async fn started_with_tokens() -> Running {
    let tokens = Tokens::parse(&format!("write {WRITER}\nread {READER}")).unwrap();
    run(Arc::new(MemoryStore::new()), Options { tokens, ..open_to_all() }).await
}

/// Starts a collector with a store in a file, and without authentication.
pub async fn started_with_file(options: SqliteOptions) -> Running {
    run(Arc::new(SqliteStore::open(options).unwrap()), open_to_all()).await
}

/// Replaces `reports.db` in a folder by a file that is not a database.
pub fn damage(folder: &Path) {
    for file in ["reports.db", "reports.db-wal", "reports.db-shm"] {
        let _ = std::fs::remove_file(folder.join(file));
    }
    let text = "not a database, and long enough to be read as one".repeat(100);
    std::fs::write(folder.join("reports.db"), text).unwrap();
}

pub async fn run(store: Arc<dyn Store>, options: Options) -> Running {
    let collector = Collector::bind("127.0.0.1:0", store, options).await.unwrap();
    let address = collector.address().unwrap();
    let stop = CancellationToken::new();
    let done = tokio::spawn(collector.run(stop.clone()));
    // One connection per request: an idle connection may be closed, correctly, at the moment at which it is used again.
    let client = client().timeout(Duration::from_secs(30)).pool_max_idle_per_host(0);
    let client = client.build().unwrap();
    Running { address, client, stop, done }
}

impl Running {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    /// Returns the JSON at `path`, which must exist.
    pub async fn json(&self, path: &str) -> Value {
        let response = self.get(path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    pub async fn means(&self) -> Vec<f64> {
        let list = self.get("/listar").header("accept", "application/json");
        list.send().await.unwrap().json().await.unwrap()
    }

    /// Sends `text` unchanged, and returns the answer until the other side closes the connection.
    pub async fn raw(&self, text: impl Into<Vec<u8>>) -> String {
        self.exchange(text.into(), false).await
    }

    /// Like [`Running::raw`], but closes its sending side before it reads.
    pub async fn raw_and_end(&self, text: impl Into<Vec<u8>>) -> String {
        self.exchange(text.into(), true).await
    }

    async fn exchange(&self, text: Vec<u8>, end: bool) -> String {
        let address = self.address;
        let exchanged = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            // The collector may answer and close the connection before everything is sent.
            let _ = stream.write_all(&text);
            if end {
                let _ = stream.shutdown(std::net::Shutdown::Write);
            }
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            String::from_utf8_lossy(&answer).into_owned()
        });
        exchanged.await.unwrap()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.done.await.unwrap();
    }
}

/// Checks that the request is refused as specified by RFC 9457, and returns the problem.
pub async fn refused(request: RequestBuilder, status: u16) -> Value {
    let response: Response = request.send().await.unwrap();
    let (found, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    assert_eq!(found, StatusCode::from_u16(status).unwrap(), "{text}");
    assert_eq!(headers["content-type"], "application/problem+json");
    if [429, 503].contains(&status) {
        assert!(headers["retry-after"].to_str().unwrap().parse::<u32>().unwrap() >= 1);
    }
    let problem: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(problem["status"], status);
    for part in ["type", "title", "detail"] {
        assert!(problem[part].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
    problem
}

/// Returns a report as our nodes send it.
pub fn full(epoch: i64, cycle: i64, mean: f64) -> Value {
    serde_json::json!({"epoch": epoch, "cycle": cycle, "time": format!("2026-11-21T08:{:02}:{:02}Z", cycle / 60, cycle % 60),
        "quantity": "temperature", "unit": "Cel", "mean": mean, "min": mean - 1.0, "max": mean + 1.0, "stddev": 0.5,
        "count": 2, "excluded": 1})
}

/// Calls `probe` until it returns `Some`, like [`atalaya_testbed::eventually`], and returns the value.
pub async fn eventually<T>(what: &str, deadline: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let mut pauses = Pauses::until(deadline);
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        let Some(pause) = pauses.next() else { panic!("{what}: not within {deadline:?}") };
        tokio::time::sleep(pause).await;
    }
}

/// Connects from the loopback address with this last number.
pub async fn connect(to: SocketAddr, from: u8) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((std::net::Ipv4Addr::new(127, 0, 0, from), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}
