//! Places at which a node can be made to die, or to stand still, for tests: the leader's way from computing an average to knowing that it
//! was accepted. Compiled in with the feature `fault-points` only; without it all of this is nothing.
//!
//! `ATALAYA_FAULT=NAME` or `NAME:N` in the environment: the process kills itself (SIGKILL) when it passes that place for the
//! first, or Nth, time. `NAME:N:stop`: it stops itself (SIGSTOP), and goes on from there when somebody lets it (SIGCONT).
//! `NAME:N:panic`: the task or thread panics.

/// Dies here, or stops, if told to.
pub(crate) fn point(name: &str) {
    #[cfg(feature = "fault-points")]
    if let Some(end) = armed::due(name) {
        armed::happen(name, end);
    }
    #[cfg(not(feature = "fault-points"))]
    let _ = name;
}

/// Lets `call` begin, and dies or stops while it is under way, if told to.
pub(crate) async fn during<T>(name: &str, call: impl Future<Output = T>) -> T {
    #[cfg(feature = "fault-points")]
    if let Some(end) = armed::due(name) {
        /// A request leaves within this time, or its answer is there: either way it was under way.
        const UNDER_WAY: std::time::Duration = std::time::Duration::from_millis(1);
        let mut call = std::pin::pin!(call);
        let done = tokio::select! {
            done = &mut call => Some(done),
            () = tokio::time::sleep(UNDER_WAY) => None,
        };
        armed::happen(name, end);
        return match done {
            Some(done) => done,
            None => call.await,
        };
    }
    #[cfg(not(feature = "fault-points"))]
    let _ = name;
    call.await
}

#[cfg(feature = "fault-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);

    struct Fault {
        point: String,
        number: u32,
        end: End,
    }

    /// What happens there.
    #[derive(Clone, Copy)]
    pub(super) enum End {
        Die,
        Stop,
        Panic,
    }

    pub(super) fn due(name: &str) -> Option<End> {
        let fault = FAULT.get_or_init(|| parse(&std::env::var("ATALAYA_FAULT").ok()?)).as_ref()?;
        (fault.point == name && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == fault.number)
            .then_some(fault.end)
    }

    fn parse(text: &str) -> Option<Fault> {
        let mut words = text.splitn(3, ':');
        let point = words.next()?.to_owned();
        let number = words.next().map_or(Some(1), |number| number.parse().ok())?;
        let end = match words.next() {
            None => End::Die,
            Some("stop") => End::Stop,
            Some("panic") => End::Panic,
            Some(_) => return None,
        };
        Some(Fault { point, number, end })
    }

    pub(super) fn happen(name: &str, end: End) {
        #[cfg(unix)]
        use rustix::process::{Signal, getpid, kill_process};
        match end {
            End::Die => {
                tracing::warn!(name, "fault point: dying here");
                // A kill loses the lines that are not written yet.
                crate::logging::finish("");
                #[cfg(unix)]
                let _ = kill_process(getpid(), Signal::KILL);
                std::process::abort()
            }
            End::Stop => {
                tracing::warn!(name, "fault point: stopping here");
                crate::logging::finish("");
                #[cfg(unix)]
                let _ = kill_process(getpid(), Signal::STOP);
            }
            End::Panic => panic!("fault point {name}"),
        }
    }
}
