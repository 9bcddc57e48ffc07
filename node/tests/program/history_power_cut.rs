//! Power cuts while a node stores its samples: the ring opens again, and the loss is at most `measurements_sync`.
#![cfg(target_os = "linux")]

use atalaya_testbed::{ApiMode, CuttableDisk, Process, Recorded, Scratch, eventually};

use crate::common::samples::InFile;
use crate::common::{DEADLINE, is_nightly, random};
use crate::history::{Site, delivered, measured, wait_for_samples};

/// Starts a node on a disk whose power was cut, and checks the samples that it delivers of the process before, whose
/// samples so far were `samples`, of which `synced` must be there. Returns the number of lost ones.
fn check_after(disk: CuttableDisk, samples: &[f64], synced: usize) -> usize {
    let site = Site::with_state(disk.path().join("state"), Scratch::new("history"));
    let node = site.start();
    // Samples of the new process follow those of the file.
    let has_both = |requests: &[Recorded]| delivered(requests).len() >= 2;
    let requests = site.around.api.wait_for("samples of both processes", DEADLINE, has_both);
    let (_, stored) = &delivered(&requests)[0];
    assert!(!node.log().iter().any(|line| line.text.contains("is damaged")), "the file is intact");
    let both = stored.len().min(samples.len());
    assert_eq!(stored[..both], samples[..both], "samples before the power cut");
    assert!(stored.len() >= synced, "{} samples of {synced} that were synced", stored.len());
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
    let (mut lost, mut synced) = (Vec::new(), 0);
    for _ in 0..cuts {
        wait_for_samples(&node, measured(&node).len() + 5 + random() % 20);
        let samples = measured(&node);
        let newly_synced = || Some(InFile::of(&node).synced).filter(|now| *now > synced);
        synced = eventually("another sync", DEADLINE, newly_synced);
        lost.push(check_after(disk.cut(), &samples, synced));
    }
    println!("samples lost at {cuts} power cuts, of a node that takes ten a second: {lost:?}");
}
