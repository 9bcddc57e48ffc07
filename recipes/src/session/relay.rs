//! Relay between the client library and ZooKeeper's servers: bounds the size of responses, and makes the TLS
//! connections.
//!
//! The client library reads a response of any length into memory and has no hook for its connections. So it connects to
//! a [`Relay`] on 127.0.0.1, which has one port for each server. The relay connects to the server, over TLS if the session
//! uses it, passes on the bytes of both directions, and closes both connections if a response is not valid (see
//! [`ResponseCheck`]). To the client library, that and every other failure is a lost connection.
//!
//! # Other users of this host
//! The relay serves only connections of its own process (see [`is_own_connection`]). Other users can thus not use the
//! identity of this process, such as its client certificate.
//!
//! # Cancel safety
//! Dropping a relay closes its ports and connections. It must not be dropped before the client has ended: another process
//! might get the port, and the client library would connect to that process.

use std::io;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, warn};
use zookeeper_client as zk;

use super::own_socket::is_own_connection;
use super::response_check::{BadResponse, ResponseCheck};
use super::{ConnectError, SessionOptions, lock};

/// Initial size of the buffer of each direction of a connection: most sessions send and receive little.
const MIN_BUFFER: usize = 4 * 1024;
/// Size up to which a buffer grows while reads fill it. A leader of a large fleet reads 100 KiB per request.
const MAX_BUFFER: usize = 128 * 1024;
/// Maximum number of bytes that are kept while the connection to the server is being made.
const MAX_EARLY: usize = 64 * 1024;
/// Pause after a connection could not be accepted, for example because of too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Relay for one client. See the [module documentation](self).
pub(super) struct Relay {
    servers: String,
    failure: watch::Receiver<Option<ConnectError>>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Opens a port for each server of the session.
    pub(super) async fn start(options: &SessionOptions) -> Result<Relay, ConnectError> {
        let failed = watch::Sender::new(None);
        let failure = failed.subscribe();
        let mut ports = Vec::new();
        let mut tasks = JoinSet::new();
        for server in options.servers.servers().split(',') {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
            let listener = listener.map_err(|error| ConnectError::Relay(error.to_string()))?;
            ports.push(
                listener.local_addr().map_err(|error| ConnectError::Relay(error.to_string()))?.to_string(),
            );
            let route = Route {
                server: server.to_owned(),
                max_response: options.max_response.unwrap_or(usize::MAX),
                timeout: options.timeout,
                #[cfg(feature = "tls")]
                tls: options.tls.clone(),
                failed: failed.clone(),
            };
            tasks.spawn(accept(listener, Arc::new(route)));
        }
        Ok(Relay { servers: ports.join(","), failure, _tasks: tasks })
    }

    /// Returns the connect string of the ports, in the order of the servers.
    pub(super) fn servers(&self) -> &str {
        &self.servers
    }

    /// Returns the newest reason why the relay closed a connection, and its changes. Servers that are not reachable, and
    /// connections that a server has closed, are not reported.
    pub(super) fn failure(&self) -> watch::Receiver<Option<ConnectError>> {
        self.failure.clone()
    }

    /// Drops the relay after `client` has ended.
    pub(super) fn serve_until_end_of(self, client: &zk::Client) {
        let mut states = client.state_watcher();
        tokio::spawn(async move {
            while !states.peek_state().is_terminated() {
                states.changed().await;
            }
            drop(self);
        });
    }
}

/// Way to one server.
struct Route {
    /// Host and port.
    server: String,
    max_response: usize,
    /// Requested session timeout.
    timeout: Duration,
    #[cfg(feature = "tls")]
    tls: Option<super::Tls>,
    failed: watch::Sender<Option<ConnectError>>,
}

async fn accept(listener: TcpListener, route: Arc<Route>) {
    let mut connections = JoinSet::new();
    let mut logged = false;
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    debug!(%error, "cannot accept a connection of the ZooKeeper client");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
        };
        match is_own_connection(&stream) {
            Ok(true) => {
                let route = Arc::clone(&route);
                connections.spawn(async move { route.serve(stream).await });
            }
            Ok(false) if std::mem::replace(&mut logged, true) => {}
            Ok(false) => {
                warn!(%peer, "refused a connection of another process to the port of the ZooKeeper client")
            }
            Err(error) => {
                route.failed.send_replace(Some(ConnectError::Relay(error.to_string())));
            }
        }
    }
}

impl Route {
    /// Serves one connection of the client library.
    async fn serve(&self, mut client: TcpStream) {
        // An optimization only.
        let _ = client.set_nodelay(true);
        let mut early = Vec::new();
        let stream = {
            let mut dial = pin!(tokio::time::timeout(self.timeout, self.dial()));
            loop {
                tokio::select! {
                    biased;
                    // If the client gives up, the server must not get its request any more: the server would take over
                    // the session from the server to which the client has connected since.
                    read = client.read_buf(&mut early), if early.len() < MAX_EARLY => match read {
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    },
                    stream = &mut dial => break stream,
                }
            }
        };
        let result = match stream {
            Ok(Ok(Some(Stream::Tcp(stream)))) => self.pass(&mut client, stream, &early).await,
            #[cfg(feature = "tls")]
            Ok(Ok(Some(Stream::Tls(stream)))) => self.pass(&mut client, *stream, &early).await,
            Ok(Err(error)) => Err(error),
            Ok(Ok(None)) | Err(_) => Ok(()),
        };
        // Before the client sees the end of its connection, and the session task asks for the reason.
        if let Err(error) = result {
            self.failed.send_replace(Some(error));
        }
        drop(client);
    }

    /// Connects to the server. Returns `None` if the server is not reachable.
    async fn dial(&self) -> Result<Option<Stream>, ConnectError> {
        let (host, port) = self.server.rsplit_once(':').unwrap_or((&self.server, ""));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port: u16 = port.parse().unwrap_or_default();
        let Ok(stream) = TcpStream::connect((host, port)).await else { return Ok(None) };
        let _ = stream.set_nodelay(true);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            let stream = tls.connect(host, stream).await;
            return stream
                .map(|stream| Some(Stream::Tls(Box::new(stream))))
                .map_err(|failure| self.tls_error(failure));
        }
        Ok(Some(Stream::Tcp(stream)))
    }

    #[cfg(feature = "tls")]
    fn tls_error(&self, failure: super::TlsFailure) -> ConnectError {
        ConnectError::Tls { server: self.server.clone(), failure }
    }

    /// Passes on both directions until either side ends the connection, or a response is not valid. `early` are the
    /// requests that the client has already sent.
    async fn pass(
        &self,
        client: &mut TcpStream,
        stream: impl AsyncRead + AsyncWrite,
        early: &[u8],
    ) -> Result<(), ConnectError> {
        let check = Mutex::new(ResponseCheck::new(self.max_response));
        let (from_server, mut to_server) = tokio::io::split(stream);
        let (from_client, to_client) = client.split();
        let requests = async {
            let sent = send_requests(from_client, &mut to_server, early, &check).await;
            if sent.is_err() {
                // The server may have sent the reason before it closed the connection.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            result = self.send_responses(from_server, to_client, &check) => result,
            () = requests => Ok(()),
        }
    }

    /// Passes on responses. Returns an error if one is not valid.
    async fn send_responses(
        &self,
        mut from_server: impl AsyncRead + Unpin,
        mut to_client: impl AsyncWrite + Unpin,
        check: &Mutex<ResponseCheck>,
    ) -> Result<(), ConnectError> {
        let mut buffer = vec![0; MIN_BUFFER];
        // A request is given up after the session timeout that the servers granted, usually the requested one.
        let max_duration = self.timeout.saturating_mul(2);
        let mut begun = None;
        loop {
            let read = match begun {
                None => from_server.read(&mut buffer).await,
                Some(begun) => {
                    let read =
                        tokio::time::timeout_at(begun + max_duration, from_server.read(&mut buffer)).await;
                    read.map_err(|_| self.bad_response(BadResponse::Incomplete(max_duration)))?
                }
            };
            let bytes = match read {
                Ok(0) => return Ok(()),
                Ok(length) => filled(&mut buffer, length),
                #[cfg(feature = "tls")]
                Err(error) => {
                    return super::tls::classify(&error)
                        .map_or(Ok(()), |failure| Err(self.tls_error(failure)));
                }
                #[cfg(not(feature = "tls"))]
                Err(_) => return Ok(()),
            };
            let is_inside = {
                let mut check = lock(check);
                check.on_responses(bytes).map_err(|problem| self.bad_response(problem))?;
                check.is_inside_response()
            };
            begun = is_inside.then(|| begun.unwrap_or_else(Instant::now));
            if to_client.write_all(bytes).await.is_err() {
                return Ok(());
            }
        }
    }

    fn bad_response(&self, problem: BadResponse) -> ConnectError {
        ConnectError::BadResponse { server: self.server.clone(), problem }
    }
}

/// Connection to a server.
enum Stream {
    Tcp(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Passes on requests until the client closes the connection. Returns an error if the server has closed it.
async fn send_requests(
    mut from_client: impl AsyncRead + Unpin,
    to_server: &mut (impl AsyncWrite + Unpin),
    early: &[u8],
    check: &Mutex<ResponseCheck>,
) -> io::Result<()> {
    let mut buffer = vec![0; MIN_BUFFER];
    let mut bytes = early;
    loop {
        lock(check).on_requests(bytes);
        to_server.write_all(bytes).await?;
        to_server.flush().await?;
        bytes = match from_client.read(&mut buffer).await {
            Ok(0) | Err(_) => return Ok(()),
            Ok(length) => filled(&mut buffer, length),
        };
    }
}

/// Returns the first `length` bytes of a buffer, and enlarges the buffer for the next read if they fill it.
fn filled(buffer: &mut Vec<u8>, length: usize) -> &[u8] {
    if length == buffer.len() && length < MAX_BUFFER {
        buffer.resize(2 * length, 0);
    }
    &buffer[..length]
}
