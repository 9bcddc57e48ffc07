//! Checks how a fleet treats znodes that other clients created: poisoned reports in the outbox, and znodes of the wrong
//! type. The checker passes each transaction to it. Pure.

use std::collections::BTreeMap;

use super::logs::is_information;
use crate::chaos::check_report::{CheckReport, Violation};
use crate::chaos::history::History;
use crate::chaos::tree::Tree;
use crate::chaos::txn_effects::{
    BARRIER, ELECTION, MEASUREMENTS, NODE_INFO, REJECTED, REPORTS, TxnEffects, cycle_of,
};
use crate::journal::{Change, Transaction};

/// Time after which a wrong znode must have been reported, in milliseconds.
const REPORTED_WITHIN: i64 = 5_000;
/// Minimum age of the contender or leader that must report it, in milliseconds.
const SETTLED: i64 = 3_000;
/// Time in which a leader must appear after a persistent contender was removed, in addition to a session timeout, in
/// milliseconds.
const LEADS_WITHIN: i64 = 10_000;
/// Maximum delay of log lines after the transactions that they are about.
const LOG_DELAY: i64 = 1_000;

/// A report that another client put into the outbox.
#[derive(Debug)]
struct Poison {
    path: String,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Rejected,
    Deleted,
    /// Deleted by the client that created it.
    TakenBack,
}

#[derive(Debug)]
struct WrongZnode {
    path: String,
    since: i64,
    /// Session of the first genuine contender when this znode was created. It may continue to lead.
    leader: Option<i64>,
    /// Time at which that session lost its contender.
    leaderless: Option<i64>,
}

/// Znodes of other clients, and how the fleet has treated them.
#[derive(Debug, Default)]
pub(crate) struct ForeignChecks {
    /// In order of creation; a name may be created again.
    poison: Vec<Poison>,
    wrong_znodes: Vec<WrongZnode>,
    /// Deadline by which a leader must appear, and the violation if it does not.
    awaited: Option<(i64, String)>,
    /// Creation time of each contender.
    contenders: BTreeMap<String, i64>,
    /// Creation time of the measurement of each node.
    measurements: BTreeMap<String, i64>,
    /// Session and start time of the current leader.
    leader: Option<(i64, i64)>,
}

impl ForeignChecks {
    /// Returns true if all reports that a transaction rejects are reports of other clients, deleted by the same
    /// transaction.
    pub(crate) fn may_reject(&self, transaction: &Transaction, effects: &TxnEffects<'_>) -> bool {
        let poisoned = |change: &&Change| matches!(change, Change::Delete { path } if self.is_poison(path));
        transaction.changes.iter().filter(poisoned).count() >= effects.rejected.len()
    }

    /// Returns true if another client created a znode at this path of the outbox. A leader that has decided to skip its
    /// cycle does so even if the znode no longer exists.
    pub(crate) fn was_occupied(&self, path: &str) -> bool {
        self.poison.iter().any(|poison| poison.path == path)
    }

    fn is_poison(&self, path: &str) -> bool {
        self.poison.iter().any(|poison| poison.path == path && poison.end.is_none())
    }

    /// Records how a poisoned report left the outbox.
    fn left(&mut self, path: &str, end: End) {
        if let Some(poison) =
            self.poison.iter_mut().find(|poison| poison.path == path && poison.end.is_none())
        {
            poison.end = Some(end);
        }
    }

    /// Records a transaction of another client, before it is applied to `tree`.
    pub(crate) fn of_other_client(
        &mut self,
        transaction: &Transaction,
        tree: &Tree,
        history: &History,
        findings: &mut CheckReport,
    ) {
        for change in &transaction.changes {
            match change {
                Change::Create { path, .. } if path.starts_with(REPORTS) => {
                    self.poison.push(Poison { path: path.clone(), end: None });
                    findings.counts.poisoned += 1;
                }
                Change::Create { path, ephemeral: false, .. } if is_wrong_type(path) => {
                    let leader = tree.leader().map(|(_, owner, _)| owner);
                    let (path, since) = (path.clone(), transaction.time);
                    let leaderless = leader.is_none().then_some(since);
                    self.wrong_znodes.push(WrongZnode { path, since, leader, leaderless });
                }
                Change::Delete { path } => {
                    self.left(path, End::TakenBack);
                    if let Some(at) =
                        self.wrong_znodes.iter().position(|wrong_znode| wrong_znode.path == *path)
                    {
                        let wrong_znode = self.wrong_znodes.remove(at);
                        self.removed(&wrong_znode, transaction.time, tree, history, findings);
                    }
                }
                _ => {}
            }
        }
    }

    /// Records a transaction of a node, before it is applied to `tree`.
    pub(crate) fn of_node(
        &mut self,
        transaction: &Transaction,
        effects: &TxnEffects<'_>,
        tree: &Tree,
        findings: &mut CheckReport,
    ) {
        self.check_awaited(transaction.time, findings);
        for change in &transaction.changes {
            match change {
                Change::Delete { path } if self.is_poison(path) => {
                    // A second rejected report of the same cycle is deleted, and the log reports it.
                    let rejected = path.replacen(REPORTS, REJECTED, 1);
                    let is_kept = !effects.rejected.is_empty() || tree.has(&rejected);
                    let end = if is_kept { End::Rejected } else { End::Deleted };
                    findings.counts.rejected += u64::from(end == End::Rejected);
                    self.left(path, end);
                }
                Change::Set { path, .. } if path.starts_with(MEASUREMENTS) || path.starts_with(NODE_INFO) => {
                    let owner = tree.owner(path).flatten();
                    if owner != Some(transaction.session) {
                        let session = transaction.session;
                        findings.add(
                            Violation::WrongZnode,
                            format!("{session:#x} wrote {path}, which is of {owner:?}"),
                        );
                    }
                }
                Change::Delete { path }
                    if self.wrong_znodes.iter().any(|wrong_znode| wrong_znode.path == *path) =>
                {
                    findings
                        .add(Violation::WrongZnode, format!("a node deleted {path}, which is not its own"));
                }
                _ => {}
            }
        }
        if effects.fence.is_some() {
            self.awaited = None;
        }
    }

    /// Checks that no persistent contender is before the leader that writes a new epoch.
    pub(crate) fn epoch(&self, transaction: &Transaction, tree: &Tree, findings: &mut CheckReport) {
        let Some((contender, ..)) = tree.leader() else { return };
        for path in tree.persistent_before(&contender) {
            let wrong_znode = self.wrong_znodes.iter().find(|wrong_znode| wrong_znode.path == path);
            if wrong_znode.is_some_and(|wrong_znode| wrong_znode.leader != Some(transaction.session)) {
                let text =
                    format!("{contender} leads, and {path} was before it when it became the first node");
                findings.add(Violation::WrongZnode, text);
            }
        }
    }

    /// Records the state of the election after a transaction.
    pub(crate) fn after(&mut self, transaction: &Transaction, tree: &Tree) {
        for change in &transaction.changes {
            let Change::Create { path, ephemeral: true, .. } = change else { continue };
            if path.starts_with(ELECTION) {
                self.contenders.insert(path.clone(), transaction.time);
            } else if path.starts_with(MEASUREMENTS) {
                self.measurements.insert(path.clone(), transaction.time);
            }
        }
        self.contenders.retain(|path, _| tree.has(path));
        self.measurements.retain(|path, _| tree.has(path));
        let leader = tree.leader().map(|(_, owner, _)| owner);
        if self.leader.map(|(leader, _)| leader) != leader {
            self.leader = leader.map(|leader| (leader, transaction.time));
        }
        for wrong_znode in
            self.wrong_znodes.iter_mut().filter(|wrong_znode| wrong_znode.path.starts_with(ELECTION))
        {
            if wrong_znode.leaderless.is_none() && leader != wrong_znode.leader {
                wrong_znode.leaderless = Some(transaction.time);
            }
        }
    }

    /// Reports a leader that has not appeared by `now`.
    fn check_awaited(&mut self, now: i64, findings: &mut CheckReport) {
        if let Some((_, text)) = self.awaited.take_if(|(until, _)| *until < now) {
            findings.add(Violation::WrongZnode, text);
        }
    }

    /// Checks, when a wrong znode is removed, that it was reported, provided that a node had the time to do so.
    fn removed(
        &mut self,
        wrong_znode: &WrongZnode,
        now: i64,
        tree: &Tree,
        history: &History,
        findings: &mut CheckReport,
    ) {
        let WrongZnode { path, since, leaderless, .. } = wrong_znode;
        let is_calm = history.disturbed.is_none_or(|disturbed| disturbed > now);
        let is_contender = path.starts_with(ELECTION);
        let is_settled = |since: &i64| now - since >= SETTLED;
        let stands = match leaderless {
            Some(leaderless) if is_contender => {
                self.contenders.values().any(is_settled).then_some(*leaderless)
            }
            _ if is_contender => None,
            // A node writes its info after its first measurement. Nothing uses the info of a node that does not exist.
            _ if path.starts_with(NODE_INFO) => {
                let published = self.measurements.get(&path.replacen(NODE_INFO, MEASUREMENTS, 1));
                published.filter(|published| is_settled(published)).map(|_| *since)
            }
            _ if path.starts_with(BARRIER) => self.leader.filter(|(_, at)| is_settled(at)).map(|_| *since),
            _ => Some(*since),
        };
        // Each contender watches the one directly before it, and reports only that one.
        let is_hidden = is_contender
            && self.wrong_znodes.iter().any(|other| other.path.starts_with(ELECTION) && other.path > *path);
        let may_be_reported = is_calm && history.complete_log && !is_hidden;
        if may_be_reported && stands.is_some_and(|since| now - since >= REPORTED_WITHIN) {
            let name = path.rsplit('/').next().unwrap_or(path);
            // The id alone occurs in every line of that node.
            let name = if is_contender || path.starts_with(BARRIER) { name } else { path };
            // A node that has not listed the children of the barrier reports only that there are some.
            let is_child = path.starts_with(BARRIER);
            let names: &[&str] = if is_child { &[name, "/barrier has children"] } else { &[name] };
            if !names.iter().any(|name| is_reported(history, name, *since, now + LOG_DELAY)) {
                findings.add(
                    Violation::WrongZnode,
                    format!("{path} stood for {} ms, and no node reported it", now - since),
                );
            }
        }
        if is_calm && is_contender && leaderless.is_some() && tree.leader().is_some() {
            let text = format!("no node led within {LEADS_WITHIN} ms and a session after {path} was removed");
            self.awaited = Some((now + history.session + LEADS_WITHIN, text));
        }
    }

    /// Checks the poisoned reports that are left at the end.
    pub(crate) fn end(&self, history: &History, findings: &mut CheckReport) {
        for Poison { path, end } in &self.poison {
            let name = path.strip_prefix(REPORTS).unwrap_or(path);
            match end {
                Some(End::Rejected) => {}
                Some(End::Deleted) => {
                    findings.add(
                        Violation::Poison,
                        format!("{path} of another client was deleted, and not rejected"),
                    );
                }
                // A report whose name no leader can have written may stay, if it is reported.
                None | Some(End::TakenBack) if cycle_of(path).is_none() => {
                    let reported = is_reported(history, name, i64::MIN, i64::MAX);
                    if history.complete_log && !reported {
                        findings.add(Violation::Poison, format!("{path} of another client was not reported"));
                    }
                }
                None | Some(End::TakenBack) => {
                    findings.add(
                        Violation::Poison,
                        format!("{path} of another client is left, and not in {REJECTED}"),
                    );
                }
            }
        }
    }
}

/// Returns true for paths at which a persistent znode is of the wrong type, and for children of the barrier.
fn is_wrong_type(path: &str) -> bool {
    path.starts_with(ELECTION)
        || path.starts_with(NODE_INFO)
        || path.strip_prefix(BARRIER).is_some_and(|rest| rest.starts_with('/'))
        // Other names are measurements of other programs.
        || path.strip_prefix(MEASUREMENTS).is_some_and(|name| name.parse::<u64>().is_ok())
}

/// Returns true if a warning or an error between the two times contains the text.
fn is_reported(history: &History, text: &str, from: i64, to: i64) -> bool {
    let during = |line: &&crate::chaos::history::LogLine| (from..=to).contains(&line.time);
    history.log.iter().filter(during).any(|line| !is_information(&line.text) && line.text.contains(text))
}
