//! The socket at which a supervisor listens. Never blocks: a supervisor that does not read its messages must not stop a
//! node's heartbeats.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::debug;

/// Between two tries while the supervisor's queue is full.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a message is tried that is worth waiting for.
pub(super) const TRIES: u32 = 20;

/// Where a supervisor listens.
#[derive(Debug)]
pub(super) struct Socket {
    own: UnixDatagram,
    address: SocketAddr,
}

impl Socket {
    /// The one at `address`: an absolute path, or `@` and a name in the abstract namespace.
    pub(super) fn at(address: &str) -> io::Result<Socket> {
        let address = match address.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None if address.starts_with('/') => SocketAddr::from_pathname(address)?,
            None => return Err(io::Error::other("it is neither an absolute path nor begins with @")),
        };
        let own = UnixDatagram::unbound()?;
        own.set_nonblocking(true)?;
        Ok(Socket { own, address })
    }

    /// Sends one message. What a supervisor does not take in so many tries (20 take two seconds) is dropped: the next one
    /// says what is then.
    pub(super) async fn send(&self, text: &str, tries: u32) {
        for attempt in 1..=tries {
            match self.own.send_to_addr(text.as_bytes(), &self.address) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && attempt < tries => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return debug!("the supervisor was not told \"{text}\": {error}"),
                Ok(_) => return,
            }
        }
        debug!("the supervisor was not told \"{text}\": it reads no messages");
    }
}
