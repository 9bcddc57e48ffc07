//! A network between an MQTT client and its broker that loses acknowledgements.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// Type of the packet that acknowledges a message with QoS 1.
const PUBACK: u8 = 4;

/// A TCP proxy on loopback. Its threads end with the process.
pub struct MqttProxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    drops_acknowledgements: AtomicBool,
    dropped: AtomicUsize,
}

impl MqttProxy {
    /// Creates a proxy for the broker on `port` of loopback.
    #[track_caller]
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen on loopback");
        let address = listener.local_addr().expect("a listener has an address");
        let shared: Arc<Shared> = Arc::default();
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A client whose broker does not listen is disconnected.
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { continue };
                serve(client, server, &served);
            }
        });
        Self { port: address.port(), shared }
    }

    /// Returns its URL: `mqtt://127.0.0.1:15001`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Sets whether the acknowledgements of messages are dropped. The broker has stored these messages.
    pub fn drop_acknowledgements(&self, on: bool) {
        self.shared.drops_acknowledgements.store(on, Ordering::SeqCst);
    }

    /// Returns the number of acknowledgements that were dropped.
    pub fn dropped(&self) -> usize {
        self.shared.dropped.load(Ordering::SeqCst)
    }
}

fn serve(client: TcpStream, server: TcpStream, shared: &Arc<Shared>) {
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let (Ok(mut from_client), Ok(mut to_server)) = (client.try_clone(), server.try_clone()) else { return };
    thread::spawn(move || {
        // A failure, like the end of the client, closes the connection.
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let _ = pass_answers(server, &client, &shared);
        let _ = client.shutdown(Shutdown::Both);
    });
}

fn pass_answers(mut server: TcpStream, mut client: &TcpStream, shared: &Shared) -> io::Result<()> {
    loop {
        let packet = read_packet(&mut server)?;
        if packet[0] >> 4 == PUBACK && shared.drops_acknowledgements.load(Ordering::SeqCst) {
            shared.dropped.fetch_add(1, Ordering::SeqCst);
        } else {
            client.write_all(&packet)?;
        }
    }
}

/// Reads a packet: its type, its length (1 to 4 bytes of 7 bits each), and its content.
fn read_packet(source: &mut impl Read) -> io::Result<Vec<u8>> {
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
