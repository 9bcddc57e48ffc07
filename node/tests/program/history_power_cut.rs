//! Power cuts while a node stores its samples: the ring opens again, and the loss is at most `measurements_sync`.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use atalaya_testbed::{ApiMode, CuttableDisk, Process, Recorded, Scratch};

use crate::common::{DEADLINE, is_nightly, random};
use crate::history::{Site, delivered, measured, wait_for_samples};

/// Interval of syncs of the node.
const SYNC: Duration = Duration::from_secs(1);
/// Time that a sync, and the way of a sample to the file, may take on a busy machine.
const MARGIN: Duration = Duration::from_secs(1);

/// Starts a node on a disk whose power was cut, and checks the samples that it delivers of the process before, whose
/// samples so far are `taken`. Returns the number of lost ones.
fn check_after(disk: CuttableDisk, cut: Instant, taken: &Process, samples: &[f64]) -> usize {
    let site = Site::with_state(disk.path().join("state"), Scratch::new("history"));
    let node = site.start();
    // Samples of the new process follow those of the file.
    let has_both = |requests: &[Recorded]| delivered(requests).len() >= 2;
    let requests = site.around.api.wait_for("samples of both processes", DEADLINE, has_both);
    let (_, stored) = &delivered(&requests)[0];
    assert!(!node.log().iter().any(|line| line.text.contains("is damaged")), "the file is intact");
    let both = stored.len().min(samples.len());
    assert_eq!(stored[..both], samples[..both], "samples before the power cut");
    let is_safe = |line: &&atalaya_testbed::Line| {
        line.text.contains("measured measurement=") && line.at + SYNC + MARGIN < cut
    };
    let safe = taken.log().iter().filter(is_safe).count();
    assert!(stored.len() >= safe, "{} samples of {safe} that must have been synced", stored.len());
    samples.len() - both
}

#[test]
fn power_cut_costs_at_most_the_samples_since_the_last_sync() {
    let cuts = if is_nightly() { 30 } else { 2 };
    let disk = CuttableDisk::mount(16 << 20);
    let site = Site::with_state(disk.path().join("state"), Scratch::new("history"));
    site.set(ApiMode::Refuse);
    let url = site.around.api.base_url();
    let node = Process::spawn(site.command(&["--measurements-url", &url, "--measurements-sync", "1s"]));
    let mut lost = Vec::new();
    for _ in 0..cuts {
        wait_for_samples(&node, measured(&node).len() + 15 + random() % 20);
        let (cut, samples) = (Instant::now(), measured(&node));
        lost.push(check_after(disk.cut(), cut, &node, &samples));
    }
    println!("samples lost at {cuts} power cuts, of a node that takes ten a second: {lost:?}");
}
