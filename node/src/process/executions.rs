//! The commands of tasks that a process of this program has started. They are found, also after its death, by a
//! variable in their environments.

#[cfg(target_os = "linux")]
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
#[cfg(target_os = "linux")]
use std::time::Duration;

use atalaya_recipes::node_names::ContenderId;

#[cfg(target_os = "linux")]
use super::process_tree;
use super::state_dir::ProcessRecord;

/// Variable in the environment of the guardian and of the command of an execution.
pub(crate) const VARIABLE: &str = "ATALAYA_EXECUTION";

/// Time for the guardians of a dead process to end their commands.
#[cfg(target_os = "linux")]
const GUARDIAN_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time to kill the processes that are left.
#[cfg(target_os = "linux")]
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval between two scans of all processes.
#[cfg(target_os = "linux")]
const SCAN_INTERVAL: Duration = Duration::from_millis(10);

/// Returns a text that no other process has.
pub(crate) fn process_mark() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    MARK.get_or_init(|| ContenderId::random().to_hex())
}

/// Returns the value of [`VARIABLE`] for one execution of this process.
pub(crate) fn unique_mark() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}.", process_mark(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Kills all processes of the execution with this mark. Returns true if none is left; false if some are in an
/// uninterruptible system call. On systems without /proc none is found.
pub(crate) async fn kill(mark: &str) -> bool {
    #[cfg(target_os = "linux")]
    {
        let prefix = format!("{VARIABLE}={mark}");
        let kill = |prefix: &str| Ok(process_tree::kill_with_environment(prefix)? > 0);
        wait_until_none(KILL_TIMEOUT, &prefix, kill).await
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = mark;
        true
    }
}

/// Waits until the guardians of a dead process have ended its commands, and kills those that are left. Returns true if
/// none is left.
pub(crate) async fn end_all(dead: &ProcessRecord) -> bool {
    // The record was written by a version that does not have it.
    let Some(mark) = &dead.mark else { return true };
    #[cfg(target_os = "linux")]
    {
        let prefix = format!("{VARIABLE}={mark}-");
        // A guardian also ends processes that have removed the variable.
        if wait_until_none(GUARDIAN_TIMEOUT, &prefix, process_tree::has_environment).await {
            return true;
        }
    }
    kill(&format!("{mark}-")).await
}

/// Scans all processes until `is_left` returns false for `prefix`. Returns false if it still returns true after `timeout`.
#[cfg(target_os = "linux")]
async fn wait_until_none(timeout: Duration, prefix: &str, is_left: fn(&str) -> io::Result<bool>) -> bool {
    let wait = async {
        loop {
            let prefix = prefix.to_owned();
            // Reads a file of each process of the machine. Without /proc none is found.
            let scan = tokio::task::spawn_blocking(move || is_left(&prefix).unwrap_or(false));
            if !scan.await.unwrap_or(false) {
                return;
            }
            tokio::time::sleep(SCAN_INTERVAL).await;
        }
    };
    tokio::time::timeout(timeout, wait).await.is_ok()
}
