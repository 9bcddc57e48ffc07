//! Tasks compared with Python programs of the classic layout and with Celery on Redis: tasks per second, duration of a
//! broadcast, and the time until a task is assigned again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use atalaya_testbed::install::{self, Environment, Part};
use atalaya_testbed::{
    Api, Change, Probe, Process, Redis, Scratch, ZooKeeper, clean_command, eventually, guarded,
    node_command_in,
};
use serde_json::Value;

use super::Bench;
use super::cycle::TICK;
use super::machine::Machine;
use super::proc::memory;
use super::report::Section;
use super::stats::{Sample, ThreeDigits};
use super::targets::Target;
use crate::cargo::{require, workspace};

/// Programs that the measurement needs.
pub(super) const PARTS: [Part; 4] = [Part::Java, Part::ZooKeeper, Part::Redis, Part::Python];
/// Timeout until processes are ready.
const READY: Duration = Duration::from_secs(90);
const WORKERS: [usize; 3] = [1, 8, 50];
/// Timeout of sessions for the times until a task is assigned again.
const SESSION: Duration = Duration::from_secs(4);
const ALIVE: &str = "/atalaya/tasks/alive/";
const CLAIM: &str = "/atalaya/tasks/claim/";
const BOARDS: &str = r#"
[boards.leader]
backend = "sim"
sensors = [{ name = "s", chip = "random" }]
[boards.worker]
backend = "sim"
sensors = [{ name = "s", chip = "random" }]
[boards.worker.tasks]
allow_unauthenticated = true
[boards.worker.tasks.hold]
run = ["/bin/sleep", "{seconds}"]
args = { seconds = { number = [0, 60] } }
"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Native,
    Classic,
    Python,
    Celery,
}

const SYSTEMS: [(System, &str); 4] = [
    (System::Native, "Atalaya: `run`, `work`, action `status`"),
    (System::Classic, "Atalaya: `classic master`, `classic worker`"),
    (System::Python, "Python, classic layout (Kazoo)"),
    (System::Celery, "Celery, Redis"),
];

/// Results of a system with a number of workers.
#[derive(Clone, Default)]
struct Results {
    per_second: Sample,
    median: Sample,
}

/// Process that is killed while a task is assigned, and what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    Worker,
    /// `atalaya reap` is run right after the SIGKILL, as `ExecStopPost=` of systemd does it.
    WorkerWithReap,
    Leader,
}

/// Parents of the znodes of tasks whose number depends on the number of tasks.
const PARENTS: [&str; 6] = ["spec", "state", "run/w0", "claim", "done", "cancel"];

/// Memory and znodes after many tasks.
#[derive(Default)]
struct History {
    tasks: u32,
    per_second: f64,
    /// Maximum number of znodes of tasks.
    znodes: usize,
    /// Znodes at the end, by parent.
    left: Vec<(&'static str, usize)>,
    /// Resident memory of the leader and of the worker in MiB, after the first hundredth of the tasks and at the end.
    memory: Vec<(f64, f64)>,
}

/// Programs and servers of all measurements.
struct Setup<'a> {
    bench: &'a Bench,
    /// Python with Celery.
    celery: PathBuf,
    server: ZooKeeper,
    probe: Probe,
    api: Api,
    scratch: Scratch,
    chroots: usize,
}

impl Setup<'_> {
    /// Returns a new chroot.
    fn chroot(&mut self) -> anyhow::Result<String> {
        self.chroots += 1;
        let chroot = format!("/bench{}", self.chroots);
        self.probe.create(&chroot, b"", false).map_err(anyhow::Error::msg)?;
        Ok(chroot)
    }

    fn hosts(&self, chroot: &str) -> String {
        format!("{}{chroot}", self.server.connect_string())
    }

    fn atalaya(&self, words: &[&str], hosts: &str, session: Duration) -> Command {
        let mut command = clean_command(self.scratch.path(), &self.bench.node.display().to_string());
        command.args(words).env("ATALAYA_STATE_DIR", self.scratch.path().join("state"));
        // The state file has the servers.
        if words[0] != "reap" {
            command.args(["--zookeeper", hosts, "--session-timeout", &format!("{}s", session.as_secs())]);
        }
        command
    }

    fn worker(&self, id: &str, hosts: &str, session: Duration) -> Process {
        let mut command = self.atalaya(&["work", id], hosts, session);
        command.arg("--boards").arg(self.scratch.path().join("boards.toml")).args(["--board", "worker"]);
        Process::spawn(command)
    }

    fn leader(&self, id: &str, hosts: &str, session: Duration) -> Process {
        let binary = self.bench.node.display().to_string();
        let mut command = node_command_in(self.scratch.path(), &binary, id, hosts);
        command.args(["--session-timeout", &format!("{}s", session.as_secs()), "--api-url", &self.api.url()]);
        command.arg("--boards").arg(self.scratch.path().join("boards.toml")).args(["--board", "leader"]);
        Process::spawn(command)
    }

    /// Returns the znodes that were created below `parent` after a time in milliseconds since 1970, with their times.
    fn created(&self, chroot: &str, parent: &str, after: i64) -> Vec<(i64, String)> {
        let (journal, parent) = (self.server.journal(0), format!("{chroot}{parent}"));
        let transactions = journal.iter().filter(|transaction| transaction.time >= after);
        let changes = transactions.flat_map(|it| it.changes.iter().map(|change| (it.time, change)));
        let created = changes.filter_map(|(time, change)| match change {
            Change::Create { path, .. } => Some((time, path.strip_prefix(&parent)?.to_owned())),
            _ => None,
        });
        created.filter(|(_, name)| !name.contains('/')).collect()
    }

    fn wait_for_created(&self, chroot: &str, parent: &str, count: usize) {
        eventually(&format!("{count} znodes below {parent}"), READY, || {
            (self.created(chroot, parent, 0).len() >= count).then_some(())
        });
    }

    /// Starts a system, lets it execute tasks for this time, and stops it.
    fn load(
        &mut self,
        system: System,
        workers: usize,
        seconds: u32,
        results: &mut Results,
    ) -> anyhow::Result<()> {
        let ids = (0..workers).map(|number| format!("w{number}"));
        let mut processes = Vec::new();
        let session = Duration::from_secs(10);
        let mut python = None;
        let (name, hosts, _redis) = if system == System::Celery {
            let redis = Redis::with("appendonly yes\nappendfsync everysec");
            let mut command = guarded(&self.celery);
            command.current_dir(peer()).env("REDIS_URL", redis.url()).env("PYTHONDONTWRITEBYTECODE", "1");
            command.args(["-m", "celery", "--app", "celery_status", "worker", "--concurrency"]);
            command.args([&workers.to_string(), "--loglevel", "info"]);
            let worker = Process::spawn(command);
            worker.wait_for_line(" ready.", READY);
            processes.push(worker);
            python = Some(&self.celery);
            ("celery", redis.url(), Some(redis))
        } else {
            let chroot = self.chroot()?;
            let hosts = self.hosts(&chroot);
            let kazoo = &self.bench.kazoo;
            let (name, parent) = match system {
                System::Native => {
                    processes.push(self.leader("leader", &hosts, session));
                    processes.extend(ids.map(|id| self.worker(&id, &hosts, session)));
                    ("native", ALIVE)
                }
                System::Classic => {
                    let start = |words: &[&str]| Process::spawn(self.atalaya(words, &hosts, session));
                    processes.push(start(&["classic", "master"]));
                    processes.extend(ids.map(|id| start(&["classic", "worker", &id])));
                    ("classic", "/workers/")
                }
                System::Python | System::Celery => {
                    processes.push(kazoo.script("classic.py", &["master", &hosts]));
                    processes.extend(ids.map(|id| kazoo.script("classic.py", &["worker", &hosts, &id])));
                    ("classic", "/workers/")
                }
            };
            self.wait_for_created(&chroot, parent, workers);
            (name, hosts, None)
        };
        let window = (2 * workers).max(4).to_string();
        let words = [name, &hosts, &seconds.to_string(), &window];
        let mut client = match python {
            None => self.bench.kazoo.script("bench_tasks.py", &words),
            Some(python) => {
                let mut command = guarded(python);
                command.env("REDIS_URL", &hosts).env("PYTHONPATH", peer());
                command.arg(workspace().join("testbed/kazoo/bench_tasks.py")).args(words);
                Process::spawn(command)
            }
        };
        let answer = answer(&mut client).with_context(|| format!("{system:?}, {workers} workers"))?;
        let count = answer["results"].as_f64().context("no number of results")?;
        eprintln!("{system:?}, {workers} workers: {:.0} per second", count / f64::from(seconds));
        results.per_second.push(count / f64::from(seconds));
        results.median.push(answer["median"].as_f64().unwrap_or(f64::NAN));
        processes.iter().for_each(Process::term);
        Ok(())
    }

    /// Returns the durations of broadcasts to this number of workers, in seconds.
    fn broadcast(&mut self, workers: usize, rounds: u32) -> anyhow::Result<Sample> {
        let chroot = self.chroot()?;
        let hosts = self.hosts(&chroot);
        let _leader = self.leader("leader", &hosts, Duration::from_secs(10));
        let mut command = guarded(&self.bench.workers);
        command.args([&hosts, &workers.to_string()]);
        let simulated = Process::spawn_piped(command);
        simulated.wait_for_line("ready", READY);
        let mut times = Sample::default();
        for _ in 0..rounds {
            let answer = answer(&mut self.bench.kazoo.script("bench_tasks.py", &["broadcast", &hosts]))?;
            times.push(answer["seconds"].as_f64().context("no time")?);
        }
        Ok(times)
    }

    /// Lets one worker execute tasks in sequence, and returns the memory of the programs and the number of znodes.
    fn history(&mut self, tasks: u32) -> anyhow::Result<History> {
        let chroot = self.chroot()?;
        let hosts = self.hosts(&chroot);
        let session = Duration::from_secs(10);
        let leader = self.leader("leader", &hosts, session);
        let worker = self.worker("w0", &hosts, session);
        self.wait_for_created(&chroot, ALIVE, 1);
        let mut history = History { tasks, ..History::default() };
        let mut parts = [tasks / 100, tasks - tasks / 100].into_iter();
        while let Some(part) = parts.next() {
            let words = ["count", &hosts, &part.to_string(), "8"];
            let mut client = self.bench.kazoo.script("bench_tasks.py", &words);
            while client.is_running() {
                let lists =
                    PARENTS.map(|parent| self.probe.ls(&format!("{chroot}/atalaya/tasks/{parent}")).len());
                history.znodes = history.znodes.max(lists.into_iter().sum());
                std::thread::sleep(Duration::from_millis(200));
            }
            let seconds = answer(&mut client)?["seconds"].as_f64().context("no time")?;
            history.per_second = f64::from(part) / seconds;
            history.memory.push((memory(leader.pid())?.resident, memory(worker.pid())?.resident));
            let left = parts.len();
            eprintln!("{part} tasks in sequence in {seconds:.0} s, {left} parts left");
        }
        history.left = PARENTS
            .map(|parent| (parent, self.probe.ls(&format!("{chroot}/atalaya/tasks/{parent}")).len()))
            .to_vec();
        Ok(history)
    }

    /// Returns the time from the SIGKILL of a worker or of the leader until another worker claims the task, in seconds.
    fn failover(&mut self, death: Death) -> anyhow::Result<f64> {
        let chroot = self.chroot()?;
        let hosts = self.hosts(&chroot);
        let mut leader = self.leader("leader0", &hosts, SESSION);
        self.wait_for_created(&chroot, "/election/", 1);
        let _second = self.leader("leader1", &hosts, SESSION);
        self.wait_for_created(&chroot, "/election/", 2);
        let ids = ["w0", "w1"];
        let mut workers = ids.map(|id| self.worker(id, &hosts, SESSION));
        self.wait_for_created(&chroot, ALIVE, ids.len());
        let submit = |seconds: &str| {
            self.bench.kazoo.script("task_client.py", &[&hosts, "hold", seconds, "at-least-once"])
        };
        let killed;
        let mut client;
        if death == Death::Leader {
            // A first task shows that the leader serves.
            submit("0").wait_exit(READY);
            killed = milliseconds();
            leader.kill9();
            client = submit("0");
        } else {
            client = submit("5");
            let parent = format!("{chroot}{}", CLAIM.trim_end_matches('/'));
            let claim = eventually("a claim", READY, || self.probe.ls(&parent).into_iter().next());
            let at = ids.iter().position(|id| claim.ends_with(&format!(".{id}"))).context("whose claim?")?;
            killed = milliseconds();
            workers[at].kill9();
            if death == Death::WorkerWithReap {
                let mut reap = self.atalaya(&["reap", ids[at]], &hosts, SESSION);
                ensure!(reap.status().context("cannot run reap")?.success(), "reap failed");
            }
        }
        let claims = || self.created(&chroot, CLAIM, killed).into_iter().next();
        let (time, _) = eventually("a claim after the kill", READY, claims);
        ensure!(client.wait_exit(READY).success(), "the task has no result");
        #[expect(clippy::cast_precision_loss, reason = "some seconds")]
        Ok((time - killed) as f64 / 1_000.0)
    }
}

fn peer() -> PathBuf {
    workspace().join("testbed/peer")
}

fn milliseconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Waits for the end of a program, and returns its last line of JSON.
fn answer(process: &mut Process) -> anyhow::Result<Value> {
    let exit = process.wait_exit(READY);
    let line = process.log().into_iter().map(|line| line.text).rfind(|text| text.starts_with('{'));
    ensure!(exit.success(), "the client ended with {exit}: {:?}", process.log().last());
    Ok(serde_json::from_str(&line.context("the client printed no result")?)?)
}

pub(crate) fn measure(bench: &Bench, machine: &mut Machine) -> anyhow::Result<Vec<Section>> {
    require(&PARTS)?;
    let print_line = |line: &str| eprintln!("{line}");
    let celery =
        install::ensure_environment(Environment::PEER, print_line).context("cannot install Celery")?;
    let server = ZooKeeper::with_tick(TICK);
    machine.zookeeper(&server);
    let scratch = Scratch::new("bench-tasks");
    std::fs::write(scratch.path().join("boards.toml"), BOARDS).context("cannot write boards.toml")?;
    let probe = Probe::connect(&server.connect_string());
    let mut setup = Setup { bench, celery, server, probe, api: Api::start(), scratch, chroots: 0 };
    let (rounds, seconds, simulated) = if bench.quick { (1, 3, 1_000) } else { (3, 5, 1_000) };

    // First, while the log of the server is short: it is read again and again.
    let mut deaths =
        [Death::Worker, Death::WorkerWithReap, Death::Leader].map(|death| (death, Sample::default()));
    for _ in 0..rounds {
        for (death, sample) in &mut deaths {
            let seconds = setup.failover(*death)?;
            eprintln!("{death:?}: {seconds} s");
            sample.push(seconds);
        }
    }
    let mut results = vec![vec![Results::default(); WORKERS.len()]; SYSTEMS.len()];
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for (at, workers) in WORKERS.into_iter().enumerate() {
            for ((system, _), results) in SYSTEMS.into_iter().zip(&mut results) {
                setup.load(system, workers, seconds, &mut results[at])?;
            }
        }
    }
    let broadcast = setup.broadcast(simulated, rounds)?;
    let history = setup.history(if bench.quick { 2_000 } else { 100_000 })?;
    let version = package_version(&setup.celery, "celery")?;
    Ok(vec![
        throughput(&results, rounds, seconds, &version),
        times(&broadcast, simulated, &deaths, rounds),
        bounds(&history),
    ])
}

/// Returns the version of a Python package.
fn package_version(python: &Path, package: &str) -> anyhow::Result<String> {
    let script = format!("import importlib.metadata as it; print(it.version('{package}'))");
    let output = Command::new(python).args(["-c", &script]).output().context("cannot run Python")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn throughput(results: &[Vec<Results>], rounds: u32, seconds: u32, celery: &str) -> Section {
    let show = |sample: &Sample| format!("**{}** ({})", ThreeDigits(sample.median()), sample.range());
    let mut rows = Vec::new();
    for (what, sample) in [
        ("tasks per second", (|results| &results.per_second) as fn(&Results) -> &Sample),
        ("submission to result, median, ms", |results| &results.median),
    ] {
        for ((_, name), results) in SYSTEMS.into_iter().zip(results) {
            let cells = results.iter().map(|results| show(sample(results)));
            rows.push([format!("{name}: {what}")].into_iter().chain(cells).collect());
        }
    }
    let of = |system: usize, workers: usize| results[system][workers].per_second.median();
    let targets = WORKERS.into_iter().enumerate().map(|(at, workers)| {
        let name = format!("tasks per second relative to Python programs, number of workers: {workers}");
        Target::at_least(&name, 1.0, " times", of(0, at) / of(2, at))
    });
    let head = WORKERS.map(|workers| format!("{workers} workers").replace("1 workers", "1 worker"));
    Section {
        title: "Tasks per second".into(),
        method: format!(
            "From the submission to the recorded result, of tasks that do nothing: the action `status` of `atalaya work`, sleeps of \
             0 s in the classic layout, and a Celery task that returns a small object. A client in Python \
             (`testbed/kazoo/bench_tasks.py`) keeps twice as many tasks waiting as there are workers, at least 4, and submits \
             another one for each result. Each worker is a process; those of Celery {celery} are one worker's pool (prefork, \
             `worker_prefetch_multiplier` 1), with Redis (`appendonly yes`, `appendfsync everysec`) as the broker and for the \
             results. ZooKeeper writes its log, and does not wait for the disk. **Median** (smallest – largest); rounds: {rounds}, \
             of {seconds} s each after one second of the same load; all programs have their turn in each round."
        ),
        head: [String::new()].into_iter().chain(head).collect(),
        rows,
        notes: vec![
            "A native task is a record that the leader keeps, written in transactions that check its election: it survives the \
             client, the leader and the worker. A classic task ends with its client, and Celery's is lost with its worker \
             unless `acks_late` is set."
                .into(),
        ],
        targets: targets.collect(),
    }
}

fn times(broadcast: &Sample, workers: usize, deaths: &[(Death, Sample)], rounds: u32) -> Section {
    let show = |sample: &Sample| vec![ThreeDigits(sample.median()).to_string(), sample.range()];
    let row = |name: String, sample: &Sample| [vec![name], show(sample)].concat();
    let session = SESSION.as_secs();
    Section {
        title: "Tasks: a broadcast, and the death of a worker and of a leader".into(),
        method: format!(
            "`node/benches/tasks.rs`: the workers of `atalaya work`, {workers} of them in one process, each with a session of its \
             own. A broadcast lasts from its submission until the leader has recorded the results of all. After a SIGKILL the \
             time is that of ZooKeeper's log, from the signal until another worker claims the task, with sessions of {session} \
             s; the task of the leader's death is submitted right after the signal. Repetitions: {rounds}."
        ),
        head: ["s", "median", "smallest – largest"].map(str::to_owned).to_vec(),
        rows: [row(format!("broadcast of `status` to {workers} workers"), broadcast)]
            .into_iter()
            .chain(deaths.iter().map(|(death, sample)| {
                let name = match death {
                    Death::Worker => "SIGKILL of a worker until the next one claims its task",
                    Death::WorkerWithReap => "the same, with `atalaya reap` right after the SIGKILL",
                    Death::Leader => "SIGKILL of the leader until a worker claims a new task",
                };
                row(name.into(), sample)
            }))
            .collect(),
        notes: Vec::new(),
        targets: vec![Target::at_most(
            &format!("broadcast to {workers} workers, median"),
            2.0,
            " s",
            broadcast.median(),
        )],
    }
}

fn bounds(history: &History) -> Section {
    let left: usize = history.left.iter().map(|(_, count)| count).sum();
    let records = history.left.iter().find(|(parent, _)| *parent == "state").map_or(0, |(_, count)| *count);
    let mut rows = vec![
        vec!["tasks per second".to_owned(), ThreeDigits(history.per_second).to_string()],
        vec!["znodes of tasks, maximum".to_owned(), history.znodes.to_string()],
        vec!["znodes of tasks at the end".to_owned(), left.to_string()],
        vec!["  of these, records of ended tasks".to_owned(), records.to_string()],
    ];
    let after = [history.tasks / 100, history.tasks];
    for (count, (leader, worker)) in after.into_iter().zip(&history.memory) {
        for (name, memory) in [("leader", leader), ("worker", worker)] {
            let label = format!("resident memory of the {name} after {count} tasks, MiB");
            rows.push(vec![label, ThreeDigits(*memory).to_string()]);
        }
    }
    let growth = match history.memory.as_slice() {
        [first, .., last] => last.0 / first.0,
        _ => f64::NAN,
    };
    Section {
        title: "Tasks in sequence: znodes and memory".into(),
        method: format!(
            "One leader (`run`) and one worker (`work`) execute {} tasks of the action `status`; the client keeps 8 tasks waiting. \
             The znodes are counted five times a second.",
            history.tasks
        ),
        head: vec![String::new(), String::new()],
        rows,
        notes: Vec::new(),
        targets: vec![
            Target::at_most("znodes of tasks in sequence, maximum", 600.0, "", {
                #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
                let znodes = history.znodes as f64;
                znodes
            }),
            Target::at_most(
                "memory of the leader after all tasks in sequence, relative to 1 %",
                1.5,
                " times",
                growth,
            ),
        ],
    }
}
