//! Brings a fleet back after the acts of a schedule, and ends the fleet.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use super::foreign_client::{ForeignClient, ForeignResults};
use super::stage::{Cast, LOOK, LOOK_AT_LOG, NODE_ENDS, PATIENCE, Play};
use super::tree::Glance;
use super::verdict::Kind;
use crate::process::Process;

/// Number of cycles in the calm at the end that must be delivered, too.
const CALM: u64 = 2;
/// Timeout for poisoned reports to leave the outbox after the fleet has recovered.
const POISON_LEAVES: Duration = Duration::from_secs(15);

/// Goal that a fleet must reach after the faults have ended.
#[derive(Clone, Copy)]
struct Goal {
    /// Delivered up to this cycle.
    cycle: u64,
    /// Every node has published after this transaction.
    zxid: i64,
}

impl Play<'_> {
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
        self.desk.heal();
        self.end_hostile_acts();
        self.players.iter().filter_map(|player| player.process.as_ref()).for_each(Process::cont);
        for player in &mut self.players {
            player.full.clear();
            player.again = player.again.map(|_| Instant::now());
        }
        let begin = Instant::now();
        let deadline = begin + PATIENCE;
        let mut goal = None;
        let mut recovered = None;
        let mut looked = Instant::now();
        let kept_before = self.desk.kept();
        loop {
            self.look_after();
            if looked.elapsed() >= LOOK_AT_LOG {
                looked = Instant::now();
                (0..self.ensemble.len()).for_each(|server| self.restart(server));
                if self.ensemble.leader().is_some() {
                    let glance = self.glance();
                    let goal = *goal
                        .get_or_insert(Goal { cycle: glance.cycle.saturating_add(CALM), zxid: glance.zxid });
                    let is_late = Instant::now() > deadline;
                    if let Cast::Kazoo(_) = self.cast {
                        // Kazoo has no cycles: it is enough that it reports again.
                        if self.desk.kept() >= kept_before + 3 {
                            return goal.cycle;
                        }
                        if is_late {
                            self.count("did not come back");
                            return goal.cycle;
                        }
                        continue;
                    }
                    if recovered.is_none() && self.has_recovered(&glance, goal) {
                        recovered = Some(Instant::now());
                        let took = i64::try_from(begin.elapsed().as_millis()).unwrap_or(i64::MAX);
                        self.verdict.figures.recovery = took;
                    }
                    // The judge reports poisoned entries that stay in the outbox.
                    let given_up = recovered.is_some_and(|at| at.elapsed() > POISON_LEAVES);
                    if recovered.is_some() && (glance.poisoned.is_empty() || given_up) {
                        return goal.cycle;
                    }
                    if is_late {
                        let text = format!("the fleet does not come back within {PATIENCE:?}: {glance:?}");
                        self.verdict.add(Kind::Other, text);
                        return goal.cycle;
                    }
                }
            }
            assert!(Instant::now() < deadline + PATIENCE, "ZooKeeper's servers do not come back");
            thread::sleep(LOOK);
        }
    }

    /// Returns true if all faults have ended, every node has published since, and everything is delivered up to the
    /// goal.
    fn has_recovered(&self, glance: &Glance, goal: Goal) -> bool {
        let publishes = |id: &String| glance.measuring.get(id).is_some_and(|zxid| *zxid > goal.zxid);
        self.client.as_ref().is_none_or(ForeignClient::is_idle)
            && glance.cycle >= goal.cycle
            && !glance.waiting.iter().any(|cycle| *cycle <= goal.cycle)
            && self.players.iter().all(|player| player.process.is_some() && publishes(&player.id))
    }

    /// Ends the other client of ZooKeeper. Returns its sessions.
    pub(super) fn finish_client(&mut self) -> BTreeSet<i64> {
        let Some(client) = self.client.take() else { return BTreeSet::new() };
        let ForeignResults { done, failures, sessions } = client.finish();
        for (act, done) in done {
            let subject = self.schedule.acts[act].what.subject();
            self.count(if done { subject } else { format!("{subject} (was not possible)") });
        }
        for failure in failures {
            self.verdict.add(Kind::Other, format!("a fault could not be taken back: {failure}"));
        }
        sessions
    }

    /// Sends SIGTERM to all nodes.
    pub(super) fn stop(&mut self) {
        self.ensemble.wait_for_quorum(PATIENCE);
        self.players.iter().filter_map(|player| player.process.as_ref()).for_each(Process::term);
        let deadline = Instant::now() + NODE_ENDS;
        for node in 0..self.players.len() {
            let exit = loop {
                let Some(process) = &mut self.players[node].process else { break None };
                if let Some(exit) = process.try_exit() {
                    break Some(exit);
                }
                // A process with a stop at a fault point may reach that point during its shutdown.
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
            // A process that must die at a fault point may reach it during its shutdown as well.
            let dies = exit.code().is_none();
            if !exit.success() && !dies && matches!(self.cast, Cast::Atalaya(_)) {
                let text = format!("node {} was told to end and did so with {exit}", self.players[node].id);
                self.verdict.add(Kind::Other, text);
            }
            self.bury(node, exit, !dies);
        }
    }
}
