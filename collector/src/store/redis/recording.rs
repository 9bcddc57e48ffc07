//! Recording of reports: one script for each run of reports that do not depend on each other, which is nearly always one
//! for all waiting calls.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;

use super::connection::Failure;
use super::run_arguments::run_arguments;
use super::writer::Writer;
use crate::fence::Stale;
use crate::fleet_name::FleetName;
use crate::report::Report;
use crate::store::interface::Outcome;

/// Reports with their index in the batch.
type Indexed<'r> = Vec<(usize, &'r Report)>;

/// Run of reports of which none decides whether another one is refused, so that all of them can be checked before any is
/// recorded.
#[derive(Default)]
struct Run<'r> {
    reports: Indexed<'r>,
    keys: HashSet<(i64, i64, Option<&'r str>)>,
    /// First cycle of each epoch.
    epochs: BTreeMap<i64, i64>,
}

impl<'r> Run<'r> {
    /// Adds a report, or returns false: it has the key of another report, or may be stale because of one.
    fn add(&mut self, index: usize, report: &'r Report) -> bool {
        if let Some((epoch, cycle)) = report.epoch.zip(report.cycle) {
            let mut later = self.epochs.range(epoch..).filter(|(later, _)| **later != epoch);
            if later.any(|(_, first)| *first <= cycle)
                || !self.keys.insert((epoch, cycle, report.unit.as_deref()))
            {
                return false;
            }
            self.epochs.entry(epoch).and_modify(|first| *first = cycle.min(*first)).or_insert(cycle);
        }
        self.reports.push((index, report));
        true
    }
}

/// Divides reports, in their order, into runs.
fn runs<'r>(reports: impl Iterator<Item = &'r Report>) -> Vec<Indexed<'r>> {
    let (mut runs, mut run) = (Vec::new(), Run::default());
    for (index, report) in reports.enumerate() {
        if !run.add(index, report) {
            runs.push(std::mem::take(&mut run).reports);
            run.add(index, report);
        }
    }
    runs.push(run.reports);
    runs
}

/// Reports of a run that must be refused: their place, beginning with 1, and the reason.
type Refused = Vec<(usize, Vec<String>)>;

impl Writer {
    /// Records reports of a fleet, in their order, and returns the outcome of each.
    pub(super) async fn write<'r>(
        &mut self,
        fleet: &FleetName,
        reports: impl Iterator<Item = &'r Report>,
    ) -> Result<Vec<Outcome>, Failure> {
        let mut outcomes = Vec::new();
        for run in runs(reports) {
            self.write_run(fleet, run, &mut outcomes).await?;
        }
        outcomes.sort_by_key(|(index, _)| *index);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }

    /// Records a run, without the reports that must be refused. An empty run only checks whether reports can be recorded.
    pub(super) async fn write_run(
        &mut self,
        fleet: &FleetName,
        mut run: Indexed<'_>,
        outcomes: &mut Vec<(usize, Outcome)>,
    ) -> Result<(), Failure> {
        loop {
            let arguments = run_arguments(fleet, run.iter().map(|(_, report)| *report));
            let (before, refused): (Option<i64>, Refused) =
                self.eval(|opened| &opened.record, fleet, &arguments).await?;
            if let Some(before) = before {
                self.note_recorded(before, &run, outcomes);
                return Ok(());
            }
            let refused: HashMap<usize, Vec<String>> = refused.into_iter().collect();
            let mut left = Vec::new();
            for (place, (index, report)) in (1..).zip(&run) {
                match refused.get(&place) {
                    Some(why) => {
                        outcomes.push((*index, outcome(why, report).ok_or_else(Failure::foreign_data)?));
                    }
                    None => left.push((*index, *report)),
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            if left.len() == run.len() {
                return Err(Failure::foreign_data());
            }
            run = left;
        }
    }

    /// Notes that all reports of a run are recorded, with the ids after `before`.
    fn note_recorded(&mut self, before: i64, run: &Indexed<'_>, outcomes: &mut Vec<(usize, Outcome)>) {
        for (id, (index, _)) in (before + 1..).zip(run) {
            outcomes.push((*index, Outcome::Recorded(id)));
            self.newest = self.newest.max(id);
        }
        if !run.is_empty() {
            self.commits.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Parses the reason to refuse a report.
fn outcome(why: &[String], report: &Report) -> Option<Outcome> {
    match why {
        [gone] if gone == "gone" => Some(Outcome::Repeated),
        [kept, mean] if kept == "kept" => {
            let mean = mean.parse().ok()?;
            Some(if report.agrees(mean) { Outcome::Repeated } else { Outcome::Conflict(mean) })
        }
        [stale, epoch, first] if stale == "stale" => {
            Some(Outcome::Stale(Stale { epoch: epoch.parse().ok()?, first_cycle: first.parse().ok()? }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::suite::keyed;

    #[test]
    fn reports_are_divided_where_one_depends_on_another() {
        let of = |keys: &[(i64, i64, Option<&str>)]| {
            let reports: Vec<Report> =
                keys.iter().map(|(epoch, cycle, unit)| keyed(*epoch, *cycle, *unit, 1.0)).collect();
            runs(reports.iter()).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), [0]);
        assert_eq!(of(&[(7, 1, None), (7, 2, None), (7, 2, Some("Cel")), (8, 3, None)]), [4]);
        assert_eq!(of(&[(8, 3, None), (7, 2, None)]), [2], "before the first cycle of the later epoch");
        assert_eq!(of(&[(8, 3, None), (7, 3, None)]), [1, 1], "may be stale");
        assert_eq!(of(&[(7, 1, None), (7, 1, None), (7, 1, None)]), [1, 1, 1], "the same key");
    }

    proptest! {
        /// The runs contain each report once, in its order.
        #[test]
        fn runs_contain_all_reports(keys in prop::collection::vec((1..4_i64, 0..6_i64), 0..30)) {
            let reports: Vec<Report> = keys.iter().map(|(epoch, cycle)| keyed(*epoch, *cycle, None, 1.0)).collect();
            let indices: Vec<usize> = runs(reports.iter()).into_iter().flatten().map(|(index, _)| index).collect();
            prop_assert_eq!(indices, (0..reports.len()).collect::<Vec<_>>());
        }
    }
}
