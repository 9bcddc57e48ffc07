//! Cost of the samples that a node stores for the collector. Arguments: NODE [OTHER], two programs of which OTHER was built
//! without the feature `history`:
//!
//! ```sh
//! cargo build --release -p atalaya --no-default-features --features chips,sim,demo,collector
//! cp target/release/atalaya /tmp/other
//! cargo build --release -p atalaya
//! cargo bench --profile dev -p atalaya --bench history -- target/release/atalaya /tmp/other
//! ```
//!
//! Prints a table: what nodes with different numbers of sensors write, by /proc/PID/io, and the processor time of their
//! thread `history`. During that minute, `strace -f -c -e trace=fsync,fdatasync -p PID` counts the syncs of a process,
//! whose id is printed. With OTHER, a second table compares nodes without `measurements_url`.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "this is a program")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use atalaya_testbed::{Api, Process, Recorded, Scratch, ZooKeeper, get, node_command};

const WARM_UP: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_secs(60);
/// Address without a listener.
const NO_LISTENER: &str = "127.0.0.1:9";
/// Number of pairs of nodes without `measurements_url`.
const PAIRS: usize = 5;
const START: Duration = Duration::from_secs(30);

/// A node that stores its samples.
struct Case {
    sensors: usize,
    period: &'static str,
    sync: &'static str,
    /// True if a collector accepts the samples.
    delivers: bool,
}

const CASES: [Case; 7] = [
    Case { sensors: 1, period: "1s", sync: "10s", delivers: true },
    Case { sensors: 1, period: "1s", sync: "0s", delivers: true },
    Case { sensors: 1, period: "1s", sync: "10s", delivers: false },
    Case { sensors: 100, period: "100ms", sync: "10s", delivers: true },
    Case { sensors: 100, period: "100ms", sync: "0s", delivers: true },
    Case { sensors: 100, period: "100ms", sync: "10s", delivers: false },
    Case { sensors: 1_000, period: "100ms", sync: "10s", delivers: false },
];

/// Counters of a running node.
#[derive(Clone, Copy, Debug)]
struct Counters {
    /// Samples that were delivered, or wait.
    samples: f64,
    dropped: f64,
    /// Bytes in calls of write, and bytes that the kernel writes to the disk.
    written: [f64; 2],
    /// Processor time of the thread `history` in seconds.
    time: f64,
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let node = words.next().expect("NODE: the path of a program");
    cost_of_storing(&node);
    if let Some(other) = words.next() {
        cost_without_storing(&node, &other);
    }
}

fn boards(folder: &Path, sensors: usize) -> String {
    let mut text = "[boards.b]\nbackend = \"sim\"\nsensors = [\n".to_owned();
    for sensor in 0..sensors {
        writeln!(text, "  {{ name = \"s{sensor}\", chip = \"random\" }},").unwrap();
    }
    let path = folder.join("boards.toml");
    fs::write(&path, text + "]\n").unwrap();
    path.display().to_string()
}

fn start(node: &str, case: &Case, folder: &Path, api: &Api) -> (Process, String) {
    let url = if case.delivers { api.base_url() } else { format!("http://{NO_LISTENER}/") };
    let mut command = node_command(node, "1", NO_LISTENER);
    command.env("ATALAYA_STATE_DIR", folder.join("state"));
    command.args([
        "--boards",
        &boards(folder, case.sensors),
        "--board",
        "b",
        "--metrics-listen",
        "127.0.0.1:0",
    ]);
    command.args(["--sampling-period", case.period, "--measurements-url", &url]);
    command.args(["--measurements-sync", case.sync]);
    let process = Process::spawn(command);
    let line = process.wait_for_line("metrics at http://", START).text;
    let (_, address) = line.split_once("http://").unwrap();
    (process, address.split('/').next().unwrap().to_owned())
}

fn read(pid: u32, address: &str) -> Counters {
    let metrics = get(address, "/metrics", &[]).unwrap().body;
    let figure = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    };
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let bytes = |name: &str| -> f64 {
        io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap()
    };
    let mut time = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let path = thread.unwrap().path();
        if fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "history") {
            let times = fs::read_to_string(path.join("schedstat")).unwrap();
            time += times.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9;
        }
    }
    let labels =
        ["size", "memory"].map(|reason| format!("atalaya_history_dropped_total{{reason=\"{reason}\"}}"));
    Counters {
        samples: figure("atalaya_history_delivered_total") + figure("atalaya_history_samples"),
        dropped: labels.iter().map(|label| figure(label)).sum(),
        written: [bytes("wchar:"), bytes("write_bytes:")],
        time,
    }
}

/// All nodes run at the same time.
fn cost_of_storing(node: &str) {
    let api = Api::start();
    let folders = CASES.map(|_| Scratch::new("bench"));
    let nodes: Vec<_> =
        CASES.iter().zip(&folders).map(|(case, folder)| start(node, case, folder.path(), &api)).collect();
    for (case, (process, _)) in CASES.iter().zip(&nodes) {
        println!(
            "process {}: {} sensors, sync {}, delivers {}",
            process.pid(),
            case.sensors,
            case.sync,
            case.delivers
        );
    }
    thread::sleep(WARM_UP);
    let counters = || nodes.iter().map(|(process, address)| read(process.pid(), address)).collect::<Vec<_>>();
    let before = counters();
    println!("measuring for {WINDOW:?}");
    thread::sleep(WINDOW);
    let after = counters();
    println!(
        "\n| sensors | period | sync | collector | samples/s | dropped | bytes in write calls per sample | \
         bytes to the disk per sample | µs of processor time per sample | bytes of the file per sample |\n\
         |---|---|---|---|---|---|---|---|---|---|"
    );
    for (number, case) in CASES.iter().enumerate() {
        let (before, after) = (before[number], after[number]);
        let samples = after.samples - before.samples;
        let [calls, disk] = [0, 1].map(|kind| (after.written[kind] - before.written[kind]) / samples);
        let file = fs::read_dir(folders[number].path().join("state")).unwrap().map(|entry| entry.unwrap());
        let file = file.filter(|entry| entry.path().extension().is_some_and(|name| name == "samples"));
        let size: u64 = file.map(|entry| entry.metadata().unwrap().len()).sum();
        let size = if case.delivers { String::new() } else { format!("{:.0}", size as f64 / after.samples) };
        println!(
            "| {} | {} | {} | {} | {:.1} | {} | {calls:.0} | {disk:.0} | {:.1} | {size} |",
            case.sensors,
            case.period,
            case.sync,
            if case.delivers { "there" } else { "away" },
            samples / WINDOW.as_secs_f64(),
            after.dropped,
            (after.time - before.time) * 1e6 / samples,
        );
    }
}

/// A request without the values that differ from node to node.
fn shape(request: &Recorded) -> String {
    let headers: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    let query: Vec<&str> = request.query.iter().map(|(name, _)| name.as_str()).collect();
    format!("{} {} {query:?} {headers:?}", request.method, request.path)
}

/// Pairs of nodes, one of each program, each the only node of its fleet.
fn cost_without_storing(node: &str, other: &str) {
    let server = ZooKeeper::start();
    let mut figures = [Vec::new(), Vec::new()];
    let mut requests = [BTreeSet::new(), BTreeSet::new()];
    let mut written = [0, 0];
    for pair in 0..PAIRS {
        let fleets: Vec<_> = [node, other]
            .iter()
            .enumerate()
            .map(|(number, program)| {
                let (folder, api) = (Scratch::new("bench"), Api::start());
                let hosts = format!("{}/fleet{pair}{number}", server.connect_string());
                let mut command = node_command(program, "1", &hosts);
                command.env("ATALAYA_STATE_DIR", folder.path().join("state"));
                command.args(["--boards", &boards(folder.path(), 1), "--board", "b"]);
                command.args(["--sampling-period", "200ms", "--api-url", &api.url()]);
                (Process::spawn(command), api, folder)
            })
            .collect();
        let bytes = |process: &Process| -> u64 {
            let io = fs::read_to_string(format!("/proc/{}/io", process.pid())).unwrap();
            io.lines().find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok()).unwrap()
        };
        thread::sleep(WARM_UP);
        let before: Vec<u64> = fleets.iter().map(|(process, ..)| bytes(process)).collect();
        thread::sleep(WARM_UP);
        for (number, (process, api, _)) in fleets.iter().enumerate() {
            written[number] += bytes(process) - before[number];
            requests[number].extend(api.requests().iter().map(shape));
            let memory = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid())).unwrap();
            let line = memory.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB"));
            figures[number].push(line.unwrap().trim().parse::<f64>().unwrap() / 1024.0);
        }
    }
    assert_eq!(requests[0], requests[1], "both send the same requests");
    println!("\nrequests of both: {:?}", requests[0]);
    for (name, number) in [("with history", 0), ("without", 1)] {
        let resident = &mut figures[number];
        resident.sort_by(f64::total_cmp);
        println!(
            "{name}: resident memory {:.2} MiB ({:.2} to {:.2}), written to the disk {} bytes",
            resident[PAIRS / 2],
            resident[0],
            resident[PAIRS - 1],
            written[number]
        );
    }
}
