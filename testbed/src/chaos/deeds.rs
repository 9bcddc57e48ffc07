//! Effects of a transaction on the znodes of a fleet.

use serde_json::Value;

use crate::journal::{Change, Transaction};

pub(super) const TERM: &str = "/atalaya/term";
pub(super) const REPORTS: &str = "/atalaya/reports/";
pub(super) const ASIDE: &str = "/atalaya/aside/";
pub(super) const PRESENCE: &str = "/atalaya/nodes/";
pub(super) const MEASUREMENTS: &str = "/mediciones/";
pub(super) const ELECTION: &str = "/election/";
pub(super) const BARRIER: &str = "/barrier";
pub(super) const COUNTER: &str = "/counter";

/// The fence: `{epoch, cycle}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) epoch: i64,
    pub(super) cycle: u64,
}

impl Term {
    pub(super) fn parse(data: &[u8]) -> Option<Term> {
        let value: Value = serde_json::from_slice(data).ok()?;
        Some(Term { epoch: value["epoch"].as_i64()?, cycle: value["cycle"].as_u64()? })
    }
}

/// Effects of one transaction on the znodes that only the leader writes.
#[derive(Debug, Default)]
pub(super) struct Deeds<'a> {
    pub(super) term: Option<Option<Term>>,
    pub(super) created: Vec<(u64, &'a [u8])>,
    pub(super) deleted: Vec<u64>,
    pub(super) aside: Vec<&'a str>,
    pub(super) closes: bool,
    pub(super) opens: bool,
    pub(super) counter: Option<&'a [u8]>,
    pub(super) measurements: Vec<(&'a str, &'a [u8])>,
    pub(super) checked: Vec<&'a str>,
}

impl Deeds<'_> {
    /// Returns true if the transaction only rewrote the fence with its old data: such a write changes nothing.
    pub(super) fn rewrite(&self, before: Option<Term>) -> bool {
        before.is_some()
            && self.term == Some(before)
            && self.created.is_empty()
            && !self.opens
            && !self.closes
    }

    /// Describes the effects.
    pub(super) fn words(&self) -> String {
        let mut words = Vec::new();
        if let Some(term) = self.term {
            words.push(format!("{term:?} written"));
        }
        words.extend(self.created.iter().map(|(cycle, _)| format!("cycle {cycle} put into the outbox")));
        words.extend(self.deleted.iter().map(|cycle| format!("cycle {cycle} taken from the outbox")));
        words.extend(self.aside.iter().map(|path| format!("{path} written")));
        words.extend(self.opens.then(|| "barrier opened".to_owned()));
        words.extend(self.closes.then(|| "barrier closed".to_owned()));
        words.join(", ")
    }

    /// Returns true if the transaction did something that only a leader does.
    pub(super) fn are_a_leaders(&self, before: Option<Term>) -> bool {
        (self.term.is_some() && !self.rewrite(before))
            || !self.created.is_empty()
            || !self.deleted.is_empty()
            || !self.aside.is_empty()
            || self.closes
            || self.opens
    }
}

/// Highest cycle that a leader writes (docs/protocol.md).
const MAX_CYCLE: u64 = 1 << 52;

/// Returns the cycle of a report in the outbox, if its name is one that a leader can give it.
pub(super) fn cycle_of(path: &str) -> Option<u64> {
    let name = path.strip_prefix(REPORTS)?;
    name.parse().ok().filter(|cycle: &u64| *cycle <= MAX_CYCLE && cycle.to_string() == name)
}

/// Parses a time in UTC in the format of the reports (RFC 3339). Returns milliseconds since 1970.
pub(crate) fn millis_of(time: &str) -> Option<i64> {
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

impl<'a> Deeds<'a> {
    pub(super) fn of(transaction: &'a Transaction) -> Deeds<'a> {
        let mut deeds = Deeds::default();
        for change in &transaction.changes {
            match change {
                Change::Create { path, data, .. } | Change::Set { path, data } => {
                    let is_new = matches!(change, Change::Create { .. });
                    if path == TERM {
                        deeds.term = Some(Term::parse(data));
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
