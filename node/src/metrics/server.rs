//! Answers over HTTP, from a thread of its own: a few connections at a time, one request each, each with an end. Connections
//! are shared among addresses, so that slow clients cannot keep a supervisor from `/healthz`.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::registry::Registry;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::{Inner, Metrics, browser, plain};
use crate::metrics::health::{Stage, Verdict};
use crate::metrics::shares::{Place, Shares};

/// How long a connection may last, from its first byte to the last one of the answer.
const LONGEST: Duration = Duration::from_secs(10);
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(5);
/// Most bytes of a request's head.
const LARGEST_HEAD: usize = 16 * 1024;
/// How long the node's own thread may take to answer, and how long something may be late before it counts: a process that
/// was stopped and goes on is well in a moment.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often to look whether it has come.
const LOOK: Duration = Duration::from_millis(50);
/// How long connections may take to end when the node ends.
const FAREWELL: Duration = Duration::from_millis(200);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers until it is dropped. Then it lets go of its port, and connections have a moment to end.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    /// Its end is that of the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Begins to answer.
    ///
    /// # Errors
    /// The figures are of no node, or the machine does not give a thread or what one needs.
    pub fn start(listener: TcpListener, metrics: &Metrics) -> io::Result<Server> {
        let Some(inner) = metrics.0.clone() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("figures".to_owned()).spawn(move || {
            runtime.block_on(async {
                // It was made for this.
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => serve(&listener, inner, stopped).await,
                    Err(error) => warn!(%error, "the figures cannot be told"),
                }
            });
        })?;
        info!("figures at http://{address}/metrics, health at /healthz and /readyz");
        Ok(Server { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends within the farewell.
            let _ = thread.join();
        }
    }
}

/// What is asked.
struct Told {
    inner: Arc<Inner>,
    registry: Registry,
}

async fn serve(listener: &tokio::net::TcpListener, inner: Arc<Inner>, stopped: oneshot::Receiver<()>) {
    let registry = inner.registry();
    let told = Arc::new(Told { inner, registry });
    let shares = Shares::default();
    let mut connections = JoinSet::new();
    let accepting = async {
        let mut said = None;
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // The other side has gone again, or there are too many files: the latter passes.
                    let text = error.to_string();
                    if said.as_ref() != Some(&text) {
                        warn!("a connection for figures is not accepted: {text}");
                        said = Some(text);
                    }
                    sleep(LOOK).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let place = shares.enter(peer.ip());
            connections.spawn(connection(Arc::clone(&told), stream, peer, place));
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = stopped => {}
    }
    let _ = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
}

/// Answers one request, unless another address needs the place.
async fn connection(told: Arc<Told>, stream: TcpStream, peer: SocketAddr, place: Place) {
    let answering = service_fn(|request| {
        place.asks();
        answer(Arc::clone(&told), request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(LARGEST_HEAD).keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), answering);
    tokio::select! {
        ended = timeout(LONGEST, connection) => match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%peer, %error, "a connection for figures broke"),
            Err(_) => debug!(%peer, "a connection for figures took too long"),
        },
        () = place.needed() => debug!(%peer, "a connection for figures was closed: its place was needed"),
    }
}

async fn answer(told: Arc<Told>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    if let Some((status, why)) = browser::refused(&request) {
        return Ok(text(status, TEXT, why.to_owned()));
    }
    Ok(match request.uri().path() {
        "/metrics" => {
            let open = asks_for_open_metrics(&request);
            let mut page = String::new();
            // Writing to a string cannot fail.
            let _ = prometheus_client::encoding::text::encode(&mut page, &told.registry);
            match open {
                true => text(StatusCode::OK, OPEN_METRICS, page),
                false => text(StatusCode::OK, PLAIN_METRICS, plain::of(&page)),
            }
        }
        "/healthz" => verdict(alive(&told.inner).await),
        "/readyz" => verdict(ready(&told.inner).await),
        "/" => text(StatusCode::OK, TEXT, "/metrics\n/healthz\n/readyz\n".to_owned()),
        _ => text(StatusCode::NOT_FOUND, TEXT, "there are /metrics, /healthz and /readyz\n".to_owned()),
    })
}

/// Prometheus names it before the older format, and others do not name it.
fn asks_for_open_metrics(request: &Request<Incoming>) -> bool {
    let accepted = request.headers().get_all(ACCEPT);
    accepted
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("application/openmetrics-text")))
}

/// Whether the node lives. What does not go on has a moment to: a process that was stopped catches up when it goes on.
async fn alive(inner: &Inner) -> Verdict {
    let until = Instant::now() + PATIENCE;
    let hangs = !inner.answers(PATIENCE).await;
    loop {
        let mut look = inner.look(BootInstant::now());
        if hangs && look.stage != Stage::Stopping {
            look.stage = Stage::Hanging;
        }
        let verdict = look.alive();
        if verdict.is_good || Instant::now() >= until {
            return verdict;
        }
        sleep(LOOK).await;
    }
}

async fn ready(inner: &Inner) -> Verdict {
    let hangs = !inner.answers(PATIENCE).await;
    let mut look = inner.look(BootInstant::now());
    if hangs && look.stage == Stage::Running {
        look.stage = Stage::Hanging;
    }
    look.ready()
}

fn verdict(verdict: Verdict) -> Response<Full<Bytes>> {
    let status = if verdict.is_good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, TEXT, verdict.text)
}

fn text(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    fn ask(server: &Server, path: &str) -> String {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn server(metrics: &Metrics) -> Server {
        Server::start(TcpListener::bind("127.0.0.1:0").unwrap(), metrics).unwrap()
    }

    #[test]
    fn a_node_whose_own_thread_does_not_come_to_it_hangs_and_says_so_every_time() {
        let metrics = Metrics::of(&"1".parse().unwrap());
        let server = server(&metrics);
        // Nobody attends to them.
        for _ in 0..3 {
            let answer = ask(&server, "/healthz");
            assert!(answer.starts_with("HTTP/1.0 503") && answer.contains("it hangs"), "{answer}");
        }
        assert!(ask(&server, "/readyz").starts_with("HTTP/1.0 503"));
        let metrics = ask(&server, "/metrics");
        assert!(metrics.contains("atalaya_ready 0.0\n") && metrics.contains("process_"), "{metrics}");
    }

    #[test]
    fn more_questions_than_can_wait_are_answered_all_the_same() {
        let metrics = Metrics::of(&"1".parse().unwrap());
        let server = server(&metrics);
        let inner = metrics.0.as_ref().unwrap();
        // Nobody takes them, and those that ask give up: they stay.
        while inner.ping.try_send(tokio::sync::oneshot::channel().0).is_ok() {}
        assert!(ask(&server, "/healthz").contains("it hangs"));
    }

    #[test]
    fn whoever_counts_nothing_tells_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(Server::start(listener, &Metrics::default()).is_err());
    }

    #[test]
    fn its_end_is_that_of_its_port() {
        let metrics = Metrics::of(&"1".parse().unwrap());
        let server = server(&metrics);
        let address = server.address();
        drop(server);
        assert!(TcpStream::connect(address).is_err());
    }

    /// Connects from the loopback address with this last number.
    #[cfg(target_os = "linux")]
    fn connect(server: &Server, from: u8) -> TcpStream {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((Ipv4Addr::new(127, 0, 0, from), 0).into()).unwrap();
            socket.connect(server.address()).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        stream
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn slow_connections_do_not_keep_anybody_from_health() {
        let metrics = Metrics::of(&"1".parse().unwrap());
        let server = server(&metrics);
        let mut held = Vec::new();
        for from in [1, 2, 3] {
            for number in 0..100 {
                let mut stream = connect(&server, from);
                // It may be closed already.
                let begin: &[u8] = if number % 2 == 0 { b"" } else { b"GET /healthz HTTP/1.1\r\n" };
                let _ = stream.write_all(begin);
                held.push(stream);
            }
            for asks in [1, 2, 3, 4] {
                let mut stream = connect(&server, asks);
                // The slow ones take 5 s to be sent away; a node without a thread says so within 1 s.
                stream.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
                stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
                let mut answer = String::new();
                let read = stream.read_to_string(&mut answer);
                assert!(
                    read.is_ok() && answer.starts_with("HTTP/1.0 503"),
                    "127.0.0.{asks}: {read:?} {answer}"
                );
            }
        }
    }

    #[test]
    fn web_pages_of_other_sites_and_under_foreign_names_are_refused() {
        let metrics = Metrics::of(&"1".parse().unwrap());
        let server = server(&metrics);
        let status = |path: &str, headers: &str| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let request = format!("GET {path} HTTP/1.1\r\n{headers}\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer.split(' ').nth(1).unwrap_or_default().to_owned()
        };
        const BROWSER: &str = "User-Agent: Mozilla/5.0\r\nAccept-Language: es";
        for path in ["/metrics", "/"] {
            assert_eq!(status(path, &format!("Host: evil.example:9100\r\n{BROWSER}")), "421", "{path}");
            assert_eq!(status(path, "Host: 127.0.0.1\r\nOrigin: http://evil.example"), "403", "{path}");
            assert_eq!(
                status(path, "Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors"),
                "403"
            );
            // A person, Prometheus by any name, and before HTTP/1.1.
            assert_eq!(status(path, &format!("Host: 127.0.0.1:9100\r\n{BROWSER}")), "200", "{path}");
            assert_eq!(status(path, "Host: node-1.example.org:9100\r\nUser-Agent: Prometheus/3.5.0"), "200");
        }
        assert_eq!(status("/healthz", &format!("Host: evil.example\r\n{BROWSER}")), "503", "it hangs");
    }
}
