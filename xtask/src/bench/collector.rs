//! The collector beside what people write in its place: Flask and Redis. Durable reports a second, how soon they are
//! answered, and memory. `wrk` asks all of them, one after the other, in rounds.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::install::{self, Environment, Part};
use atalaya_testbed::{Process, Redis, Scratch, guarded};
use serde_json::Value;

use super::Bench;
use super::figures::{Aim, Sample, Section, Short};
use super::proc;
use crate::cargo::require;

const START: Duration = Duration::from_secs(60);
/// Clients at the same time, and reports of a request.
const LOADS: [(u32, u32); 6] = [(1, 1), (16, 1), (64, 1), (256, 1), (1, 100), (16, 100)];
/// Threads of each of the two processes of the peer.
const THREADS: &str = "32";
const ALWAYS: &str = "appendonly yes\nappendfsync always";
const EVERY_SECOND: &str = "appendonly yes\nappendfsync everysec";

/// Somebody who takes reports.
struct Side {
    name: &'static str,
    process: Process,
    url: String,
    /// With its children; MiB, shared memory divided among those who share it.
    idle: f64,
    most: f64,
    /// Where its data are, which must outlive it.
    _redis: Option<Redis>,
}

impl Side {
    fn collector(
        bench: &Bench,
        name: &'static str,
        store: &str,
        redis: Option<Redis>,
    ) -> anyhow::Result<Side> {
        let mut command = guarded(&bench.node);
        command.args(["collect", "--listen", "127.0.0.1:0", "--store", store]);
        // As behind a proxy: all clients come from one address.
        command.args(["--rate", "1000000", "--trusted-proxy", "127.0.0.1"]);
        Side::started(name, Process::spawn(command), "listening at ", redis)
    }

    fn peer(python: &Path, name: &'static str, configuration: &str) -> anyhow::Result<Side> {
        let redis = Redis::with(configuration);
        let mut command = guarded(python);
        command.current_dir(folder()).env("REDIS_URL", redis.url()).env("PYTHONDONTWRITEBYTECODE", "1");
        let workers = std::thread::available_parallelism().context("how many processors?")?.to_string();
        command.args(["-m", "gunicorn", "--no-control-socket", "--bind", "127.0.0.1:0"]);
        command.args(["--workers", &workers, "--worker-class", "gthread", "--threads", THREADS, "app:app"]);
        Side::started(name, Process::spawn(command), "Listening at: ", Some(redis))
    }

    fn started(
        name: &'static str,
        process: Process,
        says: &str,
        redis: Option<Redis>,
    ) -> anyhow::Result<Side> {
        let line = process.wait_for_line(says, START).text;
        let address = line.split_once("http://").map(|(_, rest)| rest);
        let address = address.and_then(|rest| rest.split(['/', ' ', ',']).next());
        let url = format!("http://{}/api/v1/reports", address.context("it says where it listens")?);
        // The first report shows that it works.
        let mut side = Side { name, process, url, idle: 0.0, most: 0.0, _redis: redis };
        side.load(1, 1, Duration::from_millis(200), 1)?;
        side.idle = side.memory()?;
        Ok(side)
    }

    /// Of the process and its children; Redis, which both may use, is not counted.
    fn memory(&self) -> anyhow::Result<f64> {
        let pid = self.process.pid();
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|child| child.parse().ok());
        let mut all = 0.0;
        for process in std::iter::once(pid).chain(children) {
            let memory = proc::memory(process)?;
            all += memory.proportional;
        }
        Ok(all)
    }

    /// Sends reports of `epoch` for so long.
    fn load(&mut self, clients: u32, batch: u32, time: Duration, epoch: u32) -> anyhow::Result<Load> {
        let mut command = Command::new("wrk");
        command.arg(format!("-t{}", clients.min(2))).arg(format!("-c{clients}"));
        // It counts in whole seconds.
        command.arg(format!("-d{}s", time.as_secs().max(1))).args(["--timeout", "30s"]);
        command.arg("-s").arg(folder().join("reports.lua")).arg(&self.url).arg("--");
        let output =
            command.args([epoch.to_string(), batch.to_string()]).output().context("cannot run wrk")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        let said: Value = serde_json::from_str(last).with_context(|| format!("wrk says {text}"))?;
        let figure = |name: &str| said[name].as_f64().with_context(|| format!("wrk says no {name}"));
        let (refused, broken) = (figure("refused")?, figure("broken")?);
        ensure!(refused + broken == 0.0, "{}: {refused} requests refused, {broken} broken", self.name);
        let seconds = figure("microseconds")? / 1e6;
        self.most = self.most.max(self.memory()?);
        Ok(Load {
            reports: figure("requests")? * f64::from(batch) / seconds,
            p50: figure("p50")? / 1e3,
            p99: figure("p99")? / 1e3,
        })
    }
}

/// What came of one turn: reports a second, milliseconds.
struct Load {
    reports: f64,
    p50: f64,
    p99: f64,
}

/// What came of all turns with one number of clients.
#[derive(Clone, Default)]
struct Loads {
    reports: Sample,
    p50: Sample,
    p99: Sample,
}

/// Where the peer and the script of `wrk` are.
fn folder() -> std::path::PathBuf {
    crate::cargo::workspace().join("testbed/peer")
}

/// Times a second that this disk takes 4 KiB more of a file and says that it has them.
fn syncs(folder: &Path, time: Duration) -> anyhow::Result<f64> {
    let mut file = File::create(folder.join("floor"))?;
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < time {
        file.write_all(&[0x55; 4096])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Section>> {
    require(&[Part::Wrk, Part::Redis, Part::Python])?;
    let say = |line: &str| eprintln!("{line}");
    let python = install::ensure_environment(Environment::PEER, say).context("the peer needs Flask")?;
    let (rounds, turn) = if bench.quick { (1, 1) } else { (5, 3) };
    let turn = Duration::from_secs(turn);
    let scratch = Scratch::new("bench-collector");
    let file = format!("sqlite:{}", scratch.path().join("reports.db").display());
    let redis = Redis::with(ALWAYS);
    let url = redis.url();
    let mut sides = [
        Side::collector(bench, "Atalaya, SQLite", &file, None)?,
        Side::collector(bench, "Atalaya, Redis", &url, Some(redis))?,
        Side::peer(&python, "Flask, Redis", ALWAYS)?,
        Side::peer(&python, "Flask, Redis (`everysec`)", EVERY_SECOND)?,
    ];
    let mut results = vec![vec![Loads::default(); sides.len()]; LOADS.len()];
    let mut floor = Sample::default();
    let mut epoch = 1;
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        floor.push(syncs(scratch.path(), turn / 3)?);
        for ((clients, batch), results) in LOADS.into_iter().zip(&mut results) {
            epoch += 1;
            let count = sides.len();
            // Who is first in one round, is last in the next.
            let order: Vec<usize> =
                if round % 2 == 0 { (0..count).rev().collect() } else { (0..count).collect() };
            for at in order {
                let load = sides[at].load(clients, batch, turn, epoch)?;
                results[at].reports.push(load.reports);
                results[at].p50.push(load.p50);
                results[at].p99.push(load.p99);
            }
        }
    }
    Ok(vec![section(&sides, &results, &floor, rounds, turn)])
}

fn section(sides: &[Side], results: &[Vec<Loads>], floor: &Sample, rounds: u32, turn: Duration) -> Section {
    let show = |sample: &Sample| format!("**{}** ({})", Short(sample.median()), sample.range());
    let mut rows = Vec::new();
    for (what, of) in [
        ("reports a second", (|loads| &loads.reports) as fn(&Loads) -> &Sample),
        ("milliseconds, half of the requests", |loads| &loads.p50),
        ("milliseconds, 99 of 100 requests", |loads| &loads.p99),
    ] {
        for ((clients, batch), results) in LOADS.into_iter().zip(results) {
            let clients = if clients == 1 { "1 client".into() } else { format!("{clients} clients") };
            let kind = if batch == 1 { clients } else { format!("{clients}, {batch} reports each") };
            rows.push(
                [what.into(), kind].into_iter().chain(results.iter().map(|side| show(of(side)))).collect(),
            );
        }
    }
    for (what, of) in [("idle", (|side| side.idle) as fn(&Side) -> f64), ("at most", |side| side.most)] {
        let cells = sides.iter().map(|side| Short(of(side)).to_string());
        rows.push(["memory, MiB".into(), what.into()].into_iter().chain(cells).collect());
    }
    let times =
        |load: usize, ours: usize| results[load][ours].reports.median() / results[load][2].reports.median();
    let aim = |(load, (clients, batch)): (usize, (u32, u32))| {
        let batch = if batch == 1 { String::new() } else { format!(" × {batch} reports") };
        let what =
            format!("collector (SQLite) beside Flask and Redis, both durable: {clients} clients{batch}");
        Aim::at_least(&what, 10.0, " times", times(load, 0))
    };
    let mut aims: Vec<Aim> = LOADS.into_iter().enumerate().map(aim).collect();
    aims.push(Aim::at_most("collector, memory when idle", 20.0, " MiB", sides[0].idle));
    let head = ["", ""].map(str::to_owned).into_iter();
    Section {
        title: "The collector beside Flask and Redis".into(),
        method: format!(
            "`atalaya collect` and the same API in Flask (`testbed/peer/app.py`: keys kept once, by a script in Redis; served \
             by gunicorn with a process for each core, {THREADS} threads each), asked by `wrk` with {} threads over \
             connections that are kept. Each report has a key of its own and is as nodes post it; an answer is a success only, \
             and says that the report is on the disk (SQLite `synchronous=FULL`; Redis `appendfsync always`), but for the last \
             column, whose Redis may lose a second. **Median** (smallest – largest) of {rounds} turns of {} s each; in each \
             round all have their turn, one right after the other, and the order is reversed from round to round. Memory \
             is the proportional share (PSS) of the process and its workers, without Redis.",
            2,
            turn.as_secs(),
        ),
        head: head.chain(sides.iter().map(|side| side.name.to_owned())).collect(),
        rows,
        notes: vec![format!(
            "The floor: this disk takes 4 KiB and says that it has them {} ({}) times a second, for one program. Reports that \
             wait at the same time share a trip to the disk.",
            Short(floor.median()),
            floor.range()
        )],
        aims,
    }
}
