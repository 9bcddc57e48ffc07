//! Places at which a node can be made to die, for tests: the leader's way from computing an average to knowing that it
//! was accepted. Compiled in with the feature `fault-points` only; without it all of this is nothing.
//!
//! `ATALAYA_FAULT=NAME` or `NAME:N` in the environment: the process kills itself (SIGKILL) when it passes that place for the
//! first, or Nth, time.

/// The places, in the order in which a leader passes them.
pub const POINTS: [&str; 7] =
    ["gathered", "committing", "committed", "sending", "answered", "deleting", "deleted"];

/// Dies here, if told to.
pub(crate) fn point(name: &str) {
    #[cfg(feature = "fault-points")]
    if armed::due(name) {
        armed::die(name);
    }
    #[cfg(not(feature = "fault-points"))]
    let _ = name;
}

/// Lets `call` begin, and dies while it is under way, if told to.
pub(crate) async fn during<T>(name: &str, call: impl Future<Output = T>) -> T {
    #[cfg(feature = "fault-points")]
    if armed::due(name) {
        /// A request leaves within this time, or its answer is there: either way it was under way.
        const UNDER_WAY: std::time::Duration = std::time::Duration::from_millis(1);
        tokio::select! {
            _ = call => {}
            () = tokio::time::sleep(UNDER_WAY) => {}
        }
        armed::die(name);
    }
    #[cfg(not(feature = "fault-points"))]
    let _ = name;
    call.await
}

#[cfg(feature = "fault-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static FAULT: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);

    pub(super) fn due(name: &str) -> bool {
        let fault = FAULT.get_or_init(|| parse(&std::env::var("ATALAYA_FAULT").ok()?));
        match fault {
            Some((point, number)) if point == name => PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *number,
            _ => false,
        }
    }

    fn parse(text: &str) -> Option<(String, u32)> {
        let (name, number) = text.split_once(':').unwrap_or((text, "1"));
        Some((name.to_owned(), number.parse().ok()?))
    }

    pub(super) fn die(name: &str) -> ! {
        tracing::warn!(name, "fault point: dying here");
        #[cfg(unix)]
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::process::abort()
    }
}
