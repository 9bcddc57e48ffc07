//! Checks whether the other end of a local TCP connection belongs to this process.
//!
//! The kernel returns the inode of that end (sock_diag(7)); where it does not, it is in `/proc/self/net/tcp`, where a search
//! takes 2 µs for each socket of the host. The process has the socket if a link in `/proc/self/fd` names the inode. These
//! links are read once for all connections that wait for a check: a process with thousands of sessions would otherwise
//! read thousands of links for each of them. On systems other than Linux, which are for development only, nothing is
//! checked.

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
    use std::collections::HashSet;
    use std::net::{SocketAddr, SocketAddrV4};
    use std::sync::Mutex;
    use std::time::Instant;

    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

    use super::{TcpStream, io};
    use crate::session::lock;

    /// Returns true if the other end of the accepted connection `stream` belongs to this process.
    pub(in crate::session) fn is_own_connection(stream: &TcpStream) -> io::Result<bool> {
        let accepted = Instant::now();
        let (SocketAddr::V4(peer), SocketAddr::V4(local)) = (stream.peer_addr()?, stream.local_addr()?)
        else {
            return Ok(false);
        };
        let inode = match inode_by_netlink(peer, local) {
            Ok(inode) => inode,
            Err(_) => inode_in_table(peer, local)?,
        };
        // The inode of a socket that no process has open is 0.
        inode.filter(|inode| *inode != 0).map_or(Ok(false), |inode| is_own_socket(inode, accepted))
    }

    /// Returns true if this process has the socket with this inode, which it had at `since` if it has it at all.
    fn is_own_socket(inode: u32, since: Instant) -> io::Result<bool> {
        /// Inodes of all sockets of this process, and the time before the first one was read.
        static NEWEST: Mutex<Option<(Instant, HashSet<u32>)>> = Mutex::new(None);
        let mut newest = lock(&NEWEST);
        // Another connection may have read them while this one waited.
        if newest.as_ref().is_none_or(|(read, _)| *read < since) {
            let read = Instant::now();
            let links = std::fs::read_dir("/proc/self/fd")?.flatten();
            let inode = |link: &str| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
            let sockets = links.filter_map(|link| inode(std::fs::read_link(link.path()).ok()?.to_str()?));
            *newest = Some((read, sockets.collect()));
        }
        Ok(newest.as_ref().is_some_and(|(_, sockets)| sockets.contains(&inode)))
    }

    /// Asks the kernel for the inode of the established socket from `peer` to `local`. Fails if the kernel cannot tell.
    pub(super) fn inode_by_netlink(peer: SocketAddrV4, local: SocketAddrV4) -> io::Result<Option<u32>> {
        // linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h; numbers in the byte order of this machine, ports and
        // addresses in that of the network.
        const HEADER: usize = 16;
        const BY_FAMILY: u16 = 20;
        const REQUEST: u16 = 1;
        const TCP: u8 = 6;
        const ESTABLISHED: u8 = 1;
        const ANY_COOKIE: [u8; 8] = [0xff; 8];
        const INODE: usize = 68;
        let padded = |address: SocketAddrV4| [&address.ip().octets()[..], &[0; 12]].concat();
        let request = [
            &[AddressFamily::INET.as_raw() as u8, TCP, 0, 0][..],
            &u32::MAX.to_ne_bytes(),
            &peer.port().to_be_bytes(),
            &local.port().to_be_bytes(),
            &padded(peer),
            &padded(local),
            &[0; 4],
            &ANY_COOKIE,
        ]
        .concat();
        let length = u32::try_from(HEADER + request.len()).unwrap_or_default();
        let header = [&length.to_ne_bytes()[..], &BY_FAMILY.to_ne_bytes(), &REQUEST.to_ne_bytes(), &[0; 8]];
        let (family, protocol) = (AddressFamily::NETLINK, Some(netlink::SOCK_DIAG));
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol)?;
        rustix::net::send(&socket, &[&header.concat()[..], &request].concat(), SendFlags::empty())?;
        let mut reply = [0; 1024];
        let (length, _) = rustix::net::recv(&socket, &mut reply, RecvFlags::DONTWAIT)?;
        let reply = &reply[..length];
        let number = |at: usize| Some(u32::from_ne_bytes(*reply.get(at..)?.first_chunk()?));
        let message_type = reply.get(4..).and_then(|rest| Some(u16::from_ne_bytes(*rest.first_chunk()?)));
        match message_type {
            Some(BY_FAMILY) if reply.get(HEADER + 1) == Some(&ESTABLISHED) => Ok(number(HEADER + INODE)),
            Some(BY_FAMILY) => Ok(None),
            // The error is the same for an unknown socket and for a kernel without the module tcp_diag.
            _ => Err(io::Error::other("no sock_diag")),
        }
    }

    /// Looks the inode of the established socket from `peer` to `local` up in the table of all sockets.
    pub(super) fn inode_in_table(peer: SocketAddrV4, local: SocketAddrV4) -> io::Result<Option<u32>> {
        const ESTABLISHED: &str = "01";
        let address =
            |of: SocketAddrV4| format!("{:08X}:{:04X}", u32::from_ne_bytes(of.ip().octets()), of.port());
        let start = [address(peer), address(local), ESTABLISHED.to_owned()];
        let find = |text: &str| {
            text.lines().find_map(|line| {
                let mut fields = line.split_ascii_whitespace().skip(1);
                let is_it = start.iter().all(|expected| fields.next() == Some(expected));
                is_it.then(|| fields.nth(5)?.parse().ok()).flatten()
            })
        };
        // The kernel can skip an entry if others change while the file is read.
        for _ in 0..3 {
            let found = find(&std::fs::read_to_string("/proc/self/net/tcp")?);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
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
        let inode = linux::inode_in_table(peer, local).unwrap();
        assert!(inode.is_some_and(|inode| inode != 0));
        assert_eq!(linux::inode_by_netlink(peer, local).unwrap(), inode);
        assert!(!matches!(linux::inode_by_netlink(local, local), Ok(Some(_))));
        assert!(!is_own_connection(&accepted).unwrap());
        drop(other.stdin.take());
        other.wait().await.unwrap();
    }
}
