//! Checks whether the other end of a local TCP connection belongs to this process.
//!
//! The inode of that end is in `/proc/self/net/tcp`, where a search takes 2 µs for each socket of the host. The process has
//! the socket if a link in `/proc/self/fd` names the inode. On systems other than Linux, which are for development only,
//! nothing is checked.

use std::io;
#[cfg(target_os = "linux")]
use std::net::{SocketAddr, SocketAddrV4};

use tokio::net::TcpStream;

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
    // The inode of a socket that no process has open is 0.
    let Some(inode) = inode(peer, local)?.filter(|inode| *inode != 0) else { return Ok(false) };
    let name = format!("socket:[{inode}]");
    let mut files = std::fs::read_dir("/proc/self/fd")?.flatten();
    Ok(files.any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == name.as_str())))
}

/// Returns the inode of the established socket from `peer` to `local`.
#[cfg(target_os = "linux")]
fn inode(peer: SocketAddrV4, local: SocketAddrV4) -> io::Result<Option<u32>> {
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::net::Ipv4Addr;
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
        assert!(inode(peer, local).unwrap().is_some_and(|inode| inode != 0));
        assert!(!is_own_connection(&accepted).unwrap());
        drop(other.stdin.take());
        other.wait().await.unwrap();
    }
}
