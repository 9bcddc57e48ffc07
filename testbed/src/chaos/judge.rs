//! The judge: goes through what ZooKeeper committed, transaction by transaction, and looks at every promise. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::evidence::Evidence;
use super::mail::{self, Letter};
use super::means::{Average, Fleet, Found, Window};
use crate::journal::{Change, Transaction};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Cycle numbers have a gap, or a cycle has no report, or a report no cycle.
    Cycle,
    /// An epoch did not go up by one, or the fence is gone.
    Epoch,
    /// Somebody wrote what only the leader writes.
    NotTheLeader,
    /// The leader wrote without checking its own znode in the line.
    Unfenced,
    /// An average is not the average of what was published.
    WrongMean,
    /// A report was committed, and never kept by the API.
    Lost,
    /// A report was sent that was never committed.
    NotCommitted,
    /// A report was sent with another value than the committed one.
    Altered,
    /// A report was sent before it was committed.
    Early,
    /// A report of a leader that was deposed before it could know.
    Deposed,
    /// A request without a key, or with one that is none.
    Unkeyed,
    /// A report was taken from the outbox before it had arrived.
    TooSoon,
    /// Something is left in the outbox, or was set aside.
    Left,
    /// A measurement was published and not counted with it.
    NotCounted,
    /// A measurement was counted twice, or something else was.
    Miscounted,
    /// Somebody measured more often than there were generations.
    MeasuredTwice,
    /// A cycle without a new generation, or a generation without a cycle.
    Generation,
    /// The barrier was open between two cycles.
    Open,
    /// Nothing a promise is about, and yet it must not be: a node that panics, a fleet that does not come back.
    Other,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Of what kind.
    pub kind: Kind,
    /// What, where and when.
    pub text: String,
}

/// What there was to judge.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Leaders that wrote their epoch.
    pub epochs: u64,
    /// Reports that were committed.
    pub reports: u64,
    /// Different measurements that were published.
    pub measurements: u64,
    /// Requests to the API.
    pub requests: u64,
    /// Requests that it kept although it had their key.
    pub repeats: u64,
    /// Requests that it did not keep.
    pub turned_away: u64,
    /// Reports that arrived after a later one.
    pub out_of_order: u64,
    /// The longest time from commit to arrival, in milliseconds.
    pub longest_delay: i64,
    /// Requests of somebody who had already been succeeded: harmless by their keys, but late.
    pub late: u64,
    /// Averages that nobody could look through, because there were too many possibilities.
    pub undecided: u64,
    /// In lock-step, averages without a measurement that had come a little before.
    pub missed: u64,
    /// In lock-step, measurements that a process published when it had published one in the same generation: it has just
    /// started, or the one before came late.
    pub again: u64,
}

impl Figures {
    /// Takes those of another fleet in.
    pub fn add(&mut self, other: &Figures) {
        self.epochs += other.epochs;
        self.reports += other.reports;
        self.measurements += other.measurements;
        self.requests += other.requests;
        self.repeats += other.repeats;
        self.turned_away += other.turned_away;
        self.out_of_order += other.out_of_order;
        self.longest_delay = self.longest_delay.max(other.longest_delay);
        self.late += other.late;
        self.undecided += other.undecided;
        self.missed += other.missed;
        self.again += other.again;
    }
}

/// What the judge found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Everything that is wrong.
    pub violations: Vec<Violation>,
    /// What it looked at.
    pub figures: Figures,
    /// What is not wrong, and worth a look.
    pub notes: Vec<String>,
}

impl Verdict {
    /// One more thing that is wrong.
    pub fn add(&mut self, kind: Kind, text: String) {
        self.violations.push(Violation { kind, text });
    }
}

/// Looks at every promise.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut walk = Walk { evidence: Some(evidence), ..Walk::default() };
    for transaction in &evidence.transactions {
        walk.step(transaction);
    }
    walk.end(evidence)
}

/// What stands in ZooKeeper after some transactions.
#[derive(Debug, Default)]
pub(super) struct Glance {
    /// The id of who is first in line.
    pub(super) leader: Option<String>,
    /// The newest cycle.
    pub(super) cycle: u64,
    /// The cycles in the outbox.
    pub(super) waiting: BTreeSet<u64>,
    /// Who measures.
    pub(super) measuring: BTreeSet<String>,
}

/// Looks at what stands there after `transactions`.
pub(super) fn glance(transactions: &[Transaction]) -> Glance {
    let mut walk = Walk::default();
    transactions.iter().for_each(|transaction| walk.apply(transaction));
    let term = walk.tree.get(TERM).and_then(|znode| parse_term(&znode.data));
    let measuring = walk.tree.keys().filter_map(|path| path.strip_prefix(MEASUREMENTS)).map(str::to_owned);
    Glance {
        leader: walk.leader().map(|(_, _, node)| node),
        cycle: term.map_or(0, |term| term.cycle),
        waiting: walk.tree.keys().filter_map(|path| cycle_of(path)).collect(),
        measuring: measuring.collect(),
    }
}

/// How far the server that a leader is connected to may be behind, and how far its guess of the servers' clock may be off, in
/// milliseconds.
const BEHIND: i64 = 300;
/// In lock-step, so much earlier than the fleet was read something must have been published to be missed for certain.
const SEEN: i64 = 150;
/// If at least so many averages of a fleet, and one in [`TOO_OFTEN`], have missed what was published but moments before the
/// fleet was read, that was no bad luck.
const BAD_LUCK: u64 = 3;
const TOO_OFTEN: u64 = 4;
/// How long it may take until a leader has read the list of those who measure, in milliseconds.
const LISTED: i64 = 1_000;

const TERM: &str = "/atalaya/term";
const REPORTS: &str = "/atalaya/reports/";
const ASIDE: &str = "/atalaya/aside/";
const PRESENCE: &str = "/atalaya/nodes/";
const MEASUREMENTS: &str = "/mediciones/";
const ELECTION: &str = "/election/";
const BARRIER: &str = "/barrier";
const COUNTER: &str = "/counter";

/// `{epoch, cycle}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    epoch: i64,
    cycle: u64,
}

#[derive(Debug)]
struct Znode {
    data: Vec<u8>,
    /// The session that it goes with.
    owner: Option<i64>,
}

#[derive(Debug)]
struct Committed {
    averages: Vec<(String, f64)>,
    committed: i64,
    deleted: Option<i64>,
}

/// What is known after some of the transactions.
#[derive(Default)]
pub(super) struct Walk<'a> {
    evidence: Option<&'a Evidence>,
    verdict: Verdict,
    tree: BTreeMap<String, Znode>,
    term: Option<Term>,
    /// Who wrote the fence last.
    writer: i64,
    /// When the fence was written last, and the time before that.
    fenced: (i64, i64),
    reports: BTreeMap<u64, Committed>,
    fleet: Fleet,
    /// When each measurement was first published.
    measured: BTreeMap<(String, u64), i64>,
    /// Who measured when: node, number of the generation, session.
    turns: Vec<(String, u64, i64)>,
    /// How many generations there have been.
    generations: u64,
    /// The process of each session, as far as it said.
    processes: BTreeMap<i64, String>,
    counter: Option<i64>,
    generation: Option<i64>,
    /// The barrier was opened by this transaction, and not closed by it.
    opened: Option<i64>,
    /// When who was elected, in milliseconds since 1970.
    elected: Vec<(i64, String)>,
}

/// What one transaction did to the leader's znodes.
#[derive(Debug, Default)]
struct Deeds<'a> {
    term: Option<Option<Term>>,
    created: Vec<(u64, &'a [u8])>,
    deleted: Vec<u64>,
    aside: Vec<&'a str>,
    closes: bool,
    opens: bool,
    counter: Option<&'a [u8]>,
    measurements: Vec<(&'a str, &'a [u8])>,
    checked: Vec<&'a str>,
}

impl Deeds<'_> {
    /// Whether the fence was written, and nothing but what stood there: whoever does that changes nothing.
    fn rewrite(&self, before: Option<Term>) -> bool {
        before.is_some()
            && self.term == Some(before)
            && self.created.is_empty()
            && !self.opens
            && !self.closes
    }

    /// Whether it did what only a leader does.
    fn are_a_leaders(&self, before: Option<Term>) -> bool {
        (self.term.is_some() && !self.rewrite(before))
            || !self.created.is_empty()
            || !self.deleted.is_empty()
            || !self.aside.is_empty()
            || self.closes
            || self.opens
    }
}

fn cycle_of(path: &str) -> Option<u64> {
    path.strip_prefix(REPORTS)?.parse().ok()
}

/// RFC 3339 in UTC, as the reports have it, in milliseconds since 1970.
fn millis_of(time: &str) -> Option<i64> {
    let (date, time) = time.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':');
    let (hours, minutes): (i64, i64) = (time.next()?.parse().ok()?, time.next()?.parse().ok()?);
    let seconds: f64 = time.next()?.parse().ok()?;
    // Days since 1970 (Howard Hinnant, chrono-compatible low-level date algorithms): years begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468;
    Some(((days * 24 + hours) * 60 + minutes) * 60_000 + (seconds * 1_000.0).round() as i64)
}

fn parse_term(data: &[u8]) -> Option<Term> {
    let value: Value = serde_json::from_slice(data).ok()?;
    Some(Term { epoch: value["epoch"].as_i64()?, cycle: value["cycle"].as_u64()? })
}

impl<'a> Deeds<'a> {
    fn of(transaction: &'a Transaction) -> Deeds<'a> {
        let mut deeds = Deeds::default();
        for change in &transaction.changes {
            match change {
                Change::Create { path, data, .. } | Change::Set { path, data } => {
                    let is_new = matches!(change, Change::Create { .. });
                    if path == TERM {
                        deeds.term = Some(parse_term(data));
                    } else if path == BARRIER {
                        deeds.closes |= is_new;
                    } else if path == COUNTER {
                        deeds.counter = Some(data);
                    } else if let Some(node) = path.strip_prefix(MEASUREMENTS) {
                        deeds.measurements.push((node, data));
                    } else if let Some(cycle) = cycle_of(path) {
                        deeds.created.push((cycle, data));
                    } else if path.starts_with(ASIDE) {
                        deeds.aside.push(path);
                    }
                }
                Change::Delete { path } => {
                    if path == TERM {
                        deeds.term = Some(None);
                    } else if path == BARRIER {
                        deeds.opens = true;
                    } else if let Some(cycle) = cycle_of(path) {
                        deeds.deleted.push(cycle);
                    }
                }
                Change::Check { path } => deeds.checked.push(path),
                Change::Opened | Change::Closed => {}
            }
        }
        deeds
    }
}

impl Walk<'_> {
    fn wrong(&mut self, kind: Kind, transaction: &Transaction, what: &str) {
        let text = format!("{what} (zxid {:#x}, session {:#x})", transaction.zxid, transaction.session);
        self.verdict.add(kind, text);
    }

    /// The lowest znode in the line, whose it is, and who that is.
    fn leader(&self) -> Option<(String, i64, String)> {
        let in_line =
            self.tree.range(ELECTION.to_owned()..).take_while(|(path, _)| path.starts_with(ELECTION));
        let place = |path: &str| {
            let (name, digits) = path.split_at_checked(path.len().checked_sub(10)?)?;
            let is_one = name.ends_with("__lock__") && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_one.then(|| digits.to_owned())
        };
        let (path, znode) = in_line
            .filter_map(|(path, znode)| Some((place(path)?, path, znode)))
            .min_by(|left, right| left.0.cmp(&right.0))
            .map(|(_, path, znode)| (path, znode))?;
        Some((path.clone(), znode.owner?, String::from_utf8_lossy(&znode.data).into_owned()))
    }

    fn step(&mut self, transaction: &Transaction) {
        let deeds = Deeds::of(transaction);
        let own = self.term.filter(|_| self.writer == transaction.session);
        if deeds.are_a_leaders(own) {
            self.is_the_leaders(transaction, &deeds);
        }
        self.count(transaction, &deeds);
        for (node, data) in &deeds.measurements {
            self.publish(transaction, node, data);
        }
        self.cycle(transaction, &deeds);
        for cycle in &deeds.deleted {
            if let Some(report) = self.reports.get_mut(cycle) {
                report.deleted = Some(transaction.time);
            }
        }
        for path in &deeds.aside {
            self.wrong(Kind::Left, transaction, &format!("{path} was set aside"));
        }
        self.apply(transaction);
    }

    fn is_the_leaders(&mut self, transaction: &Transaction, deeds: &Deeds<'_>) {
        match self.leader() {
            Some((path, owner, _)) if owner == transaction.session => {
                // Who closes a barrier that is open changes nothing that anybody builds on.
                let is_mere_closing = deeds.closes && !deeds.opens && deeds.term.is_none();
                if !is_mere_closing && !deeds.checked.contains(&path.as_str()) {
                    self.wrong(
                        Kind::Unfenced,
                        transaction,
                        &format!("{} without a check of {path}", words(deeds)),
                    );
                }
            }
            Some((path, owner, node)) => {
                let what =
                    format!("{}, but {path} of {owner:#x} (node {node}) is first in line", words(deeds));
                self.wrong(Kind::NotTheLeader, transaction, &what);
            }
            None => {
                self.wrong(
                    Kind::NotTheLeader,
                    transaction,
                    &format!("{}, but nobody is in line", words(deeds)),
                );
            }
        }
    }

    /// The fence, the report, the barrier.
    fn cycle(&mut self, transaction: &Transaction, deeds: &Deeds<'_>) {
        let lock_step = self.evidence.is_some_and(|evidence| evidence.lock_step);
        let turns_over = deeds.opens && deeds.closes;
        let own = self.term.filter(|_| self.writer == transaction.session);
        let is_cycle = match (self.term, deeds.term) {
            (before, Some(Some(term))) => {
                let is_cycle = !deeds.created.is_empty() || (before == Some(term) && turns_over);
                self.term = Some(term);
                self.judge_term(transaction, before, term, deeds);
                is_cycle
            }
            (_, Some(None)) => {
                self.wrong(
                    Kind::Epoch,
                    transaction,
                    "the fence was deleted, or holds nothing that can be read",
                );
                false
            }
            (_, None) => {
                if !deeds.created.is_empty() {
                    let what = format!("the report of cycle {} without the cycle", deeds.created[0].0);
                    self.wrong(Kind::Cycle, transaction, &what);
                }
                false
            }
        };
        if lock_step {
            if is_cycle {
                if let Some(opened) = self.opened.take() {
                    let what = format!("a cycle, and the barrier had been open since {opened:#x}");
                    self.wrong(Kind::Open, transaction, &what);
                }
                let closed_before = self.tree.contains_key(BARRIER);
                if !deeds.closes || closed_before != deeds.opens {
                    self.wrong(Kind::Generation, transaction, "a cycle without a new generation");
                }
            } else if turns_over {
                self.wrong(Kind::Generation, transaction, "a new generation without a cycle");
            }
            if deeds.opens && !deeds.closes {
                self.opened = Some(transaction.zxid);
            }
        }
        if deeds.closes {
            self.generation = Some(transaction.zxid);
            self.generations += 1;
        }
        if deeds.term.is_some() && !deeds.rewrite(own) {
            self.fenced = (transaction.zxid, self.fenced.0);
            self.writer = transaction.session;
        }
    }

    fn judge_term(&mut self, transaction: &Transaction, before: Option<Term>, term: Term, deeds: &Deeds<'_>) {
        let Some((cycle, data)) = deeds.created.first().copied() else {
            if before == Some(term) && self.writer == transaction.session {
                if deeds.opens || deeds.closes {
                    self.empty(transaction);
                }
                return;
            }
            self.verdict.figures.epochs += 1;
            if let Some((_, _, node)) = self.leader() {
                self.elected.push((transaction.time, node));
            }
            let Some(before) = before else { return };
            if term.epoch != before.epoch + 1 {
                let what = format!("epoch {} after {}", term.epoch, before.epoch);
                self.wrong(Kind::Epoch, transaction, &what);
            }
            if term.cycle != before.cycle {
                let what = format!("a new epoch made cycle {} of {}", term.cycle, before.cycle);
                self.wrong(Kind::Cycle, transaction, &what);
            }
            return;
        };
        let before = before.unwrap_or(Term { epoch: term.epoch, cycle: term.cycle.saturating_sub(1) });
        if term.epoch != before.epoch {
            let what = format!("a cycle of epoch {} in epoch {}", term.epoch, before.epoch);
            self.wrong(Kind::Epoch, transaction, &what);
        }
        if term.cycle != before.cycle + 1 || cycle != term.cycle || deeds.created.len() != 1 {
            let what =
                format!("after cycle {} came {}, with the report of {cycle}", before.cycle, term.cycle);
            self.wrong(Kind::Cycle, transaction, &what);
        }
        self.report(transaction, term, data);
    }

    /// In lock-step, a cycle of which nothing came.
    fn empty(&mut self, transaction: &Transaction) {
        let readings = self.fleet.readings(self.window(transaction, transaction.time - BEHIND));
        if readings.iter().any(|(_, readings)| !readings.contains(&None)) {
            let what = format!("a generation ended without an average, and there were {readings:?}");
            self.wrong(Kind::Generation, transaction, &what);
        }
    }

    /// A report was committed.
    fn report(&mut self, transaction: &Transaction, term: Term, data: &[u8]) {
        self.verdict.figures.reports += 1;
        let report: Value = serde_json::from_slice(data).unwrap_or_default();
        if parse_term(data) != Some(term) {
            let what = format!("a report of {:?} in {term:?}", parse_term(data));
            self.wrong(Kind::Cycle, transaction, &what);
        }
        let read = report["time"].as_str().and_then(millis_of).unwrap_or(transaction.time);
        let mut averages = Vec::new();
        for average in report["averages"].as_array().into_iter().flatten() {
            let number = |name: &str| average[name].as_f64().unwrap_or(f64::NAN);
            let count = average["count"].as_u64().and_then(|count| count.try_into().ok()).unwrap_or(0);
            let unit = average["unit"].as_str();
            let key = match unit {
                None => format!("{}-{}", term.epoch, term.cycle),
                Some(unit) => format!("{}-{}-{unit}", term.epoch, term.cycle),
            };
            averages.push((key, number("mean")));
            if unit.is_none() {
                let average = Average { mean: number("mean"), min: number("min"), max: number("max"), count };
                self.average(transaction, term, average, read);
            }
        }
        if averages.is_empty() {
            self.wrong(
                Kind::Cycle,
                transaction,
                &format!("the report of cycle {} has no average", term.cycle),
            );
        }
        self.reports.insert(term.cycle, Committed { averages, committed: transaction.time, deleted: None });
    }

    fn average(&mut self, transaction: &Transaction, term: Term, average: Average, read: i64) {
        let window = self.window(transaction, read - SEEN);
        match self.fleet.explain(average, window) {
            Found::Explained => {}
            Found::TooMany => self.verdict.figures.undecided += 1,
            Found::Wrong => {
                let readings = self.fleet.readings(window);
                let what = format!("cycle {}: {average:?} is none of {readings:?}", term.cycle);
                self.wrong(Kind::WrongMean, transaction, &what);
            }
        }
        if window.generation.is_some() {
            let strict = self.window(transaction, read);
            if self.fleet.explain(average, strict) == Found::Wrong {
                self.verdict.figures.missed += 1;
                let readings = self.fleet.readings(strict);
                self.verdict
                    .notes
                    .push(format!("cycle {}: {average:?} has not seen all of {readings:?}", term.cycle));
            }
        }
    }

    /// When the fleet was read for what this transaction commits; in lock-step, what was measured until `seen` was there.
    fn window(&self, transaction: &Transaction, seen: i64) -> Window {
        let (lock_step, life) =
            self.evidence.map_or((false, i64::MAX), |evidence| (evidence.lock_step, evidence.life));
        Window {
            after: self.fenced.0,
            before: transaction.zxid,
            listed: self.fenced.1,
            joined: transaction.time - LISTED,
            stale: transaction.time.saturating_sub(life).saturating_add(BEHIND),
            generation: self.generation.filter(|_| lock_step).map(|generation| (generation, seen)),
        }
    }

    /// A measurement was published, for the first time or again.
    fn publish(&mut self, transaction: &Transaction, node: &str, data: &[u8]) {
        let number = std::str::from_utf8(data).ok().and_then(|text| text.trim().parse::<f64>().ok());
        let Some(value) = number else {
            self.fleet.note(node, (transaction.zxid, transaction.time), None);
            return;
        };
        let known = self.measured.get(&(node.to_owned(), value.to_bits())).copied();
        if known.is_none() {
            self.measured.insert((node.to_owned(), value.to_bits()), transaction.zxid);
            self.verdict.figures.measurements += 1;
            if self.generation.is_some() {
                self.turns.push((node.to_owned(), self.generations, transaction.session));
            }
        }
        self.fleet.note(
            node,
            (transaction.zxid, transaction.time),
            Some((value, known.unwrap_or(transaction.zxid))),
        );
    }

    /// Before [`publish`](Self::publish): what is new now must be counted now.
    fn count(&mut self, transaction: &Transaction, deeds: &Deeds<'_>) {
        if !self.evidence.is_some_and(|evidence| evidence.counted) {
            return;
        }
        let is_new = |(node, data): &&(&str, &[u8])| {
            let value = std::str::from_utf8(data).ok().and_then(|text| text.trim().parse::<f64>().ok());
            value.is_some_and(|value| !self.measured.contains_key(&((*node).to_owned(), value.to_bits())))
        };
        let new = deeds.measurements.iter().filter(is_new).count();
        let before = self.counter;
        if let Some(data) = deeds.counter {
            let text = std::str::from_utf8(data).unwrap_or("not text").trim();
            self.counter = if text.is_empty() { Some(0) } else { text.parse().ok() };
            if self.counter.is_none() {
                self.wrong(Kind::Miscounted, transaction, &format!("the counter holds {text:?}"));
            }
        }
        let counted = self.counter.unwrap_or(0) - before.unwrap_or(0);
        let new = i64::try_from(new).unwrap_or(i64::MAX);
        if (0..new).contains(&counted) {
            let what = format!("{new} new measurements were published, and counted were {counted}");
            self.wrong(Kind::NotCounted, transaction, &what);
        }
        if counted > new || counted < 0 {
            let nodes: Vec<&str> = deeds.measurements.iter().map(|(node, _)| *node).collect();
            let what = format!("counted were {counted}, and published {new} new measurements, by {nodes:?}");
            self.wrong(Kind::Miscounted, transaction, &what);
        }
    }

    /// What ZooKeeper's tree looks like after it.
    fn apply(&mut self, transaction: &Transaction) {
        for change in &transaction.changes {
            match change {
                Change::Create { path, data, ephemeral } => {
                    if path.starts_with(PRESENCE) {
                        let said: Value = serde_json::from_slice(data).unwrap_or_default();
                        let process = format!("{} {}", said["pid"], said["started"]);
                        self.processes.insert(transaction.session, process);
                    }
                    let owner = ephemeral.then_some(transaction.session);
                    self.tree.insert(path.clone(), Znode { data: data.clone(), owner });
                }
                Change::Set { path, data } => {
                    if let Some(znode) = self.tree.get_mut(path) {
                        znode.data.clone_from(data);
                    }
                }
                Change::Delete { path } => self.remove(path, transaction),
                Change::Closed => {
                    let session = Some(transaction.session);
                    let own = self.tree.iter().filter(|(_, znode)| znode.owner == session);
                    let own: Vec<String> = own.map(|(path, _)| path.clone()).collect();
                    own.iter().for_each(|path| self.remove(path, transaction));
                }
                Change::Check { .. } | Change::Opened => {}
            }
        }
    }

    fn remove(&mut self, path: &str, transaction: &Transaction) {
        self.tree.remove(path);
        if let Some(node) = path.strip_prefix(MEASUREMENTS) {
            self.fleet.note(node, (transaction.zxid, transaction.time), None);
        }
    }

    fn end(mut self, evidence: &Evidence) -> Verdict {
        let mut letters = BTreeMap::new();
        for (&cycle, report) in &self.reports {
            let is_young = cycle > evidence.settled;
            if report.deleted.is_none() && !is_young {
                self.verdict.add(Kind::Left, format!("cycle {cycle} is left in the outbox"));
            }
            for (key, mean) in &report.averages {
                let Committed { committed, deleted, .. } = *report;
                letters.insert(key.clone(), Letter { cycle, mean: *mean, committed, deleted, is_young });
            }
        }
        mail::look(&evidence.arrivals, &letters, &mut self.verdict);
        let counted = self.counter.unwrap_or(0);
        let measurements = i64::try_from(self.verdict.figures.measurements).unwrap_or(i64::MAX);
        if evidence.counted && counted != measurements {
            let what = format!("the counter says {counted}, and there were {measurements} measurements");
            self.verdict.add(Kind::Miscounted, what);
        }
        let Figures { missed, reports, .. } = self.verdict.figures;
        if missed >= BAD_LUCK && missed * TOO_OFTEN >= reports {
            let what = format!(
                "{missed} of {reports} averages are without a measurement that was there: see the notes"
            );
            self.verdict.add(Kind::WrongMean, what);
        }
        self.turns();
        self.late(evidence);
        self.verdict
    }

    /// A process measures when it starts, and once in each generation. On a busy machine three may stand in one generation: what
    /// was on its way when the one before ended, the newest of what had to wait for that, and its own.
    fn turns(&mut self) {
        const MOST: u64 = 3;
        let mut left: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
        for (node, generation, session) in &self.turns {
            // Killed before it could say who it is: not the process that follows it.
            let Some(process) = self.processes.get(session) else { continue };
            let (last, left) = left.entry((node, process)).or_insert((*generation, MOST));
            if last == generation {
                self.verdict.figures.again += u64::from(*left < MOST);
            }
            *left = (*left + generation - *last).min(MOST);
            *last = *generation;
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => {
                    let text = format!("node {node} measured too often in the {generation}th generation");
                    self.verdict.violations.push(Violation { kind: Kind::MeasuredTwice, text });
                }
            }
        }
    }

    /// Requests that came when another one had been elected.
    fn late(&mut self, evidence: &Evidence) {
        for arrival in &evidence.arrivals {
            let Some(node) = &arrival.node else { continue };
            let before = self.elected.iter().rev().find(|(time, _)| *time < arrival.time);
            self.verdict.figures.late += u64::from(before.is_some_and(|(_, elected)| elected != node));
        }
    }
}

fn words(deeds: &Deeds<'_>) -> String {
    let mut words = Vec::new();
    if let Some(term) = deeds.term {
        words.push(format!("{term:?} written"));
    }
    words.extend(deeds.created.iter().map(|(cycle, _)| format!("cycle {cycle} put into the outbox")));
    words.extend(deeds.deleted.iter().map(|cycle| format!("cycle {cycle} taken from the outbox")));
    words.extend(deeds.aside.iter().map(|path| format!("{path} written")));
    words.extend(deeds.opens.then(|| "barrier opened".to_owned()));
    words.extend(deeds.closes.then(|| "barrier closed".to_owned()));
    words.join(", ")
}
