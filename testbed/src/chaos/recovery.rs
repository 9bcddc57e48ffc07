//! Brings a fleet back after the faults of a schedule, and ends the fleet.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use super::check_report::Violation;
use super::foreign_client::{ForeignClient, ForeignResults};
use super::managed_process::EXIT_TIMEOUT;
use super::runner::{LOG_INTERVAL, NodeProgram, POLL_INTERVAL, Run, TIMEOUT};
use super::tree::Snapshot;
use crate::process::Process;
use crate::time::whole_millis;

/// Number of cycles in the calm at the end that must be delivered, too.
const CALM: u64 = 2;
/// Timeout for poisoned reports to leave the outbox after the fleet has recovered.
const POISON_TIMEOUT: Duration = Duration::from_secs(15);

/// Goal that a fleet must reach after the faults have ended.
#[derive(Clone, Copy)]
struct Goal {
    /// Delivered up to this cycle.
    cycle: u64,
    /// Every node has published after this transaction.
    zxid: i64,
}

impl Run<'_> {
    /// Restarts a server without waiting until it serves.
    pub(super) fn restart(&mut self, server: usize) {
        let server = &mut self.ensemble.servers_mut()[server];
        if !server.is_up() || server.has_ended() {
            server.spawn();
        }
    }

    /// Ends all faults. Returns the cycle up to which everything was delivered when the fleet had recovered.
    pub(super) fn heal(&mut self) -> u64 {
        self.healed = true;
        self.sink.heal();
        self.end_hostile_faults();
        self.nodes.iter().filter_map(|node| node.managed.process.as_ref()).for_each(Process::cont);
        // From now on, a node that stops itself is continued after its own time.
        self.targets.clear();
        for node in &mut self.nodes {
            node.full.clear();
            node.managed.restart_at = node.managed.restart_at.map(|_| Instant::now());
        }
        let begin = Instant::now();
        let deadline = begin + TIMEOUT;
        let mut goal = None;
        let mut recovered = None;
        let mut looked = Instant::now();
        let kept_before = self.sink.kept();
        loop {
            self.supervise();
            if looked.elapsed() >= LOG_INTERVAL {
                looked = Instant::now();
                (0..self.ensemble.len()).for_each(|server| self.restart(server));
                if self.ensemble.leader().is_some() {
                    let snapshot = self.snapshot();
                    let goal = *goal.get_or_insert(Goal {
                        cycle: snapshot.cycle.saturating_add(CALM),
                        zxid: snapshot.zxid,
                    });
                    let is_late = Instant::now() > deadline;
                    if let NodeProgram::Kazoo(_) = self.program {
                        // Kazoo has no cycles: it is enough that it reports again.
                        if self.sink.kept() >= kept_before + 3 {
                            return goal.cycle;
                        }
                        if is_late {
                            self.count("did not come back");
                            return goal.cycle;
                        }
                        continue;
                    }
                    if recovered.is_none() && self.has_recovered(&snapshot, goal) {
                        recovered = Some(Instant::now());
                        let took = whole_millis(begin.elapsed());
                        self.findings.counts.recovery = took;
                    }
                    // The checker reports poisoned entries that stay in the outbox.
                    let gave_up = recovered.is_some_and(|at| at.elapsed() > POISON_TIMEOUT);
                    if recovered.is_some() && (snapshot.poisoned.is_empty() || gave_up) {
                        return goal.cycle;
                    }
                    if is_late {
                        let text = format!("the fleet does not come back within {TIMEOUT:?}: {snapshot:?}");
                        self.findings.add(Violation::Other, text);
                        return goal.cycle;
                    }
                }
            }
            assert!(Instant::now() < deadline + TIMEOUT, "ZooKeeper's servers do not come back");
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Returns true if all faults have ended, every node has published since, and everything is delivered up to the
    /// goal.
    fn has_recovered(&self, snapshot: &Snapshot, goal: Goal) -> bool {
        let publishes = |id: &String| snapshot.measuring.get(id).is_some_and(|zxid| *zxid > goal.zxid);
        self.client.as_ref().is_none_or(ForeignClient::is_idle)
            && snapshot.cycle >= goal.cycle
            && !snapshot.waiting.iter().any(|cycle| *cycle <= goal.cycle)
            && self.nodes.iter().all(|node| node.managed.process.is_some() && publishes(&node.id))
    }

    /// Ends the other client of ZooKeeper. Returns its sessions.
    pub(super) fn finish_client(&mut self) -> BTreeSet<i64> {
        let Some(client) = self.client.take() else { return BTreeSet::new() };
        let ForeignResults { done, failures, sessions, .. } = client.finish();
        for (fault, done) in done {
            let subject = self.schedule.faults[fault].fault.subject();
            self.count(if done { subject } else { format!("{subject} (was not possible)") });
        }
        for failure in failures {
            self.findings.add(Violation::Other, format!("a fault could not be taken back: {failure}"));
        }
        sessions
    }

    /// Sends SIGTERM to all nodes.
    pub(super) fn stop(&mut self) {
        self.ensemble.wait_for_quorum(TIMEOUT);
        self.nodes.iter().filter_map(|node| node.managed.process.as_ref()).for_each(Process::term);
        let deadline = Instant::now() + EXIT_TIMEOUT;
        let is_atalaya = matches!(self.program, NodeProgram::Atalaya(_));
        for number in 0..self.nodes.len() {
            let node = &mut self.nodes[number];
            let exit = loop {
                let Some(process) = &mut node.managed.process else { break None };
                if let Some(exit) = process.try_exit() {
                    break Some(exit);
                }
                // A process with a stop at a fault point may reach that point during its shutdown.
                process.cont();
                if Instant::now() > deadline {
                    node.managed.kill(None);
                    if is_atalaya {
                        let text = format!("node {} does not end within {EXIT_TIMEOUT:?}", node.id);
                        self.findings.add(Violation::Other, text);
                    }
                    break None;
                }
                thread::sleep(POLL_INTERVAL);
            };
            let Some(exit) = exit else { continue };
            // A process that must die at a fault point may reach it during its shutdown as well.
            let dies = exit.code().is_none();
            if !exit.success() && !dies && is_atalaya {
                let text = format!("node {} ended with {exit} after SIGTERM", node.id);
                self.findings.add(Violation::Other, text);
            }
            self.reap(number, exit, !dies);
        }
    }
}
