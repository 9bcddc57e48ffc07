//! A network between a client and a ZooKeeper server, with the faults of a real one.
//!
//! The proxy implements the part of ZooKeeper's protocol that it needs to lose one particular request or reply: frames
//! with a length prefix of four bytes; the first frame in each direction opens the session; every later request starts
//! with its xid and its op code, every later reply with the xid of its request.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::zk_request;

/// Maximum length of a frame: ZooKeeper refuses more than 1 MiB. A four-letter word looks like a frame of 1.6 GiB.
const LONGEST_FRAME: usize = 64 << 20;
const PING: i32 = 11;

/// A TCP proxy on loopback. Dropping it cuts every connection.
///
/// A fault that is switched on applies to every current and future connection, from the next frame on. A new proxy only
/// forwards data.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    refusing: bool,
    frozen: bool,
    swallowing: bool,
    over: bool,
    armed: Option<Fault>,
    /// Requests with this op code receive no reply.
    mute: Option<i32>,
    /// Requests since recording began; `None` if they are not recorded.
    recorded: Option<Vec<String>>,
    accepted: u64,
    /// Open connections, by number. A thread whose connection is no longer in this map ends.
    connections: BTreeMap<u64, Connection>,
}

struct Connection {
    client: TcpStream,
    /// `None` during the freeze in which the connection was opened.
    server: Option<TcpStream>,
    /// Request whose reply must not arrive: the connection is closed instead.
    fatal: Option<i32>,
    /// Requests whose replies are dropped.
    muted: BTreeSet<i32>,
}

/// Fault of the next request with this op code.
#[derive(Clone, Copy, Debug)]
struct Fault {
    op_code: i32,
    /// True if the request is forwarded to the server.
    forwarded: bool,
}

impl Proxy {
    /// Creates a proxy for the server that listens, or will listen, on `port` of loopback.
    #[track_caller]
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen on loopback");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            upstream: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let served = Arc::clone(&shared);
        let acceptor = start("proxy", move || accept(&listener, &served));
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Returns `host:port` of the proxy, for clients.
    pub fn connect_string(&self) -> String {
        self.address.to_string()
    }

    pub fn connections(&self) -> usize {
        self.shared.state.lock().connections.len()
    }

    /// Closes all current connections; new ones are accepted.
    pub fn cut(&self) {
        self.shared.change(|state| {
            for (_, connection) in std::mem::take(&mut state.connections) {
                connection.close();
            }
        });
    }

    /// Sets whether new connections are closed at once. Current ones stay.
    pub fn refuse(&self, on: bool) {
        self.shared.change(|state| state.refusing = on);
    }

    /// Freezes the proxy, or thaws it. During a freeze connections stay open, and all data is held, in both directions;
    /// it is forwarded at the thaw. A connection that is opened during a freeze appears to be established, and reaches
    /// the server at the thaw, if the client has not closed it by then.
    pub fn freeze(&self, on: bool) {
        self.shared.change(|state| state.frozen = on);
    }

    /// Sets whether replies and watch events are dropped while requests are forwarded.
    pub fn swallow_replies(&self, on: bool) {
        self.shared.change(|state| state.swallowing = on);
    }

    /// Drops the replies to requests with this op code, and to no others; `None` for none. A server that has lost its
    /// ensemble without noticing it looks like this to a client: it answers pings, but no `sync` (9).
    pub fn mute(&self, op_code: Option<i32>) {
        self.shared.change(|state| state.mute = op_code);
    }

    /// Forwards the next request with this op code, drops its reply, and closes the connection. Happens once.
    pub fn cut_after_request(&self, op_code: i32) {
        self.shared.change(|state| state.armed = Some(Fault { op_code, forwarded: true }));
    }

    /// Drops the next request with this op code, and closes the connection. Happens once.
    pub fn cut_before_request(&self, op_code: i32) {
        self.shared.change(|state| state.armed = Some(Fault { op_code, forwarded: false }));
    }

    /// Records all requests from now on, except pings and those that open a session.
    pub fn record_requests(&self) {
        self.shared.change(|state| state.recorded = Some(Vec::new()));
    }

    /// Returns the recorded requests as text, for example `set /a` or `multi [check /a, create /b/c]`.
    pub fn recorded_requests(&self) -> Vec<String> {
        self.shared.state.lock().recorded.clone().unwrap_or_default()
    }

    /// Returns true if the request for which [`cut_after_request`](Self::cut_after_request) or
    /// [`cut_before_request`](Self::cut_before_request) waits has not arrived yet.
    pub fn is_armed(&self) -> bool {
        self.shared.state.lock().armed.is_some()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.change(|state| state.over = true);
        self.cut();
        // Wakes the acceptor. If that fails, it ends with the process.
        if TcpStream::connect(self.address).is_ok()
            && let Some(acceptor) = self.acceptor.take()
        {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn change(&self, how: impl FnOnce(&mut State)) {
        how(&mut self.state.lock());
        self.changed.notify_all();
    }

    /// Waits during a freeze. Returns `None` if connection `id` is closed.
    fn thawed(&self, id: u64) -> Option<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, |state| state.frozen && state.connections.contains_key(&id));
        state.connections.contains_key(&id).then_some(state)
    }
}

impl State {
    fn close(&mut self, id: u64) {
        if let Some(connection) = self.connections.remove(&id) {
            connection.close();
        }
    }
}

impl Connection {
    fn close(&self) {
        for stream in [Some(&self.client), self.server.as_ref()].into_iter().flatten() {
            // An error means that the other side has closed it already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().name(name.into()).spawn(work).expect("start a thread of the proxy")
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let mut state = shared.state.lock();
        if state.over {
            return;
        }
        // A connection that was closed before it was accepted, or that is refused, is closed by dropping it.
        let Ok(client) = client else { continue };
        if state.refusing {
            continue;
        }
        let Ok(kept) = client.try_clone() else { continue };
        state.accepted += 1;
        let id = state.accepted;
        state
            .connections
            .insert(id, Connection { client: kept, server: None, fatal: None, muted: BTreeSet::new() });
        drop(state);
        let shared = Arc::clone(shared);
        start("proxy connection", move || {
            if serve(&shared, id, client).is_err() {
                shared.change(|state| state.close(id));
            }
        });
    }
}

/// Connects to the server. Forwards requests on this thread, and replies on another one.
fn serve(shared: &Arc<Shared>, id: u64, mut client: TcpStream) -> io::Result<()> {
    drop(shared.thawed(id));
    let Some(said) = said_and_still_there(&mut client)? else {
        shared.change(|state| state.close(id));
        return Ok(());
    };
    let mut server = TcpStream::connect(shared.upstream)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_server, to_client) = (server.try_clone()?, client.try_clone()?);
    match shared.state.lock().connections.get_mut(&id) {
        Some(connection) => connection.server = Some(server.try_clone()?),
        None => return Ok(()),
    }
    let other = Arc::clone(shared);
    start("proxy replies", move || {
        // A failure, like the server's end, closes the connection.
        let _ = pass_replies(&other, id, from_server, to_client);
        other.change(|state| state.close(id));
    });
    pass_requests(shared, id, io::Cursor::new(said).chain(client), &mut server)?;
    // The client has closed: the server is notified after all data was forwarded.
    server.shutdown(Shutdown::Write)
}

/// Returns the data that the client has sent so far; `None` if it has disconnected.
fn said_and_still_there(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut said = Vec::new();
    client.set_nonblocking(true)?;
    let gone = match client.read_to_end(&mut said) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    };
    client.set_nonblocking(false)?;
    Ok((!gone).then_some(said))
}

fn pass_requests(shared: &Shared, id: u64, mut client: impl Read, server: &mut TcpStream) -> io::Result<()> {
    let mut first = true;
    while let Some(frame) = Frame::read(&mut client)? {
        let Some(mut state) = shared.thawed(id) else { return Ok(()) };
        // The first frame opens the session: it has no op code at this position.
        if let Some((xid, op_code)) = frame.int(0).zip(frame.int(4)).filter(|_| !first) {
            if let Some(recorded) = state.recorded.as_mut().filter(|_| op_code != PING) {
                recorded.push(zk_request::describe(&frame.0[4..]));
            }
            let fault = state.armed.take_if(|fault| fault.op_code == op_code);
            let mute = state.mute == Some(op_code);
            if fault.is_some_and(|fault| !fault.forwarded) {
                state.close(id);
                return Ok(());
            }
            if let Some(connection) = state.connections.get_mut(&id) {
                connection.fatal = connection.fatal.or(fault.map(|_| xid));
                if mute {
                    connection.muted.insert(xid);
                }
            }
        }
        drop(state);
        server.write_all(&frame.0)?;
        first = false;
    }
    Ok(())
}

fn pass_replies(shared: &Shared, id: u64, mut server: TcpStream, mut client: TcpStream) -> io::Result<()> {
    let mut first = true;
    while let Some(frame) = Frame::read(&mut server)? {
        let Some(mut state) = shared.thawed(id) else { return Ok(()) };
        let mut passes = !state.swallowing;
        if let (false, Some(xid), Some(connection)) = (first, frame.int(0), state.connections.get_mut(&id)) {
            if connection.fatal == Some(xid) {
                state.close(id);
                return Ok(());
            }
            passes &= !connection.muted.remove(&xid);
        }
        drop(state);
        first = false;
        if passes {
            client.write_all(&frame.0)?;
        }
    }
    Ok(())
}

/// A length prefix and that number of bytes. Four-letter words are not frames: send them to the server itself.
struct Frame(Vec<u8>);

impl Frame {
    /// Reads a frame. Returns `None` at the end of the stream, even within a frame.
    fn read(source: &mut impl Read) -> io::Result<Option<Frame>> {
        let mut bytes = vec![0; 4];
        if let Err(error) = source.read_exact(&mut bytes) {
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
        }
        let length = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if length > LONGEST_FRAME {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let read = source.take(length as u64).read_to_end(&mut bytes)?;
        Ok((read == length).then_some(Frame(bytes)))
    }

    /// Returns the integer at `offset` after the length.
    fn int(&self, offset: usize) -> Option<i32> {
        let bytes = self.0.get(4 + offset..8 + offset)?;
        bytes.try_into().ok().map(i32::from_be_bytes)
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
