//! Samples on their way to the collector: each arrives once and in order, whatever happens to the node, its disk, the
//! collector and ZooKeeper. The nodes of these tests never reach ZooKeeper.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use atalaya_testbed::sample_log::measured;
use atalaya_testbed::{ApiMode, Process, Recorded, Scratch, SmallDisk};

use crate::common::metrics_client::MetricsClient;
use crate::common::samples::{InFile, LOG_FILTER};
use crate::common::{DEADLINE, NO_ZOOKEEPER, QUICK, TestEnv, random, wait_until};

const SAMPLES: &str = "atalaya_history_samples";

/// A collector, and the state folder of one node.
pub(crate) struct Site {
    pub(crate) around: TestEnv,
    state: PathBuf,
    _scratch: Scratch,
}

struct Run {
    values: Vec<f64>,
    /// Number of those that must be delivered.
    needed: usize,
}

impl Run {
    /// Returns the samples of a process until now, which must all be delivered.
    fn so_far(node: &Process) -> Run {
        let values = measured(node);
        Run { needed: values.len(), values }
    }

    /// Returns the samples of a process that died. It can have taken one that was not yet in its file.
    fn of_dead(node: &Process) -> Run {
        Run { needed: InFile::of(node).stored, values: measured(node) }
    }
}

impl Site {
    fn new() -> Site {
        let scratch = Scratch::new("history");
        Site::with_state(scratch.path().join("state"), scratch)
    }

    pub(crate) fn with_state(state: PathBuf, scratch: Scratch) -> Site {
        Site { around: TestEnv::of(NO_ZOOKEEPER.to_owned(), QUICK), state, _scratch: scratch }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let own = ["--log", LOG_FILTER, "--sampling-period", "100ms", "--metrics-listen", "127.0.0.1:0"];
        let mut command = self.around.command("1", &[&own, arguments].concat());
        command.env("ATALAYA_STATE_DIR", &self.state);
        command
    }

    /// Starts the node, whose sensor measures ten times a second.
    pub(crate) fn start(&self) -> Process {
        Process::spawn(self.command(&["--measurements-url", &self.around.api.base_url()]))
    }

    pub(crate) fn set(&self, mode: ApiMode) {
        self.around.api.set(mode);
    }

    /// Waits until the collector has the samples of these processes, in their order, and checks that it has each once.
    fn wait_for_delivery(&self, runs: &[Run]) {
        let is_complete = |requests: &[Recorded]| {
            let delivered = delivered(requests);
            let are_enough = |(run, (_, values)): (&Run, &(String, Vec<f64>))| values.len() >= run.needed;
            delivered.len() >= runs.len() && runs.iter().zip(&delivered).all(are_enough)
        };
        let requests = self.around.api.wait_for("all samples", 2 * DEADLINE, is_complete);
        for (Run { values, .. }, (boot, delivered)) in runs.iter().zip(delivered(&requests)) {
            let both = values.len().min(delivered.len());
            assert_eq!(values[..both], delivered[..both], "samples of run {boot}");
        }
    }

    /// Returns the file with this ending in the state folder.
    fn file(&self, ending: &str) -> Option<PathBuf> {
        files(&self.state).into_iter().find(|path| path.display().to_string().ends_with(ending))
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Returns the values that the collector has kept, by run. Checks that none is missing before another, and that a repeat
/// has the same value.
pub(crate) fn delivered(requests: &[Recorded]) -> Vec<(String, Vec<f64>)> {
    let mut runs: Vec<(String, Vec<f64>)> = Vec::new();
    for (boot, seq, value) in kept(requests) {
        if runs.iter().all(|(known, _)| *known != boot) {
            runs.push((boot.clone(), Vec::new()));
        }
        let (last, values) = runs.last_mut().unwrap();
        // A repeat of an earlier run would come before later runs only.
        assert_eq!(*last, boot, "runs are delivered one after the other");
        match values.get(seq - 1) {
            Some(first) => {
                assert_eq!(*first, value, "sample {seq} of {boot} was repeated with another value")
            }
            None => {
                assert_eq!(seq, values.len() + 1, "samples of {boot} are missing");
                values.push(value);
            }
        }
    }
    runs
}

/// Returns the samples that the collector has kept, in order of arrival: run, sequence number and value.
fn kept(requests: &[Recorded]) -> Vec<(String, usize, f64)> {
    let bodies = requests.iter().filter(|request| request.kept && request.path == "/api/v1/measurements");
    let samples = bodies.flat_map(|request| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["node"], "1");
        let boot = body["boot"].as_str().unwrap().to_owned();
        let samples = body["samples"].as_array().unwrap().clone();
        samples.into_iter().map(move |sample| {
            assert_eq!(sample["sensor"], "s");
            assert_eq!(sample["clock"], "synchronised");
            let seq = usize::try_from(sample["seq"].as_u64().unwrap()).unwrap();
            (boot.clone(), seq, sample["value"].as_f64().unwrap())
        })
    });
    samples.collect()
}

/// Waits for a note in the health report. On a busy machine, a node may count as hanging for a moment.
pub(crate) fn wait_for_note(metrics: &MetricsClient, note: &str) {
    wait_until(note, || metrics.ask("/healthz").body.contains(note));
}

pub(crate) fn wait_for_samples(node: &Process, count: usize) {
    wait_until(&format!("{count} samples"), || measured(node).len() >= count);
}

#[test]
fn samples_arrive_in_order_after_the_collector_was_away_and_after_a_restart() {
    let site = Site::new();
    site.set(ApiMode::Refuse);
    let mut first = site.start();
    let metrics = MetricsClient::of(&first);
    metrics.wait_for(SAMPLES, |samples| samples >= 20.0);
    metrics.wait_for("atalaya_history_failing{part=\"collector\"}", |failing| failing == 1.0);
    metrics.wait_for("atalaya_history_oldest_age_seconds", |age| age > 1.0);
    wait_for_note(&metrics, "samples wait for the collector");
    site.set(ApiMode::Accept);
    first.wait_for_line("the collector accepts samples again", DEADLINE);
    metrics.wait_for("atalaya_history_delivered_total", |delivered| delivered >= 20.0);
    metrics.wait_for(SAMPLES, |samples| samples < 20.0);
    // Orderly: the last samples are in the file.
    site.set(ApiMode::Status(503));
    first.shut_down(DEADLINE);
    site.set(ApiMode::Accept);
    let second = site.start();
    wait_for_samples(&second, 5);
    site.wait_for_delivery(&[Run::so_far(&first), Run::so_far(&second)]);
}

#[test]
fn node_that_is_killed_at_random_moments_loses_no_sample_whatever_the_collector_does() {
    let site = Site::new();
    let modes = [
        ApiMode::Refuse,
        ApiMode::Accept,
        ApiMode::KeepAndCut,
        ApiMode::KeepAndAnswer(500),
        ApiMode::Status(429),
    ];
    let mut all = Vec::new();
    for _ in 0..8 {
        site.set(modes[random() % modes.len()]);
        let mut node = site.start();
        let wanted = 1 + random() % 20;
        wait_until("samples in the file", || InFile::of(&node).stored >= wanted);
        node.kill9();
        all.push(Run::of_dead(&node));
    }
    site.set(ApiMode::Accept);
    let last = site.start();
    wait_for_samples(&last, 5);
    all.push(Run::so_far(&last));
    site.wait_for_delivery(&all);
}

/// The answer is lost with the process: the next one repeats the batch with the same keys.
#[cfg(feature = "fault-points")]
#[test]
fn node_that_dies_between_the_answer_and_the_deletion_repeats_the_same_samples() {
    let site = Site::new();
    let mut command = site.command(&["--measurements-url", &site.around.api.base_url()]);
    command.env("ATALAYA_FAULT", "history-answered:2");
    let mut first = Process::spawn(command);
    first.wait_exit(DEADLINE);
    let before = kept(&site.around.api.requests());
    let second = site.start();
    wait_for_samples(&second, 5);
    site.wait_for_delivery(&[Run::of_dead(&first), Run::so_far(&second)]);
    let after = kept(&site.around.api.requests());
    assert!(after[before.len()..].contains(before.last().unwrap()), "nothing was repeated");
}

#[test]
fn full_disk_is_reported_and_neither_stops_sampling_nor_loses_samples() {
    let disk = SmallDisk::mount(1 << 20);
    let site = Site::with_state(disk.path().join("state"), Scratch::new("history"));
    site.set(ApiMode::Refuse);
    let node = site.start();
    let metrics = MetricsClient::of(&node);
    metrics.wait_for(SAMPLES, |samples| samples >= 5.0);
    let filling = disk.fill();
    metrics.wait_for("atalaya_history_failing{part=\"file\"}", |failing| failing == 1.0);
    wait_for_note(&metrics, "samples wait in memory: its file cannot be used: database or disk is full");
    assert!(metrics.figure("atalaya_history_sync_failures_total").unwrap() > 0.0);
    wait_for_samples(&node, measured(&node).len() + 20);
    fs::remove_file(filling).unwrap();
    metrics.wait_for("atalaya_history_failing{part=\"file\"}", |failing| failing == 0.0);
    node.wait_for_line("are stored in their file again", DEADLINE);
    site.set(ApiMode::Accept);
    site.wait_for_delivery(&[Run::so_far(&node)]);
    assert_eq!(metrics.figure("atalaya_history_dropped_total{reason=\"memory\"}"), Some(0.0));
}

#[test]
fn samples_are_delivered_while_the_disk_is_full() {
    let disk = SmallDisk::mount(1 << 20);
    let site = Site::with_state(disk.path().join("state"), Scratch::new("history"));
    let node = site.start();
    let metrics = MetricsClient::of(&node);
    metrics.wait_for("atalaya_history_delivered_total", |delivered| delivered >= 5.0);
    disk.fill();
    metrics.wait_for("atalaya_history_failing{part=\"file\"}", |failing| failing == 1.0);
    let begin = measured(&node).len();
    wait_for_samples(&node, begin + 10);
    site.wait_for_delivery(&[Run::so_far(&node)]);
}

#[test]
fn damaged_file_is_set_aside_and_sampling_continues() {
    let site = Site::new();
    site.set(ApiMode::Refuse);
    let mut first = site.start();
    wait_for_samples(&first, 20);
    first.kill9();
    for ending in [".samples", ".samples-wal"] {
        let path = site.file(ending).unwrap();
        let length = fs::metadata(&path).unwrap().len();
        fs::write(&path, vec![0xa5; usize::try_from(length).unwrap().max(4_096)]).unwrap();
    }
    site.set(ApiMode::Accept);
    let second = site.start();
    second.wait_for_line("is damaged", DEADLINE);
    wait_for_samples(&second, 5);
    site.wait_for_delivery(&[Run::so_far(&second)]);
    assert!(site.file(".samples.damaged").is_some() && site.file(".samples").is_some());
}

/// Waits until one sample was refused, and checks that the collector has all others.
fn only_the_fifth_sample_is_missing(mode: ApiMode) -> Process {
    let site = Site::new();
    site.set(mode);
    let node = site.start();
    let metrics = MetricsClient::of(&node);
    metrics.wait_for("atalaya_history_refused_total", |refused| refused == 1.0);
    wait_for_samples(&node, measured(&node).len() + 10);
    let last = measured(&node).len();
    let is_there = |requests: &[Recorded]| kept(requests).iter().any(|(_, seq, _)| *seq >= last);
    let requests = site.around.api.wait_for("later samples", DEADLINE, is_there);
    let mut seqs: Vec<usize> = kept(&requests).into_iter().map(|(_, seq, _)| seq).collect();
    if matches!(mode, ApiMode::RefuseBatch(_)) {
        assert!(!seqs.contains(&5));
        seqs.insert(4, 5);
    }
    assert_eq!(seqs, (1..=seqs.len()).collect::<Vec<_>>(), "in order, each once");
    assert_eq!(metrics.figure("atalaya_history_refused_total"), Some(1.0));
    node
}

#[test]
fn sample_that_is_refused_among_good_ones_is_dropped_counted_and_logged() {
    let node = only_the_fifth_sample_is_missing(ApiMode::RefuseSample(5));
    node.wait_for_line("the collector can never accept a sample, which is dropped: as told", DEADLINE);
}

#[test]
fn sample_with_which_every_request_is_refused_is_found_and_dropped_alone() {
    let node = only_the_fifth_sample_is_missing(ApiMode::RefuseBatch(5));
    node.wait_for_line("which is dropped: it answers 400 Bad Request", DEADLINE);
}

#[test]
fn fleet_name_that_is_changed_with_sighup_is_that_of_the_next_samples() {
    let site = Site::new();
    let folder = Scratch::new("boards");
    let boards = folder.path().join("boards.toml");
    let write = |fleet: &str| {
        let sensors = "sensors = [{ name = \"s\", chip = \"random\" }]";
        let text = format!("[fleet]\nfleet_name = \"{fleet}\"\n[boards.b]\nbackend = \"sim\"\n{sensors}\n");
        // A rename is atomic, so the node never reads half a file.
        let half = folder.path().join("half");
        fs::write(&half, text).unwrap();
        fs::rename(half, &boards).unwrap();
    };
    let wait_for_samples_of = |fleet: &str| {
        let is_of_fleet = |request: &Recorded| {
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            body["fleet"] == fleet
        };
        let what = format!("samples of the fleet {fleet}");
        site.around.api.wait_for(&what, DEADLINE, |requests| requests.iter().any(is_of_fleet))
    };
    write("home");
    let (url, path) = (site.around.api.base_url(), boards.display().to_string());
    let arguments = ["--measurements-url", &url, "--boards", &path, "--board", "b"];
    let node = Process::spawn(site.command(&arguments));
    wait_for_samples_of("home");
    write("cabin");
    node.hup();
    let requests = wait_for_samples_of("cabin");
    assert_eq!(delivered(&requests).len(), 1, "one run, without a gap");
    assert!(!node.log().iter().any(|line| line.text.contains("only after a restart")));
}

#[test]
fn node_without_a_collector_for_samples_writes_no_file_and_has_no_metrics_of_it() {
    let site = Site::new();
    let node = Process::spawn(site.command(&[]));
    let metrics = MetricsClient::of(&node);
    wait_for_samples(&node, 10);
    let mut endings: Vec<_> =
        files(&site.state).iter().map(|path| path.extension().unwrap().to_owned()).collect();
    endings.sort();
    assert_eq!(endings, ["json", "lock"]);
    assert!(!metrics.text().contains("atalaya_history"));
    assert!(site.around.api.requests().is_empty());
}

/// In a mount namespace, because the real file belongs to the machine.
#[cfg(target_os = "linux")]
#[test]
fn samples_that_were_taken_before_the_clock_is_set_wait_and_are_marked_as_corrected() {
    let site = Site::new();
    let node = site.command(&["--measurements-url", &site.around.api.base_url()]);
    let mut command = atalaya_testbed::parent_death_command("unshare");
    let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/timesync && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(node.get_program()).args(node.get_args());
    command.env_clear().envs(node.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let node = Process::spawn(command);
    let metrics = MetricsClient::of(&node);
    metrics.wait_for(SAMPLES, |samples| samples >= 20.0);
    assert!(site.around.api.requests().is_empty(), "they wait");
    fs::write(format!("/proc/{}/root/run/systemd/timesync/synchronized", node.pid()), "").unwrap();
    node.wait_for_line(
        "the clock is set; the times of samples that were taken before are corrected",
        DEADLINE,
    );
    let clocks = |requests: &[Recorded]| -> Vec<String> {
        let bodies = requests
            .iter()
            .map(|request| serde_json::from_slice::<serde_json::Value>(&request.body).unwrap());
        let clock = |sample: &serde_json::Value| sample["clock"].as_str().unwrap().to_owned();
        bodies
            .flat_map(|body| body["samples"].as_array().unwrap().iter().map(clock).collect::<Vec<_>>())
            .collect()
    };
    let arrived =
        |requests: &[Recorded]| clocks(requests).last().is_some_and(|clock| clock == "synchronised");
    let clocks = clocks(&site.around.api.wait_for("synchronised samples", DEADLINE, arrived));
    let corrected = clocks.iter().take_while(|clock| *clock == "corrected").count();
    assert!(corrected >= 20 && clocks[corrected..].iter().all(|clock| clock == "synchronised"), "{clocks:?}");
}
