//! Samples on their way to `atalaya collect`: each sample of each sensor is stored once and in order, although the
//! collector is killed, its answers are lost, the node is killed again and again in a long outage, and its disk is full.
//! The nodes of these tests never reach ZooKeeper.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use atalaya_testbed::{Collector, Process, Redis, Scratch, SmallDisk, node_command};

use crate::common::metrics_client::MetricsClient;
use crate::common::samples::{LOG_FILTER, Run, Series, boards, count, wait_for_samples};
use crate::common::{DEADLINE, NO_ZOOKEEPER, is_nightly, random, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_atalaya");
const DELIVERED: &str = "atalaya_history_delivered_total";

/// Returns the command of a node with the board `many`, which measures ten times a second.
fn node_with(folder: &Path, id: &str, sensors: usize, url: &str) -> std::process::Command {
    let path = folder.join("boards.toml");
    fs::write(&path, boards(sensors)).unwrap();
    let mut command = node_command(BINARY, id, NO_ZOOKEEPER);
    command.args(["--boards", &path.display().to_string(), "--board", "many", "--sampling-period", "100ms"]);
    command.args(["--log", LOG_FILTER, "--metrics-listen", "127.0.0.1:0"]);
    command.args(["--measurements-url", url]).env("ATALAYA_STATE_DIR", folder.join("state"));
    command
}

/// Connections to a collector whose answers can be lost.
struct Relay {
    address: SocketAddr,
    faults: Arc<Faults>,
}

#[derive(Default)]
struct Faults {
    loses_answers: AtomicBool,
    lost: AtomicUsize,
    /// Number of times that data of a request has arrived.
    requested: AtomicUsize,
}

impl Relay {
    fn to(collector: &Collector) -> Relay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (address, faults) = (listener.local_addr().unwrap(), Arc::new(Faults::default()));
        let (collector, shared) = (collector.address(), faults.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // While the collector is away, the connection is closed.
                let Ok(server) = TcpStream::connect(&collector) else { continue };
                let (to_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                let (requests, answers) = (shared.clone(), shared.clone());
                thread::spawn(move || {
                    pass(client, to_server, || {
                        requests.requested.fetch_add(1, Ordering::Relaxed);
                        true
                    });
                });
                thread::spawn(move || {
                    pass(server, to_client, || {
                        let passes = !answers.loses_answers.load(Ordering::Relaxed);
                        answers.lost.fetch_add(usize::from(!passes), Ordering::Relaxed);
                        passes
                    });
                });
            }
        });
        Relay { address, faults }
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Cuts connections at the answers, which means that the collector has stored the samples, until `count` are lost.
    fn lose_answers(&self, count: usize) {
        let lost = || self.faults.lost.load(Ordering::Relaxed);
        let wanted = lost() + count;
        self.faults.loses_answers.store(true, Ordering::Relaxed);
        wait_until("answers to be lost", || lost() >= wanted);
        self.faults.loses_answers.store(false, Ordering::Relaxed);
    }

    /// Waits until the next request is under way.
    fn wait_for_request(&self) {
        let requested = || self.faults.requested.load(Ordering::Relaxed);
        let before = requested();
        wait_until("a request", || requested() > before);
    }
}

/// Passes data on while `passes` is true of it, then closes both connections.
fn pass(mut from: TcpStream, mut to: TcpStream, passes: impl Fn() -> bool) {
    let mut data = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut data) {
        if !passes() || to.write_all(&data[..length]).is_err() {
            break;
        }
    }
    // An error means that the other side has closed the connection already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// The collector is killed while requests are under way, and answers are lost after it has stored the samples.
fn collector_that_is_killed_has_each_sample_once(arguments: &[&str]) {
    let folder = Scratch::new("history");
    let mut collector = Collector::start(BINARY, arguments);
    let relay = Relay::to(&collector);
    let node = Process::spawn(node_with(folder.path(), "1", 3, &relay.url()));
    let metrics = MetricsClient::of(&node);
    let wait_for_delivery = || {
        let before = metrics.figure(DELIVERED).unwrap_or(0.0);
        metrics.wait_for(DELIVERED, |delivered| delivered > before);
    };
    for _ in 0..3 {
        wait_for_delivery();
        relay.lose_answers(2);
        wait_for_delivery();
        let repeated = "atalaya_collector_samples_total{outcome=\"repeated\"} 0\n";
        assert!(
            !collector.get("/metrics").body.contains(repeated),
            "samples with a lost answer are sent again"
        );
        relay.wait_for_request();
        collector.process().kill9();
        wait_for_samples(&node, count(&node) + 15, DEADLINE);
        collector.restart();
    }
    wait_for_delivery();
    let run = Run::so_far(&node);
    let series = Series::wait_for(&collector, "1", &run, DEADLINE);
    let missing = series.check(&[run]);
    assert_eq!((missing.oldest, missing.last_moments), (0, 0));
    assert_eq!(metrics.figure("atalaya_history_refused_total"), Some(0.0));
}

#[test]
fn collector_with_a_file_has_each_sample_once_after_kills_and_lost_answers() {
    collector_that_is_killed_has_each_sample_once(&[]);
}

#[test]
fn collector_with_redis_has_each_sample_once_after_kills_and_lost_answers() {
    let redis = Redis::with("appendonly yes\nappendfsync always");
    collector_that_is_killed_has_each_sample_once(&["--store", &redis.url()]);
}

/// Number of sensors of the node in an outage: 200 samples a second.
const SENSORS: usize = 20;

/// Size of the test of an outage.
struct Outage {
    samples: usize,
    kills: usize,
}

impl Outage {
    /// Returns the short form. At night: 13 h at one sample a second, in about five minutes.
    fn size() -> Outage {
        match is_nightly() {
            true => Outage { samples: 13 * 3_600, kills: 50 },
            false => Outage { samples: 1_200, kills: 3 },
        }
    }
}

/// Fills the disk of the node, waits until its samples wait in memory, and makes room again.
fn fill_disk_once(disk: &SmallDisk, node: &Process) {
    let metrics = MetricsClient::of(node);
    let failing = "atalaya_history_failing{part=\"file\"}";
    let filling = disk.fill();
    metrics.wait_for(failing, |failing| failing == 1.0);
    wait_for_samples(node, count(node) + 10 * SENSORS, DEADLINE);
    fs::remove_file(filling).unwrap();
    metrics.wait_for(failing, |failing| failing == 0.0);
    assert_eq!(metrics.figure("atalaya_history_dropped_total{reason=\"memory\"}"), Some(0.0));
}

/// Starts a node whose ring keeps about half of the samples of the outage.
fn start_bounded_node(folder: &Path, url: &str, samples: usize) -> Process {
    let mut command = node_with(folder, "2", SENSORS, url);
    // A sample takes about 110 bytes.
    command.args(["--measurements-max-size", &(samples * 55).max(64 << 10).to_string()]);
    Process::spawn(command)
}

/// ZooKeeper and the collector are away. Time is compressed: 20 sensors that measure ten times a second take as many
/// samples in a minute as one sensor that measures once a second takes in more than three hours.
#[test]
fn outage_costs_no_sample_within_the_bounds_although_the_node_is_killed_and_its_disk_is_full() {
    let Outage { samples, kills } = Outage::size();
    let disk = SmallDisk::mount((4 << 20) + samples as u64 * 300);
    let folder = Scratch::new("history");
    let mut collector = Collector::start(BINARY, &[]);
    collector.process().kill9();
    let url = format!("http://{}/", collector.address());
    let start = || Process::spawn(node_with(disk.path(), "1", SENSORS, &url));
    let bounded = start_bounded_node(folder.path(), &url, samples);

    let mut runs: Vec<Run> = Vec::new();
    for number in 0..kills {
        let mut node = start();
        let left = samples.saturating_sub(runs.iter().map(Run::len).sum()) / (kills - number);
        wait_for_samples(&node, SENSORS + random() % (2 * left).max(1), 4 * DEADLINE);
        if number == kills / 2 {
            fill_disk_once(&disk, &node);
        }
        runs.push(Run::until_killed(&mut node));
    }
    let node = start();
    let left = samples.saturating_sub(runs.iter().map(Run::len).sum());
    wait_for_samples(&node, SENSORS + left, 40 * DEADLINE);
    wait_for_samples(&bounded, samples, 40 * DEADLINE);
    collector.restart();

    runs.push(Run::so_far(&node));
    let series = Series::wait_for(&collector, "1", runs.last().unwrap(), 4 * DEADLINE);
    let missing = series.check(&runs);
    assert_eq!(missing.oldest, 0, "the bounds were not reached");
    let all: usize = runs.iter().map(Run::len).sum();
    println!(
        "{all} samples, {kills} kills: {} samples of the last moments are missing",
        missing.last_moments
    );

    let metrics = MetricsClient::of(&bounded);
    // Until its next attempt, it drops further samples.
    metrics.wait_for(DELIVERED, |delivered| delivered > 0.0);
    let run = Run::so_far(&bounded);
    let series = Series::wait_for(&collector, "2", &run, 4 * DEADLINE);
    let all = run.len();
    let missing = series.check(&[run]);
    let dropped = metrics.figure("atalaya_history_dropped_total{reason=\"size\"}").unwrap();
    assert_eq!(dropped, missing.oldest as f64, "dropped samples are counted, and no others are missing");
    assert!(missing.oldest > all / 10 && missing.oldest < all, "{missing:?}");
    println!("{all} samples with a smaller bound: {dropped} were dropped and counted");
}
