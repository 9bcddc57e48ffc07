//! Socket of the service manager. Sending never blocks the node: a service manager that does not read must not stop its
//! heartbeats.
//!
//! The crate `sd-notify` (0.5) does not fit: it sends over a blocking socket, and does not know the abstract addresses
//! that `NOTIFY_SOCKET` may contain.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::debug;

/// Pause between two attempts while the queue of the service manager is full.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Socket {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Socket {
    /// Opens a socket that sends to `address`: an absolute path, or `@` and a name in the abstract namespace.
    pub(super) fn new(address: &str) -> io::Result<Socket> {
        let address = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None if address.starts_with('/') => SocketAddr::from_pathname(address)?,
            None => {
                return Err(io::Error::other("the address is neither an absolute path nor starts with @"));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Socket { socket, address })
    }

    /// Sends a message. It is dropped if the queue is still full after `attempts`: the next has the newer state.
    pub(super) async fn send(&self, message: &str, attempts: u32) {
        for attempt in 1..=attempts {
            match self.socket.send_to_addr(message.as_bytes(), &self.address) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && attempt < attempts => {
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return debug!("cannot send \"{message}\" to the service manager: {error}"),
                Ok(_) => return,
            }
        }
        debug!("cannot send \"{message}\" to the service manager: it does not read its messages");
    }
}
