//! Runs schedules with real processes on a real server.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::super::evidence::below;
use super::super::outcome::{clock, words};
use super::judge::{Client, Evidence, Judgement, Witness, judge, rest};
use super::parties::{ACTION, Cast, Member, boards};
use super::replay::Replay;
use super::schedule::{Fault, Party, SESSION, Schedule, What};
use crate::api::Api;
use crate::kazoo::Kazoo;
use crate::probe::Probe;
use crate::process::Line;
use crate::scratch::Scratch;
use crate::zookeeper::ZooKeeper;

/// Poll interval for faults that are due.
const LOOK: Duration = Duration::from_millis(10);
/// Poll interval for ZooKeeper's log.
const LOOK_AT_LOG: Duration = Duration::from_millis(200);
/// Maximum time until all processes are ready, and at the end until they have ended.
const READY: Duration = Duration::from_secs(30);

/// Programs that run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Programs {
    /// `atalaya run` and `atalaya work`.
    #[default]
    Native,
    /// `atalaya classic`.
    Classic,
    /// `testbed/kazoo/classic.py`.
    Python,
}

/// A server on which schedules run, one after another.
pub struct Stage {
    server: ZooKeeper,
    programs: Programs,
    binary: PathBuf,
    kazoo: Kazoo,
    api: Api,
    probe: Probe,
    played: u64,
}

/// Result of a schedule.
pub struct Outcome {
    /// Verdict.
    pub judgement: Judgement,
    /// Number of times that each fault happened to a running process.
    pub played: BTreeMap<&'static str, u64>,
    /// Number of Python processes that ended by themselves.
    pub ended: u64,
    /// Evidence.
    pub evidence: Evidence,
    schedule: Schedule,
    logs: Vec<(String, Vec<Line>)>,
}

enum Due {
    Submit(usize),
    Begin(usize),
    End(usize),
}

impl Stage {
    /// Starts the server. `binary` is `atalaya`; Python programs do not use it.
    ///
    /// # Panics
    ///
    /// If ZooKeeper or Kazoo is missing and cannot be installed.
    #[track_caller]
    pub fn open(programs: Programs, binary: &Path) -> Stage {
        let server = ZooKeeper::start();
        let probe = Probe::connect(&server.connect_string());
        Stage {
            server,
            programs,
            binary: binary.into(),
            kazoo: Kazoo::ready(),
            api: Api::start(),
            probe,
            played: 0,
        }
    }

    /// Runs a schedule and judges it.
    ///
    /// # Panics
    ///
    /// If ZooKeeper does not come back.
    pub fn play(&mut self, schedule: &Schedule) -> Outcome {
        self.played += 1;
        let chroot = format!("/tasks-{}-{}", self.played, schedule.seed);
        self.probe.create(&chroot, b"", false).expect("create the chroot");
        let scratch = Scratch::new("task-chaos");
        let script = scratch.path().join("action.sh");
        fs::write(&script, ACTION).expect("write the action");
        fs::write(scratch.path().join("boards.toml"), boards(&script)).expect("write boards.toml");
        let cast = Cast {
            programs: self.programs,
            binary: &self.binary,
            kazoo: &self.kazoo,
            folder: scratch.path(),
            chroot: &chroot,
            api: self.api.url(),
        };
        let port = self.server.port();
        let leaders = (0..schedule.leaders).map(Party::Leader);
        let workers = (0..schedule.workers).map(Party::Worker);
        let clients = (0..schedule.submissions.len()).map(Party::Client);
        let members = leaders.chain(workers).chain(clients).map(|party| Member::new(party, port)).collect();
        let stopwatch = Stopwatch::start();
        let mut play =
            Play { server: &mut self.server, cast, schedule, members, down: 0, played: BTreeMap::new() };
        play.ready();
        play.faults();
        play.settle();
        let tree_is_clean = play.finish();
        let evidence = play.evidence(stopwatch.stop());
        let mut judgement = judge(&evidence);
        if !tree_is_clean && judgement.violations.is_empty() && judgement.undecided.is_empty() {
            judgement.undecided.push((super::Problem::Left, "ephemeral znodes".into()));
        }
        let ended = play.members.iter().map(|member| member.ended.len() as u64).sum();
        let logs = play.members.iter_mut().flat_map(|member| std::mem::take(&mut member.logs)).collect();
        let played = std::mem::take(&mut play.played);
        Outcome { judgement, played, ended, evidence, schedule: schedule.clone(), logs }
    }
}

struct Play<'a> {
    server: &'a mut ZooKeeper,
    cast: Cast<'a>,
    schedule: &'a Schedule,
    members: Vec<Member>,
    /// Faults of the server that have begun and not ended.
    down: usize,
    played: BTreeMap<&'static str, u64>,
}

impl Play<'_> {
    fn native(&self) -> bool {
        self.cast.programs == Programs::Native
    }

    fn tree(&self) -> Replay {
        let mut tree = Replay::default();
        below(self.cast.chroot, self.server.journal(0)).iter().for_each(|it| tree.apply(it));
        tree
    }

    /// Starts leaders and workers, and waits until they have registered.
    fn ready(&mut self) {
        let submissions = &self.schedule.submissions;
        let servants = self.schedule.leaders + self.schedule.workers;
        self.members[..servants].iter_mut().for_each(|member| member.start(&self.cast, submissions));
        let (election, workers) =
            if self.native() { ("/election", "/atalaya/tasks/alive") } else { ("/master", "/workers") };
        let deadline = Instant::now() + READY;
        loop {
            let tree = self.tree();
            let workers = tree.below(workers, 1).count();
            if tree.leader(election).is_some() && workers == self.schedule.workers
                || Instant::now() > deadline
            {
                return;
            }
            self.look_after();
            thread::sleep(LOOK_AT_LOG);
        }
    }

    fn look_after(&mut self) {
        let submissions = &self.schedule.submissions;
        self.members.iter_mut().for_each(|member| member.look_after(&self.cast, submissions));
    }

    fn faults(&mut self) {
        let schedule = self.schedule;
        let submissions =
            schedule.submissions.iter().enumerate().map(|(number, it)| (it.at, Due::Submit(number)));
        let faults = schedule.faults.iter().enumerate().flat_map(|(number, fault)| {
            [(fault.at, Due::Begin(number)), (fault.at + fault.lasts, Due::End(number))]
        });
        let mut due: Vec<(Duration, Due)> = submissions.chain(faults).collect();
        due.sort_by_key(|(at, _)| *at);
        let mut due = due.into_iter().peekable();
        let begin = Instant::now();
        while due.peek().is_some() || begin.elapsed() < schedule.quiet() {
            while let Some((_, event)) = due.next_if(|(at, _)| *at <= begin.elapsed()) {
                match event {
                    Due::Submit(number) => {
                        let (cast, submissions) = (&self.cast, &schedule.submissions);
                        let index = schedule.leaders + schedule.workers + number;
                        self.members[index].start(cast, submissions);
                    }
                    Due::Begin(number) => self.begin(schedule.faults[number]),
                    Due::End(number) => self.end(schedule.faults[number]),
                }
            }
            self.look_after();
            thread::sleep(LOOK);
        }
    }

    fn member(&mut self, party: Party) -> &mut Member {
        let index = self.members.iter().position(|member| member.party == party);
        &mut self.members[index.expect("a schedule names only its own parties")]
    }

    fn begin(&mut self, fault: Fault) {
        let lasts = fault.lasts;
        let name = match fault.what {
            What::Kill(party) => self.member(party).kill(lasts).then_some("killed"),
            What::Stop(party) => {
                let member = self.member(party);
                member.freeze(true);
                member.is_running().then_some("stopped")
            }
            What::Server => {
                self.down += 1;
                self.server.kill();
                Some("ZooKeeper killed")
            }
            What::Cut(party) => {
                self.member(party).cut(true);
                Some("connections lost")
            }
            What::LoseReply(party, code) => {
                self.member(party).proxy.cut_after_request(code);
                Some("reply to be lost")
            }
            What::LoseRequest(party, code) => {
                self.member(party).proxy.cut_before_request(code);
                Some("request to be lost")
            }
        };
        *self.played.entry(name.unwrap_or("had ended before")).or_default() += 1;
    }

    fn end(&mut self, fault: Fault) {
        match fault.what {
            What::Stop(party) => self.member(party).freeze(false),
            What::Server => {
                self.down -= 1;
                if self.down == 0 {
                    self.server.restart();
                }
            }
            What::Cut(party) => self.member(party).cut(false),
            What::Kill(_) | What::LoseReply(..) | What::LoseRequest(..) => {}
        }
    }

    /// Waits until all clients have ended and nothing of a task is left.
    fn settle(&mut self) {
        const PRESENT: [&str; 3] = ["/atalaya/tasks/alive", "/workers", "/master"];
        let deadline = Instant::now() + self.schedule.bound();
        let mut looked = Instant::now();
        while Instant::now() < deadline {
            self.look_after();
            let is_client = |member: &&Member| matches!(member.party, Party::Client(_));
            let waits = self.members.iter().filter(is_client).any(Member::is_running);
            if !waits && looked.elapsed() >= LOOK_AT_LOG {
                looked = Instant::now();
                let rest = rest(&self.tree(), self.native());
                if rest.iter().all(|path| PRESENT.iter().any(|parent| path.starts_with(parent))) {
                    return;
                }
            }
            thread::sleep(LOOK);
        }
    }

    /// Ends all processes. Returns false if an ephemeral znode is left after their sessions must have expired.
    fn finish(&mut self) -> bool {
        for member in &mut self.members {
            if matches!(member.party, Party::Client(_)) && member.is_running() {
                // This kill is not a fault of the schedule.
                let killed = member.killed;
                member.kill(Duration::ZERO);
                member.killed = killed;
            }
            member.terminate();
        }
        let deadline = Instant::now() + READY;
        self.members.iter_mut().for_each(|member| member.finish(deadline));
        let deadline = Instant::now() + 4 * SESSION;
        loop {
            if !self.tree().has_ephemeral() {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(LOOK_AT_LOG);
        }
    }

    fn evidence(&self, stall: Duration) -> Evidence {
        let text = fs::read_to_string(self.cast.folder.join("witness")).unwrap_or_default();
        let line = |line: &str| {
            let (what, task) = line.split_once(' ')?;
            Some(Witness { what: what.to_owned(), task: task.to_owned() })
        };
        let programs = self.cast.programs;
        let clients = self.members.iter().filter(|member| matches!(member.party, Party::Client(_)));
        let client = |member: &Member| Client {
            task: member.task(programs),
            killed: member.killed,
            exit: member.exit,
        };
        // Python processes are not promised to survive; those that end are counted.
        let ended = self.members.iter().filter(|_| programs != Programs::Python);
        Evidence {
            programs,
            transactions: below(self.cast.chroot, self.server.journal(0)),
            witness: text.lines().filter_map(line).collect(),
            clients: clients.map(client).collect(),
            ended: ended.flat_map(|member| member.ended.clone()).collect(),
            stall: u64::try_from(stall.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Outcome {
    /// Writes all data into a folder: the schedule, the verdict, ZooKeeper's transactions, and the lines of executions
    /// and processes.
    ///
    /// # Errors
    ///
    /// If the folder or a file cannot be created or written.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let Evidence { clients, witness, transactions, stall, .. } = &self.evidence;
        let text =
            format!("{}\n{:#?}\n{clients:#?}\nlongest delay {stall} ms\n", self.schedule, self.judgement);
        fs::write(folder.join("verdict.txt"), text)?;
        let lines: Vec<String> = witness.iter().map(|it| format!("{} {}\n", it.what, it.task)).collect();
        fs::write(folder.join("witness.txt"), lines.concat())?;
        let mut text = String::new();
        for transaction in transactions {
            let changes: Vec<String> = transaction.changes.iter().map(words).collect();
            let (time, session) = (clock(transaction.time), transaction.session);
            let _ = writeln!(text, "{time} {:#x} {session:#x} {}", transaction.zxid, changes.join(" "));
        }
        fs::write(folder.join("zookeeper.txt"), text)?;
        for (name, log) in &self.logs {
            let lines: Vec<&str> = log.iter().map(|line| line.text.as_str()).collect();
            fs::write(folder.join(format!("{name}.log")), lines.join("\n") + "\n")?;
        }
        Ok(())
    }
}

/// Measures the delay with which a sleeping thread wakes up.
struct Stopwatch {
    longest: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Stopwatch {
    fn start() -> Stopwatch {
        const SLEEP: Duration = Duration::from_millis(20);
        let stopwatch = Stopwatch { longest: Arc::default(), over: Arc::default() };
        let (longest, over) = (Arc::clone(&stopwatch.longest), Arc::clone(&stopwatch.over));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                thread::sleep(SLEEP);
                let late = begin.elapsed().saturating_sub(SLEEP);
                longest.fetch_max(u64::try_from(late.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        stopwatch
    }

    fn stop(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        Duration::from_millis(self.longest.load(Ordering::Relaxed))
    }
}
