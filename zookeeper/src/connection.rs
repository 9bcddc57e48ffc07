//! Connection of one client: passes received [requests](super::frames) to the server's task and writes its output. Used
//! by [`server`](super::server), as one task per connection.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};

use super::LoggedOnce;
use super::core::{End, Incoming};
use super::frames::{Broken, RequestReader};
use super::sessions::ConnectionId;
use super::words;

/// Message from a connection to the server's task.
#[derive(Debug)]
pub(crate) enum Message {
    /// A client connected during this incarnation of the server; its output goes to the outbox.
    Opened { connection: ConnectionId, life: u64, address: SocketAddr, outbox: Arc<Outbox> },
    /// The client sent requests.
    Brought { connection: ConnectionId, incoming: Vec<Incoming> },
    /// The connection is closed.
    Closed { connection: ConnectionId },
    /// A client sent a four-letter word.
    Asked { word: &'static str, answer: oneshot::Sender<String> },
}

/// Number of unread output bytes above which nothing more is read from the client.
const UNREAD: usize = 4 << 20;
/// Number of unread output bytes above which the client is disconnected.
const UNREAD_LIMIT: usize = 512 << 20;

/// Pending output of a connection. The server's task fills it, the connection's task empties it.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: BytesMut,
    end: Option<End>,
}

impl Outbox {
    /// Appends output, and wakes the connection's task.
    pub(crate) fn put(&self, bytes: BytesMut, end: Option<End>) {
        let mut waiting = self.lock();
        if waiting.bytes.is_empty() {
            waiting.bytes = bytes;
        } else {
            waiting.bytes.extend_from_slice(&bytes);
        }
        waiting.end = waiting.end.or(end);
        drop(waiting);
        self.filled.notify_one();
    }

    fn take(&self) -> Waiting {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves one client until either side closes the connection.
pub(crate) async fn serve(
    mut stream: TcpStream,
    address: SocketAddr,
    connection: ConnectionId,
    life: u64,
    server: mpsc::Sender<Message>,
    logged: Arc<Mutex<LoggedOnce>>,
) {
    let mut reader = RequestReader::default();
    // An error here means that the client disconnected, which affects no other client.
    match begin(&mut stream, &mut reader).await {
        Ok(Start::Tls) => {
            const CAUSE: &str = "TLS connection: this server has no TLS";
            if logged.lock().unwrap_or_else(PoisonError::into_inner).is_first(address.ip(), CAUSE) {
                tracing::warn!(address = %address.ip(), "{CAUSE}");
            }
        }
        Ok(Start::Word(word)) => {
            let (answer, answered) = oneshot::channel();
            if server.send(Message::Asked { word, answer }).await.is_ok()
                && let Ok(text) = answered.await
            {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
        Ok(Start::Frame) => {
            let outbox = Arc::new(Outbox::default());
            let opened = Message::Opened { connection, life, address, outbox: outbox.clone() };
            if server.send(opened).await.is_ok() {
                let mut link = Link { connection, reader, outbox, unsent: BytesMut::new() };
                let _ = link.run(&mut stream, &server).await;
                let _ = server.send(Message::Closed { connection }).await;
            }
        }
        Err(_) => {}
    }
}

/// Type of a connection by its first bytes.
enum Start {
    /// A four-letter word.
    Word(&'static str),
    /// A TLS handshake: a record of type 22 and version 3.
    Tls,
    /// A frame of ZooKeeper's protocol.
    Frame,
}

/// Reads the first four bytes.
async fn begin(stream: &mut TcpStream, reader: &mut RequestReader) -> io::Result<Start> {
    loop {
        if let Some(start) = reader.start() {
            return Ok(match start {
                [0x16, 0x03, ..] => Start::Tls,
                _ => words::recognise(start).map_or(Start::Frame, Start::Word),
            });
        }
        if stream.read_buf(reader.room()).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A connection that uses ZooKeeper's protocol.
struct Link {
    connection: ConnectionId,
    reader: RequestReader,
    outbox: Arc<Outbox>,
    unsent: BytesMut,
}

impl Link {
    async fn run(&mut self, stream: &mut TcpStream, server: &mpsc::Sender<Message>) -> io::Result<()> {
        self.hand_over(server).await?;
        let mut ending = false;
        loop {
            tokio::select! {
                biased;
                () = self.outbox.filled.notified() => {
                    let Waiting { bytes, end } = self.outbox.take();
                    if end == Some(End::AtOnce) {
                        return Ok(());
                    }
                    ending |= end.is_some();
                    if self.unsent.is_empty() {
                        self.unsent = bytes;
                    } else {
                        self.unsent.extend_from_slice(&bytes);
                    }
                    self.write(stream)?;
                    if self.unsent.len() > UNREAD_LIMIT {
                        return Ok(());
                    }
                }
                ready = stream.writable(), if !self.unsent.is_empty() => {
                    ready?;
                    self.write(stream)?;
                }
                ready = stream.readable(), if !ending && self.unsent.len() < UNREAD => {
                    ready?;
                    match stream.try_read_buf(self.reader.room()) {
                        Ok(0) => return Ok(()),
                        Ok(_) => self.hand_over(server).await?,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            if ending && self.unsent.is_empty() {
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
    async fn hand_over(&mut self, server: &mpsc::Sender<Message>) -> io::Result<()> {
        let mut incoming = Vec::new();
        let broken = loop {
            match self.reader.next() {
                Ok(Some(request)) => incoming.push(request),
                Ok(None) => break false,
                Err(Broken) => break true,
            }
        };
        if !incoming.is_empty() {
            let brought = Message::Brought { connection: self.connection, incoming };
            server.send(brought).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        if broken { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
    }
}
