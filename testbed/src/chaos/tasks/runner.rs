//! Runs schedules with real processes on a real server.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::checker::{CheckReport, ClientResult, ExecutionEvent, History, Violation, check, rest};
use super::delay_monitor::DelayMonitor;
use super::processes::{ACTION, Launcher, RoleProcess, boards};
use super::schedule::{Fault, Programs, Role, SESSION, Schedule, ScheduledFault};
use crate::api::Api;
use crate::chaos::files;
use crate::chaos::history::below;
use crate::chaos::managed_process::Logs;
use crate::chaos::timeline::Timeline;
use crate::chaos::tree::Tree;
use crate::kazoo::Kazoo;
use crate::scratch::Scratch;
use crate::zk_probe::ZkProbe;
use crate::zookeeper::ZooKeeper;

/// Poll interval for faults that are due.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Poll interval for ZooKeeper's log.
const LOG_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum time until all processes are ready, and at the end until they have ended.
const READY: Duration = Duration::from_secs(30);

/// A server on which schedules run, one after another.
pub struct Cluster {
    server: ZooKeeper,
    programs: Programs,
    binary: PathBuf,
    kazoo: Kazoo,
    api: Api,
    probe: ZkProbe,
    runs: u64,
}

pub struct Outcome {
    pub findings: CheckReport,
    /// Number of times that each fault happened to a running process.
    pub injected: BTreeMap<&'static str, u64>,
    /// Number of Python processes that ended by themselves.
    pub ended: u64,
    pub history: History,
    schedule: Schedule,
    logs: Logs,
}

enum Event {
    Submit(usize),
    Begin(usize),
    End(usize),
}

impl Cluster {
    /// Starts the server. `binary` is `atalaya`; Python programs do not use it.
    #[track_caller]
    pub fn start(programs: Programs, binary: &Path) -> Cluster {
        let server = ZooKeeper::start();
        let probe = ZkProbe::connect(&server.connect_string());
        Cluster {
            server,
            programs,
            binary: binary.into(),
            kazoo: Kazoo::ready(),
            api: Api::start(),
            probe,
            runs: 0,
        }
    }

    /// Runs a schedule and checks its history.
    pub fn run(&mut self, schedule: &Schedule) -> Outcome {
        self.runs += 1;
        let chroot = format!("/tasks-{}-{}", self.runs, schedule.seed);
        let created = self.probe.create(&chroot, b"", false);
        // If the server ended during the last schedule, the client repeats its request, and finds its own znode.
        assert!(created.is_ok() || self.probe.exists(&chroot).is_some(), "create the chroot: {created:?}");
        let scratch = Scratch::new("task-chaos");
        let script = scratch.path().join("action.sh");
        fs::write(&script, ACTION).expect("write the action");
        fs::write(scratch.path().join("boards.toml"), boards(&script)).expect("write boards.toml");
        let launcher = Launcher {
            programs: self.programs,
            binary: &self.binary,
            kazoo: &self.kazoo,
            folder: scratch.path(),
            chroot: &chroot,
            api: self.api.url(),
        };
        let port = self.server.port();
        let leaders = (0..schedule.leaders).map(Role::Leader);
        let workers = (0..schedule.workers).map(Role::Worker);
        let clients = (0..schedule.submissions.len()).map(Role::Client);
        let processes =
            leaders.chain(workers).chain(clients).map(|role| RoleProcess::new(role, port)).collect();
        let delay_monitor = DelayMonitor::start();
        let mut run = Run {
            server: &mut self.server,
            launcher,
            schedule,
            processes,
            down: 0,
            injected: BTreeMap::new(),
        };
        run.start();
        run.inject_faults();
        run.settle();
        let tree_is_clean = run.finish();
        let history = run.history(delay_monitor.stop());
        let mut findings = check(&history);
        if !tree_is_clean && findings.violations.is_empty() && findings.undecided.is_empty() {
            findings.undecided.push((Violation::Left, "ephemeral znodes".into()));
        }
        let ended = run.processes.iter().map(|process| process.ended.len() as u64).sum();
        let (processes, injected) = (run.processes, run.injected);
        let logs = processes.into_iter().flat_map(|process| process.managed.logs).collect();
        Outcome { findings, injected, ended, history, schedule: schedule.clone(), logs }
    }
}

struct Run<'a> {
    server: &'a mut ZooKeeper,
    launcher: Launcher<'a>,
    schedule: &'a Schedule,
    processes: Vec<RoleProcess>,
    /// Faults of the server that have begun and not ended.
    down: usize,
    injected: BTreeMap<&'static str, u64>,
}

impl Run<'_> {
    fn is_native(&self) -> bool {
        self.launcher.programs == Programs::Native
    }

    fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        below(self.launcher.chroot, self.server.journal(0)).iter().for_each(|it| drop(tree.apply(it)));
        tree
    }

    /// Starts leaders and workers, and waits until they have registered.
    fn start(&mut self) {
        let submissions = &self.schedule.submissions;
        let members = self.schedule.leaders + self.schedule.workers;
        self.processes[..members].iter_mut().for_each(|process| process.start(&self.launcher, submissions));
        let (election, workers) =
            if self.is_native() { ("/election", "/atalaya/tasks/alive") } else { ("/master", "/workers") };
        let deadline = Instant::now() + READY;
        loop {
            let tree = self.tree();
            let workers = tree.below(workers, 1).count();
            if tree.first_contender(election).is_some() && workers == self.schedule.workers
                || Instant::now() > deadline
            {
                return;
            }
            self.supervise();
            thread::sleep(LOG_INTERVAL);
        }
    }

    fn supervise(&mut self) {
        let submissions = &self.schedule.submissions;
        self.processes.iter_mut().for_each(|process| process.supervise(&self.launcher, submissions));
    }

    /// Submits the tasks, and begins and ends the faults at their times.
    fn inject_faults(&mut self) {
        let schedule = self.schedule;
        let submissions =
            schedule.submissions.iter().enumerate().map(|(number, it)| (it.at, Event::Submit(number)));
        let faults = schedule.faults.iter().enumerate().flat_map(|(number, fault)| {
            [(fault.at, Event::Begin(number)), (fault.at + fault.lasts, Event::End(number))]
        });
        let mut timeline = Timeline::start(submissions.chain(faults).collect());
        let end = schedule.quiet();
        loop {
            // The last events are due at the end.
            let is_over = !timeline.is_before(end);
            while let Some(event) = timeline.next_due() {
                match event {
                    Event::Submit(number) => {
                        let index = schedule.leaders + schedule.workers + number;
                        self.processes[index].start(&self.launcher, &schedule.submissions);
                    }
                    Event::Begin(number) => self.begin(schedule.faults[number]),
                    Event::End(number) => self.end(schedule.faults[number]),
                }
            }
            if is_over {
                return;
            }
            self.supervise();
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn process(&mut self, role: Role) -> &mut RoleProcess {
        let index = self.processes.iter().position(|process| process.role == role);
        &mut self.processes[index.expect("a schedule names only its own roles")]
    }

    fn begin(&mut self, fault: ScheduledFault) {
        let lasts = fault.lasts;
        let name = match fault.fault {
            Fault::Kill(role) => self.process(role).kill(lasts).then_some("killed"),
            Fault::Stop(role) => {
                let process = self.process(role);
                process.freeze(true);
                process.is_running().then_some("stopped")
            }
            Fault::Server => {
                self.down += 1;
                self.server.kill();
                Some("ZooKeeper killed")
            }
            Fault::Cut(role) => {
                self.process(role).cut(true);
                Some("connections lost")
            }
            Fault::LoseReply(role, code) => {
                self.process(role).proxy.cut_after_request(code);
                Some("reply to be lost")
            }
            Fault::LoseRequest(role, code) => {
                self.process(role).proxy.cut_before_request(code);
                Some("request to be lost")
            }
        };
        *self.injected.entry(name.unwrap_or("had ended before")).or_default() += 1;
    }

    fn end(&mut self, fault: ScheduledFault) {
        match fault.fault {
            Fault::Stop(role) => self.process(role).freeze(false),
            Fault::Server => {
                self.down -= 1;
                if self.down == 0 {
                    self.server.restart();
                }
            }
            Fault::Cut(role) => self.process(role).cut(false),
            Fault::Kill(_) | Fault::LoseReply(..) | Fault::LoseRequest(..) => {}
        }
    }

    /// Waits until all clients have ended and nothing of a task is left.
    fn settle(&mut self) {
        const PRESENT: [&str; 3] = ["/atalaya/tasks/alive", "/workers", "/master"];
        let deadline = Instant::now() + self.schedule.bound();
        let mut checked_at = Instant::now();
        while Instant::now() < deadline {
            self.supervise();
            let waits = self.processes.iter().any(|process| process.is_client() && process.is_running());
            if !waits && checked_at.elapsed() >= LOG_INTERVAL {
                checked_at = Instant::now();
                let rest = rest(&self.tree(), self.is_native());
                if rest.iter().all(|path| PRESENT.iter().any(|parent| path.starts_with(parent))) {
                    return;
                }
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Ends all processes. Returns false if an ephemeral znode is left after their sessions must have expired.
    fn finish(&mut self) -> bool {
        for process in &mut self.processes {
            if process.is_client() && process.is_running() {
                // This kill is not a fault of the schedule.
                let killed = process.killed;
                process.kill(Duration::ZERO);
                process.killed = killed;
            }
            process.terminate();
        }
        let deadline = Instant::now() + READY;
        self.processes.iter_mut().for_each(|process| process.finish(deadline));
        let deadline = Instant::now() + 4 * SESSION;
        loop {
            if !self.tree().has_ephemeral() {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(LOG_INTERVAL);
        }
    }

    fn history(&self, stall: Duration) -> History {
        let text = fs::read_to_string(self.launcher.folder.join("executions")).unwrap_or_default();
        let line = |line: &str| {
            let (what, task) = line.split_once(' ')?;
            Some(ExecutionEvent { what: what.to_owned(), task: task.to_owned() })
        };
        let programs = self.launcher.programs;
        let clients = self.processes.iter().filter(|process| process.is_client());
        let client = |process: &RoleProcess| ClientResult {
            task: process.task(programs),
            killed: process.killed,
            exit: process.exit,
        };
        // Python processes are not promised to survive; those that end are counted.
        let ended = self.processes.iter().filter(|_| programs != Programs::Python);
        History {
            programs,
            transactions: below(self.launcher.chroot, self.server.journal(0)),
            executions: text.lines().filter_map(line).collect(),
            clients: clients.map(client).collect(),
            ended: ended.flat_map(|process| process.ended.clone()).collect(),
            stall: u64::try_from(stall.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Outcome {
    /// Writes all data into a folder: the schedule, the findings, ZooKeeper's transactions, and the lines of executions
    /// and processes.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let History { clients, executions, transactions, stall, .. } = &self.history;
        let text =
            format!("{}\n{:#?}\n{clients:#?}\nlongest delay {stall} ms\n", self.schedule, self.findings);
        fs::write(folder.join("findings.txt"), text)?;
        let executions = executions.iter().map(|it| format!("{} {}", it.what, it.task));
        files::write_lines(folder, "executions.txt", executions)?;
        files::write_transactions(folder, transactions)?;
        files::write_logs(folder, &self.logs)
    }
}
