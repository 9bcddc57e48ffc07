//! The minimal subset of ZooKeeper's protocol that the load needs: frames are encoded once and renumbered, replies are
//! parsed only up to their error.

use std::io;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const CREATE: i32 = 1;
pub(crate) const GET_DATA: i32 = 4;
pub(crate) const SET_DATA: i32 = 5;
pub(crate) const ADD_WATCH: i32 = 106;
pub(crate) const CLOSE: i32 = -11;

/// Number of a watch event.
pub(crate) const EVENT: i32 = -1;
const NODE_EXISTS: i32 = -110;

/// Milliseconds. Longer than any measurement, which sends no pings.
const SESSION_TIMEOUT: i32 = 40_000;
/// Minimum space for one read.
const CHUNK: usize = 64 << 10;
/// Data of all znodes.
const DATA: [u8; 100] = [b'x'; 100];

/// Encoded request, to be sent many times.
#[derive(Clone)]
pub(crate) struct Template(Vec<u8>);

impl Template {
    fn new(operation: i32, body: &[&[u8]]) -> Self {
        let body = body.concat();
        let length = i32::try_from(body.len() + 8).unwrap_or(i32::MAX);
        Self([&length.to_be_bytes(), &[0; 4], &operation.to_be_bytes(), &body[..]].concat())
    }

    pub(crate) fn get(path: &str, watch: bool) -> Self {
        Self::new(GET_DATA, &[&buffer(path.as_bytes()), &[u8::from(watch)]])
    }

    pub(crate) fn set(path: &str) -> Self {
        Self::new(SET_DATA, &[&buffer(path.as_bytes()), &buffer(&DATA), &(-1_i32).to_be_bytes()])
    }

    /// Creates a request for a persistent watch.
    pub(crate) fn watch(path: &str) -> Self {
        Self::new(ADD_WATCH, &[&buffer(path.as_bytes()), &0_i32.to_be_bytes()])
    }

    fn create(path: &str) -> Self {
        let everything = 31_i32.to_be_bytes();
        let acl = [&1_i32.to_be_bytes()[..], &everything, &buffer(b"world"), &buffer(b"anyone")].concat();
        Self::new(CREATE, &[&buffer(path.as_bytes()), &buffer(&DATA), &acl, &0_i32.to_be_bytes()])
    }

    fn close() -> Self {
        Self::new(CLOSE, &[])
    }
}

fn buffer(bytes: &[u8]) -> Vec<u8> {
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

/// A connection with a session.
pub(crate) struct Connection {
    stream: TcpStream,
    received: BytesMut,
    unsent: Vec<u8>,
    latest: i32,
}

impl Connection {
    pub(crate) async fn open(server: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, received: BytesMut::new(), unsent: Vec::new(), latest: 0 };
        let hello = [&[0; 12][..], &SESSION_TIMEOUT.to_be_bytes(), &[0; 8], &buffer(&[0; 16]), &[0]].concat();
        connection.unsent = buffer(&hello);
        connection.send().await?;
        while take(&mut connection.received)?.is_none() {
            connection.receive().await?;
        }
        Ok(connection)
    }

    /// Creates a znode if it does not exist.
    pub(crate) async fn make(&mut self, path: &str) -> io::Result<()> {
        match self.call(&Template::create(path)).await? {
            0 | NODE_EXISTS => Ok(()),
            error => Err(refused(error)),
        }
    }

    /// Adds a request to the send buffer.
    pub(crate) fn queue(&mut self, request: &Template) {
        self.latest = self.latest.wrapping_add(1) & i32::MAX;
        let at = self.unsent.len();
        self.unsent.extend_from_slice(&request.0);
        self.unsent[at + 4..at + 8].copy_from_slice(&self.latest.to_be_bytes());
    }

    /// Sends the buffered requests.
    pub(crate) async fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.unsent).await?;
        self.unsent.clear();
        Ok(())
    }

    /// Waits for more data from the server.
    pub(crate) async fn receive(&mut self) -> io::Result<()> {
        self.received.reserve(CHUNK);
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Returns the number of the next reply, or [`EVENT`], if it has already arrived.
    pub(crate) fn next(&mut self) -> io::Result<Option<i32>> {
        match take(&mut self.received)? {
            None => Ok(None),
            Some((number, 0)) => Ok(Some(number)),
            Some((EVENT, _)) => Ok(Some(EVENT)),
            Some((_, error)) => Err(refused(error)),
        }
    }

    /// Sends a request and returns the error in its reply; earlier frames are discarded.
    async fn call(&mut self, request: &Template) -> io::Result<i32> {
        self.queue(request);
        self.send().await?;
        loop {
            match take(&mut self.received)? {
                Some((number, error)) if number == self.latest => return Ok(error),
                Some(_) => {}
                None => self.receive().await?,
            }
        }
    }

    /// Sends a request and waits for its reply; earlier frames are discarded.
    pub(crate) async fn ask(&mut self, request: &Template) -> io::Result<()> {
        match self.call(request).await? {
            0 => Ok(()),
            error => Err(refused(error)),
        }
    }

    /// Ends the session.
    pub(crate) async fn close(mut self) -> io::Result<()> {
        self.call(&Template::close()).await.map(drop)
    }
}

/// Returns number and error of the next frame; in the first frame of a connection these fields have another meaning.
fn take(received: &mut BytesMut) -> io::Result<Option<(i32, i32)>> {
    let Some(length) = received.first_chunk().map(|length| u32::from_be_bytes(*length) as usize) else {
        return Ok(None);
    };
    if received.len() < 4 + length {
        return Ok(None);
    }
    let mut frame = received.split_to(4 + length);
    frame.advance(4);
    // Number, transaction, error.
    if frame.len() < 16 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let number = frame.get_i32();
    frame.advance(8);
    Ok(Some((number, frame.get_i32())))
}

fn refused(error: i32) -> io::Error {
    io::Error::other(format!("the server answers with error {error}"))
}
