//! The processes of a fleet: starts them, records how they end, and starts replacements.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use super::schedule::{Fault, Schedule, What};
use super::stage::{Cast, LOOK_AT_LOG, NODE_ENDS, Play};
use super::verdict::Kind;
use crate::kazoo::Kazoo;
use crate::node::node_command_in;
use crate::process::Process;
use crate::stderr::StderrTarget;

/// Delay before the restart of a node that ended by itself, like that of a supervisor.
const AGAIN: Duration = Duration::from_millis(300);
/// Exit code of a node whose id is in use: its znode outlived it.
const TAKEN: i32 = 73;

/// A node, over all of its processes.
pub(super) struct Player {
    pub(super) id: String,
    pub(super) process: Option<Process>,
    /// Number of processes so far.
    pub(super) processes: usize,
    /// Time of the next start.
    pub(super) again: Option<Instant>,
    /// Fault point at which its current process dies or stops.
    pub(super) fault: Option<Fault>,
    /// True if the current process cannot log: its last line is inferred.
    pub(super) is_mute: bool,
    /// Acts that make its processes start with standard error on `/dev/full`.
    pub(super) full: BTreeSet<usize>,
    /// Duration of the stop at its fault point.
    pub(super) stops: Option<Duration>,
    /// True if the process was stopped, by itself or by an act.
    pub(super) was_stopped: bool,
    /// End of its stop at the fault point.
    pub(super) stands: Option<Instant>,
}

impl Play<'_> {
    pub(super) fn start(&mut self, node: usize) {
        let mut command = match self.cast {
            Cast::Atalaya(binary) => self.atalaya(binary, node),
            Cast::Kazoo(kazoo) => self.kazoo(kazoo, node),
        };
        let player = &mut self.players[node];
        let fault = self.schedule.faults[node].get(player.processes).copied().flatten();
        // In the calm at the end no fault point is used.
        let fault = fault.filter(|_| !self.healed);
        if let Some(Fault { point, number, stops }) = fault {
            let end = if stops.is_some() { ":stop" } else { "" };
            command.env("ATALAYA_FAULT", format!("{point}:{number}{end}"));
        }
        player.stops = fault.and_then(|fault| fault.stops);
        player.fault = fault;
        let stderr = if player.full.is_empty() { StderrTarget::Pipe } else { StderrTarget::Full };
        player.is_mute = stderr == StderrTarget::Full;
        (player.was_stopped, player.stands) = (false, None);
        player.processes += 1;
        player.again = None;
        player.process =
            Some(Process::spawn_with_stderr(command, stderr).called(format!("node {}", player.id), 0));
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
        command.envs(self.security.map(|security| security.environment("fleet")).unwrap_or_default());
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
                    // A node that stops waiting at the barrier is not stuck, and not in lock-step.
                    true if self.schedule.acts.iter().any(|act| act.what == What::LeadingServer) => "patient",
                    true => "barrier",
                    false => "free",
                },
            ],
        )
    }

    /// Records processes that have ended, and starts the replacements that are due.
    pub(super) fn look_after(&mut self) {
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

    /// Continues a node that has stopped itself, when its stop is over.
    fn wake(&mut self, node: usize) {
        // A node that an act has stopped is continued by that act. Without its log, the runner could not tell whether
        // it has also reached its own stop.
        if self.whom.values().any(|stopped| *stopped == node) {
            return;
        }
        let player = &mut self.players[node];
        let (Some(process), Some(stops)) = (&player.process, player.stops) else { return };
        if player.stands.is_some_and(|until| until <= Instant::now()) {
            (player.stands, player.stops) = (None, None);
            process.cont();
            return;
        }
        player.was_stopped |= process.has_stopped();
        if player.stands.is_none() && player.was_stopped {
            // Its last lines may still be on their way.
            let line = process.log().into_iter().rfind(|line| line.text.contains("fault point: stopping"));
            let point = line.and_then(|line| point_of(&line.text));
            if let Some(point) = point.or(player.inferred_point()) {
                player.stands = Some(Instant::now() + stops);
                self.count(format!("stopped at {point}"));
            }
        }
    }

    /// Kills the leading server if such a fault is due and all three servers run: without two of them no client could
    /// work, and ZooKeeper 3.8 was observed to lose acknowledged writes in that case.
    pub(super) fn look_after_servers(&mut self) {
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
    pub(super) fn bury(&mut self, node: usize, exit: ExitStatus, was_told: bool) {
        let player = &mut self.players[node];
        let Some(mut process) = player.process.take() else { return };
        process.wait_exit(NODE_ENDS);
        let log = process.log();
        let name = format!("node-{}-{}", player.id, player.processes);
        let last = log.last().map(|line| line.text.clone()).unwrap_or_default();
        let log_end: Vec<String> = log.iter().rev().take(5).rev().map(|line| line.text.clone()).collect();
        self.logs.push((name.clone(), log));
        if was_told {
            return;
        }
        let was_killed = exit.code().is_none() && exit.to_string().contains("signal: 9");
        // Other threads may log between that line and the end of the process.
        let logged = log_end.iter().rev().find_map(|line| point_of(line));
        let point = logged.or(self.players[node].inferred_point().filter(|_| was_killed));
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
}

impl Player {
    /// Returns the fault point at which a process that cannot log has died or stopped.
    fn inferred_point(&self) -> Option<&'static str> {
        self.fault.filter(|_| self.is_mute).map(|fault| fault.point)
    }
}

/// Returns the fault point at which a process died, from its last line.
fn point_of(last: &str) -> Option<&'static str> {
    let (_, said) = last.split_once("fault point: ")?;
    said.split(|c: char| !c.is_ascii_alphanumeric())
        .find_map(|word| super::schedule::POINTS.into_iter().find(|point| *point == word))
}
