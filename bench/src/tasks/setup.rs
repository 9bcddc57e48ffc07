//! Programs and servers of the measurements of tasks.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use atalaya_testbed::{
    Api, Change, Process, Redis, Scratch, ZkProbe, ZooKeeper, clean_command, eventually, node_command_in,
    parent_death_command,
};
use xtask::cargo::workspace;

use super::{Death, History, PARENTS, Results, SESSION, System};
use crate::Bench;
use crate::coprocess::last_answer;
use crate::proc::memory;
use crate::stats::Sample;

const READY: Duration = Duration::from_secs(90);
const ALIVE: &str = "/atalaya/tasks/alive/";
const CLAIM: &str = "/atalaya/tasks/claim/";

/// Programs and servers of all measurements.
pub(super) struct Setup<'a> {
    pub(super) bench: &'a Bench,
    pub(super) celery: PathBuf,
    pub(super) server: ZooKeeper,
    pub(super) probe: ZkProbe,
    pub(super) api: Api,
    pub(super) scratch: Scratch,
    pub(super) chroots: usize,
}

impl Setup<'_> {
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
    pub(super) fn load(
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
            let mut command = parent_death_command(&self.celery);
            command.current_dir(peer()).env("REDIS_URL", redis.url()).env("PYTHONDONTWRITEBYTECODE", "1");
            command.args(["-m", "celery", "--app", "celery_status", "worker", "--concurrency"]);
            command.args([&workers.to_string(), "--loglevel", "info"]);
            let worker = Process::start(command, " ready.", READY);
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
                let mut command = parent_death_command(python);
                command.env("REDIS_URL", &hosts).env("PYTHONPATH", peer());
                command.arg(workspace().join("testbed/kazoo/bench_tasks.py")).args(words);
                Process::spawn(command)
            }
        };
        let answer =
            last_answer(&mut client, READY).with_context(|| format!("{system:?}, {workers} workers"))?;
        let lost = answer["lost"].as_u64().unwrap_or(0);
        ensure!(
            lost == 0 || system == System::Python,
            "{system:?}, {workers} workers: {lost} tasks were lost"
        );
        let count = answer["results"].as_f64().context("no number of results")?;
        eprintln!("{system:?}, {workers} workers: {:.0} per second", count / f64::from(seconds));
        results.per_second.push(count / f64::from(seconds));
        results.median.push(answer["median"].as_f64().unwrap_or(f64::NAN));
        processes.iter().for_each(Process::term);
        Ok(())
    }

    /// Returns the durations of broadcasts to this number of workers, in seconds.
    pub(super) fn broadcast(&mut self, workers: usize, rounds: u32) -> anyhow::Result<Sample> {
        let chroot = self.chroot()?;
        let hosts = self.hosts(&chroot);
        let _leader = self.leader("leader", &hosts, Duration::from_secs(10));
        let mut command = parent_death_command(&self.bench.workers);
        command.args([&hosts, &workers.to_string()]);
        let simulated = Process::spawn_piped(command);
        simulated.wait_for_line("ready", READY);
        let mut times = Sample::default();
        for _ in 0..rounds {
            let mut client = self.bench.kazoo.script("bench_tasks.py", &["broadcast", &hosts]);
            let answer = last_answer(&mut client, READY)?;
            times.push(answer["seconds"].as_f64().context("no time")?);
        }
        Ok(times)
    }

    /// Lets one worker execute tasks in sequence, and returns the memory of the programs and the number of znodes.
    pub(super) fn history(&mut self, tasks: u32) -> anyhow::Result<History> {
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
            let seconds = last_answer(&mut client, READY)?["seconds"].as_f64().context("no time")?;
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
    pub(super) fn failover(&mut self, death: Death) -> anyhow::Result<f64> {
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
