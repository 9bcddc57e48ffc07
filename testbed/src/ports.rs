//! Loopback ports that stay reserved while the server behind them is down.
//!
//! A port from the system (bind to 0) is not sufficient: while its server is down, the system may give the same number
//! to any outgoing connection, even to the client that tries to reconnect, which then connects to itself. So ports come
//! from below the system's own range, each with a locked file that other test processes respect.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// First port of the search; the well-known ones are below.
const FIRST: u32 = 15_000;
/// Default start of Linux's range of ephemeral ports.
const EPHEMERAL: u32 = 32_768;

/// A port of 127.0.0.1 that no other test uses until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    /// The lock ends with the process, even if it is killed.
    _reserved: File,
}

impl Port {
    /// Returns a port that no other test uses.
    #[track_caller]
    pub fn reserve() -> Self {
        static TAKEN: AtomicU32 = AtomicU32::new(0);
        let width = first_ephemeral() - FIRST;
        // Processes start at different numbers and continue after their last one, so that a number is not reused soon.
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

    /// Returns the number of the port.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Returns the folder of the locked files: one for the machine, independent of the target folder.
fn reservations() -> PathBuf {
    let folder = std::env::temp_dir().join("atalaya-testbed-ports");
    if fs::create_dir_all(&folder).is_ok() {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Fails if another user has created the folder. That process has set the same permissions.
            let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o1777));
        }
    }
    folder
}

/// Returns the start of the system's own range, or the default if there is too little room below it.
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
