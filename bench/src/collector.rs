//! The collector compared with a common alternative, Flask with Redis: durable reports per second, latency, and memory.
//! `wrk` sends requests to all of them, one after the other, in rounds.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use atalaya_testbed::install::{self, Environment, Part};
use atalaya_testbed::{Process, Redis, Scratch, parent_death_command};
use serde_json::Value;

use super::Bench;
use super::proc;
use super::report::{Section, row};
use super::stats::{Sample, ThreeDigits};
use super::targets::Target;

/// Timeout until a service listens.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Load levels: number of concurrent clients, and of reports per request.
const LOAD_LEVELS: [(u32, u32); 6] = [(1, 1), (16, 1), (64, 1), (256, 1), (1, 100), (16, 100)];
/// Threads per process of the Flask service.
const THREADS: &str = "32";
const ALWAYS: &str = "appendonly yes\nappendfsync always";
const EVERY_SECOND: &str = "appendonly yes\nappendfsync everysec";

struct Service {
    name: &'static str,
    process: Process,
    url: String,
    /// Memory before the load, in MiB: the proportional set size (PSS) including child processes.
    idle: f64,
    /// Maximum memory after a turn of load.
    peak: f64,
    /// Redis with its data, which must outlive it.
    _redis: Option<Redis>,
}

impl Service {
    fn collector(
        bench: &Bench,
        name: &'static str,
        store: &str,
        redis: Option<Redis>,
    ) -> anyhow::Result<Service> {
        let mut command = parent_death_command(&bench.node);
        command.args(["collect", "--listen", "127.0.0.1:0", "--store", store]);
        // As behind a proxy, because all clients have the same address.
        command.args(["--rate", "1000000", "--trusted-proxy", "127.0.0.1"]);
        Service::wait_for(name, Process::spawn(command), "listening at ", redis)
    }

    fn flask(python: &Path, name: &'static str, configuration: &str) -> anyhow::Result<Service> {
        let redis = Redis::with(configuration);
        let mut command = parent_death_command(python);
        command.current_dir(folder()).env("REDIS_URL", redis.url()).env("PYTHONDONTWRITEBYTECODE", "1");
        let workers =
            std::thread::available_parallelism().context("cannot read the number of processors")?.to_string();
        command.args(["-m", "gunicorn", "--no-control-socket", "--bind", "127.0.0.1:0"]);
        command.args(["--workers", &workers, "--worker-class", "gthread", "--threads", THREADS, "app:app"]);
        Service::wait_for(name, Process::spawn(command), "Listening at: ", Some(redis))
    }

    fn wait_for(
        name: &'static str,
        process: Process,
        listening: &str,
        redis: Option<Redis>,
    ) -> anyhow::Result<Service> {
        let line = process.wait_for_line(listening, START_TIMEOUT).text;
        let address = line.split_once("http://").map(|(_, rest)| rest);
        let address = address.and_then(|rest| rest.split(['/', ' ', ',']).next());
        let url = format!("http://{}/api/v1/reports", address.context("no URL in the line")?);
        // A short load checks that the service works.
        let mut service = Service { name, process, url, idle: 0.0, peak: 0.0, _redis: redis };
        service.load(1, 1, Duration::from_millis(200), 1)?;
        service.idle = service.memory()?;
        Ok(service)
    }

    /// Returns the memory of the process and its children, in MiB. Redis is not included.
    fn memory(&self) -> anyhow::Result<f64> {
        let pid = self.process.pid();
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        std::iter::once(pid).chain(children).map(|pid| Ok(proc::memory(pid)?.proportional)).sum()
    }

    /// Sends reports of `epoch` for this time, with `batch` reports per request.
    fn load(&mut self, clients: u32, batch: u32, time: Duration, epoch: u32) -> anyhow::Result<Load> {
        let mut command = Command::new("wrk");
        command.arg(format!("-t{}", clients.min(2))).arg(format!("-c{clients}"));
        // wrk accepts whole seconds only.
        command.arg(format!("-d{}s", time.as_secs().max(1))).args(["--timeout", "30s"]);
        command.arg("-s").arg(folder().join("reports.lua")).arg(&self.url).arg("--");
        let output =
            command.args([epoch.to_string(), batch.to_string()]).output().context("cannot run wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        let answer: Value =
            serde_json::from_str(last).with_context(|| format!("unexpected output of wrk: {text}"))?;
        let number =
            |name: &str| answer[name].as_f64().with_context(|| format!("no {name} in the output of wrk"));
        let (refused, broken) = (number("refused")?, number("broken")?);
        ensure!(
            refused + broken == 0.0,
            "{}: {refused} requests were rejected and {broken} failed",
            self.name
        );
        let seconds = number("microseconds")? / 1e6;
        self.peak = self.peak.max(self.memory()?);
        Ok(Load {
            reports: number("requests")? * f64::from(batch) / seconds,
            p50: number("p50")? / 1e3,
            p99: number("p99")? / 1e3,
        })
    }
}

/// Results of one turn: reports per second, and latencies in milliseconds.
struct Load {
    reports: f64,
    p50: f64,
    p99: f64,
}

/// Results of all turns of one service at one load level.
#[derive(Clone, Default)]
struct Results {
    reports: Sample,
    p50: Sample,
    p99: Sample,
}

/// Returns the folder of the Flask service and of the script for `wrk`.
fn folder() -> std::path::PathBuf {
    xtask::cargo::workspace().join("testbed/peer")
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Section>> {
    install::ensure(&[Part::Wrk, Part::Redis, Part::Python])?;
    let python = Environment::PEER.ready().context("cannot install Flask")?;
    let (rounds, turn) = if bench.quick { (1, 1) } else { (5, 3) };
    let turn = Duration::from_secs(turn);
    let scratch = Scratch::new("bench-collector");
    let file = format!("sqlite:{}", scratch.path().join("reports.db").display());
    let redis = Redis::with(ALWAYS);
    let url = redis.url();
    let mut services = [
        Service::collector(bench, "Atalaya, SQLite", &file, None)?,
        Service::collector(bench, "Atalaya, Redis", &url, Some(redis))?,
        Service::flask(&python, "Flask, Redis", ALWAYS)?,
        Service::flask(&python, "Flask, Redis (`everysec`)", EVERY_SECOND)?,
    ];
    let mut results = vec![vec![Results::default(); services.len()]; LOAD_LEVELS.len()];
    let mut epoch = 1;
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for ((clients, batch), results) in LOAD_LEVELS.into_iter().zip(&mut results) {
            epoch += 1;
            let count = services.len();
            // Reverse the order each round.
            let order: Vec<usize> =
                if round % 2 == 0 { (0..count).rev().collect() } else { (0..count).collect() };
            for at in order {
                let load = services[at].load(clients, batch, turn, epoch)?;
                results[at].reports.push(load.reports);
                results[at].p50.push(load.p50);
                results[at].p99.push(load.p99);
            }
        }
    }
    Ok(vec![section(&services, &results, rounds, turn)])
}

fn section(services: &[Service], results: &[Vec<Results>], rounds: u32, turn: Duration) -> Section {
    let mut rows = Vec::new();
    for (what, sample) in [
        ("reports per second", (|results| &results.reports) as fn(&Results) -> &Sample),
        ("latency, median, ms", |results| &results.p50),
        ("latency, 99th percentile, ms", |results| &results.p99),
    ] {
        for ((clients, batch), results) in LOAD_LEVELS.into_iter().zip(results) {
            let clients = if clients == 1 { "1 client".into() } else { format!("{clients} clients") };
            let kind = if batch == 1 { clients } else { format!("{clients}, {batch} reports each") };
            let cells = results.iter().map(|service| sample(service).with_range());
            rows.push(row(what, [kind].into_iter().chain(cells)));
        }
    }
    for (what, memory) in
        [("idle", (|service| service.idle) as fn(&Service) -> f64), ("maximum", |service| service.peak)]
    {
        let cells = services.iter().map(|service| ThreeDigits(memory(service)).to_string());
        rows.push(row("memory, MiB", [what.to_owned()].into_iter().chain(cells)));
    }
    // Atalaya, relative to Flask with the durable Redis.
    let target = |store: usize, name: &str, limit: f64| {
        let ratio =
            move |load: usize| results[load][store].reports.median() / results[load][2].reports.median();
        let prefix = format!("collector ({name}) relative to Flask and Redis, both durable");
        move |(load, (clients, batch)): (usize, (u32, u32))| {
            let batch = if batch == 1 { String::new() } else { format!(" × {batch} reports") };
            let clients = if clients == 1 { "1 client".into() } else { format!("{clients} clients") };
            Target::at_least(&format!("{prefix}: {clients}{batch}"), limit, " times", ratio(load))
        }
    };
    let levels = || LOAD_LEVELS.into_iter().enumerate();
    let mut targets: Vec<Target> = levels().map(target(0, "SQLite", 10.0)).collect();
    targets.extend(levels().map(target(1, "Redis", 1.0)));
    targets.push(Target::at_most("collector, memory when idle", 20.0, " MiB", services[0].idle));
    let names = services.iter().map(|service| service.name.to_owned());
    Section {
        title: "Collector and Flask with Redis".into(),
        method: format!(
            "`atalaya collect` and the same API in Flask (`testbed/peer/app.py`: stores each key once, by a script in Redis; \
             served by gunicorn with a process for each core, {THREADS} threads each), loaded by `wrk` with at most {} threads over \
             persistent connections. Each report has a key of its own and the form in which nodes post it; only \
             successes count, and mean that the report is on the disk (SQLite `synchronous=FULL`; Redis `appendfsync \
             always`), except in the last column, whose Redis may lose a second. **Median** (smallest – largest) of {rounds} \
             turns of {} s each; in each round all have their turn, one right after the other, and the order is reversed \
             from round to round. Memory is the proportional share (PSS) of the process and its workers, without Redis.",
            2,
            turn.as_secs(),
        ),
        head: row("", [String::new()].into_iter().chain(names)),
        rows,
        notes: Vec::new(),
        targets,
    }
}
