//! Fail points: named places in the code where a test can kill, stop or panic the process, for example between the
//! commit of a cycle and the delivery of its report. Compiled only with the feature `fault-points`; without it the
//! functions do nothing.
//!
//! `ATALAYA_FAULT=NAME` or `NAME:N` in the environment: the process kills itself (SIGKILL) when it reaches the point
//! for the first, or Nth, time. `NAME:N:stop`: the process stops itself (SIGSTOP) and continues after SIGCONT.
//! `NAME:N:panic`: the task or thread panics.

/// Triggers the fault if it is configured for this point.
pub(crate) fn point(name: &str) {
    #[cfg(feature = "fault-points")]
    if let Some(action) = configured::action_at(name) {
        configured::trigger(name, action);
    }
    #[cfg(not(feature = "fault-points"))]
    let _ = name;
}

/// Runs `call`, and triggers the fault while it is in progress if it is configured for this point.
pub(crate) async fn during<T>(name: &str, call: impl Future<Output = T>) -> T {
    #[cfg(feature = "fault-points")]
    if let Some(action) = configured::action_at(name) {
        /// Time after which the request has certainly been sent. If the response arrives earlier, the call is complete.
        const SEND_TIME: std::time::Duration = std::time::Duration::from_millis(1);
        let mut call = std::pin::pin!(call);
        let result = tokio::select! {
            result = &mut call => Some(result),
            () = tokio::time::sleep(SEND_TIME) => None,
        };
        configured::trigger(name, action);
        return match result {
            Some(result) => result,
            None => call.await,
        };
    }
    #[cfg(not(feature = "fault-points"))]
    let _ = name;
    call.await
}

#[cfg(feature = "fault-points")]
mod configured {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
    static TIMES_REACHED: AtomicU32 = AtomicU32::new(0);

    struct Fault {
        point: String,
        /// Number of the pass that triggers the fault.
        pass: u32,
        action: Action,
    }

    #[derive(Clone, Copy)]
    pub(super) enum Action {
        Kill,
        Stop,
        Panic,
    }

    /// Counts a pass of the point, and returns the action if this pass triggers the fault.
    pub(super) fn action_at(name: &str) -> Option<Action> {
        let fault = FAULT.get_or_init(|| parse(&std::env::var("ATALAYA_FAULT").ok()?)).as_ref()?;
        let reached = fault.point == name && TIMES_REACHED.fetch_add(1, Ordering::Relaxed) + 1 == fault.pass;
        reached.then_some(fault.action)
    }

    fn parse(text: &str) -> Option<Fault> {
        let mut words = text.splitn(3, ':');
        let point = words.next()?.to_owned();
        let pass = words.next().map_or(Some(1), |number| number.parse().ok())?;
        let action = match words.next() {
            None => Action::Kill,
            Some("stop") => Action::Stop,
            Some("panic") => Action::Panic,
            Some(_) => return None,
        };
        Some(Fault { point, pass, action })
    }

    pub(super) fn trigger(name: &str, action: Action) {
        #[cfg(unix)]
        use rustix::process::{Signal, getpid, kill_process};
        match action {
            Action::Kill => tracing::warn!(name, "fault point: dying here"),
            Action::Stop => tracing::warn!(name, "fault point: stopping here"),
            Action::Panic => panic!("fault point {name}"),
        }
        // A kill would lose the log lines that are not written yet.
        crate::logging::finish("");
        let is_kill = matches!(action, Action::Kill);
        #[cfg(unix)]
        let _ = kill_process(getpid(), if is_kill { Signal::KILL } else { Signal::STOP });
        if is_kill {
            std::process::abort();
        }
    }
}
