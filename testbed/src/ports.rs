//! Loopback ports that stay ours while the server behind them is down.
//!
//! A port that the system hands out (bind to 0) will not do: while its server is dead, the system may give the same
//! number to any outgoing connection, even to the client that tries to reconnect, which then talks to itself. So
//! ports come from below the system's own range, each with a locked file that keeps other test processes away.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the search begins; below live the well-known ones.
const FIRST: u32 = 15_000;
/// Where the range of Linux begins, unless it says otherwise.
const EPHEMERAL: u32 = 32_768;

/// A port of 127.0.0.1 that no other test uses until this is dropped.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// Its lock ends with the process, however that ends.
    _reserved: File,
}

impl Port {
    /// Takes the next free one.
    ///
    /// # Panics
    ///
    /// When thousands of ports are taken.
    #[track_caller]
    pub(crate) fn reserve() -> Self {
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        let width = first_ephemeral() - FIRST;
        // Processes begin at different places, and go on where they left: a number is not used again soon.
        let start = std::process::id().wrapping_mul(97);
        for _ in 0..width {
            let step = TAKEN.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + start.wrapping_add(step) % width;
            let number = u16::try_from(number).expect("below the ephemeral range");
            if let Some(port) = Self::try_reserve(number) {
                return port;
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + width);
    }

    fn try_reserve(number: u16) -> Option<Self> {
        let file = reservations().join(number.to_string());
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(file).ok()?;
        file.try_lock().ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _reserved: file })
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

/// The folder of the locked files, one for the machine, whatever folder was built in.
fn reservations() -> PathBuf {
    let folder = std::env::temp_dir().join("atalaya-testbed-ports");
    if fs::create_dir_all(&folder).is_ok() {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Fails where another user made it, who has done the same.
            let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777));
        }
    }
    folder
}

/// Where the system's own range begins, or the usual place if it leaves too little room below.
fn first_ephemeral() -> u32 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|low| (FIRST + 1_000..=EPHEMERAL).contains(low))
        .unwrap_or(EPHEMERAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_is_not_given_twice_and_can_be_bound() {
        let first = Port::reserve();
        assert!(Port::try_reserve(first.number()).is_none());
        TcpListener::bind((Ipv4Addr::LOCALHOST, first.number())).unwrap();
        let second = Port::reserve();
        assert_ne!(first.number(), second.number());
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let port = Port::reserve();
        let number = port.number();
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).unwrap();
        drop(port);
        assert!(Port::try_reserve(number).is_none());
    }
}
