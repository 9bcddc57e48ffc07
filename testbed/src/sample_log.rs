//! The samples that a node has taken, stored and synced, from its log.

use crate::process::Process;

/// Log filter of the node that these functions need.
pub const LOG_FILTER: &str = "info,atalaya::sampling=debug,atalaya::history=debug";

/// Returns the values that a node with one sensor has measured.
pub fn measured(node: &Process) -> Vec<f64> {
    let value = |text: &str| text.split_once("measured measurement=")?.1.trim().parse().ok();
    node.log().iter().filter_map(|line| value(&line.text)).collect()
}

/// Numbers of samples that a node has written into its file, and of those that a power cut could not lose any more.
#[derive(Clone, Copy, Default)]
pub struct InFile {
    pub stored: usize,
    pub synced: usize,
}

impl InFile {
    pub fn of(node: &Process) -> InFile {
        let mut all = InFile::default();
        for line in node.log() {
            if let Some((_, number)) = line.text.split_once("stored samples=") {
                // The last line of a killed process may be cut.
                all.stored += number.trim().parse().unwrap_or(0);
            } else if line.text.ends_with(" synced") {
                all.synced = all.stored;
            }
        }
        all
    }
}
