//! Process trees on Linux: every process that descends from another, in any process group or session.
//!
//! A process whose parent ends becomes a child of the nearest ancestor that is a *subreaper*, or of process 1. A
//! subreaper therefore keeps everything that it has started, including daemons, among its descendants, and its tree is
//! empty when it has no child left to wait for.

use std::collections::HashMap;
use std::io;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, pidfd_send_signal, wait,
};

/// Process, identified by its id and its start time: ids are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    start: u64,
    zombie: bool,
}

impl Process {
    fn read(pid: i32) -> Option<Process> {
        Process::parse(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Parses `/proc/PID/stat`: see proc_pid_stat(5). The process name may contain spaces and parentheses.
    fn parse(pid: i32, stat: &str) -> Option<Process> {
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let zombie = matches!(fields.next()?, "Z" | "X");
        let parent = fields.next()?.parse().ok()?;
        let start = fields.nth(17)?.parse().ok()?;
        Some(Process { pid, parent, start, zombie })
    }

    /// Sends the signal to this process, and to no other process with a reused id.
    fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        let same = || Process::read(self.pid).is_some_and(|now| now.start == self.start);
        // An error is ignored if the process has just ended or belongs to another user.
        let _ = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) if same() => pidfd_send_signal(process, signal),
            // Fallback for kernels before 5.3 and for some sandboxes.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) if same() => kill_process(pid, signal),
            _ => Ok(()),
        };
    }
}

/// Returns all processes that /proc shows.
fn processes() -> io::Result<Vec<Process>> {
    let entries = std::fs::read_dir("/proc")?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // Processes that end during the scan are left out.
    Ok(pids.filter_map(Process::read).collect())
}

/// Returns the descendants of `root` among `all`, parents before their children.
fn below(root: i32, all: &[Process]) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = children.remove(&root).unwrap_or_default();
    let mut next = 0;
    while let Some(process) = found.get(next) {
        // Removed, so that no process is visited twice, regardless of the content of /proc.
        found.extend(children.remove(&process.pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Sends `signals`, in order, to every descendant of `root`, but not to `root`. Returns the number of processes that
/// have not ended. Processes that start during the scan are missed: repeat the call until none is left.
///
/// # Errors
/// /proc cannot be read.
fn signal(root: Pid, signals: &[Signal]) -> io::Result<usize> {
    let mut found = below(root.as_raw_nonzero().get(), &processes()?);
    found.retain(|process| !process.zombie);
    for signal in signals {
        found.iter().for_each(|process| process.signal(*signal));
    }
    Ok(found.len())
}

/// Requests termination of every descendant of `root`: sends SIGTERM, and SIGCONT for those that are stopped.
///
/// # Errors
/// Those of [`signal()`].
pub(crate) fn terminate(root: Pid) -> io::Result<usize> {
    signal(root, &[Signal::TERM, Signal::CONT])
}

/// Kills every descendant of `root`.
///
/// # Errors
/// Those of [`signal()`].
pub(crate) fn kill(root: Pid) -> io::Result<usize> {
    signal(root, &[Signal::KILL])
}

/// Returns the processes, of any parent, that have an environment variable whose `NAME=value` starts with `prefix`.
fn with_environment(prefix: &str) -> io::Result<Vec<Process>> {
    let has_variable = |process: &Process| {
        // The environment of another user's process cannot be read. That of a process that is ending is empty.
        let environment = std::fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(prefix.as_bytes()))
    };
    let mut found = processes()?;
    found.retain(|process| !process.zombie && has_variable(process));
    Ok(found)
}

/// Returns true if a process that has not ended has an environment variable whose `NAME=value` starts with `prefix`.
///
/// # Errors
/// /proc cannot be read.
pub(crate) fn has_environment(prefix: &str) -> io::Result<bool> {
    Ok(!with_environment(prefix)?.is_empty())
}

/// Kills every process, of any parent, that has an environment variable whose `NAME=value` starts with `prefix`.
/// Returns the number of processes that had not ended. Repeat the call until none is left, as with [`signal()`].
///
/// # Errors
/// /proc cannot be read.
pub(crate) fn kill_with_environment(prefix: &str) -> io::Result<usize> {
    let found = with_environment(prefix)?;
    found.iter().for_each(|process| process.signal(Signal::KILL));
    Ok(found.len())
}

/// Kills every descendant of this process and reaps those that have ended. Returns true if none is left. It reaps every
/// child: do not call it while the exit status of a child is still needed.
pub(crate) fn sweep() -> bool {
    // Without /proc, ended processes are reaped but none is killed.
    let _ = kill(getpid());
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn process_is_read_whatever_its_name_is() {
        let stat = "42 (a) Z (b) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 10";
        let process = Process { pid: 42, parent: 7, start: 98765, zombie: false };
        assert_eq!(Process::parse(42, stat), Some(process));
        assert!(Process::parse(42, &stat.replace(" S ", " Z ")).unwrap().zombie);
        for wrong in ["", "42 (a", "42 (a) S", "42 (a) S x 1 2"] {
            assert_eq!(Process::parse(42, wrong), None, "{wrong}");
        }
        let own = Process::read(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(!own.zombie && own.start > 0);
    }

    #[test]
    fn tree_of_a_process_holds_its_descendants_only() {
        let process = |(pid, parent)| Process { pid, parent, start: 1, zombie: false };
        let all = [(1, 0), (2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (7, 3), (8, 8)].map(process);
        let pids = |root| {
            let mut pids: Vec<i32> = below(root, &all).iter().map(|process| process.pid).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(pids(2), [3, 4, 7]);
        assert_eq!(pids(5), [6]);
        assert_eq!(pids(4), [0; 0]);
        assert_eq!(pids(8), [8], "a loop ends");
    }

    proptest! {
        #[test]
        fn process_of_any_text_is_read_or_refused(text: String) {
            let _ = Process::parse(1, &text);
        }
    }
}
