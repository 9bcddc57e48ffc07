//! A TCP proxy for any protocol, whose server seems to be away, or to answer never, or loses the acknowledgements of MQTT.

use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use parking_lot::Mutex;

/// Type of the packet of MQTT that acknowledges a message with QoS 1.
const PUBACK: u8 = 4;

/// Behaviour of a [`TcpProxy`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpFault {
    #[default]
    None,
    /// Closes new connections at once, and current ones with the next data.
    Refuse,
    /// Forwards requests, and closes the connection instead of the answer: the server has processed the request.
    CutAnswers,
    /// Forwards requests, and drops the answers: the client waits until its timeout.
    DropAnswers,
    /// Drops the acknowledgements of messages, which the broker has stored. Only for [`TcpProxy::to_broker`].
    DropAcknowledgements,
}

/// A TCP proxy on loopback. Its threads end with the connections, or with the process.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    fault: Mutex<TcpFault>,
    dropped: AtomicUsize,
}

/// Reads some data, which the proxy forwards or drops as a whole. Returns no data at the end of the stream.
type ReadSome = fn(&TcpStream) -> io::Result<Vec<u8>>;

impl TcpProxy {
    /// Creates a proxy for the server that listens, or will listen, on `port` of loopback.
    #[track_caller]
    pub fn to(port: u16) -> Self {
        Self::reading_answers(port, read_available)
    }

    /// Creates a proxy like [`to`](Self::to) for a broker of MQTT, whose answers are forwarded packet by packet.
    #[track_caller]
    pub fn to_broker(port: u16) -> Self {
        Self::reading_answers(port, read_packet)
    }

    #[track_caller]
    fn reading_answers(port: u16, read_answer: ReadSome) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen on loopback");
        let address = listener.local_addr().expect("a listener has an address");
        let proxy = Self { address, shared: Arc::default() };
        let shared = Arc::clone(&proxy.shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // An error ends the connection.
                thread::spawn(move || serve(&client, port, read_answer, &shared));
            }
        });
        proxy
    }

    /// Returns `host:port` of the proxy, for clients.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Sets the behaviour for all further data of all connections.
    pub fn set(&self, fault: TcpFault) {
        *self.shared.fault.lock() = fault;
    }

    pub fn dropped(&self) -> usize {
        self.shared.dropped.load(Ordering::SeqCst)
    }
}

fn serve(client: &TcpStream, port: u16, read_answer: ReadSome, shared: &Arc<Shared>) -> io::Result<()> {
    if *shared.fault.lock() == TcpFault::Refuse {
        return Ok(());
    }
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_server, to_client) = (server.try_clone()?, client.try_clone()?);
    let other = Arc::clone(shared);
    let answers = thread::spawn(move || forward(&from_server, &to_client, read_answer, &other, true));
    forward(client, &server, read_available, shared, false);
    let _ = answers.join();
    Ok(())
}

/// Forwards data until one side closes, or a fault closes both.
fn forward(from: &TcpStream, mut to: &TcpStream, read: ReadSome, shared: &Shared, is_answer: bool) {
    while let Ok(data @ [first, ..]) = read(from).as_deref() {
        let fault = *shared.fault.lock();
        match (fault, is_answer) {
            (TcpFault::Refuse, _) | (TcpFault::CutAnswers, true) => break,
            (TcpFault::DropAnswers, true) => {}
            (TcpFault::DropAcknowledgements, true) if first >> 4 == PUBACK => {
                shared.dropped.fetch_add(1, Ordering::SeqCst);
            }
            _ if to.write_all(data).is_err() => break,
            _ => {}
        }
    }
    // An error means that the other side has closed it already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn read_available(mut source: &TcpStream) -> io::Result<Vec<u8>> {
    let mut data = vec![0; 16 * 1024];
    let length = source.read(&mut data)?;
    data.truncate(length);
    Ok(data)
}

/// Reads a packet of MQTT: its type, its length (1 to 4 bytes of 7 bits each), and its content.
fn read_packet(mut source: &TcpStream) -> io::Result<Vec<u8>> {
    let mut packet = vec![0];
    source.read_exact(&mut packet)?;
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let mut byte = [0];
        source.read_exact(&mut byte)?;
        packet.push(byte[0]);
        length |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let read = source.take(length).read_to_end(&mut packet)?;
    if read as u64 == length { Ok(packet) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
