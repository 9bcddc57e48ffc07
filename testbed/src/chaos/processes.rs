//! The processes of a fleet: starts them, records how they end, and starts replacements.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use super::check_report::Violation;
use super::faults::{Fault, PointFault};
use super::node_process::point_of;
use super::runner::{LOG_INTERVAL, NodeProgram, Run};
use super::schedule::Schedule;
use crate::kazoo::Kazoo;
use crate::node::node_command_in;
use crate::process::StderrTarget;

/// Delay before the restart of a node that ended by itself, like that of a supervisor.
const RESTART_DELAY: Duration = Duration::from_millis(300);
/// Exit code of a node whose id is in use: its znode outlived it.
const ID_IN_USE: i32 = 73;

impl Run<'_> {
    pub(super) fn start(&mut self, number: usize) {
        let mut command = match self.program {
            NodeProgram::Atalaya(binary) => self.atalaya(binary, number),
            NodeProgram::Kazoo(kazoo) => self.kazoo(kazoo, number),
        };
        let node = &mut self.nodes[number];
        let fault = self.schedule.point_faults[number].get(node.managed.starts).copied().flatten();
        // In the calm at the end no fault point is used.
        let fault = fault.filter(|_| !self.healed);
        if let Some(PointFault { point, number, stops }) = fault {
            let end = if stops.is_some() { ":stop" } else { "" };
            command.env("ATALAYA_FAULT", format!("{point}:{number}{end}"));
        }
        node.stop_time = fault.and_then(|fault| fault.stops);
        node.fault = fault;
        let stderr = if node.full.is_empty() { StderrTarget::Pipe } else { StderrTarget::Full };
        node.is_mute = stderr == StderrTarget::Full;
        (node.was_stopped, node.stopped_until) = (false, None);
        node.managed.start(command, stderr);
    }

    fn atalaya(&self, binary: &Path, number: usize) -> Command {
        let servers = format!("{}{}", self.ensemble.connect_string(), self.chroot);
        let binary = binary.display().to_string();
        let mut command = node_command_in(self.scratch.path(), &binary, &self.nodes[number].id, &servers);
        let millis = |duration: Duration| format!("{}ms", duration.as_millis());
        command.args(["--session-timeout", &millis(self.schedule.session)]);
        command.args(["--sampling-period", &millis(self.schedule.period)]);
        command.args(["--counter", "per-node", "--contenders", &self.schedule.contenders.to_string()]);
        command.args(["--log", "info,zookeeper_client=error,atalaya::leader::cycle=debug"]);
        if let Some(url) = self.sink.url() {
            command.args([
                "--api-url",
                &url,
                "--api-method",
                if self.schedule.post { "post" } else { "get" },
            ]);
        }
        command.args(["--sync", if self.schedule.lock_step { "barrier" } else { "free" }]);
        command.args(["--release", if self.schedule.complete { "complete" } else { "period" }]);
        command.arg("--boards").arg(self.scratch.path().join("boards.toml")).args(["--board", "chaos"]);
        command.envs(self.security.map(|security| security.environment("fleet")).unwrap_or_default());
        command
    }

    fn kazoo(&self, kazoo: &Kazoo, number: usize) -> Command {
        let seconds = |duration: Duration| duration.as_secs_f64().to_string();
        let Schedule { session, period, lock_step, .. } = *self.schedule;
        let is_patient = self.schedule.faults.iter().any(|it| it.fault == Fault::LeadingServer);
        let mode = match lock_step {
            // A node that stops waiting at the barrier is not stuck, and not in lock-step.
            true if is_patient => "patient",
            true => "barrier",
            false => "free",
        };
        kazoo.command(
            "fleet.py",
            &[
                &self.nodes[number].id,
                &self.ensemble.connect_string(),
                &self.chroot,
                &seconds(session),
                &seconds(period),
                &self.sink.url().unwrap_or_default(),
                mode,
            ],
        )
    }

    /// Records processes that have ended, and starts the replacements that are due.
    pub(super) fn supervise(&mut self) {
        self.sink.supervise();
        for number in 0..self.nodes.len() {
            let managed = &mut self.nodes[number].managed;
            if let Some(exit) = managed.try_exit() {
                managed.restart_at = Some(Instant::now() + RESTART_DELAY);
                self.reap(number, exit, false);
            } else if managed.is_due() {
                self.start(number);
            }
            self.wake(number);
        }
    }

    /// Continues a node that has stopped itself, when its stop is over.
    fn wake(&mut self, number: usize) {
        // A node that a fault has stopped is continued by that fault. Without its log, the runner could not tell whether
        // it has also reached its own stop.
        if self.targets.values().any(|stopped| *stopped == number) {
            return;
        }
        let node = &mut self.nodes[number];
        let (Some(process), Some(stop_time)) = (&node.managed.process, node.stop_time) else { return };
        if node.stopped_until.is_some_and(|until| until <= Instant::now()) {
            (node.stopped_until, node.stop_time) = (None, None);
            process.cont();
            return;
        }
        node.was_stopped |= process.has_stopped();
        if node.stopped_until.is_none() && node.was_stopped {
            // Its last lines may still be on their way.
            let line = process.log().into_iter().rfind(|line| line.text.contains("fault point: stopping"));
            let point = line.and_then(|line| point_of(&line.text));
            if let Some(point) = point.or(node.inferred_point()) {
                node.stopped_until = Some(Instant::now() + stop_time);
                self.count(format!("stopped at {point}"));
            }
        }
    }

    /// Kills the leading server if such a fault is due and all three servers run: without two of them no client could
    /// work, and ZooKeeper 3.8 was observed to lose acknowledged writes in that case.
    pub(super) fn supervise_servers(&mut self) {
        if let Some((server, until)) = self.killed_server {
            if until <= Instant::now() {
                self.killed_server = None;
                self.restart(server);
            }
        } else if !self.leader_kills.is_empty() && self.servers_checked.elapsed() >= LOG_INTERVAL {
            self.servers_checked = Instant::now();
            if !self.ensemble.all_serve() {
                return;
            }
            let Some(server) = self.ensemble.leader() else { return };
            let lasts = self.leader_kills.remove(0);
            self.ensemble.kill(server);
            self.killed_server = Some((server, Instant::now() + lasts));
            self.count("ZooKeeper's leader killed");
        }
    }

    /// Kills a node, and restarts it after the delay. Returns false if it does not run.
    pub(super) fn kill(&mut self, number: usize, delay: Duration) -> bool {
        self.nodes[number].managed.kill(Some(delay))
    }

    /// Keeps the log of a process that has ended. An end that was not requested must have a known cause.
    pub(super) fn reap(&mut self, number: usize, exit: ExitStatus, was_requested: bool) {
        let node = &mut self.nodes[number];
        node.managed.reap();
        if was_requested {
            return;
        }
        let was_killed = exit.code().is_none() && exit.to_string().contains("signal: 9");
        // Other threads may log between that line and the end of the process.
        let logged = node.managed.last_lines().take(5).find_map(point_of);
        let point = logged.or(node.inferred_point().filter(|_| was_killed));
        if matches!(self.program, NodeProgram::Kazoo(_)) && point.is_none() {
            self.ended += 1;
            return;
        }
        match (exit.code(), point) {
            (None, Some(point)) => self.count(format!("died at {point}")),
            (Some(ID_IN_USE), _) => self.count("found its id taken"),
            _ => {
                let (name, last) = (&node.id, node.managed.last_lines().next().unwrap_or_default());
                let text = format!(
                    "process {} of node {name} ended by itself ({exit}): {last}",
                    node.managed.starts
                );
                self.findings.add(Violation::Other, text);
            }
        }
    }
}
