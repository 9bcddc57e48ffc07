//! Runs every example of the crate as a process, against the in-memory server.

#![allow(clippy::unwrap_used, reason = "serves tests only")]

mod coordination;
mod data;
mod stage;

use std::collections::BTreeSet;
use std::path::Path;

/// The examples that a test runs.
const RUN: [&str; 16] = [
    "barrier",
    "children_cache",
    "children_watch",
    "counter",
    "data_watch",
    "double_barrier",
    "election",
    "lease",
    "lock",
    "locking_queue",
    "party",
    "persistent_node",
    "queue",
    "read_write_lock",
    "semaphore",
    "set_partitioner",
];

#[test]
fn there_is_none_that_is_not_run() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(there, RUN.map(String::from).into());
}
