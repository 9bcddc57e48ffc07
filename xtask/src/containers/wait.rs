//! Waiting for a condition, with an end.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};

/// Asks until there is an answer. An error is no answer yet; the last one is told at the deadline, after which it is asked
/// once more.
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
