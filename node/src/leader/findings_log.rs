//! Log lines about outliers and withheld values: one when each begins and ends, not one in every cycle.
//!
//! # Promises
//!
//! - At most [`MAX_LINES`] lines and one summary within [`INTERVAL`], for any number of nodes, and any period.
//! - At most one warning about a node and unit within [`INTERVAL`]. The next one has the number of repeats since.
//! - An outlier or a withheld value that lasts is logged: at once, or as soon as these bounds allow it, the oldest first.
//! - Occurrences that end before they could be logged are counted: the summary has their number and some of the nodes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use tracing::{info, warn};

use crate::model::details::{Findings, UnitOutlier, Withheld};

/// Time within which the number of lines is bounded.
const INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of lines within [`INTERVAL`], besides a summary.
const MAX_LINES: usize = 12;
/// Number of cycles in range after which an outlier has ended: a reading near the bound must not fill the log.
const QUIET_CYCLES: u32 = 10;
/// Maximum number of outliers and withheld values that are remembered.
const MAX_KNOWN: usize = 1_000;
/// Maximum number of nodes that a summary names.
const MAX_NAMES: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// Node and unit.
    Outlier(String, Option<String>),
    /// Unit.
    Withheld(Option<String>),
}

#[derive(Clone, Copy, Debug)]
enum Finding<'a> {
    Outlier(&'a UnitOutlier),
    Withheld(&'a Withheld),
}

/// State of an outlier or of a withheld value.
#[derive(Debug)]
struct Known {
    /// Start of its newest occurrence.
    since: BootInstant,
    /// Number of cycles since it was seen.
    quiet: u32,
    /// True if it is over according to the log.
    is_over_in_log: bool,
    /// Time of its last warning.
    warned: Option<BootInstant>,
    /// Occurrences without a line.
    unlogged: u32,
}

/// Log line.
#[derive(Clone, Debug, PartialEq)]
enum Line<'a> {
    Outlier {
        outlier: &'a UnitOutlier,
        repeats: Option<u32>,
    },
    Withheld {
        withheld: &'a Withheld,
        repeats: Option<u32>,
    },
    Over(Key),
    /// Number of occurrences that have no line, and some of their nodes.
    Summary(u32, String),
}

/// Occurrences that ended without a line.
#[derive(Debug)]
struct Unlogged {
    since: BootInstant,
    count: u32,
    nodes: BTreeSet<String>,
}

/// Outliers and withheld values that are logged already, and those that wait for it.
#[derive(Debug, Default)]
pub(super) struct FindingsLog {
    known: BTreeMap<Key, Known>,
    /// Times of the lines within the last interval.
    lines: VecDeque<BootInstant>,
    unlogged: Option<Unlogged>,
}

impl Finding<'_> {
    fn key(self) -> Key {
        match self {
            Finding::Outlier(outlier) => Key::Outlier(outlier.node.clone(), outlier.unit.clone()),
            Finding::Withheld(withheld) => Key::Withheld(withheld.unit.clone()),
        }
    }
}

impl Key {
    /// Returns the number of cycles after which it is over.
    fn quiet_cycles(&self) -> u32 {
        if matches!(self, Key::Outlier(..)) { QUIET_CYCLES } else { 1 }
    }
}

impl Known {
    fn is_over(&self, key: &Key) -> bool {
        self.quiet >= key.quiet_cycles()
    }

    /// Returns true if a further warning is allowed.
    fn may_warn(&self, now: BootInstant) -> bool {
        self.warned.is_none_or(|warned| now.since(warned) >= INTERVAL)
    }
}

impl FindingsLog {
    /// Logs the changes since the last cycle. `is_excluded`: outliers are not part of the values.
    pub(super) fn log(&mut self, now: BootInstant, findings: &Findings, is_excluded: bool) {
        let consequence = if is_excluded { "excluded from the values" } else { "part of the values" };
        for line in self.update(now, findings) {
            match line {
                Line::Outlier { outlier: UnitOutlier { node, unit, value }, repeats } => {
                    warn!(node, value, unit = unit.as_deref(), repeats, "outlier, {consequence}");
                }
                Line::Withheld { withheld: Withheld { nodes, needed, unit, .. }, repeats } => {
                    let unit = unit.as_deref();
                    warn!(nodes, needed, unit, repeats, "value withheld: too few nodes support it");
                }
                Line::Over(Key::Outlier(node, unit)) => {
                    info!(node, unit = unit.as_deref(), "no longer an outlier");
                }
                Line::Over(Key::Withheld(unit)) => {
                    info!(unit = unit.as_deref(), "value is no longer withheld");
                }
                Line::Summary(count, nodes) => {
                    warn!(count, nodes, "further outliers or withheld values that ended without a line");
                }
            }
        }
    }

    /// Returns the lines of a cycle.
    fn update<'a>(&mut self, now: BootInstant, findings: &'a Findings) -> Vec<Line<'a>> {
        let outliers = findings.outliers.iter().map(Finding::Outlier);
        let seen: BTreeMap<Key, Finding<'a>> = (outliers
            .chain(findings.withheld.iter().map(Finding::Withheld)))
        .map(|finding| (finding.key(), finding))
        .collect();
        self.remember(now, &seen);
        while self.lines.front().is_some_and(|line| now.since(*line) >= INTERVAL) {
            self.lines.pop_front();
        }
        let mut lines = self.ended(now);
        lines.extend(self.warnings(now, &seen));
        self.forget(now);
        lines.extend(self.summary(now));
        lines
    }

    /// Counts the cycles since each was seen, and the occurrences that begin.
    fn remember(&mut self, now: BootInstant, seen: &BTreeMap<Key, Finding<'_>>) {
        self.known.values_mut().for_each(|known| known.quiet = known.quiet.saturating_add(1));
        for key in seen.keys() {
            if let Some(known) = self.known.get_mut(key) {
                // One cycle is added to those before this one.
                let was_over = known.quiet > key.quiet_cycles();
                known.quiet = 0;
                if was_over {
                    known.since = now;
                    known.unlogged = known.unlogged.saturating_add(1);
                }
            } else if self.known.len() < MAX_KNOWN {
                let new = Known { since: now, quiet: 0, is_over_in_log: true, warned: None, unlogged: 1 };
                self.known.insert(key.clone(), new);
            }
        }
    }

    /// Returns the lines about those that are over.
    fn ended<'a>(&mut self, now: BootInstant) -> Vec<Line<'a>> {
        let room = MAX_LINES.saturating_sub(self.lines.len());
        let over = self.known.iter_mut().filter(|(key, known)| !known.is_over_in_log && known.is_over(key));
        let lines: Vec<Line<'a>> = over
            .take(room)
            .map(|(key, known)| {
                known.is_over_in_log = true;
                Line::Over(key.clone())
            })
            .collect();
        self.lines.extend(lines.iter().map(|_| now));
        lines
    }

    /// Returns the lines about those that are seen and not logged, the oldest first.
    fn warnings<'a>(&mut self, now: BootInstant, seen: &BTreeMap<Key, Finding<'a>>) -> Vec<Line<'a>> {
        let mut due: Vec<(BootInstant, &Key, Finding<'a>)> = (seen.iter())
            .filter_map(|(key, finding)| {
                let known = self.known.get(key)?;
                (known.is_over_in_log && known.may_warn(now)).then_some((known.since, key, *finding))
            })
            .collect();
        due.sort_by_key(|(since, ..)| *since);
        let mut lines = Vec::new();
        for (_, key, finding) in due {
            let Some(known) = self.known.get_mut(key).filter(|_| self.lines.len() < MAX_LINES) else { break };
            let repeats = Some(known.unlogged.saturating_sub(1)).filter(|repeats| *repeats > 0);
            (known.is_over_in_log, known.warned, known.unlogged) = (false, Some(now), 0);
            self.lines.push_back(now);
            lines.push(match finding {
                Finding::Outlier(outlier) => Line::Outlier { outlier, repeats },
                Finding::Withheld(withheld) => Line::Withheld { withheld, repeats },
            });
        }
        lines
    }

    /// Forgets those that are over and need no further line.
    fn forget(&mut self, now: BootInstant) {
        let unlogged = &mut self.unlogged;
        self.known.retain(|key, known| {
            let is_needed = !known.is_over_in_log || !known.is_over(key) || !known.may_warn(now);
            if !is_needed && known.unlogged > 0 {
                let new = || Unlogged { since: now, count: 0, nodes: BTreeSet::new() };
                let unlogged = unlogged.get_or_insert_with(new);
                unlogged.count = unlogged.count.saturating_add(known.unlogged);
                if let (Key::Outlier(node, _), true) = (key, unlogged.nodes.len() < MAX_NAMES) {
                    unlogged.nodes.insert(node.clone());
                }
            }
            is_needed
        });
    }

    /// Returns the summary, an interval after the first occurrence without a line.
    fn summary<'a>(&mut self, now: BootInstant) -> Option<Line<'a>> {
        let Unlogged { count, nodes, .. } =
            self.unlogged.take_if(|unlogged| now.since(unlogged.since) >= INTERVAL)?;
        Some(Line::Summary(count, nodes.into_iter().collect::<Vec<_>>().join(", ")))
    }
}

#[cfg(test)]
#[path = "findings_log_tests.rs"]
mod tests;
