//! Notifies a service manager about a running node.
//!
//! * Ready: after the first sample, whether any sensor could be read or not, and whether ZooKeeper is connected or not.
//!   A node that waits for them does its work, and a service manager would kill a start that waits for a cable. With
//!   `--connect-timeout` a start without ZooKeeper fails, so the node is ready only after the first connection.
//! * Status: one line for people, at most once a second.
//! * Watchdog: every half of its interval, while the [`Watchdog`] finds no problem.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::observe::node_status::NodeStatus;
use crate::observe::status_line::StatusLine;
use crate::observe::watchdog::Watchdog;
use crate::process::systemd::Notifier;
use crate::settings::Settings;

const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(3600);

/// Notifies the service manager until dropped. `needs_connection`: the node is ready only once it was connected.
pub(crate) async fn notify(
    notifier: &Notifier,
    settings: &Settings,
    needs_connection: bool,
    mut status: watch::Receiver<NodeStatus>,
    mut sampling: watch::Receiver<Option<Instant>>,
) {
    let interval = notifier.watchdog_interval.unwrap_or(Duration::MAX);
    let mut watchdog = Watchdog::new(Instant::now(), settings, interval);
    let mut line = StatusLine::new(settings);
    let (mut is_ready, mut last_problem) = (false, None);
    let mut checks = tokio::time::interval((interval / 2).min(MAX_CHECK_INTERVAL));
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = Instant::now();
        let progress = *sampling.borrow_and_update();
        let next_line = {
            let status = status.borrow_and_update();
            watchdog.update(&status, progress, now);
            let has_connected = status.session.is_some_and(|session| session.connection > 0);
            is_ready = is_ready || (progress.is_some() && (has_connected || !needs_connection));
            line.update(&status)
        };
        if is_ready && line.sent.is_none() {
            notifier.notify("READY=1").await;
            info!("notified the service manager that this node is ready");
        }
        if is_ready && let Some(line) = line.take(now) {
            notifier.notify(&format!("STATUS={line}")).await;
        }
        tokio::select! {
            Ok(()) = status.changed() => {}
            Ok(()) = sampling.changed() => {}
            () = tokio::time::sleep_until(next_line.unwrap_or(now).into()), if next_line.is_some() => {}
            _ = checks.tick(), if notifier.watchdog_interval.is_some() => {
                let problem = watchdog.problem(Instant::now());
                match problem {
                    None => notifier.notify("WATCHDOG=1").await,
                    Some(problem) if last_problem != Some(problem) => {
                        warn!("{problem}; the service manager's watchdog is no longer notified");
                    }
                    Some(_) => {}
                }
                last_problem = problem;
            }
        }
    }
}
