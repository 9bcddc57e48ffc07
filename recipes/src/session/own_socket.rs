//! Checks whether the other end of a local TCP connection belongs to this process.
//!
//! The kernel returns the inode of that end, by netlink (sock_diag(7)) or, where netlink is not available, in
//! `/proc/self/net/tcp`, which takes 2 µs for each socket of the host. The process has the socket if a link in
//! `/proc/self/fd` names the inode. On systems other than Linux, which are for development only, nothing is checked.

use std::io;
#[cfg(target_os = "linux")]
use std::{
    net::{SocketAddr, SocketAddrV4},
    os::fd::{AsRawFd as _, RawFd},
    path::PathBuf,
};

use tokio::net::TcpStream;

/// State of an established connection (`TCP_ESTABLISHED`).
#[cfg(target_os = "linux")]
const ESTABLISHED: u8 = 1;

/// Number of open files that are searched first.
#[cfg(target_os = "linux")]
const NEAR: RawFd = 16;

/// Returns true if the other end of the accepted connection `stream` belongs to this process.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_own_connection(_stream: &TcpStream) -> io::Result<bool> {
    Ok(true)
}

/// Returns true if the other end of the accepted connection `stream` belongs to this process.
#[cfg(target_os = "linux")]
pub(super) fn is_own_connection(stream: &TcpStream) -> io::Result<bool> {
    let (SocketAddr::V4(peer), SocketAddr::V4(local)) = (stream.peer_addr()?, stream.local_addr()?) else {
        return Ok(false);
    };
    let inode = match inode_by_netlink(peer, local) {
        Ok(inode) => inode,
        Err(_) => inode_by_proc(peer, local)?,
    };
    // The inode of a socket that no process has open is 0.
    let Some(inode) = inode.filter(|inode| *inode != 0) else { return Ok(false) };
    let name = format!("socket:[{inode}]");
    let is_it = |file: PathBuf| std::fs::read_link(file).is_ok_and(|link| link.as_os_str() == name.as_str());
    // The other end was usually opened just before this one. A search among all open files takes 1 µs for each.
    let this = stream.as_raw_fd();
    Ok((this.saturating_sub(NEAR)..this).rev().any(|near| is_it(format!("/proc/self/fd/{near}").into()))
        || std::fs::read_dir("/proc/self/fd")?.flatten().any(|file| is_it(file.path())))
}

/// Returns the inode of the established socket from `peer` to `local`.
#[cfg(target_os = "linux")]
fn inode_by_netlink(peer: SocketAddrV4, local: SocketAddrV4) -> io::Result<Option<u32>> {
    use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

    const HEADER: usize = 16;
    /// Type of the request and of its answer (`SOCK_DIAG_BY_FAMILY`).
    const BY_FAMILY: u16 = 20;
    /// Type of an error (`NLMSG_ERROR`).
    const ERROR: u16 = 2;

    // `nlmsghdr`, then `inet_diag_req_v2`.
    let mut request = Vec::with_capacity(72);
    request.extend(72u32.to_ne_bytes());
    request.extend(BY_FAMILY.to_ne_bytes());
    request.extend(1u16.to_ne_bytes());
    request.extend([0; 8]);
    // AF_INET, IPPROTO_TCP, no extensions, a reserved byte and the states to search.
    request.extend([2, 6, 0, 0]);
    request.extend((1u32 << ESTABLISHED).to_ne_bytes());
    request.extend(peer.port().to_be_bytes());
    request.extend(local.port().to_be_bytes());
    for address in [peer.ip(), local.ip()] {
        request.extend(address.octets());
        request.extend([0; 12]);
    }
    // Any interface, and no cookie.
    request.extend([0; 4]);
    request.extend([0xff; 8]);

    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(SOCK_DIAG),
    )?;
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 512];
    // The kernel has answered before `sendto` returns.
    let (_, length) = rustix::net::recv(&socket, &mut answer, RecvFlags::DONTWAIT)?;
    let answer = answer.get(..length).unwrap_or(&answer);
    let number = |offset: usize| answer.get(offset..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let kind = answer.get(4..).and_then(|rest| rest.first_chunk()).map(|bytes| u16::from_ne_bytes(*bytes));
    match kind {
        // `inet_diag_msg`: the state is its second byte, the inode the last field.
        Some(BY_FAMILY) if answer.get(HEADER + 1) == Some(&ESTABLISHED) => Ok(number(HEADER + 68)),
        Some(BY_FAMILY) => Ok(None),
        Some(ERROR) if number(HEADER) == Some((-rustix::io::Errno::NOENT.raw_os_error()).cast_unsigned()) => {
            Ok(None)
        }
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// As [`inode_by_netlink`], from `/proc/self/net/tcp`.
#[cfg(target_os = "linux")]
fn inode_by_proc(peer: SocketAddrV4, local: SocketAddrV4) -> io::Result<Option<u32>> {
    let address =
        |of: SocketAddrV4| format!("{:08X}:{:04X}", u32::from_ne_bytes(of.ip().octets()), of.port());
    let start = [address(peer), address(local), format!("{ESTABLISHED:02X}")];
    let text = std::fs::read_to_string("/proc/self/net/tcp")?;
    Ok(text.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_it = start.iter().all(|expected| fields.next() == Some(expected));
        is_it.then(|| fields.nth(5)?.parse().ok()).flatten()
    }))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::net::Ipv4Addr;
    use std::process::Stdio;

    use tokio::net::TcpListener;
    use tokio::process::Command;

    use super::*;

    fn inodes(stream: &TcpStream) -> (Option<u32>, Option<u32>) {
        let (SocketAddr::V4(peer), SocketAddr::V4(local)) =
            (stream.peer_addr().unwrap(), stream.local_addr().unwrap())
        else {
            panic!("{stream:?}");
        };
        (inode_by_netlink(peer, local).unwrap(), inode_by_proc(peer, local).unwrap())
    }

    #[tokio::test]
    async fn own_connection_is_found_by_netlink_and_by_proc_until_it_is_closed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(is_own_connection(&accepted).unwrap());
        let (by_netlink, by_proc) = inodes(&accepted);
        assert!(by_netlink.is_some_and(|inode| inode != 0));
        assert_eq!(by_netlink, by_proc);
        drop(client);
        assert!(!is_own_connection(&accepted).unwrap());
    }

    #[tokio::test]
    async fn own_connection_is_found_among_many_open_files() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let others: Vec<_> = (0..2 * NEAR).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(is_own_connection(&accepted).unwrap());
        drop((client, others));
    }

    #[tokio::test]
    async fn connection_of_another_process_is_not_own() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; read line");
        let mut other = Command::new("bash").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(inodes(&accepted).0.is_some_and(|inode| inode != 0));
        assert!(!is_own_connection(&accepted).unwrap());
        drop(other.stdin.take());
        other.wait().await.unwrap();
    }
}
