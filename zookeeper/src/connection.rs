//! Connection of one client: passes received [requests](super::frames) to the server's task and writes its output. Used
//! by [`server`](super::server), as one task per connection.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};

use super::frames::{InvalidInput, RequestReader};
use super::sessions::ConnectionId;
use super::state_machine::{Close, Incoming};
use super::{LoggedOnce, four_letter};

/// Message from a connection to the server's task.
#[derive(Debug)]
pub(crate) enum Message {
    /// A client connected during this incarnation of the server; its output goes to the buffer.
    Connected { connection: ConnectionId, incarnation: u64, address: SocketAddr, output: Arc<OutputBuffer> },
    /// The client sent requests.
    Received { connection: ConnectionId, incoming: Vec<Incoming> },
    /// The connection is closed.
    Disconnected { connection: ConnectionId },
    /// A client sent a four-letter word.
    FourLetterWord { word: &'static str, reply: oneshot::Sender<String> },
}

/// Number of unsent bytes above which nothing more is read from the client.
const MAX_UNSENT_TO_READ: usize = 4 << 20;
/// Number of unsent bytes above which the client is disconnected.
const MAX_UNSENT: usize = 512 << 20;

/// Pending output of a connection. The server's task fills it, the connection's task empties it.
#[derive(Debug, Default)]
pub(crate) struct OutputBuffer {
    pending: Mutex<PendingOutput>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct PendingOutput {
    bytes: BytesMut,
    close: Option<Close>,
}

impl OutputBuffer {
    /// Appends output, and wakes the connection's task.
    pub(crate) fn append(&self, bytes: BytesMut, close: Option<Close>) {
        let mut pending = self.lock();
        if pending.bytes.is_empty() {
            pending.bytes = bytes;
        } else {
            pending.bytes.extend_from_slice(&bytes);
        }
        pending.close = pending.close.or(close);
        drop(pending);
        self.filled.notify_one();
    }

    fn take(&self) -> PendingOutput {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, PendingOutput> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves one client until either side closes the connection.
pub(crate) async fn serve(
    mut stream: TcpStream,
    address: SocketAddr,
    connection: ConnectionId,
    incarnation: u64,
    server: mpsc::Sender<Message>,
    logged: Arc<Mutex<LoggedOnce>>,
) {
    let mut reader = RequestReader::default();
    // An error here means that the client disconnected, which affects no other client.
    match read_protocol(&mut stream, &mut reader).await {
        Ok(Protocol::Tls) => {
            const CAUSE: &str = "TLS connection: this server has no TLS";
            if logged.lock().unwrap_or_else(PoisonError::into_inner).is_first(address.ip(), CAUSE) {
                tracing::warn!(address = %address.ip(), "{CAUSE}");
            }
        }
        Ok(Protocol::FourLetterWord(word)) => {
            let (reply, replied) = oneshot::channel();
            if server.send(Message::FourLetterWord { word, reply }).await.is_ok()
                && let Ok(text) = replied.await
            {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
        Ok(Protocol::ZooKeeper) => {
            let output = Arc::new(OutputBuffer::default());
            let connected = Message::Connected { connection, incarnation, address, output: output.clone() };
            if server.send(connected).await.is_ok() {
                let mut client = Client { connection, reader, output, unsent: BytesMut::new() };
                let _ = client.run(&mut stream, &server).await;
                let _ = server.send(Message::Disconnected { connection }).await;
            }
        }
        Err(_) => {}
    }
}

/// Protocol of a connection, recognised by its first bytes.
enum Protocol {
    /// A four-letter word.
    FourLetterWord(&'static str),
    /// A TLS handshake: a record of type 22 and version 3.
    Tls,
    /// ZooKeeper's protocol.
    ZooKeeper,
}

/// Reads the first four bytes.
async fn read_protocol(stream: &mut TcpStream, reader: &mut RequestReader) -> io::Result<Protocol> {
    loop {
        if let Some(start) = reader.start() {
            return Ok(match start {
                [0x16, 0x03, ..] => Protocol::Tls,
                _ => four_letter::recognise(start).map_or(Protocol::ZooKeeper, Protocol::FourLetterWord),
            });
        }
        if stream.read_buf(reader.buffer()).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Connection of a client that uses ZooKeeper's protocol.
struct Client {
    connection: ConnectionId,
    reader: RequestReader,
    output: Arc<OutputBuffer>,
    unsent: BytesMut,
}

impl Client {
    async fn run(&mut self, stream: &mut TcpStream, server: &mpsc::Sender<Message>) -> io::Result<()> {
        self.forward_requests(server).await?;
        let mut closing = false;
        loop {
            tokio::select! {
                biased;
                () = self.output.filled.notified() => {
                    let PendingOutput { bytes, close } = self.output.take();
                    if close == Some(Close::Immediately) {
                        return Ok(());
                    }
                    closing |= close.is_some();
                    if self.unsent.is_empty() {
                        self.unsent = bytes;
                    } else {
                        self.unsent.extend_from_slice(&bytes);
                    }
                    self.write(stream)?;
                    if self.unsent.len() > MAX_UNSENT {
                        return Ok(());
                    }
                }
                ready = stream.writable(), if !self.unsent.is_empty() => {
                    ready?;
                    self.write(stream)?;
                }
                ready = stream.readable(), if !closing && self.unsent.len() < MAX_UNSENT_TO_READ => {
                    ready?;
                    match stream.try_read_buf(self.reader.buffer()) {
                        Ok(0) => return Ok(()),
                        Ok(_) => self.forward_requests(server).await?,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.reader.release(),
                        Err(error) => return Err(error),
                    }
                }
            }
            if closing && self.unsent.is_empty() {
                return stream.shutdown().await;
            }
        }
    }

    /// Writes as much as the kernel accepts.
    fn write(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match stream.try_write(&self.unsent) {
                Ok(written) => self.unsent.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.unsent = BytesMut::new();
        Ok(())
    }

    /// Passes all complete frames to the server's task.
    async fn forward_requests(&mut self, server: &mpsc::Sender<Message>) -> io::Result<()> {
        let mut incoming = Vec::new();
        let invalid = loop {
            match self.reader.next() {
                Ok(Some(request)) => incoming.push(request),
                Ok(None) => break false,
                Err(InvalidInput) => break true,
            }
        };
        if !incoming.is_empty() {
            let received = Message::Received { connection: self.connection, incoming };
            server.send(received).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        if invalid { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
    }
}
