//! A client without automatic behaviour: the test controls what it sends, and sees everything that it receives, in
//! order.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::wire::{self, Body, Fields, Stat};

/// Maximum time that a server may take on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Numbers of the operations.
pub(crate) mod op {
    pub(crate) const CREATE: i32 = 1;
    pub(crate) const DELETE: i32 = 2;
    pub(crate) const EXISTS: i32 = 3;
    pub(crate) const GET_DATA: i32 = 4;
    pub(crate) const SET_DATA: i32 = 5;
    pub(crate) const GET_ACL: i32 = 6;
    pub(crate) const SET_ACL: i32 = 7;
    pub(crate) const GET_CHILDREN: i32 = 8;
    pub(crate) const SYNC: i32 = 9;
    pub(crate) const PING: i32 = 11;
    pub(crate) const GET_CHILDREN2: i32 = 12;
    pub(crate) const CHECK: i32 = 13;
    pub(crate) const MULTI: i32 = 14;
    pub(crate) const CREATE2: i32 = 15;
    pub(crate) const RECONFIG: i32 = 16;
    pub(crate) const CHECK_WATCHES: i32 = 17;
    pub(crate) const REMOVE_WATCHES: i32 = 18;
    pub(crate) const CREATE_CONTAINER: i32 = 19;
    pub(crate) const CREATE_TTL: i32 = 21;
    pub(crate) const MULTI_READ: i32 = 22;
    pub(crate) const AUTH: i32 = 100;
    pub(crate) const SET_WATCHES: i32 = 101;
    pub(crate) const GET_EPHEMERALS: i32 = 103;
    pub(crate) const GET_ALL_CHILDREN_NUMBER: i32 = 104;
    pub(crate) const SET_WATCHES2: i32 = 105;
    pub(crate) const ADD_WATCH: i32 = 106;
    pub(crate) const WHO_AM_I: i32 = 107;
    pub(crate) const CLOSE_SESSION: i32 = -11;
}

/// Output of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    Event { kind: i32, state: i32, path: String },
    Reply { xid: i32, zxid: i64, error: i32, body: Vec<u8> },
    Closed,
}

/// The first frame of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) last_zxid: i64,
    pub(crate) timeout: i32,
    pub(crate) session: i64,
    pub(crate) password: Vec<u8>,
    /// Not sent by clients before 3.4.
    pub(crate) read_only: Option<bool>,
}

impl Default for Hello {
    fn default() -> Self {
        Self { last_zxid: 0, timeout: 10_000, session: 0, password: vec![0; 16], read_only: Some(false) }
    }
}

/// A connection.
pub(crate) struct Raw {
    stream: TcpStream,
    xid: i32,
    pub(crate) timeout: i32,
    pub(crate) session: i64,
    pub(crate) password: Vec<u8>,
    /// Data after the known fields in the answer to the first frame.
    pub(crate) rest: Vec<u8>,
}

impl Raw {
    /// Connects with a new session of 10 s.
    pub(crate) fn connect(hosts: &str) -> Self {
        Self::hello(hosts, &Hello::default()).expect("the server lets a new client in")
    }

    /// Connects with a given first frame; returns `None` if the server closes the connection without an answer.
    pub(crate) fn hello(hosts: &str, hello: &Hello) -> Option<Self> {
        let mut raw = Self::open(hosts);
        let mut body = Body::new().int(0).long(hello.last_zxid).int(hello.timeout).long(hello.session);
        body = body.bytes(&hello.password);
        if let Some(read_only) = hello.read_only {
            body = body.bool(read_only);
        }
        raw.frame(&body.0);
        let answer = raw.receive()?;
        let mut fields = Fields(&answer);
        assert_eq!(fields.int(), 0, "the protocol's version");
        raw.timeout = fields.int();
        raw.session = fields.long();
        raw.password = fields.bytes().unwrap();
        raw.rest = fields.0.to_vec();
        Some(raw)
    }

    /// Opens a connection without sending the first frame.
    pub(crate) fn open(hosts: &str) -> Self {
        let stream = TcpStream::connect(hosts).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self { stream, xid: 0, timeout: 0, session: 0, password: Vec::new(), rest: Vec::new() }
    }

    /// Returns the first frame that reattaches to this session.
    pub(crate) fn reconnect(&self) -> Hello {
        Hello { session: self.session, password: self.password.clone(), ..Hello::default() }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        // The server may have closed the connection already; a later read detects this.
        let _ = self.stream.write_all(bytes);
    }

    pub(crate) fn frame(&mut self, body: &[u8]) {
        let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        frame.extend(body);
        self.bytes(&frame);
    }

    /// Sends a request; returns its number.
    pub(crate) fn send(&mut self, operation: i32, body: &Body) -> i32 {
        self.xid += 1;
        let xid = match operation {
            op::PING => -2,
            op::AUTH => -4,
            op::SET_WATCHES | op::SET_WATCHES2 => -8,
            _ => self.xid,
        };
        self.frame(&Body::new().int(xid).int(operation).with(body.clone()).0);
        xid
    }

    /// Reads the next frame, without its length; returns `None` if the connection is closed.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        let mut read = |buffer: &mut [u8]| match self.stream.read_exact(buffer) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("no answer within {TIMEOUT:?}")
            }
            Err(_) => false,
        };
        if !read(&mut length) {
            return None;
        }
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        read(&mut frame).then_some(frame)
    }

    /// Returns the next output of the server.
    pub(crate) fn next(&mut self) -> Packet {
        let Some(frame) = self.receive() else { return Packet::Closed };
        let mut fields = Fields(&frame);
        let (xid, zxid, error) = (fields.int(), fields.long(), fields.int());
        if xid == -1 {
            return Packet::Event { kind: fields.int(), state: fields.int(), path: fields.string() };
        }
        Packet::Reply { xid, zxid, error, body: fields.0.to_vec() }
    }

    /// Returns true if unread data has arrived.
    pub(crate) fn has_unread_data(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        match peeked {
            Ok(_) => true,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Sends a request and waits for its reply; returns the earlier packets, and the reply or its error.
    pub(crate) fn exchange(&mut self, operation: i32, body: &Body) -> (Vec<Packet>, Result<Vec<u8>, i32>) {
        let sent = self.send(operation, body);
        let mut before = Vec::new();
        loop {
            match self.next() {
                Packet::Reply { xid, error, body, .. } if xid == sent => {
                    let reply = if error == 0 { Ok(body) } else { Err(error) };
                    return (before, reply);
                }
                Packet::Closed => panic!("the server closed the connection on operation {operation}"),
                packet => before.push(packet),
            }
        }
    }

    /// Returns the reply alone; fails if another packet precedes it.
    #[track_caller]
    pub(crate) fn call(&mut self, operation: i32, body: &Body) -> Result<Vec<u8>, i32> {
        let (before, reply) = self.exchange(operation, body);
        assert_eq!(before, [], "before the reply to operation {operation}");
        reply
    }

    /// Returns all packets that have arrived.
    pub(crate) fn received(&mut self) -> Vec<Packet> {
        self.exchange(op::PING, &Body::new()).0
    }

    /// Creates a znode with `Stat`; returns its path.
    #[track_caller]
    pub(crate) fn create(&mut self, path: &str, data: &[u8], flags: i32) -> Result<String, i32> {
        let body = self.call(op::CREATE2, &wire::create(path, data, &wire::open(), flags))?;
        Ok(Fields(&body).string())
    }

    #[track_caller]
    pub(crate) fn delete(&mut self, path: &str) -> Result<(), i32> {
        self.call(op::DELETE, &Body::new().string(path).int(-1)).map(drop)
    }

    #[track_caller]
    pub(crate) fn set(&mut self, path: &str, data: &[u8]) -> Result<Stat, i32> {
        let body = self.call(op::SET_DATA, &Body::new().string(path).bytes(data).int(-1))?;
        Ok(Fields(&body).stat())
    }

    #[track_caller]
    pub(crate) fn exists(&mut self, path: &str, watch: bool) -> Result<Stat, i32> {
        let body = self.call(op::EXISTS, &Body::new().string(path).bool(watch))?;
        Ok(Fields(&body).stat())
    }

    #[track_caller]
    pub(crate) fn get(&mut self, path: &str, watch: bool) -> Result<(Vec<u8>, Stat), i32> {
        let body = self.call(op::GET_DATA, &Body::new().string(path).bool(watch))?;
        let mut fields = Fields(&body);
        Ok((fields.bytes().unwrap_or_default(), fields.stat()))
    }

    #[track_caller]
    pub(crate) fn children(&mut self, path: &str, watch: bool) -> Result<Vec<String>, i32> {
        let body = self.call(op::GET_CHILDREN, &Body::new().string(path).bool(watch))?;
        Ok(Fields(&body).names())
    }

    /// Ends the session, and waits until the server has closed the connection.
    pub(crate) fn close(mut self) {
        let _ = self.exchange(op::CLOSE_SESSION, &Body::new());
        assert_eq!(self.next(), Packet::Closed);
    }
}
