//! Signals that stop a command or reload its configuration.

use tokio::sync::mpsc;

use super::exit::Failure;
use crate::tasks::actions::ReloadRequest;

/// Installs handlers for SIGINT and SIGTERM. The future completes at the first of them, with its name.
#[cfg(unix)]
pub(super) fn stop_signal() -> Result<impl Future<Output = &'static str>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::internal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::internal)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    })
}

/// Returns a future that completes at the first Ctrl-C.
#[cfg(not(unix))]
pub(super) fn stop_signal() -> Result<impl Future<Output = &'static str>, Failure> {
    Ok(async {
        // If no handler can be installed, the default action of Ctrl-C still ends the process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    })
}

pub(super) type ReloadChannel = (mpsc::Sender<ReloadRequest>, mpsc::Receiver<ReloadRequest>);

/// Installs a handler for SIGHUP. The channel receives one message per signal; signals in quick succession are merged
/// into one.
#[cfg(unix)]
pub(super) fn reload_signals() -> Result<ReloadChannel, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::internal)?;
    let (requests, receiver) = mpsc::channel(1);
    let sender = requests.clone();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!(signal = "SIGHUP", "reloading the configuration");
            crate::fail_points::point("reload-task");
            // A full channel holds a request that has not been started, which will read the newest files.
            let _ = sender.try_send(None);
        }
    });
    Ok((requests, receiver))
}

/// Returns a channel without signals: only Unix has SIGHUP.
#[cfg(not(unix))]
pub(super) fn reload_signals() -> Result<ReloadChannel, Failure> {
    Ok(mpsc::channel(1))
}
