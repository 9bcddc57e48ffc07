//! Checks whether the other end of a local TCP connection belongs to this process.
//!
//! The inode of that end is in `/proc/self/net/tcp`, where a search takes 2 µs for each socket of the host. The process has
//! the socket if a link in `/proc/self/fd` names the inode. Both are read once for all connections that wait for a check:
//! a process with thousands of sessions would otherwise read thousands of lines for each of them. On systems other than
//! Linux, which are for development only, nothing is checked.

use std::io;

use tokio::net::TcpStream;

/// Returns true if the other end of the accepted connection `stream` belongs to this process.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_own_connection(_stream: &TcpStream) -> io::Result<bool> {
    Ok(true)
}

#[cfg(target_os = "linux")]
pub(super) use linux::is_own_connection;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::{HashMap, HashSet};
    use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
    use std::sync::Mutex;
    use std::time::Instant;

    use super::{TcpStream, io};
    use crate::session::lock;

    /// The newest snapshot.
    static NEWEST: Mutex<Option<Snapshot>> = Mutex::new(None);
    /// The kernel can skip an entry if others change while the file is read.
    const ATTEMPTS: usize = 3;

    /// Established connections of the host, and sockets of this process.
    pub(super) struct Snapshot {
        /// Time before the first file was read.
        since: Instant,
        /// Inode of each socket, by its own address and that of the other end.
        inodes: HashMap<(SocketAddrV4, SocketAddrV4), u32>,
        own: HashSet<u32>,
    }

    /// Returns true if the other end of the accepted connection `stream` belongs to this process.
    pub(in crate::session) fn is_own_connection(stream: &TcpStream) -> io::Result<bool> {
        let accepted = Instant::now();
        let (SocketAddr::V4(peer), SocketAddr::V4(local)) = (stream.peer_addr()?, stream.local_addr()?)
        else {
            return Ok(false);
        };
        let mut newest = lock(&NEWEST);
        let mut attempts = 0;
        loop {
            // A snapshot that was begun later contains the connection.
            let usable = newest.as_ref().filter(|snapshot| snapshot.since >= accepted);
            if let Some(is_own) = usable.and_then(|snapshot| snapshot.is_own(peer, local)) {
                return Ok(is_own);
            }
            if attempts == ATTEMPTS {
                return Ok(false);
            }
            *newest = Some(Snapshot::take()?);
            attempts += 1;
        }
    }

    impl Snapshot {
        pub(super) fn take() -> io::Result<Snapshot> {
            let since = Instant::now();
            let table = std::fs::read_to_string("/proc/self/net/tcp")?;
            let inodes = table.lines().filter_map(entry).collect();
            let links = std::fs::read_dir("/proc/self/fd")?.flatten();
            let own =
                links.filter_map(|link| socket(std::fs::read_link(link.path()).ok()?.to_str()?)).collect();
            Ok(Snapshot { since, inodes, own })
        }

        /// Returns true if this process has the socket from `peer` to `local`, or `None` if there is no such socket.
        pub(super) fn is_own(&self, peer: SocketAddrV4, local: SocketAddrV4) -> Option<bool> {
            // The inode of a socket that no process has open is 0.
            self.inodes.get(&(peer, local)).map(|inode| *inode != 0 && self.own.contains(inode))
        }
    }

    /// Reads a line of the table: addresses and inode of an established connection.
    fn entry(line: &str) -> Option<((SocketAddrV4, SocketAddrV4), u32)> {
        const ESTABLISHED: &str = "01";
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (from, to) = (fields.next()?, fields.next()?);
        if fields.next() != Some(ESTABLISHED) {
            return None;
        }
        Some(((address(from)?, address(to)?), fields.nth(5)?.parse().ok()?))
    }

    /// Reads an address: the IP address as a hexadecimal number in the byte order of this machine, and the port.
    fn address(text: &str) -> Option<SocketAddrV4> {
        let (ip, port) = text.split_once(':')?;
        let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
        Some(SocketAddrV4::new(ip, u16::from_str_radix(port, 16).ok()?))
    }

    /// Reads the link of an open file, and returns the inode if it is a socket.
    fn socket(link: &str) -> Option<u32> {
        link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::net::{Ipv4Addr, SocketAddr};
    use std::process::Stdio;

    use tokio::net::TcpListener;
    use tokio::process::Command;

    use super::*;

    #[tokio::test]
    async fn own_connection_is_found_until_it_is_closed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(is_own_connection(&accepted).unwrap());
        drop(client);
        assert!(!is_own_connection(&accepted).unwrap());
    }

    #[tokio::test]
    async fn connection_of_another_process_is_not_own() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; read line");
        let mut other = Command::new("bash").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let (SocketAddr::V4(peer), SocketAddr::V4(local)) =
            (accepted.peer_addr().unwrap(), accepted.local_addr().unwrap())
        else {
            panic!("{accepted:?}");
        };
        assert_eq!(linux::Snapshot::take().unwrap().is_own(peer, local), Some(false));
        assert!(!is_own_connection(&accepted).unwrap());
        drop(other.stdin.take());
        other.wait().await.unwrap();
    }
}
