//! One client's connection: cuts what arrives into frames, hands the requests to the server's task, writes what that
//! has to tell. Used by [`server`](super::server), as one task for each connection.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};

use super::core::{End, Incoming};
use super::jute::Reader;
use super::protocol::{ConnectRequest, MAX_FRAME, Operation, Request, decode_all, header};
use super::sessions::ConnectionId;
use super::words;

/// What a connection tells the server's task.
#[derive(Debug)]
pub(crate) enum Message {
    /// A client is there, since this life of the server; the outbox is how it is told something.
    Opened { connection: ConnectionId, life: u64, address: SocketAddr, outbox: Arc<Outbox> },
    /// It brought requests.
    Brought { connection: ConnectionId, incoming: Vec<Incoming> },
    /// It is gone.
    Closed { connection: ConnectionId },
    /// Somebody asks a four-letter word.
    Asked { word: &'static str, answer: oneshot::Sender<String> },
}

/// A client that is told more than this and does not read it is not listened to.
const UNREAD: usize = 4 << 20;
/// A client that is told more than this and does not read it is disconnected.
const UNREAD_LIMIT: usize = 512 << 20;
/// How much is read at once.
const CHUNK: usize = 8 << 10;

/// What a connection is still to be told. The server's task fills it, the connection's task empties it.
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
    /// Appends, and wakes the connection.
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

/// Cuts a stream into frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    buffer: BytesMut,
}

/// A frame is longer than any may be, or its length is negative.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadLength;

impl Frames {
    /// The next whole frame, without its length.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, BadLength> {
        let Some(length) = self.buffer.first_chunk().copied().map(i32::from_be_bytes) else {
            return Ok(None);
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= MAX_FRAME).ok_or(BadLength)?;
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Where the next bytes go. An idle connection keeps no room.
    fn room(&mut self) -> &mut BytesMut {
        self.buffer.reserve(CHUNK);
        &mut self.buffer
    }

    fn settle(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }
}

/// Serves one client until either side ends it.
pub(crate) async fn serve(
    mut stream: TcpStream,
    address: SocketAddr,
    connection: ConnectionId,
    life: u64,
    server: mpsc::Sender<Message>,
) {
    let mut frames = Frames::default();
    // An error here is a client that went, and nobody else's concern.
    match begin(&mut stream, &mut frames).await {
        Ok(Some(word)) => {
            let (answer, answered) = oneshot::channel();
            if server.send(Message::Asked { word, answer }).await.is_ok()
                && let Ok(text) = answered.await
            {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
        Ok(None) => {
            let outbox = Arc::new(Outbox::default());
            let opened = Message::Opened { connection, life, address, outbox: outbox.clone() };
            if server.send(opened).await.is_ok() {
                let mut link = Link { connection, frames, connected: false, outbox, unsent: BytesMut::new() };
                let _ = link.run(&mut stream, &server).await;
                let _ = server.send(Message::Closed { connection }).await;
            }
        }
        Err(_) => {}
    }
}

/// Reads the first four bytes, which may be a word.
async fn begin(stream: &mut TcpStream, frames: &mut Frames) -> io::Result<Option<&'static str>> {
    loop {
        if let Some(start) = frames.buffer.first_chunk() {
            return Ok(words::recognise(*start));
        }
        if stream.read_buf(frames.room()).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A connection that speaks the protocol.
struct Link {
    connection: ConnectionId,
    frames: Frames,
    /// Whether the first frame was read, which is unlike the others.
    connected: bool,
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
                    match stream.try_read_buf(self.frames.room()) {
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

    /// Writes as much as the kernel takes.
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

    /// Hands all whole frames to the server's task.
    async fn hand_over(&mut self, server: &mpsc::Sender<Message>) -> io::Result<()> {
        let mut incoming = Vec::new();
        let broken = loop {
            match self.frames.next() {
                Ok(Some(frame)) => match self.decode(frame) {
                    Some(decoded) => incoming.push(decoded),
                    None => break true,
                },
                Ok(None) => break false,
                Err(BadLength) => break true,
            }
        };
        self.frames.settle();
        if !incoming.is_empty() {
            let brought = Message::Brought { connection: self.connection, incoming };
            server.send(brought).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
        }
        if broken { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
    }

    /// `None` for a frame that is not even a request.
    fn decode(&mut self, frame: Bytes) -> Option<Incoming> {
        if !std::mem::replace(&mut self.connected, true) {
            return ConnectRequest::decode(frame).ok().map(Incoming::Connect);
        }
        let mut reader = Reader::new(frame);
        let (xid, number) = header(&mut reader).ok()?;
        let operation = Operation::from_number(number);
        let request = match operation {
            Some(operation) => Request::decode(operation, reader),
            None => Err(super::error::Code::Unimplemented),
        };
        Some(Incoming::Request { xid, operation, request })
    }
}

/// Reads bytes as a client's stream and as its frames, for fuzzing: nothing but a return is expected.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let mut frames = Frames::default();
    for piece in bytes.chunks(7) {
        frames.room().extend_from_slice(piece);
        while let Ok(Some(frame)) = frames.next() {
            decode_all(frame);
        }
        frames.settle();
    }
    decode_all(Bytes::copy_from_slice(bytes));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn arbitrary_streams_never_panic(bytes: Vec<u8>) {
            fuzz(&bytes);
        }

        #[test]
        fn frames_are_found_however_they_are_cut(
            whole in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..10),
            piece in 1..400_usize,
        ) {
            let mut stream = Vec::new();
            for frame in &whole {
                stream.extend(u32::try_from(frame.len()).unwrap().to_be_bytes());
                stream.extend(frame);
            }
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for piece in stream.chunks(piece) {
                frames.room().extend_from_slice(piece);
                while let Some(frame) = frames.next().unwrap() {
                    found.push(frame.to_vec());
                }
                frames.settle();
            }
            prop_assert_eq!(found, whole);
        }
    }

    #[test]
    fn frames_longer_than_a_mebibyte_less_one_are_refused() {
        for (length, refused) in [(0xf_ffff, false), (0x10_0000, true), (i32::MAX, true), (-1, true)] {
            let mut frames = Frames::default();
            frames.room().extend_from_slice(&length.to_be_bytes());
            assert_eq!(frames.next().is_err(), refused, "{length}");
        }
    }
}
