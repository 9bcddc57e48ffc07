//! Memory and processor time of one node, as the leader and as a follower.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use atalaya_testbed::{Api, Kazoo, Process, ZkProbe, ZooKeeper, node_command};

use super::Bench;
use super::cycle::TICK;
use super::proc::{self, RunTimes};
use super::report::{self, Section, cells};
use super::stats::{Sample, ThreeDigits};
use super::targets::Target;

/// Nodes per fleet: the first one leads, the others follow.
const NODES: usize = 3;
/// Minimum sampling period of a node, so that cycles cause most of the measured processor time.
const PERIOD: Duration = Duration::from_millis(100);
const CYCLES: u32 = 150;
/// Period of the idle fleets, in seconds: longer than the benchmark.
const IDLE_PERIOD: u64 = 86_400;
const DEFAULT_PERIOD: Duration = Duration::from_secs(5);
/// Warm-up time for connecting, electing and first allocations.
const WARM_UP: Duration = Duration::from_secs(5);
/// Timeout for the log line that shows the role of a node.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const MIB: f64 = 1024.0 * 1024.0;

/// Nodes of one implementation, with a chroot of their own.
struct Fleet {
    chroot: String,
    nodes: Vec<Process>,
}

impl Fleet {
    fn start_atalaya(bench: &Bench, server: &ZooKeeper, api: &Api, chroot: &str, period: Duration) -> Fleet {
        let hosts = format!("{}{chroot}", server.connect_string());
        let period = format!("{}ms", period.as_millis());
        let spawn = |id: usize| {
            let mut command = node_command(&bench.node.to_string_lossy(), &id.to_string(), &hosts);
            command.args(["--api-url", &api.url(), "--sampling-period", &period]);
            Process::spawn(command)
        };
        Fleet::start(chroot, spawn, "leading", "following: waiting")
    }

    fn start_kazoo(kazoo: &Kazoo, server: &ZooKeeper, api: &Api, chroot: &str, period: Duration) -> Fleet {
        let hosts = format!("{}{chroot}", server.connect_string());
        let period = period.as_secs_f64().to_string();
        let spawn = |id: usize| kazoo.script("leader.py", &[&id.to_string(), &hosts, &period, &api.url()]);
        Fleet::start(chroot, spawn, "elected", "published")
    }

    /// Starts the nodes one after the other: the first one must lead before the others start.
    fn start(
        chroot: &str,
        spawn: impl Fn(usize) -> Process,
        leader_line: &str,
        follower_line: &str,
    ) -> Fleet {
        let mut nodes = Vec::new();
        for id in 1..=NODES {
            let node = spawn(id);
            node.wait_for_line(if id == 1 { leader_line } else { follower_line }, START_TIMEOUT);
            nodes.push(node);
        }
        Fleet { chroot: chroot.to_owned(), nodes }
    }

    /// Returns the number of measurements that each node has stored, and its run times.
    fn inspect(&self, probe: &ZkProbe) -> anyhow::Result<Vec<(i32, RunTimes)>> {
        let inspect = |(node, id): (&Process, usize)| {
            let path = format!("{}/mediciones/{id}", self.chroot);
            let (_, stat) = probe.get(&path).with_context(|| format!("{path} does not exist"))?;
            Ok((stat.version, RunTimes::of(node.pid())?))
        };
        self.nodes.iter().zip(1..).map(inspect).collect()
    }
}

/// Resource usage of a fleet: element 0 is the leader, element 1 are the followers.
#[derive(Clone, Default)]
struct Usage {
    /// Processor time per cycle, in milliseconds.
    cycle: [Sample; 2],
    /// Number of times that a thread was woken, per cycle.
    wakes: [Sample; 2],
    /// Processor time per second, in milliseconds.
    second: [Sample; 2],
    /// Resident memory, in MiB.
    resident: [Sample; 2],
    /// Proportional share of the resident memory (PSS), in MiB.
    proportional: [Sample; 2],
    /// Heap and stacks, in MiB.
    anonymous: [Sample; 2],
    threads: [usize; 2],
}

impl Usage {
    /// Adds one window of length `time`.
    fn add(
        &mut self,
        fleet: &Fleet,
        before: &[(i32, RunTimes)],
        after: &[(i32, RunTimes)],
        time: Duration,
    ) -> anyhow::Result<()> {
        for (number, ((old, new), node)) in before.iter().zip(after).zip(&fleet.nodes).enumerate() {
            let role = number.min(1);
            let (used, wakes) = new.1.since(&old.1);
            let used = used.as_secs_f64() * 1e3;
            self.second[role].push(used / time.as_secs_f64());
            if new.0 > old.0 {
                let cycles = f64::from(new.0 - old.0);
                self.cycle[role].push(used / cycles);
                self.wakes[role].push(wakes as f64 / cycles);
            }
            let memory = proc::memory(node.pid())?;
            self.resident[role].push(memory.resident);
            self.proportional[role].push(memory.proportional);
            self.anonymous[role].push(memory.anonymous);
            self.threads[role] = new.1.threads();
        }
        Ok(())
    }
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Section>> {
    let windows = if bench.quick { 1 } else { 5 };
    let server = ZooKeeper::with_tick(TICK);
    let probe = ZkProbe::connect(&server.connect_string());
    let api = Api::start();
    // Kazoo does not create its chroot.
    for chroot in ["/kazoo", "/kazoo-idle"] {
        probe
            .create(chroot, b"", false)
            .map_err(|error| anyhow::anyhow!("cannot create {chroot}: {error}"))?;
    }
    eprintln!("starting four fleets of {NODES}");
    let idle_period = Duration::from_secs(IDLE_PERIOD);
    let fleets = [
        Fleet::start_atalaya(bench, &server, &api, "/atalaya", PERIOD),
        Fleet::start_kazoo(&bench.kazoo, &server, &api, "/kazoo", PERIOD),
        Fleet::start_atalaya(bench, &server, &api, "/atalaya-idle", idle_period),
        Fleet::start_kazoo(&bench.kazoo, &server, &api, "/kazoo-idle", idle_period),
    ];
    std::thread::sleep(WARM_UP);
    let mut usage = vec![Usage::default(); fleets.len()];
    for window in 1..=windows {
        eprintln!("window {window} of {windows}");
        let start = Instant::now();
        let before = fleets.iter().map(|fleet| fleet.inspect(&probe)).collect::<Result<Vec<_>, _>>()?;
        std::thread::sleep(PERIOD * CYCLES);
        let after = fleets.iter().map(|fleet| fleet.inspect(&probe)).collect::<Result<Vec<_>, _>>()?;
        let time = start.elapsed();
        for (((usage, fleet), before), after) in usage.iter_mut().zip(&fleets).zip(&before).zip(&after) {
            usage.add(fleet, before, after, time)?;
        }
    }
    let size = std::fs::metadata(&bench.node).context("cannot read the size of the node's binary")?.len()
        as f64
        / MIB;
    let [atalaya, kazoo, atalaya_idle, kazoo_idle] = &usage[..] else { anyhow::bail!("a fleet is missing") };
    let fleets = [(atalaya, atalaya_idle), (kazoo, kazoo_idle)];
    let wake = proc::bare_wake(PERIOD / 4, 100)?;
    Ok(vec![section(fleets, windows, size, wake)])
}

/// Builds the section. `fleets` has the busy and the idle fleet of Atalaya, then those of Kazoo; `size` is that of the
/// binary in MiB; `wake` is the processor time of a wake-up in microseconds.
fn section(fleets: [(&Usage, &Usage); 2], windows: usize, size: f64, wake: f64) -> Section {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: &dyn Fn(&Usage, &Usage, usize) -> String| {
        let cells = fleets.iter().flat_map(|(busy, idle)| [value(busy, idle, 0), value(busy, idle, 1)]);
        rows.push(report::row(name, cells));
    };
    row("resident memory, MiB", &|busy, _, role| busy.resident[role].with_range());
    row("  proportional share (PSS)", &|busy, _, role| busy.proportional[role].with_range());
    row("  heap and stacks", &|busy, _, role| busy.anonymous[role].with_range());
    row("threads", &|busy, _, role| busy.threads[role].to_string());
    row("processor time per cycle, ms", &|busy, _, role| busy.cycle[role].with_range());
    row("  wake-ups per cycle", &|busy, _, role| ThreeDigits(busy.wakes[role].median()).to_string());
    row("processor time per second when idle, ms", &|_, idle, role| idle.second[role].with_range());
    row("processor share at the default period, %", &|busy, idle, role| {
        ThreeDigits(share(busy, idle, role)).to_string()
    });
    let (atalaya, _) = fleets[0];
    Section {
        title: "One node: memory and processor time".into(),
        method: format!(
            "A fleet of {NODES} Atalaya nodes and one of {NODES} Kazoo nodes (`testbed/kazoo/leader.py`: publishes, \
             contends, and as the leader lists, reads, averages and reports) run at the same time against one server, \
             with a period of {} ms, one random sensor each, sessions of 10 s, and reports to an HTTP listener on \
             loopback. Two more such fleets only keep their sessions and their election. After {} s: \
             {windows} × {CYCLES} cycles. **Median** (smallest – largest) of these windows, and of both \
             followers. Processor time is that of all threads by the kernel (`schedstat`); cycles are counted by the \
             versions of the znode. The share at the default period of {} s is computed from the times per cycle \
             and when idle.",
            PERIOD.as_millis(),
            WARM_UP.as_secs(),
            DEFAULT_PERIOD.as_secs(),
        ),
        head: cells(["", "Atalaya, leader", "Atalaya, follower", "Kazoo, leader", "Kazoo, follower"]),
        rows,
        notes: vec![
            format!(
                "A program that only sleeps uses {} µs of processor time on this machine each time it wakes \
                 up.",
                ThreeDigits(wake)
            ),
            format!("Atalaya's binary has {} MiB; it needs only the C library.", ThreeDigits(size)),
        ],
        targets: vec![
            Target::at_most("resident memory, leader", 8.0, " MiB", atalaya.resident[0].median()),
            Target::at_most("resident memory, follower", 8.0, " MiB", atalaya.resident[1].median()),
            Target::at_most("processor time per cycle, leader", 0.5, " ms", atalaya.cycle[0].median()),
            Target::at_most("processor time per cycle, follower", 0.2, " ms", atalaya.cycle[1].median()),
        ],
    }
}

/// Returns the processor share at the default period, in percent of one processor: the cost of cycles in addition to
/// idling, and the cost of idling.
fn share(busy: &Usage, idle: &Usage, role: usize) -> f64 {
    let idle = idle.second[role].median();
    let cycle = busy.cycle[role].median() - idle * PERIOD.as_secs_f64();
    (cycle / DEFAULT_PERIOD.as_secs_f64() + idle) / 10.0
}
