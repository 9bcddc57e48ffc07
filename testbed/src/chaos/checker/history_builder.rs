//! Builder of hand-written histories, for tests.

use std::collections::BTreeMap;

use super::super::check_report::{CheckReport, Counts, Violation};
use super::check;
use crate::chaos::history::{Arrival, History};
use crate::journal::{Change, Transaction};

/// Time between two events, in milliseconds: long enough that no write is too late.
pub(super) const STEP: i64 = 2_000;

/// A fleet with the history that a test writes.
#[derive(Clone, Default)]
pub(super) struct HistoryBuilder {
    pub(super) history: History,
    pub(super) now: i64,
    pub(super) epoch: i64,
    pub(super) cycle: u64,
    pub(super) counter: i64,
    /// Sequence number of the first contender.
    first_contender: usize,
    /// Path of each session's znode in the election.
    places: BTreeMap<i64, String>,
    /// Last measurement of each node.
    pub(super) values: BTreeMap<String, f64>,
}

pub(super) fn set(path: &str, data: impl ToString) -> Change {
    Change::Set { path: path.into(), data: data.to_string().into() }
}

pub(super) fn create(path: &str, data: impl ToString) -> Change {
    Change::Create { path: path.into(), data: data.to_string().into(), ephemeral: false }
}

pub(super) fn ephemeral(path: &str, data: impl ToString) -> Change {
    Change::Create { path: path.into(), data: data.to_string().into(), ephemeral: true }
}

pub(super) fn delete(path: &str) -> Change {
    Change::Delete { path: path.into() }
}

impl HistoryBuilder {
    /// Creates the history of nodes 1, 2, 3 in sessions 1, 2, 3; the first leads.
    pub(super) fn begun(lock_step: bool, first_contender: usize) -> HistoryBuilder {
        let history =
            History { lock_step, counted: true, life: i64::MAX, settled: u64::MAX, ..History::default() };
        let mut builder = HistoryBuilder { history, epoch: 1_000, first_contender, ..Default::default() };
        (1..=3).for_each(|session| builder.joins(session, session));
        builder.commit(1, vec![builder.check(1), create("/atalaya/term", r#"{"epoch":1000,"cycle":0}"#)]);
        if lock_step {
            builder.commit(1, vec![builder.check(1), create("/barrier", "")]);
        }
        builder
    }

    pub(super) fn commit(&mut self, session: i64, changes: Vec<Change>) {
        self.now += STEP;
        let transaction = Transaction { zxid: self.now, session, time: self.now, changes };
        self.history.transactions.push(transaction);
    }

    pub(super) fn joins(&mut self, session: i64, node: i64) {
        self.commit(session, vec![Change::Opened]);
        let place = format!("/election/abc__lock__{:010}", self.first_contender + self.places.len());
        self.commit(session, vec![ephemeral(&place, node)]);
        self.places.insert(session, place);
        let said = format!(r#"{{"pid":{node},"started":"x"}}"#);
        self.commit(session, vec![ephemeral(&format!("/atalaya/nodes/{node}"), said)]);
    }

    pub(super) fn check(&self, session: i64) -> Change {
        Change::Check { path: self.places[&session].clone() }
    }

    pub(super) fn publishes(&mut self, session: i64, value: f64) {
        self.counter += 1;
        let path = format!("/mediciones/{session}");
        let measurement = match self.values.insert(session.to_string(), value) {
            None => ephemeral(&path, value),
            Some(_) => set(&path, value),
        };
        self.commit(session, vec![measurement, set("/counter", self.counter)]);
    }

    pub(super) fn term(&self) -> String {
        format!(r#"{{"epoch":{},"cycle":{}}}"#, self.epoch, self.cycle)
    }

    /// Returns the changes of a cycle of this leader with this average.
    pub(super) fn cycle_of(&mut self, session: i64, values: &[f64]) -> Vec<Change> {
        self.cycle += 1;
        let (epoch, cycle) = (self.epoch, self.cycle);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let count = values.len();
        let report = serde_json::json!({"epoch": epoch, "cycle": cycle, "time": "x", "excluded": 0,
            "averages": [{"mean": mean, "min": min, "max": max, "count": count}]});
        let outbox = create(&format!("/atalaya/reports/{cycle}"), report);
        let mut changes = vec![self.check(session), set("/atalaya/term", self.term()), outbox];
        if self.history.lock_step {
            changes.extend([delete("/barrier"), create("/barrier", "")]);
        }
        changes
    }

    /// Commits a cycle of this leader with this average, which is not delivered. Cycles from 3 on may be on their way.
    pub(super) fn commit_cycle(&mut self, session: i64, values: &[f64]) {
        let changes = self.cycle_of(session, values);
        self.commit(session, changes);
        self.history.settled = 2;
    }

    /// Commits changes of this leader, with the check of its contender.
    pub(super) fn commit_fenced(&mut self, session: i64, changes: Vec<Change>) {
        let changes = [self.check(session)].into_iter().chain(changes).collect();
        self.commit(session, changes);
    }

    pub(super) fn all(&self) -> Vec<f64> {
        self.values.values().copied().collect()
    }

    /// Commits and delivers a correct cycle of all nodes.
    pub(super) fn cycles(&mut self, session: i64) {
        let changes = self.cycle_of(session, &self.all());
        self.commit(session, changes);
        self.arrives(self.epoch, self.cycle);
        self.is_done(session);
    }

    pub(super) fn is_done(&mut self, session: i64) {
        let done = vec![self.check(session), delete(&format!("/atalaya/reports/{}", self.cycle))];
        self.commit(session, done);
    }

    pub(super) fn arrives(&mut self, epoch: i64, cycle: u64) {
        let all = self.all();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        self.brings(epoch, cycle, mean);
    }

    pub(super) fn brings(&mut self, epoch: i64, cycle: u64, mean: f64) {
        self.now += STEP;
        self.history.arrivals.push(Arrival {
            key: Some(format!("{epoch}-{cycle}")),
            mean: Some(mean),
            time: self.now,
            kept: true,
            node: Some("1".into()),
        });
    }

    pub(super) fn leads(&mut self, session: i64) {
        self.epoch += 1;
        let changes = vec![self.check(session), set("/atalaya/term", self.term())];
        self.commit(session, changes);
    }

    /// Publishes a measurement of each node, and commits a cycle.
    pub(super) fn round(&mut self, session: i64) {
        for node in 1..=3 {
            let value = self.now as f64 + node as f64;
            self.publishes(node, value);
        }
        self.cycles(session);
    }

    pub(super) fn checked(&self) -> CheckReport {
        check(&self.history)
    }

    #[track_caller]
    pub(super) fn is_good(&self) -> Counts {
        let findings = self.checked();
        assert_eq!(findings.violations, []);
        findings.counts
    }

    #[track_caller]
    pub(super) fn breaks(&self, kinds: &[Violation]) {
        self.finds("", kinds);
    }

    /// Checks that the checker finds violations of these kinds, and no others.
    #[track_caller]
    pub(super) fn finds(&self, case: &str, kinds: &[Violation]) {
        let findings = self.checked();
        let mut found: Vec<Violation> = findings.violations.iter().map(|violation| violation.kind).collect();
        found.sort();
        found.dedup();
        assert_eq!(found, kinds, "{case}: {:#?}", findings.violations);
    }
}
