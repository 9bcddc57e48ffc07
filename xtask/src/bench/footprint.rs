//! What one node costs its machine: memory, and processor time per cycle, as the leader and as a follower.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use atalaya_testbed::{Api, Kazoo, Probe, Process, ZooKeeper, node_command};

use super::Bench;
use super::cycle::TICK;
use super::figures::{Aim, Sample, Section, Short};
use super::proc::{self, Runs};

/// Three nodes: the first leads, the others follow.
const NODES: usize = 3;
/// The shortest that a node takes, so that little of what is measured is not the cycle's.
const PERIOD: Duration = Duration::from_millis(100);
/// Cycles in one window of the measurement.
const CYCLES: u32 = 150;
/// The period of nodes that are there only to be idle, in seconds.
const NEVER: u64 = 86_400;
/// A node's period if nothing else is said.
const DEFAULT_PERIOD: Duration = Duration::from_secs(5);
/// What connecting, electing and allocating for the first time may take.
const SETTLE: Duration = Duration::from_secs(5);
const START: Duration = Duration::from_secs(30);
const MIB: f64 = 1024.0 * 1024.0;

/// Three nodes of one kind, in a corner of ZooKeeper that is their own.
struct Fleet {
    chroot: String,
    nodes: Vec<Process>,
}

impl Fleet {
    fn of_atalaya(bench: &Bench, server: &ZooKeeper, api: &Api, chroot: &str, period: Duration) -> Fleet {
        let hosts = format!("{}{chroot}", server.connect_string());
        let period = format!("{}ms", period.as_millis());
        let start = |id: usize| {
            let mut command = node_command(&bench.node.to_string_lossy(), &id.to_string(), &hosts);
            command.args(["--api-url", &api.url(), "--sampling-period", &period]);
            Process::spawn(command)
        };
        Fleet::gather(chroot, start, "leading", "following: waiting")
    }

    fn of_kazoo(kazoo: &Kazoo, server: &ZooKeeper, api: &Api, chroot: &str, period: Duration) -> Fleet {
        let hosts = format!("{}{chroot}", server.connect_string());
        let period = period.as_secs_f64().to_string();
        let start = |id: usize| kazoo.script("leader.py", &[&id.to_string(), &hosts, &period, &api.url()]);
        Fleet::gather(chroot, start, "elected", "published")
    }

    /// The first one has to lead before there are others.
    fn gather(chroot: &str, start: impl Fn(usize) -> Process, leads: &str, follows: &str) -> Fleet {
        let mut nodes = Vec::new();
        for id in 1..=NODES {
            let node = start(id);
            node.wait_for_line(if id == 1 { leads } else { follows }, START);
            nodes.push(node);
        }
        Fleet { chroot: chroot.to_owned(), nodes }
    }

    /// How often each node has stored a measurement, and how long it has run.
    fn look(&self, probe: &Probe) -> anyhow::Result<Vec<(i32, Runs)>> {
        let look = |(node, id): (&Process, usize)| {
            let path = format!("{}/mediciones/{id}", self.chroot);
            let (_, stat) = probe.get(&path).with_context(|| format!("{path} is gone"))?;
            Ok((stat.version, Runs::of(node.pid())?))
        };
        self.nodes.iter().zip(1..).map(look).collect()
    }
}

/// What the nodes of a fleet took, the leader's first, the followers' second.
#[derive(Clone, Default)]
struct Taken {
    /// Milliseconds of processor time for each cycle.
    cycle: [Sample; 2],
    /// How often a thread was woken in each cycle.
    wakes: [Sample; 2],
    /// The same for each second.
    second: [Sample; 2],
    /// MiB.
    resident: [Sample; 2],
    proportional: [Sample; 2],
    anonymous: [Sample; 2],
    threads: [usize; 2],
}

impl Taken {
    /// Adds one window that lasted `time`.
    fn add(
        &mut self,
        fleet: &Fleet,
        before: &[(i32, Runs)],
        after: &[(i32, Runs)],
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
    let probe = Probe::connect(&server.connect_string());
    let api = Api::start();
    // Kazoo expects its corner to be there.
    for chroot in ["/kazoo", "/kazoo-idle"] {
        probe.create(chroot, b"", false).map_err(|error| anyhow::anyhow!("cannot make {chroot}: {error}"))?;
    }
    eprintln!("starting four fleets of {NODES}");
    let never = Duration::from_secs(NEVER);
    let fleets = [
        Fleet::of_atalaya(bench, &server, &api, "/atalaya", PERIOD),
        Fleet::of_kazoo(&bench.kazoo, &server, &api, "/kazoo", PERIOD),
        Fleet::of_atalaya(bench, &server, &api, "/atalaya-idle", never),
        Fleet::of_kazoo(&bench.kazoo, &server, &api, "/kazoo-idle", never),
    ];
    std::thread::sleep(SETTLE);
    let mut taken = vec![Taken::default(); fleets.len()];
    for window in 1..=windows {
        eprintln!("window {window} of {windows}");
        let start = Instant::now();
        let before = fleets.iter().map(|fleet| fleet.look(&probe)).collect::<Result<Vec<_>, _>>()?;
        std::thread::sleep(PERIOD * CYCLES);
        let after = fleets.iter().map(|fleet| fleet.look(&probe)).collect::<Result<Vec<_>, _>>()?;
        let time = start.elapsed();
        for (((taken, fleet), before), after) in taken.iter_mut().zip(&fleets).zip(&before).zip(&after) {
            taken.add(fleet, before, after, time)?;
        }
    }
    let size = std::fs::metadata(&bench.node).context("the node's binary is gone")?.len() as f64 / MIB;
    let [atalaya, kazoo, atalaya_idle, kazoo_idle] = &taken[..] else { anyhow::bail!("a fleet is missing") };
    let sides = [(atalaya, atalaya_idle), (kazoo, kazoo_idle)];
    let wake = proc::bare_wake(PERIOD / 4, 100)?;
    Ok(vec![section(sides, windows, size, wake)])
}

/// `sides`: the busy and the idle fleet of Atalaya, then of Kazoo; `size` of the binary in MiB; `wake` in microseconds.
fn section(sides: [(&Taken, &Taken); 2], windows: usize, size: f64, wake: f64) -> Section {
    let mut rows = Vec::new();
    let mut row = |name: &str, of: &dyn Fn(&Taken, &Taken, usize) -> String| {
        let cells = sides.iter().flat_map(|(busy, idle)| [of(busy, idle, 0), of(busy, idle, 1)]);
        rows.push([name.to_owned()].into_iter().chain(cells).collect::<Vec<_>>());
    };
    let show = |sample: &Sample| format!("**{}** ({})", Short(sample.median()), sample.range());
    row("resident memory, MiB", &|busy, _, role| show(&busy.resident[role]));
    row("  proportional share of it", &|busy, _, role| show(&busy.proportional[role]));
    row("  heap and stacks", &|busy, _, role| show(&busy.anonymous[role]));
    row("threads", &|busy, _, role| busy.threads[role].to_string());
    row("processor time per cycle, ms", &|busy, _, role| show(&busy.cycle[role]));
    row("  for which a thread was woken, times", &|busy, _, role| {
        Short(busy.wakes[role].median()).to_string()
    });
    row("  per second without a cycle, ms", &|_, idle, role| show(&idle.second[role]));
    row("processor share at the default period, %", &|busy, idle, role| {
        Short(share(busy, idle, role)).to_string()
    });
    let (atalaya, _) = sides[0];
    Section {
        title: "One node: memory and processor time".into(),
        method: format!(
            "A fleet of {NODES} Atalaya nodes and one of {NODES} Kazoo nodes (`testbed/kazoo/leader.py`: publishes, \
             contends, and as the leader lists, reads, averages and reports) run at the same time against one server, \
             with a period of {} ms, one random sensor each, sessions of 10 s, and reports to an HTTP listener on \
             loopback. Two more such fleets do nothing but keep their sessions and their election. After {} s: \
             {windows} × {CYCLES} cycles. **Median** (smallest – largest) of these windows, and of both \
             followers. Processor time is what the kernel gave to all threads (`schedstat`); cycles are counted by the \
             versions of the znode. The share at the default period of {} s follows from time per cycle and time without \
             one.",
            PERIOD.as_millis(),
            SETTLE.as_secs(),
            DEFAULT_PERIOD.as_secs(),
        ),
        head: ["", "Atalaya leads", "Atalaya follows", "Kazoo leads", "Kazoo follows"]
            .map(str::to_owned)
            .to_vec(),
        rows,
        notes: vec![
            format!(
                "A program that does nothing but sleep uses {} µs of processor time on this machine each time it wakes \
                 up.",
                Short(wake)
            ),
            format!("Atalaya's binary has {} MiB; besides itself it needs the C library only.", Short(size)),
        ],
        aims: vec![
            Aim::at_most("resident memory, leader", 8.0, " MiB", atalaya.resident[0].median()),
            Aim::at_most("resident memory, follower", 8.0, " MiB", atalaya.resident[1].median()),
            Aim::at_most("processor time per cycle, leader", 0.5, " ms", atalaya.cycle[0].median()),
            Aim::at_most("processor time per cycle, follower", 0.2, " ms", atalaya.cycle[1].median()),
        ],
    }
}

/// Percent of one processor at the default period: what cycles cost beyond idling, and the idling.
fn share(busy: &Taken, idle: &Taken, role: usize) -> f64 {
    let idle = idle.second[role].median();
    let cycle = busy.cycle[role].median() - idle * PERIOD.as_secs_f64();
    (cycle / DEFAULT_PERIOD.as_secs_f64() + idle) / 10.0
}
