//! Ten thousand nodes: the time that they need to join, their cycles, a leader that is killed, a restart of ZooKeeper, and
//! the same with Kazoo's nodes among them.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::{Api, Process, Recorded, ZkProbe, ZooKeeper, node_command, parent_death_command};
use serde_json::Value;

use super::Bench;
use super::cycle::TICK;
use super::machine::Machine;
use super::report::Section;
use super::server::servers::{Apache, Jvm, Running};
use super::stats::ThreeDigits;
use super::targets::Target;

/// Processes with many nodes, beside that of the leader.
const PROCESSES: u32 = 3;
/// Session timeout of the nodes, as in `node/benches/nodes.rs`.
const SESSION_TIMEOUT: Duration = Duration::from_secs(20);
/// Timeout of each step.
const TIMEOUT: Duration = Duration::from_secs(300);
const MEASUREMENTS: &str = "/mediciones";
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const MB: f64 = 1e6;

struct Fleet {
    nodes: u32,
    /// Further nodes, each a program of Kazoo.
    kazoo: u32,
    /// Sampling period in seconds.
    period: u32,
    cycles: usize,
}

impl Fleet {
    fn all(&self) -> u64 {
        u64::from(self.nodes + self.kazoo)
    }
}

/// Requests that the server has received, and bytes that its process has written, to clients and to its log.
#[derive(Clone, Copy)]
struct Traffic {
    requests: f64,
    bytes: f64,
}

#[derive(Default)]
struct Results {
    /// Seconds until all nodes have published.
    joined: f64,
    join_requests: f64,
    join_bytes: f64,
    /// Number of readings in each average after all have joined.
    readings: Vec<u64>,
    /// Requests and bytes of a cycle.
    cycle_requests: f64,
    cycle_bytes: f64,
    /// Seconds from the death of the leader to the next report.
    fail_over: f64,
    /// Requests until then, above those of as many cycles.
    fail_over_requests: f64,
    fail_over_bytes: f64,
    /// Seconds from the kill of ZooKeeper to the first report with all nodes.
    complete_again: f64,
    restart_requests: f64,
    /// Maximum resident memory of a process, in MiB per node.
    memory: f64,
}

pub(crate) fn measure(bench: &Bench, machine: &mut Machine) -> anyhow::Result<Vec<Section>> {
    let (nodes, period, cycles) = if bench.quick { (300, 1, 3) } else { (10_000, 10, 20) };
    let kazoo = if bench.quick { 5 } else { 50 };
    let fleets =
        [Fleet { nodes, kazoo: 0, period, cycles }, Fleet { nodes: nodes - kazoo, kazoo, period, cycles }];
    let server = ZooKeeper::with_tick(TICK);
    machine.zookeeper(&server);
    let apache = Apache::take_over(server)?;
    let mut results = Vec::new();
    for fleet in &fleets {
        eprintln!("{} nodes and {} of Kazoo", fleet.nodes, fleet.kazoo);
        results.push(run(bench, &apache, fleet)?);
    }
    Ok(vec![section(&fleets, &results)])
}

fn run(bench: &Bench, apache: &Apache, fleet: &Fleet) -> anyhow::Result<Results> {
    let server = apache.start(Jvm::Large)?;
    let api = Api::start();
    let probe = ZkProbe::connect(&server.address);
    let mut results = Results::default();

    let period = format!("{}s", fleet.period);
    let mut command = node_command(&bench.node.to_string_lossy(), "1", &server.address);
    command.args(["--api-url", &api.url(), "--api-method", "post", "--sampling-period", &period]);
    command.args(["--session-timeout", &format!("{}s", SESSION_TIMEOUT.as_secs())]);
    let mut leader = Process::start(command, "leading", TIMEOUT);

    let (begin, before) = (Instant::now(), traffic(apache, &server)?);
    let mut processes = Vec::new();
    let mut first = 2;
    for number in 0..PROCESSES {
        let count = (fleet.nodes - first + 1) / (PROCESSES - number);
        let mut command = parent_death_command(&bench.nodes);
        command.args([&server.address, &first.to_string(), &count.to_string(), &period, &api.url()]);
        processes.push(Process::spawn(command));
        first += count;
    }
    let kazoo = |id: u32| {
        bench
            .kazoo
            .script("leader.py", &[&id.to_string(), &server.address, &fleet.period.to_string(), &api.url()])
    };
    wait_for("all nodes publish", || {
        (u32::try_from(probe.exists(MEASUREMENTS)?.num_children).ok()? >= fleet.nodes).then_some(())
    })?;
    results.joined = begin.elapsed().as_secs_f64();
    let joined = traffic(apache, &server)?;
    results.join_requests = (joined.requests - before.requests) / f64::from(fleet.nodes);
    results.join_bytes = (joined.bytes - before.bytes) / MB;
    // They stand in line behind the first contenders of Atalaya.
    let kazoo: Vec<Process> = (fleet.nodes + 1..=fleet.nodes + fleet.kazoo).map(kazoo).collect();
    eprintln!("  joined after {:.1} s", results.joined);

    wait_for_complete(&api, Instant::now(), fleet.all())?;
    let (begin, before) = (Instant::now(), traffic(apache, &server)?);
    let since = |begin: Instant| move |request: &&Recorded| request.at > begin && readings(request).is_some();
    let count = |all: &[Recorded]| all.iter().filter(since(begin)).count() >= fleet.cycles;
    let limit = Duration::from_secs(u64::from(fleet.period)) * (2 * u32::try_from(fleet.cycles)?);
    let requests = api.wait_for("cycles", limit, count);
    results.readings = requests.iter().filter(since(begin)).filter_map(readings).collect();
    let after = traffic(apache, &server)?;
    let cycles = begin.elapsed().as_secs_f64() / f64::from(fleet.period);
    results.cycle_requests = (after.requests - before.requests) / cycles;
    results.cycle_bytes = (after.bytes - before.bytes) / MB / cycles;
    eprintln!("  {} cycles with at least {:?} readings", fleet.cycles, results.readings.iter().min());

    let before = traffic(apache, &server)?;
    leader.kill9();
    let begin = Instant::now();
    let report = |all: &[Recorded]| all.iter().any(|request| since(begin)(&request));
    api.wait_for("a report of another leader", TIMEOUT, report);
    results.fail_over = begin.elapsed().as_secs_f64();
    let after = traffic(apache, &server)?;
    let cycles = results.fail_over / f64::from(fleet.period);
    results.fail_over_requests = after.requests - before.requests - cycles * results.cycle_requests;
    results.fail_over_bytes = (after.bytes - before.bytes) / MB - cycles * results.cycle_bytes;
    eprintln!("  another leader has reported after {:.1} s", results.fail_over);
    // The killed leader's measurement is gone.
    let left = fleet.all() - 1;
    wait_for_complete(&api, Instant::now(), left)?;

    let begin = Instant::now();
    let Running { mut process, .. } = server;
    process.kill9();
    drop(process);
    let server = apache.restart(Jvm::Large)?;
    results.complete_again = wait_for_complete(&api, begin, left)?.duration_since(begin).as_secs_f64();
    results.restart_requests = traffic(apache, &server)?.requests / left as f64;
    eprintln!("  complete {:.1} s after ZooKeeper was killed", results.complete_again);

    for process in &processes {
        let peak = super::proc::peak(process.pid())?;
        results.memory = results.memory.max(peak / f64::from(fleet.nodes / PROCESSES));
    }
    drop((processes, kazoo));
    Ok(results)
}

/// Returns the number of readings in a report of an average.
fn readings(request: &Recorded) -> Option<u64> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    body["count"].as_u64()
}

/// Waits for a report since `begin` with this number of readings, and returns its time.
fn wait_for_complete(api: &Api, begin: Instant, count: u64) -> anyhow::Result<Instant> {
    let is_complete =
        |request: &&Recorded| request.at > begin && readings(request).is_some_and(|found| found >= count);
    let requests =
        api.wait_for("a report of all nodes", TIMEOUT, |all| all.iter().any(|request| is_complete(&request)));
    Ok(requests.iter().find(is_complete).context("no report of all nodes")?.at)
}

fn wait_for<T>(what: &str, condition: impl Fn() -> Option<T>) -> anyhow::Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        ensure!(begin.elapsed() < TIMEOUT, "{what}: not within {} s", TIMEOUT.as_secs());
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn traffic(apache: &Apache, server: &Running) -> anyhow::Result<Traffic> {
    let requests = apache.count("zk_packets_received").context("ZooKeeper does not answer")?;
    let path = format!("/proc/{}/io", server.process.pid());
    let io = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let written = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    let bytes = written.and_then(|bytes| bytes.parse().ok()).context("no wchar")?;
    Ok(Traffic { requests, bytes })
}

fn section(fleets: &[Fleet], results: &[Results]) -> Section {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: &dyn Fn(&Results) -> String| {
        rows.push([name.to_owned()].into_iter().chain(results.iter().map(value)).collect::<Vec<_>>());
    };
    let number = |value: f64| ThreeDigits(value).to_string();
    row("all nodes have published after, s", &|result| number(result.joined));
    row("  requests per node until then", &|result| number(result.join_requests));
    row("  MB written by the server", &|result| number(result.join_bytes));
    row("readings in an average afterwards: smallest, of", &|result| {
        let least = result.readings.iter().min().copied().unwrap_or_default();
        format!("{least}, {} averages", result.readings.len())
    });
    row("requests in a period", &|result| number(result.cycle_requests));
    row("  MB written by the server", &|result| number(result.cycle_bytes));
    row("leader killed: next report after, s", &|result| number(result.fail_over));
    row("  requests besides those of the periods", &|result| number(result.fail_over_requests));
    row("  MB besides", &|result| number(result.fail_over_bytes));
    row("ZooKeeper killed and started: report of all nodes after, s", &|result| {
        number(result.complete_again)
    });
    row("  requests per node until then", &|result| number(result.restart_requests));
    row("maximum resident memory of a process, KiB per node", &|result| number(result.memory * 1024.0));
    let timeout = SESSION_TIMEOUT.as_secs_f64();
    let worst = |value: &dyn Fn(&Results) -> f64| results.iter().map(value).fold(0.0, f64::max);
    let all: u64 = fleets.iter().map(Fleet::all).min().unwrap_or_default();
    let least = results.iter().flat_map(|result| &result.readings).min().copied().unwrap_or_default();
    Section {
        title: "A large fleet on Apache ZooKeeper".into(),
        method: format!(
            "{all} nodes at a period of {} s: the leader is a process of its own, the others are in {PROCESSES} \
             processes (`node/benches/nodes.rs`) with one thread each, and each node has a session; in the second column, some of them are \
             programs of Kazoo (`testbed/kazoo/leader.py`). Session timeout of {timeout} s. Apache ZooKeeper has one \
             server, and does not wait for its disk. The leader and ZooKeeper are killed by SIGKILL; ZooKeeper is started \
             again at once. Requests are counted by `mntr`, bytes by the kernel.",
            fleets[0].period
        ),
        head: [String::new()]
            .into_iter()
            .chain(fleets.iter().map(|fleet| format!("{} nodes, {} of Kazoo", fleet.nodes, fleet.kazoo)))
            .collect(),
        rows,
        notes: Vec::new(),
        targets: vec![
            Target::at_most(
                "large fleet: all nodes have published after",
                20.0,
                " s",
                worst(&|result| result.joined),
            ),
            Target::at_least("large fleet: readings in an average", all as f64, "", least as f64),
            Target::at_most(
                "large fleet: report of another leader after",
                timeout + 1.0,
                " s",
                worst(&|result| result.fail_over),
            ),
            Target::at_most(
                "large fleet: report of all nodes after a restart of ZooKeeper",
                30.0,
                " s",
                worst(&|result| result.complete_again),
            ),
        ],
    }
}
