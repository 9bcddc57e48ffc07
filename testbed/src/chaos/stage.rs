//! Plays a schedule with real nodes on real servers, and hands what came of it to the judge.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::desk::{Desk, Taken};
use super::evidence::{Evidence, below, millis};
use super::judge::judge;
use super::kazoo::{self, KazooFigures};
use super::outcome::Outcome;
use super::pauses;
use super::schedule::{Fault, Schedule, What, Whom};
use super::tree::{Glance, glance};
use super::verdict::{Kind, Verdict};
use crate::api::ApiMode;
use crate::ensemble::Ensemble;
use crate::kazoo::Kazoo;
use crate::node::node_command_in;
use crate::process::{Line, Process};
use crate::scratch::Scratch;

/// How often it is looked whether something is due, or somebody died.
const LOOK: Duration = Duration::from_millis(10);
/// How often ZooKeeper's log is looked at in the calm at the end.
const LOOK_AT_LOG: Duration = Duration::from_millis(200);
/// What is there for a busy machine: servers that start, a fleet that comes back.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a fleet may take until its first report, and nothing goes wrong but what its processes do to themselves.
const COMES_TOGETHER: Duration = Duration::from_secs(10);
/// A node closes its session and ends within 2 s; this is for a machine that is busy.
const NODE_ENDS: Duration = Duration::from_secs(10);
/// What a supervisor waits before it starts a node again that ended by itself.
const AGAIN: Duration = Duration::from_millis(300);
/// The exit code of a node whose id is taken: its znode outlived it.
const TAKEN: i32 = 73;
/// After so many periods without a write a measurement does not count, and never before the shortest life.
const STALE_PERIODS: u32 = 3;
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// Cycles of the calm at the end that must be delivered, too.
const CALM: u64 = 2;

/// Every number that is measured is another one: what is published twice is known again, and sums are exact.
const BOARDS: &str = r#"
[boards.chaos]
backend = "sim"
sensors = [{ name = "s", chip = "random", sim = { temperature = { uniform = [0, 1_000_000_000_000], step = 1 } } }]
"#;

/// Who plays.
#[derive(Clone, Debug)]
pub enum Cast {
    /// This program: `atalaya`, built with the feature `fault-points`.
    Atalaya(PathBuf),
    /// `testbed/kazoo/fleet.py`, for comparison: it is counted what they lose, not judged.
    Kazoo(Kazoo),
}

impl Cast {
    /// The program that is a collector, too.
    fn program(&self) -> Option<&Path> {
        match self {
            Cast::Atalaya(binary) => Some(binary),
            Cast::Kazoo(_) => None,
        }
    }
}

/// Three ZooKeeper servers on which one fleet after the other plays.
pub struct Theatre {
    ensemble: Ensemble,
    cast: Cast,
    played: u64,
    /// What stands before this in ZooKeeper's log is of fleets before.
    next: i64,
}

/// A node, whichever process it is.
struct Player {
    id: String,
    process: Option<Process>,
    /// How many there have been.
    processes: usize,
    /// When there is another.
    again: Option<Instant>,
    /// How long it stands still where it is told to.
    stops: Option<Duration>,
    /// It was stopped, by itself or by us.
    was_stopped: bool,
    /// It stands still there, until then.
    stands: Option<Instant>,
}

/// Something that is due.
enum Due {
    Begin(usize),
    End(usize),
}

struct Play<'a> {
    ensemble: &'a mut Ensemble,
    cast: &'a Cast,
    schedule: &'a Schedule,
    chroot: String,
    first: i64,
    scratch: Scratch,
    desk: Desk,
    players: Vec<Player>,
    /// To whom an act happened.
    whom: BTreeMap<usize, usize>,
    /// For how long servers that lead are to be killed, as soon as that is possible.
    doomed: Vec<Duration>,
    /// The one of them that was, and until when.
    away: Option<(usize, Instant)>,
    /// When it was last looked whether all serve.
    looked: Instant,
    /// Acts of the API that are under way.
    moods: Vec<usize>,
    healed: bool,
    /// How many of Kazoo's processes ended by themselves.
    ended: u64,
    played: BTreeMap<String, u64>,
    logs: Vec<(String, Vec<Line>)>,
    verdict: Verdict,
}

impl Theatre {
    /// Starts the servers.
    ///
    /// # Panics
    ///
    /// When they do not start.
    #[track_caller]
    pub fn open(cast: Cast) -> Theatre {
        Theatre { ensemble: Ensemble::start(), cast, played: 0, next: 0 }
    }

    /// Plays a schedule, and has it judged.
    ///
    /// # Panics
    ///
    /// When ZooKeeper's servers do not come back, or their logs say nothing certain.
    pub fn play(&mut self, schedule: &Schedule) -> Outcome {
        self.played += 1;
        let scratch = Scratch::new("chaos");
        fs::write(scratch.path().join("boards.toml"), BOARDS).expect("write the boards of a fleet");
        let player = |node| Player {
            id: Schedule::id(node),
            process: None,
            processes: 0,
            again: None,
            stops: None,
            was_stopped: false,
            stands: None,
        };
        let play = Play {
            ensemble: &mut self.ensemble,
            cast: &self.cast,
            schedule,
            chroot: format!("/chaos-{}-{}", self.played, schedule.seed),
            first: self.next,
            scratch,
            desk: Desk::open(schedule.receiver, self.cast.program()),
            players: (0..schedule.nodes).map(player).collect(),
            whom: BTreeMap::new(),
            doomed: Vec::new(),
            away: None,
            looked: Instant::now(),
            moods: Vec::new(),
            healed: false,
            ended: 0,
            played: BTreeMap::new(),
            logs: Vec::new(),
            verdict: Verdict::default(),
        };
        let (outcome, next) = play.run();
        self.next = next;
        outcome
    }
}

impl Play<'_> {
    fn run(mut self) -> (Outcome, i64) {
        for node in 0..self.players.len() {
            self.start(node);
        }
        let started = Instant::now();
        while !self.schedule.cold && !self.desk.has_some() && started.elapsed() < COMES_TOGETHER {
            self.look_after();
            thread::sleep(LOOK);
        }
        let begin = Instant::now();
        let mut due: Vec<(Duration, Due)> = Vec::new();
        for (number, act) in self.schedule.acts.iter().enumerate() {
            due.push((act.at, Due::Begin(number)));
            due.push((act.at + act.lasts, Due::End(number)));
        }
        due.retain(|(at, _)| *at < self.schedule.length);
        due.sort_by_key(|(at, _)| *at);
        let mut due = due.into_iter().peekable();
        while begin.elapsed() < self.schedule.length {
            while let Some((_, event)) = due.next_if(|(at, _)| *at <= begin.elapsed()) {
                match event {
                    Due::Begin(number) => self.begin(number),
                    Due::End(number) => self.end(number),
                }
            }
            self.look_after();
            self.look_after_servers();
            thread::sleep(LOOK);
        }
        let end = millis(SystemTime::now());
        let settled = self.heal();
        self.stop();
        let mut verdict = std::mem::take(&mut self.verdict);
        let Taken { arrivals, held, logs } = self.desk.close(&mut verdict);
        self.logs.extend(logs);
        let transactions = self.ensemble.journal(self.first);
        let next = transactions.last().map_or(self.first, |last| last.zxid + 1);
        let evidence = Evidence {
            transactions: below(&self.chroot, transactions),
            arrivals,
            held,
            posted: self.schedule.post,
            lock_step: self.schedule.lock_step,
            counted: true,
            life: i64::try_from((self.schedule.period * STALE_PERIODS).max(SHORTEST_LIFE).as_millis())
                .unwrap_or(i64::MAX),
            settled,
        };
        let mut kazoo = None;
        match self.cast {
            Cast::Atalaya(_) => {
                let judged = judge(&evidence);
                verdict.violations.extend(judged.violations);
                verdict.figures.add(&judged.figures);
                verdict.notes = judged.notes;
            }
            Cast::Kazoo(_) => {
                let said = self.logs.iter().flat_map(|(_, log)| log).map(|line| line.text.as_str());
                kazoo = Some(KazooFigures { ended: self.ended, ..kazoo::count(&evidence, said) });
            }
        }
        let period = i64::try_from(self.schedule.period.as_millis()).unwrap_or(i64::MAX);
        let pauses = pauses::measure(&evidence, away(&self.logs), end, period);
        let Self { played, logs, .. } = self;
        (Outcome { verdict, played, kazoo, pauses, schedule: self.schedule.clone(), evidence, logs }, next)
    }

    fn count(&mut self, what: impl Into<String>) {
        *self.played.entry(what.into()).or_default() += 1;
    }

    fn start(&mut self, node: usize) {
        let mut command = match self.cast {
            Cast::Atalaya(binary) => self.atalaya(binary, node),
            Cast::Kazoo(kazoo) => self.kazoo(kazoo, node),
        };
        let player = &mut self.players[node];
        let fault = self.schedule.faults[node].get(player.processes).copied().flatten();
        // In the calm nobody dies any more.
        let fault = fault.filter(|_| !self.healed);
        if let Some(Fault { point, number, stops }) = fault {
            let end = if stops.is_some() { ":stop" } else { "" };
            command.env("ATALAYA_FAULT", format!("{point}:{number}{end}"));
        }
        player.stops = fault.and_then(|fault| fault.stops);
        (player.was_stopped, player.stands) = (false, None);
        player.processes += 1;
        player.again = None;
        player.process = Some(Process::spawn(command).called(format!("node {}", player.id), 0));
    }

    fn atalaya(&self, binary: &Path, node: usize) -> Command {
        let servers = format!("{}{}", self.ensemble.connect_string(), self.chroot);
        let player = &self.players[node];
        let binary = binary.display().to_string();
        let mut command = node_command_in(self.scratch.path(), &binary, &player.id, &servers);
        let millis = |duration: Duration| format!("{}ms", duration.as_millis());
        command.args(["--session-timeout", &millis(self.schedule.session)]);
        command.args(["--sampling-period", &millis(self.schedule.period)]);
        command.args(["--api-url", &self.desk.url(), "--counter", "per-node"]);
        command.args(["--api-method", if self.schedule.post { "post" } else { "get" }]);
        command.args(["--sync", if self.schedule.lock_step { "barrier" } else { "free" }]);
        command.args(["--release", if self.schedule.complete { "complete" } else { "period" }]);
        command.arg("--boards").arg(self.scratch.path().join("boards.toml")).args(["--board", "chaos"]);
        command
    }

    fn kazoo(&self, kazoo: &Kazoo, node: usize) -> Command {
        let seconds = |duration: Duration| duration.as_secs_f64().to_string();
        let Schedule { session, period, lock_step, .. } = *self.schedule;
        kazoo.command(
            "fleet.py",
            &[
                &self.players[node].id,
                &self.ensemble.connect_string(),
                &self.chroot,
                &seconds(session),
                &seconds(period),
                &self.desk.url(),
                match lock_step {
                    // Whoever gives up waiting is not stuck, and not in step.
                    true if self.schedule.acts.iter().any(|act| act.what == What::LeadingServer) => "patient",
                    true => "barrier",
                    false => "free",
                },
            ],
        )
    }

    /// Who died is noted, and who is to come back does.
    fn look_after(&mut self) {
        self.desk.look_after();
        for node in 0..self.players.len() {
            let player = &mut self.players[node];
            if let Some(exit) = player.process.as_mut().and_then(Process::try_exit) {
                player.again = Some(Instant::now() + AGAIN);
                self.bury(node, exit, false);
            } else if player.process.is_none() && player.again.is_some_and(|again| again <= Instant::now()) {
                self.start(node);
            }
            self.wake(node);
        }
    }

    /// Lets one that has stopped itself go on when its time has come.
    fn wake(&mut self, node: usize) {
        let player = &mut self.players[node];
        let (Some(process), Some(stops)) = (&player.process, player.stops) else { return };
        if player.stands.is_some_and(|until| until <= Instant::now()) {
            (player.stands, player.stops) = (None, None);
            process.cont();
            return;
        }
        player.was_stopped |= process.has_stopped();
        if player.stands.is_none() && player.was_stopped {
            // Its last words may be on their way.
            let line = process.log().into_iter().rfind(|line| line.text.contains("fault point: stopping"));
            if let Some(point) = line.and_then(|line| point_of(&line.text)) {
                player.stands = Some(Instant::now() + stops);
                self.count(format!("stopped at {point}"));
            }
        }
    }

    /// Kills the server that leads, if it is to be, and all three serve: without two of them nobody could do anything, and
    /// ZooKeeper 3.8 has been seen to forget then what it had acknowledged.
    fn look_after_servers(&mut self) {
        if let Some((server, until)) = self.away {
            if until <= Instant::now() {
                self.away = None;
                self.restart(server);
            }
        } else if !self.doomed.is_empty() && self.looked.elapsed() >= LOOK_AT_LOG {
            self.looked = Instant::now();
            if !self.ensemble.all_serve() {
                return;
            }
            let Some(server) = self.ensemble.leader() else { return };
            let lasts = self.doomed.remove(0);
            self.ensemble.kill(server);
            self.away = Some((server, Instant::now() + lasts));
            self.count("ZooKeeper's leader killed");
        }
    }

    /// Keeps the log of a process that has ended.
    fn bury(&mut self, node: usize, exit: ExitStatus, was_told: bool) {
        let player = &mut self.players[node];
        let Some(mut process) = player.process.take() else { return };
        process.wait_exit(NODE_ENDS);
        let log = process.log();
        let name = format!("node-{}-{}", player.id, player.processes);
        let last = log.last().map(|line| line.text.clone()).unwrap_or_default();
        self.logs.push((name.clone(), log));
        if was_told {
            return;
        }
        let point = point_of(&last);
        if matches!(self.cast, Cast::Kazoo(_)) && point.is_none() {
            self.ended += 1;
            return;
        }
        match (exit.code(), point) {
            (None, Some(point)) => self.count(format!("died at {point}")),
            (Some(TAKEN), _) => self.count("found its id taken"),
            _ => self.verdict.add(Kind::Other, format!("{name} ended by itself ({exit}): {last}")),
        }
    }

    /// What stands in ZooKeeper, by the log of the server that leads, or any other.
    fn glance(&self) -> Glance {
        let server = self.ensemble.leader().unwrap_or(0);
        glance(&below(&self.chroot, self.ensemble.server(server).journal(self.first)))
    }

    fn find(&self, whom: Whom) -> Option<usize> {
        match whom {
            Whom::Node(node) => Some(node),
            Whom::Leader => {
                let leader = self.glance().leader?;
                self.players.iter().position(|player| player.id == leader)
            }
        }
    }

    fn begin(&mut self, number: usize) {
        let act = &self.schedule.acts[number];
        match &act.what {
            What::Kill(whom) => {
                let Some(node) = self.find(*whom) else { return };
                let Some(process) = &mut self.players[node].process else { return };
                let exit = process.kill9();
                self.bury(node, exit, true);
                self.players[node].again = Some(Instant::now() + act.lasts);
                self.count(if *whom == Whom::Leader { "leader killed" } else { "node killed" });
            }
            What::Stop(whom) => {
                let Some(node) = self.find(*whom) else { return };
                let Some(process) = &mut self.players[node].process else { return };
                process.freeze();
                self.whom.insert(number, node);
                self.count(if *whom == Whom::Leader { "leader stopped" } else { "node stopped" });
            }
            What::Servers(servers) => {
                servers.iter().for_each(|server| self.ensemble.kill(*server));
                self.count(format!("{} of 3 servers killed", servers.len()));
            }
            What::LeadingServer => self.doomed.push(act.lasts),
            What::Api(mode) => {
                self.moods.push(number);
                self.desk.set(*mode);
                self.count(match mode {
                    ApiMode::Slow(_) => "API slow".to_owned(),
                    mode => format!("API {mode:?}"),
                });
            }
            What::Collector(blow) => {
                if self.desk.befalls(number, *blow, act.lasts) {
                    self.count(blow.to("collector"));
                }
            }
            What::Store(blow) => {
                if self.desk.befalls_store(number, *blow, act.lasts) {
                    self.count(blow.to("Redis"));
                }
            }
        }
    }

    fn end(&mut self, number: usize) {
        match &self.schedule.acts[number].what {
            // It is started anew when its time has come, whatever else killed it since.
            What::Kill(_) => {}
            What::Stop(_) => {
                if let Some(node) = self.whom.remove(&number)
                    && let Some(process) = &self.players[node].process
                {
                    process.cont();
                }
            }
            What::Servers(servers) => servers.iter().for_each(|server| self.restart(*server)),
            // As long after its death as that is to last.
            What::LeadingServer => {}
            What::Api(_) => {
                self.moods.retain(|mood| *mood != number);
                let mood = self.moods.last().map(|number| &self.schedule.acts[*number].what);
                self.desk.set(if let Some(What::Api(mode)) = mood { *mode } else { ApiMode::Once });
            }
            What::Collector(_) | What::Store(_) => self.desk.passes(number),
        }
    }

    /// Without waiting until it serves.
    fn restart(&mut self, server: usize) {
        let server = &mut self.ensemble.servers_mut()[server];
        if !server.is_up() || server.has_ended() {
            server.spawn();
        }
    }

    /// Everything works again; returns the cycle up to which everything was delivered when the fleet had come back.
    fn heal(&mut self) -> u64 {
        self.healed = true;
        self.desk.heal();
        self.players.iter().filter_map(|player| player.process.as_ref()).for_each(Process::cont);
        for player in &mut self.players {
            player.again = player.again.map(|_| Instant::now());
        }
        let deadline = Instant::now() + PATIENCE;
        let mut settled = None;
        let mut looked = Instant::now();
        let kept_before = self.desk.kept();
        loop {
            self.look_after();
            if looked.elapsed() >= LOOK_AT_LOG {
                looked = Instant::now();
                (0..self.ensemble.len()).for_each(|server| self.restart(server));
                if self.ensemble.leader().is_some() {
                    let glance = self.glance();
                    let goal = *settled.get_or_insert(glance.cycle + CALM);
                    let arrears = glance.waiting.iter().filter(|cycle| **cycle <= goal).count();
                    let whole = self.players.iter().all(|player| glance.measuring.contains(&player.id));
                    if let Cast::Kazoo(_) = self.cast {
                        // It has no cycles: that it reports again must do.
                        if self.desk.kept() >= kept_before + 3 {
                            return goal;
                        }
                        if Instant::now() > deadline {
                            self.count("did not come back");
                            return goal;
                        }
                        continue;
                    }
                    if glance.cycle >= goal && arrears == 0 && whole {
                        return goal;
                    }
                    if Instant::now() > deadline {
                        let text = format!("the fleet does not come back within {PATIENCE:?}: {glance:?}");
                        self.verdict.add(Kind::Other, text);
                        return goal;
                    }
                }
            }
            assert!(Instant::now() < deadline + PATIENCE, "ZooKeeper's servers do not come back");
            thread::sleep(LOOK);
        }
    }

    /// SIGTERM to all.
    fn stop(&mut self) {
        self.ensemble.wait_for_quorum(PATIENCE);
        self.players.iter().filter_map(|player| player.process.as_ref()).for_each(Process::term);
        let deadline = Instant::now() + NODE_ENDS;
        for node in 0..self.players.len() {
            let exit = loop {
                let Some(process) = &mut self.players[node].process else { break None };
                if let Some(exit) = process.try_exit() {
                    break Some(exit);
                }
                // One that was told to stop somewhere may come past there on its way out.
                process.cont();
                if Instant::now() > deadline {
                    let exit = process.kill9();
                    if let Cast::Atalaya(_) = self.cast {
                        let text =
                            format!("node {} does not end within {NODE_ENDS:?}", self.players[node].id);
                        self.verdict.add(Kind::Other, text);
                    }
                    self.bury(node, exit, true);
                    break None;
                }
                thread::sleep(LOOK);
            };
            let Some(exit) = exit else { continue };
            // And so may one that was told to die there.
            let dies = exit.code().is_none();
            if !exit.success() && !dies && matches!(self.cast, Cast::Atalaya(_)) {
                let text = format!("node {} was told to end and did so with {exit}", self.players[node].id);
                self.verdict.add(Kind::Other, text);
            }
            self.bury(node, exit, !dies);
        }
    }
}

/// When connections were lost and made again, by what the nodes said.
fn away(logs: &[(String, Vec<Line>)]) -> Vec<(i64, i64)> {
    let (now, wall) = (Instant::now(), millis(SystemTime::now()));
    let time = |at: Instant| wall - i64::try_from((now - at).as_millis()).unwrap_or(i64::MAX);
    let mut away = Vec::new();
    for (_, log) in logs {
        let mut lost = None;
        for line in log {
            if line.text.contains("the connection to ZooKeeper is lost") {
                lost.get_or_insert(time(line.at));
            } else if line.text.contains("connected to ZooKeeper") {
                away.extend(lost.take().map(|lost| (lost, time(line.at))));
            }
        }
    }
    away
}

/// Where a process died, by its last line.
fn point_of(last: &str) -> Option<&'static str> {
    let (_, said) = last.split_once("fault point: ")?;
    said.split(|c: char| !c.is_ascii_alphanumeric())
        .find_map(|word| super::schedule::POINTS.into_iter().find(|point| *point == word))
}
