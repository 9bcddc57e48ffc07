//! Recording of reports. The script records all reports of a call or none, and refuses to record any if one of them must be
//! refused, with the reasons. Then it is called again without these. Whether a report of the batch decides over a later one
//! is found out here.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::atomic::Ordering;

use super::connection::{Failure, Result};
use super::script_arguments::{Mode, script_arguments};
use super::writer::Writer;
use crate::fence::Stale;
use crate::fleet_name::FleetName;
use crate::report::Report;
use crate::store::interface::Outcome;

/// Epoch, cycle and unit.
type Key<'r> = (i64, i64, &'r str);

fn key(report: &Report) -> Option<Key<'_>> {
    let (epoch, cycle) = report.epoch.zip(report.cycle)?;
    Some((epoch, cycle, report.unit.as_deref().unwrap_or_default()))
}

/// Reason to refuse a key.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Refusal {
    /// A report with this mean is stored.
    Kept(f64),
    /// The report was pruned.
    Gone,
    Stale(Stale),
}

impl Refusal {
    /// Parses a reason from the script's result.
    fn parse(why: &[String]) -> Option<Refusal> {
        match why {
            [gone] if gone == "gone" => Some(Refusal::Gone),
            [kept, mean] if kept == "kept" => Some(Refusal::Kept(mean.parse().ok()?)),
            [stale, epoch, first] if stale == "stale" => {
                let (epoch, first_cycle) = (epoch.parse().ok()?, first.parse().ok()?);
                Some(Refusal::Stale(Stale { epoch, first_cycle }))
            }
            _ => None,
        }
    }

    fn outcome(self, report: &Report) -> Outcome {
        match self {
            Refusal::Gone => Outcome::Repeated,
            Refusal::Kept(mean) if report.agrees(mean) => Outcome::Repeated,
            Refusal::Kept(mean) => Outcome::Conflict(mean),
            Refusal::Stale(stale) => Outcome::Stale(stale),
        }
    }
}

/// Decision on each report of a batch.
#[derive(Debug, Default, PartialEq)]
struct Decisions {
    /// Outcomes; `None`: the report is recorded.
    outcomes: Vec<Option<Outcome>>,
    /// True if a report is stale only because of another one of the batch.
    depend_on_others: bool,
}

/// Decides on each report in its order, given the keys that the store refuses.
fn decide(reports: &[&Report], refused: &HashMap<Key<'_>, Refusal>) -> Decisions {
    let mut decisions = Decisions::default();
    let mut means: HashMap<Key<'_>, f64> = HashMap::new();
    let mut first_cycles: BTreeMap<i64, i64> = BTreeMap::new();
    for report in reports {
        let Some(key) = key(report) else {
            decisions.outcomes.push(None);
            continue;
        };
        let (epoch, cycle, _) = key;
        let later = first_cycles
            .range((Bound::Excluded(epoch), Bound::Unbounded))
            .filter(|(_, first_cycle)| **first_cycle <= cycle)
            .map(|(epoch, first_cycle)| Stale { epoch: *epoch, first_cycle: *first_cycle });
        let by_cycle = |stale: &Stale| (stale.first_cycle, stale.epoch);
        let refusal = match (means.get(&key), refused.get(&key)) {
            (Some(mean), _) => Some(Refusal::Kept(*mean)),
            (None, Some(Refusal::Stale(stored))) => {
                later.chain([*stored]).min_by_key(by_cycle).map(Refusal::Stale)
            }
            (None, Some(refusal)) => Some(*refusal),
            (None, None) => {
                let stale = later.min_by_key(by_cycle).map(Refusal::Stale);
                decisions.depend_on_others |= stale.is_some();
                stale
            }
        };
        if refusal.is_none() {
            means.insert(key, report.mean);
            first_cycles.entry(epoch).and_modify(|first| *first = cycle.min(*first)).or_insert(cycle);
        }
        decisions.outcomes.push(refusal.map(|refusal| refusal.outcome(report)));
    }
    decisions
}

/// Result of the script: the newest id before the call if the reports were recorded, and otherwise the places of the
/// reports that must be refused, beginning with 1, and the reasons.
type ScriptResult = (Option<i64>, Vec<(usize, Vec<String>)>);

impl Writer {
    /// Records reports of a fleet, in their order, and returns the outcome of each.
    pub(super) async fn write<'r>(
        &mut self,
        fleet: &FleetName,
        reports: impl Iterator<Item = &'r Report>,
    ) -> Result<Vec<Outcome>> {
        let reports: Vec<&Report> = reports.collect();
        let mut refused = HashMap::new();
        let mut is_checked = false;
        loop {
            let Decisions { outcomes, depend_on_others } = decide(&reports, &refused);
            if depend_on_others && !is_checked {
                let (mut keys, mut sent) = (HashSet::new(), Vec::new());
                for report in &reports {
                    if key(report).is_some_and(|key| keys.insert(key)) {
                        sent.push(*report);
                    }
                }
                self.call_and_note(fleet, Mode::Check, &sent, &mut refused).await?;
                is_checked = true;
                continue;
            }
            let undecided = reports.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_none());
            let sent: Vec<&Report> = undecided.map(|(report, _)| *report).collect();
            if sent.is_empty() {
                return Ok(self.with_ids(outcomes, None));
            }
            let newest = self.call_and_note(fleet, Mode::Record, &sent, &mut refused).await?;
            if newest.is_some() {
                return Ok(self.with_ids(outcomes, newest));
            }
        }
    }

    /// Runs the script, and adds the keys that it refuses to `refused`. Returns the newest id before these reports if they
    /// were recorded.
    async fn call_and_note<'r>(
        &mut self,
        fleet: &FleetName,
        mode: Mode,
        reports: &[&'r Report],
        refused: &mut HashMap<Key<'r>, Refusal>,
    ) -> Result<Option<i64>> {
        let (newest, found) = self.call_record(fleet, mode, reports).await?;
        if newest.is_none() && found.is_empty() && mode == Mode::Record {
            return Err(Failure::foreign_data());
        }
        for (place, why) in found {
            let key = reports.get(place.wrapping_sub(1)).and_then(|report| key(report));
            let (key, refusal) = key.zip(Refusal::parse(&why)).ok_or_else(Failure::foreign_data)?;
            refused.insert(key, refusal);
        }
        Ok(newest)
    }

    /// Runs the script for reports of which no two have the same key.
    pub(super) async fn call_record(
        &mut self,
        fleet: &FleetName,
        mode: Mode,
        reports: &[&Report],
    ) -> Result<ScriptResult> {
        let arguments = script_arguments(fleet, mode, reports);
        self.eval(|opened| &opened.record, fleet, &arguments).await
    }

    /// Completes the outcomes with the ids of the recorded reports, which follow the newest id before.
    fn with_ids(&mut self, outcomes: Vec<Option<Outcome>>, newest: Option<i64>) -> Vec<Outcome> {
        let mut id = newest.unwrap_or_default();
        let mut recorded = || {
            id += 1;
            Outcome::Recorded(id)
        };
        let outcomes = outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(&mut recorded)).collect();
        if newest.is_some() {
            self.newest = self.newest.max(id);
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite::keyed;

    fn decided(keys: &[(i64, i64, f64)], refused: &[(i64, i64, Refusal)]) -> Decisions {
        let reports: Vec<Report> =
            keys.iter().map(|(epoch, cycle, mean)| keyed(*epoch, *cycle, None, *mean)).collect();
        let reports: Vec<&Report> = reports.iter().collect();
        let refused = refused.iter().map(|(epoch, cycle, refusal)| ((*epoch, *cycle, ""), *refusal));
        decide(&reports, &refused.collect())
    }

    fn stale(epoch: i64, first_cycle: i64) -> Outcome {
        Outcome::Stale(Stale { epoch, first_cycle })
    }

    #[test]
    fn reports_that_nothing_refuses_are_recorded() {
        let all = [(8, 3, 1.0), (7, 2, 1.0), (8, 4, 1.0), (7, 1, 1.0)];
        assert_eq!(decided(&all, &[]), Decisions { outcomes: vec![None; 4], depend_on_others: false });
    }

    #[test]
    fn second_report_of_a_key_is_decided_by_the_first() {
        let twice = [(7, 1, 1.0), (7, 1, 1.0), (7, 1, 2.0)];
        let outcomes = |refused: &[_]| decided(&twice, refused).outcomes;
        assert_eq!(outcomes(&[]), [None, Some(Outcome::Repeated), Some(Outcome::Conflict(1.0))]);
        let kept = [(7, 1, Refusal::Kept(2.0))];
        let conflict = Some(Outcome::Conflict(2.0));
        assert_eq!(outcomes(&kept), [conflict.clone(), conflict, Some(Outcome::Repeated)]);
        assert_eq!(outcomes(&[(7, 1, Refusal::Gone)]), vec![Some(Outcome::Repeated); 3]);
    }

    #[test]
    fn report_is_stale_after_one_of_a_later_epoch_unless_that_is_refused() {
        let all = [(8, 5, 1.0), (9, 5, 1.0), (7, 5, 1.0), (7, 4, 1.0)];
        let found = decided(&all, &[]);
        assert!(found.depend_on_others);
        assert_eq!(found.outcomes, [None, None, Some(stale(8, 5)), None]);
        let found = decided(&all, &[(8, 5, Refusal::Gone), (9, 5, Refusal::Kept(1.0))]);
        assert!(!found.depend_on_others);
        assert_eq!(found.outcomes, [Some(Outcome::Repeated), Some(Outcome::Repeated), None, None]);
        let found = decided(&all, &[(7, 5, Refusal::Stale(Stale { epoch: 10, first_cycle: 5 }))]);
        assert_eq!(found.outcomes[2], Some(stale(8, 5)), "the lowest cycle, and then the lowest epoch");
        assert!(!found.depend_on_others);
    }
}
