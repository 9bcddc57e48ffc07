//! Notifications to a service manager: the protocol of sd_notify(3). Without a service manager, all methods do nothing.
//!
//! * `READY=1`: the node has started, or has reloaded its configuration.
//! * `STATUS=`: one line for people.
//! * `WATCHDOG=1`: the node is alive. Expected within `WATCHDOG_USEC`.
//! * `RELOADING=1` with `MONOTONIC_USEC=`: the node reloads its configuration.
//! * `STOPPING=1`: the node shuts down.

#[cfg(target_os = "linux")]
mod socket;

use std::time::Duration;

#[cfg(target_os = "linux")]
use tracing::warn;

/// Connection to the service manager that started this process, if any.
#[derive(Debug, Default)]
pub struct Notifier {
    #[cfg(target_os = "linux")]
    socket: Option<socket::Socket>,
    /// Time within which the service manager expects `WATCHDOG=1`.
    pub(crate) watchdog_interval: Option<Duration>,
}

impl Notifier {
    /// Returns a notifier to the service manager in `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    /// Only Linux has systemd: elsewhere the notifier does nothing.
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables))]
    pub(crate) fn from_env(variable: &dyn Fn(&str) -> Option<String>) -> Notifier {
        #[cfg(target_os = "linux")]
        if let Some(address) = variable("NOTIFY_SOCKET").filter(|address| !address.is_empty()) {
            match socket::Socket::new(&address) {
                Ok(socket) => {
                    return Notifier { socket: Some(socket), watchdog_interval: watchdog_interval(variable) };
                }
                Err(error) => {
                    warn!("cannot use NOTIFY_SOCKET={address}: {error}; the service manager is not notified");
                }
            }
        }
        Notifier::default()
    }

    pub(crate) fn is_enabled(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.socket.is_some();
        #[cfg(not(target_os = "linux"))]
        false
    }

    #[cfg(target_os = "linux")]
    async fn send(&self, message: &str, attempts: u32) {
        if let Some(socket) = &self.socket {
            socket.send(message, attempts).await;
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn send(&self, _: &str, _: u32) {}

    /// Sends one of the messages in the documentation of this module.
    pub(crate) async fn notify(&self, message: &str) {
        self.send(message, MAX_ATTEMPTS).await;
    }

    pub(crate) async fn reloading(&self) {
        #[cfg(target_os = "linux")]
        {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
            self.notify(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}")).await;
        }
    }

    pub(crate) async fn stopping(&self) {
        // A single attempt, because nothing may delay the shutdown.
        self.send("STOPPING=1\nSTATUS=withdrawing from ZooKeeper", 1).await;
    }
}

/// Maximum number of attempts to send a message while the queue of the service manager is full. They take two seconds.
const MAX_ATTEMPTS: u32 = 20;

#[cfg(target_os = "linux")]
fn watchdog_interval(variable: &dyn Fn(&str) -> Option<String>) -> Option<Duration> {
    if let Some(process) = variable("WATCHDOG_PID")
        && process.trim().parse() != Ok(std::process::id())
    {
        return None;
    }
    let microseconds: u64 = variable("WATCHDOG_USEC")?.trim().parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds))
}
