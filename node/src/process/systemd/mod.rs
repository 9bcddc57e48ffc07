//! What a node tells systemd, as sd_notify(3) has it: that it is ready, what it is doing, that it goes on. Without a
//! supervisor nothing is told, and nothing costs anything.
//!
//! * `READY=1` comes after the first sample, whether any sensor could be read or not, and whether ZooKeeper is there or
//!   not: a node that waits for them does its work, and a start-up that waits for a cable would be ended. With
//!   `--connect-timeout` it comes after the first connection: then a start without ZooKeeper has failed.
//! * `STATUS=` is one line for people, at most once a second.
//! * `WATCHDOG=1` comes every half of `WATCHDOG_USEC`, for as long as there is [`Progress`].
//! * `RELOADING=1` with `MONOTONIC_USEC=`, then `READY=1`, go around each reading of the configuration, accepted or not.
//! * `STOPPING=1` comes before the session is closed.

mod progress;
#[cfg(target_os = "linux")]
mod socket;
mod status;

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

pub use progress::Progress;

use crate::observe::node_status::NodeStatus;
use crate::sampling::SampleProgress;
use crate::settings::Settings;
use status::Line;

/// Whoever started the node and wants to know how it is.
#[derive(Debug, Default)]
pub struct Systemd {
    #[cfg(target_os = "linux")]
    socket: Option<socket::Socket>,
    /// How long it bears silence.
    watchdog: Option<Duration>,
}

impl Systemd {
    /// Nobody.
    pub fn none() -> Systemd {
        Systemd::default()
    }

    /// The one that the environment names, if any: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    #[cfg(target_os = "linux")]
    pub fn of(variable: &dyn Fn(&str) -> Option<String>) -> Systemd {
        let Some(address) = variable("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Systemd::none();
        };
        match socket::Socket::at(&address) {
            Ok(socket) => Systemd { socket: Some(socket), watchdog: watchdog(variable) },
            Err(error) => {
                warn!("NOTIFY_SOCKET={address} cannot be used: {error}; the supervisor is told nothing");
                Systemd::none()
            }
        }
    }

    /// Nobody: systemd is a matter of Linux.
    #[cfg(not(target_os = "linux"))]
    pub fn of(_: &dyn Fn(&str) -> Option<String>) -> Systemd {
        Systemd::none()
    }

    /// Whether there is anybody.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Whether there is anybody.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn is_there(&self) -> bool {
        false
    }

    #[cfg(target_os = "linux")]
    async fn tell(&self, text: &str) {
        if let Some(socket) = &self.socket {
            socket.send(text, socket::TRIES).await;
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn tell(&self, _: &str) {}

    /// The configuration is being read again.
    pub(crate) async fn reloading(&self) {
        #[cfg(target_os = "linux")]
        {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
            self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}")).await;
        }
    }

    /// It works; after a start, or after the configuration was read again.
    pub(crate) async fn ready(&self) {
        self.tell("READY=1").await;
    }

    /// It ends.
    pub(crate) async fn stopping(&self) {
        // Nothing holds the end up.
        #[cfg(target_os = "linux")]
        if let Some(socket) = &self.socket {
            socket.send("STOPPING=1\nSTATUS=withdrawing from ZooKeeper", 1).await;
        }
    }

    /// Tells how the node is until it is dropped; `connects`: a start without a connection is none. Without `node_status` it
    /// tells nothing.
    pub(crate) async fn serve(
        &self,
        settings: &Settings,
        connects: bool,
        node_status: Option<watch::Receiver<NodeStatus>>,
        mut turns: watch::Receiver<Option<SampleProgress>>,
    ) {
        let Some(mut node_status) = node_status else { return std::future::pending().await };
        let every = self.watchdog.unwrap_or(Duration::MAX);
        let mut progress = Progress::new(Instant::now(), settings, every);
        let mut line = Line::new(settings);
        let (mut ready, mut stalled) = (false, None);
        let mut beats = tokio::time::interval((every / 2).min(LONGEST_PAUSE));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = Instant::now();
            let turn = *turns.borrow_and_update();
            let next = {
                let node_status = node_status.borrow_and_update();
                progress.look(&node_status, turn, now);
                let connected = node_status.session.is_some_and(|view| view.connection > 0);
                ready = ready || line.is_out() || (turn.is_some() && (connected || !connects));
                line.look(&node_status)
            };
            if ready && !line.is_out() {
                self.ready().await;
                info!("told the supervisor that this node is ready");
            }
            if ready && let Some(text) = line.take(now) {
                self.tell(&format!("STATUS={text}")).await;
            }
            let later = async {
                match next {
                    Some(moment) => tokio::time::sleep_until(moment.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Ok(()) = node_status.changed() => {}
                Ok(()) = turns.changed() => {}
                () = later => {}
                _ = beats.tick(), if self.watchdog.is_some() => {
                    let problem = progress.problem(Instant::now());
                    match problem {
                        None => self.tell("WATCHDOG=1").await,
                        Some(problem) if stalled != Some(problem) => warn!("{problem}; the watchdog is told nothing"),
                        Some(_) => {}
                    }
                    stalled = problem;
                }
            }
        }
    }
}

/// Longest time between two looks at the progress.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// How long the supervisor bears silence from this process.
#[cfg(target_os = "linux")]
fn watchdog(variable: &dyn Fn(&str) -> Option<String>) -> Option<Duration> {
    if let Some(process) = variable("WATCHDOG_PID")
        && process.trim().parse() != Ok(std::process::id())
    {
        return None;
    }
    let microseconds: u64 = variable("WATCHDOG_USEC")?.trim().parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds))
}
