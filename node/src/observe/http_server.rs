//! HTTP server for metrics and health: `/metrics`, `/healthz` (liveness), `/readyz` (readiness).
//!
//! It runs on a thread of its own, so that it can report a node whose thread hangs, and so that requests do not delay
//! sampling. Each connection serves one request and has a time limit. Connections are shared among client addresses, so
//! that slow clients cannot block a supervisor's health checks.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::observe::browser_requests;
use crate::observe::connection_limits::{ConnectionLimits, Permit};
use crate::observe::exposition;
use crate::observe::health::HealthReport;
use crate::observe::observer::Observer;
use crate::observe::text_format;

/// Time limit of a connection, from accepting it to the last byte of the response.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_HEADER_SIZE: usize = 16 * 1024;
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Time in which open connections can finish at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(200);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// A running server. Dropping it closes the port, and waits until the thread has ended.
#[derive(Debug)]
pub(crate) struct HttpServer {
    /// The thread, and a sender that stops it when dropped.
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl HttpServer {
    /// Starts the server.
    ///
    /// # Errors
    /// The listener cannot be used, or the system is out of threads or file descriptors.
    pub(crate) fn start(listener: TcpListener, observer: Observer) -> io::Result<HttpServer> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("http".to_owned()).spawn(move || {
            runtime.block_on(async {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => serve(&listener, observer, stopped).await,
                    Err(error) => warn!(%error, "cannot serve metrics and health"),
                }
            });
        })?;
        info!("metrics at http://{address}/metrics, health at /healthz and /readyz");
        Ok(HttpServer { thread: Some((stop, thread)) })
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            // It ends within SHUTDOWN_TIMEOUT.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: &tokio::net::TcpListener, observer: Observer, stopped: oneshot::Receiver<()>) {
    let limits = ConnectionLimits::default();
    let mut connections = JoinSet::new();
    let accepting = async {
        let mut logged = None;
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // The client has closed the connection already, or there are too many open files, which may pass.
                    let text = error.to_string();
                    if logged.replace(text.clone()).as_ref() != Some(&text) {
                        warn!("cannot accept a connection for metrics and health: {text}");
                    }
                    sleep(ACCEPT_RETRY_INTERVAL).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let permit = limits.admit(peer.ip());
            connections.spawn(serve_connection(observer.clone(), stream, peer, permit));
        }
    };
    tokio::select! {
        () = accepting => {}
        _ = stopped => {}
    }
    let _ = timeout(SHUTDOWN_TIMEOUT, async { while connections.join_next().await.is_some() {} }).await;
}

/// Serves one request, unless the permit is revoked before.
async fn serve_connection(observer: Observer, stream: TcpStream, peer: SocketAddr, permit: Arc<Permit>) {
    let service = service_fn(|request| {
        permit.has_request.store(true, Ordering::Relaxed);
        respond(observer.clone(), request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_SIZE)
        .keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = timeout(CONNECTION_TIMEOUT, connection) => match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%peer, %error, "connection for metrics and health failed"),
            Err(_) => debug!(%peer, "connection for metrics and health timed out"),
        },
        () = permit.revoked.cancelled() => {
            debug!(%peer, "connection for metrics and health closed: too many connections");
        }
    }
}

async fn respond(
    observer: Observer,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET or HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    if let Some((status, reason)) = browser_requests::refusal(&request) {
        return Ok(text(status, TEXT, reason.to_owned()));
    }
    Ok(match request.uri().path() {
        "/metrics" => {
            let page = exposition::page(&observer);
            if accepts_open_metrics(&request) {
                text(StatusCode::OK, OPEN_METRICS, page)
            } else {
                text(StatusCode::OK, PLAIN_METRICS, text_format::from_open_metrics(&page))
            }
        }
        "/healthz" => health(observer.liveness().await),
        "/readyz" => health(observer.readiness().await),
        "/" => text(StatusCode::OK, TEXT, "/metrics\n/healthz\n/readyz\n".to_owned()),
        _ => text(StatusCode::NOT_FOUND, TEXT, "not found; try /metrics, /healthz or /readyz\n".to_owned()),
    })
}

/// Returns true if the client accepts OpenMetrics. Clients that do prefer it over the older format: Prometheus lists it
/// first, and other clients do not list it.
fn accepts_open_metrics(request: &Request<Incoming>) -> bool {
    let mut accepted = request.headers().get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    accepted.any(|accept| accept.contains("application/openmetrics-text"))
}

fn health(report: HealthReport) -> Response<Full<Bytes>> {
    let status = if report.is_healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, TEXT, report.text)
}

fn text(status: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    fn send(server: &TestServer, request: &str) -> String {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    fn get(server: &TestServer, path: &str) -> String {
        send(server, &format!("GET {path} HTTP/1.0\r\n\r\n"))
    }

    struct TestServer {
        address: SocketAddr,
        observer: Observer,
        _server: HttpServer,
    }

    /// Starts a server for a node that does not run.
    fn server() -> TestServer {
        let observer = Observer::new(&"1".parse().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        TestServer { address, _server: HttpServer::start(listener, observer.clone()).unwrap(), observer }
    }

    #[test]
    fn liveness_probe_fails_every_time_while_the_nodes_thread_does_not_respond() {
        let server = server();
        for _ in 0..3 {
            let response = get(&server, "/healthz");
            assert!(
                response.starts_with("HTTP/1.0 503") && response.contains("the node hangs"),
                "{response}"
            );
        }
        assert!(get(&server, "/readyz").starts_with("HTTP/1.0 503"));
        let metrics = get(&server, "/metrics");
        assert!(metrics.contains("atalaya_ready 0.0\n") && metrics.contains("process_"), "{metrics}");
    }

    #[test]
    fn liveness_probe_fails_while_the_queue_of_pings_is_full() {
        let server = server();
        server.observer.fill_pings();
        assert!(get(&server, "/healthz").contains("the node hangs"));
    }

    #[test]
    fn http_server_closes_its_port_when_dropped() {
        let server = server();
        let address = server.address;
        drop(server);
        assert!(TcpStream::connect(address).is_err());
    }

    /// Connects from the loopback address with this last number.
    #[cfg(target_os = "linux")]
    fn connect(server: &TestServer, from: u8) -> TcpStream {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let stream = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((Ipv4Addr::new(127, 0, 0, from), 0).into()).unwrap();
            socket.connect(server.address).await.unwrap().into_std().unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        stream
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn slow_connections_do_not_block_health_checks() {
        let server = server();
        let mut open = Vec::new();
        for slow in [1, 2, 3] {
            for number in 0..100 {
                let mut stream = connect(&server, slow);
                let start: &[u8] = if number % 2 == 0 { b"" } else { b"GET /healthz HTTP/1.1\r\n" };
                // The server may have closed it already.
                let _ = stream.write_all(start);
                open.push(stream);
            }
            for client in [1, 2, 3, 4] {
                let mut stream = connect(&server, client);
                // Slow connections time out after 5 s; the node is reported as hanging within 1 s.
                stream.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
                stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
                let mut response = String::new();
                let read = stream.read_to_string(&mut response);
                assert!(
                    read.is_ok() && response.starts_with("HTTP/1.0 503"),
                    "127.0.0.{client}: {read:?} {response}"
                );
            }
        }
    }

    #[test]
    fn http_server_refuses_web_pages_of_other_sites_and_foreign_host_names() {
        let server = server();
        let status = |path: &str, headers: &str| {
            let response = send(&server, &format!("GET {path} HTTP/1.1\r\n{headers}\r\n\r\n"));
            response.split(' ').nth(1).unwrap_or_default().to_owned()
        };
        const BROWSER: &str = "User-Agent: Mozilla/5.0\r\nAccept-Language: es";
        for path in ["/metrics", "/"] {
            assert_eq!(status(path, &format!("Host: evil.example:9100\r\n{BROWSER}")), "421", "{path}");
            assert_eq!(status(path, "Host: 127.0.0.1\r\nOrigin: http://evil.example"), "403", "{path}");
            assert_eq!(
                status(path, "Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors"),
                "403"
            );
            // A person, and Prometheus under any host name.
            assert_eq!(status(path, &format!("Host: 127.0.0.1:9100\r\n{BROWSER}")), "200", "{path}");
            assert_eq!(status(path, "Host: node-1.example.org:9100\r\nUser-Agent: Prometheus/3.5.0"), "200");
        }
        assert_eq!(status("/healthz", &format!("Host: evil.example\r\n{BROWSER}")), "503", "the node hangs");
    }
}
