//! Waits for a condition, with a timeout.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};

/// Calls `probe` until it returns a value. Errors count as no value. After the deadline, `probe` is called once more,
/// and its error is returned.
pub(super) fn until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        let last = start.elapsed() >= deadline;
        let problem = match probe() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if last {
            let problem = problem.unwrap_or_else(|| anyhow!("it does not hold"));
            return Err(problem).with_context(|| format!("{what}: not within {deadline:?}"));
        }
        thread::sleep(Duration::from_millis(200));
    }
}
