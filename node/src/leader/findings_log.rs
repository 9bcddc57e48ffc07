//! Logs outliers and withheld values once, and not in every cycle.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use crate::model::details::{Findings, UnitOutlier};

/// Number of cycles in range after which an outlier has ended: a reading near the bound must not fill the log.
const QUIET_CYCLES: u32 = 10;
/// Maximum number of outliers that are remembered.
const MAX_KNOWN: usize = 1_000;

/// Outliers and withheld values that are logged already.
#[derive(Debug, Default)]
pub(super) struct FindingsLog {
    /// Cycles since each node and unit was an outlier.
    outliers: BTreeMap<(String, Option<String>), u32>,
    withheld: BTreeSet<Option<String>>,
}

/// Changes since the last cycle.
#[derive(Debug, Default, PartialEq)]
struct Changes<'a> {
    flagged: Vec<&'a UnitOutlier>,
    /// Nodes and units that are not outliers any more.
    ended: Vec<(String, Option<String>)>,
}

impl FindingsLog {
    /// Logs the changes since the last cycle. `is_excluded`: outliers are not part of the values.
    pub(super) fn log(&mut self, findings: &Findings, is_excluded: bool) {
        let consequence = if is_excluded { "excluded from the values" } else { "part of the values" };
        let Changes { flagged, ended } = self.update(&findings.outliers);
        for UnitOutlier { node, unit, value } in flagged {
            warn!(node, value, unit = unit.as_deref(), "outlier, {consequence}");
        }
        for (node, unit) in ended {
            info!(node, unit = unit.as_deref(), "no longer an outlier");
        }
        let withheld: BTreeSet<Option<String>> =
            findings.withheld.iter().map(|withheld| withheld.unit.clone()).collect();
        for value in findings.withheld.iter().filter(|value| !self.withheld.contains(&value.unit)) {
            let (nodes, needed, unit) = (value.nodes, value.needed, value.unit.as_deref());
            warn!(nodes, needed, unit, "value withheld: too few nodes support it");
        }
        for unit in self.withheld.difference(&withheld) {
            info!(unit = unit.as_deref(), "value is no longer withheld");
        }
        self.withheld = withheld;
    }

    fn update<'a>(&mut self, outliers: &'a [UnitOutlier]) -> Changes<'a> {
        self.outliers.values_mut().for_each(|cycles| *cycles += 1);
        let mut changes = Changes::default();
        for outlier in outliers {
            let key = (outlier.node.clone(), outlier.unit.clone());
            if self.outliers.len() < MAX_KNOWN && self.outliers.insert(key, 0).is_none() {
                changes.flagged.push(outlier);
            }
        }
        self.outliers.retain(|key, cycles| {
            let has_ended = *cycles >= QUIET_CYCLES;
            changes.ended.extend(has_ended.then(|| key.clone()));
            !has_ended
        });
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlier_is_logged_once_until_it_was_in_range_for_some_cycles() {
        let mut log = FindingsLog::default();
        let outlier = UnitOutlier { node: "7".into(), unit: None, value: 85.0 };
        let outlier = std::slice::from_ref(&outlier);
        assert_eq!(log.update(outlier).flagged, [&outlier[0]]);
        for _ in 1..QUIET_CYCLES {
            assert_eq!(log.update(&[]), Changes::default());
        }
        assert_eq!(log.update(outlier), Changes::default(), "it was in range for too short a time");
        for _ in 1..QUIET_CYCLES {
            assert_eq!(log.update(&[]), Changes::default());
        }
        assert_eq!(log.update(&[]).ended, [("7".to_owned(), None)]);
        assert_eq!(log.update(outlier).flagged, [&outlier[0]]);
    }

    #[test]
    fn outliers_that_are_remembered_are_bounded() {
        let mut log = FindingsLog::default();
        for node in 0..2 * MAX_KNOWN {
            log.update(&[UnitOutlier { node: node.to_string(), unit: None, value: 85.0 }]);
        }
        assert!(log.outliers.len() <= MAX_KNOWN);
    }
}
