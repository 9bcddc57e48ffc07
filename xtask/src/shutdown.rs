//! Signals that request the shutdown of a task.

/// Listener for SIGINT, SIGTERM and SIGHUP, so that a task can stop its processes in order.
#[cfg(unix)]
pub(crate) struct Shutdown {
    signals: [tokio::signal::unix::Signal; 3],
}

#[cfg(unix)]
impl Shutdown {
    /// Starts to catch the signals. From then on, none of them ends this process.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self { signals: [interrupt?, terminate?, hangup?] })
    }

    /// Waits for one of the signals.
    pub(crate) async fn requested(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Listener for Ctrl-C.
#[cfg(not(unix))]
pub(crate) struct Shutdown;

#[cfg(not(unix))]
impl Shutdown {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn requested(&mut self) {
        // Without a handler, Ctrl-C ends this process, and with it the processes that it started.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
