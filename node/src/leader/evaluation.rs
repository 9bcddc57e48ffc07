//! Evaluation of the fleet's readings: main value, statistics, groups, outliers and quorum. No I/O.
//!
//! With default settings, and without groups, the readings of a unit are sorted once, to find outliers. Other values
//! are computed only if a setting or a group asks for them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use atalaya_config::{AggregateMode, Outliers, Quorum};

use crate::leader::aggregate::{Aggregate, NodeReading, average};
use crate::leader::statistics::{Sorted, mean, standard_deviation};
use crate::model::details::{
    Details, Findings, GroupValues, MAX_GROUP_VALUES, MAX_OUTLIERS, Outlier, Statistics, UnitGroup,
    UnitOutlier, Withheld,
};
use crate::model::report::Average;
use crate::model::text::truncate;

/// Share that the trimmed mean of the statistics cuts from each end, unless `aggregate` has another one.
const TRIMMED: f64 = 0.1;
/// Maximum length of the id of an outlier, in characters.
const MAX_ID: usize = 64;

/// Settings of the values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValueConfig {
    /// Main value of a report.
    pub aggregate: AggregateMode,
    /// Minimum number of nodes that support a value. `None`: one is enough.
    pub quorum: Option<Quorum>,
    /// Treatment of outliers.
    pub outliers: Outliers,
    /// Probabilities of the quantiles in a report.
    pub quantiles: Vec<f64>,
}

/// Nodes whose readings are evaluated.
pub struct Nodes<'a> {
    /// Number of nodes with a measurement, usable or not.
    pub count: usize,
    /// Returns the id of the node at a position in the list of members.
    pub id_of: &'a dyn Fn(usize) -> String,
    /// Groups of the nodes, by position; empty if no node has one.
    pub groups: &'a [Option<&'a str>],
}

/// Values of a cycle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Averages that are reported.
    pub averages: Vec<Average>,
    /// Everything that is noteworthy about the cycle.
    pub findings: Findings,
}

/// Readings of one unit in one group, or of all nodes without a group.
struct Part<'a> {
    group: Option<&'a str>,
    /// Readings, without excluded outliers.
    readings: Cow<'a, [NodeReading]>,
    sorted: Sorted,
    outliers: Vec<NodeReading>,
}

impl<'a> Part<'a> {
    /// Finds the outliers among the readings. Returns `None` without readings.
    fn new(
        group: Option<&'a str>,
        readings: Cow<'a, [NodeReading]>,
        treatment: Outliers,
    ) -> Option<Part<'a>> {
        let mut readings = readings;
        let mut sorted = sort(&readings)?;
        let is_outlier =
            |bounds: (f64, f64), reading: &NodeReading| reading.value < bounds.0 || reading.value > bounds.1;
        let mut outliers = Vec::new();
        if let Some(bounds) =
            sorted.bounds().filter(|(low, high)| sorted.min() < *low || sorted.max() > *high)
        {
            outliers = readings.iter().copied().filter(|reading| is_outlier(bounds, reading)).collect();
            if treatment == Outliers::Exclude {
                readings.to_mut().retain(|reading| !is_outlier(bounds, reading));
                // Less than half of the readings are outliers, so some are left.
                sorted = sort(&readings)?;
            }
        }
        Some(Part { group, readings, sorted, outliers })
    }
}

fn sort(readings: &[NodeReading]) -> Option<Sorted> {
    Sorted::new(readings.iter().map(|reading| reading.value))
}

/// Evaluates the readings of a cycle.
pub fn evaluate(aggregate: &Aggregate, config: &ValueConfig, nodes: &Nodes<'_>) -> Evaluation {
    let mut evaluation = Evaluation::default();
    for (unit, readings) in &aggregate.readings {
        let parts = parts(readings, config.outliers, nodes.groups);
        let Some((kept, sorted)) = join(&parts) else { continue };
        let mut average = average(unit.clone(), &kept);
        average.details = details(&average, &sorted, &parts, config, nodes);
        average.mean = main_value(config.aggregate, average.mean, &sorted);
        evaluation.findings.add_parts(unit.as_ref(), &parts, average.details.as_deref(), nodes);
        let supporting = kept.chunk_by(|one, next| one.node == next.node).count();
        match config.quorum.map(|quorum| quorum.needed(nodes.count)).filter(|needed| supporting < *needed) {
            Some(needed) => evaluation.findings.withheld.push(Withheld {
                unit: unit.clone(),
                value: average.mean,
                nodes: supporting,
                needed,
            }),
            None => evaluation.averages.push(average),
        }
    }
    evaluation
}

/// Returns the readings by group. Nodes are compared with those of their group, because another one may be on the roof.
fn parts<'a>(readings: &'a [NodeReading], treatment: Outliers, groups: &[Option<&'a str>]) -> Vec<Part<'a>> {
    if groups.is_empty() {
        return Part::new(None, Cow::Borrowed(readings), treatment).into_iter().collect();
    }
    let mut by_group: BTreeMap<Option<&str>, Vec<NodeReading>> = BTreeMap::new();
    for reading in readings {
        let group = groups.get(reading.node).copied().flatten();
        by_group.entry(group).or_default().push(*reading);
    }
    let part = |(group, readings)| Part::new(group, Cow::Owned(readings), treatment);
    by_group.into_iter().filter_map(part).collect()
}

/// Returns the readings of all parts in the order of the nodes, and sorted.
fn join<'a>(parts: &'a [Part<'_>]) -> Option<(Cow<'a, [NodeReading]>, Cow<'a, Sorted>)> {
    if let [part] = parts {
        return Some((Cow::Borrowed(&*part.readings), Cow::Borrowed(&part.sorted)));
    }
    let mut readings: Vec<NodeReading> =
        parts.iter().flat_map(|part| part.readings.iter().copied()).collect();
    readings.sort_by_key(|reading| reading.node);
    let sorted = sort(&readings)?;
    Some((Cow::Owned(readings), Cow::Owned(sorted)))
}

fn main_value(mode: AggregateMode, mean: f64, sorted: &Sorted) -> f64 {
    match mode {
        AggregateMode::Mean => mean,
        AggregateMode::Median => sorted.median(),
        AggregateMode::Trimmed(share) => sorted.trimmed_mean(share),
        AggregateMode::Quantile(p) => sorted.quantile(p),
    }
}

fn statistics(config: &ValueConfig, mean: f64, sorted: &Sorted) -> Statistics {
    let trimmed = if let AggregateMode::Trimmed(share) = config.aggregate { share } else { TRIMMED };
    Statistics {
        mean,
        median: sorted.median(),
        trimmed_mean: sorted.trimmed_mean(trimmed),
        trimmed,
        quantiles: config.quantiles.iter().map(|p| (*p, sorted.quantile(*p))).collect(),
    }
}

/// Returns the details of the `average` of all parts; `None` if nothing asks for any.
fn details(
    average: &Average,
    sorted: &Sorted,
    parts: &[Part<'_>],
    config: &ValueConfig,
    nodes: &Nodes<'_>,
) -> Option<Box<Details>> {
    let has_groups = parts.iter().any(|part| part.group.is_some());
    let outliers = outliers_of(parts);
    let wants_statistics =
        config.aggregate != AggregateMode::Mean || !config.quantiles.is_empty() || has_groups;
    if !wants_statistics && outliers.is_empty() {
        return None;
    }
    let groups = parts.iter().filter_map(|part| group_values(part, config));
    let named = outliers.iter().take(MAX_OUTLIERS);
    Some(Box::new(Details {
        aggregate: config.aggregate.to_string(),
        statistics: wants_statistics.then(|| statistics(config, average.mean, sorted)),
        outliers: named.map(|outlier| Outlier { node: id(nodes, outlier), value: outlier.value }).collect(),
        more_outliers: outliers.len().saturating_sub(MAX_OUTLIERS),
        outliers_excluded: !outliers.is_empty() && config.outliers == Outliers::Exclude,
        groups: groups.collect(),
    }))
}

fn group_values(part: &Part<'_>, config: &ValueConfig) -> Option<GroupValues> {
    let values = part.readings.iter().map(|reading| reading.value);
    let mean = mean(values.clone());
    Some(GroupValues {
        group: part.group?.to_owned(),
        value: main_value(config.aggregate, mean, &part.sorted),
        min: part.sorted.min(),
        max: part.sorted.max(),
        stddev: standard_deviation(values, mean),
        count: part.readings.len(),
        statistics: statistics(config, mean, &part.sorted),
    })
}

/// Returns the outliers of all parts, in the order of the nodes.
fn outliers_of(parts: &[Part<'_>]) -> Vec<NodeReading> {
    let mut outliers: Vec<NodeReading> =
        parts.iter().flat_map(|part| part.outliers.iter().copied()).collect();
    outliers.sort_by_key(|outlier| outlier.node);
    outliers
}

fn id(nodes: &Nodes<'_>, reading: &NodeReading) -> String {
    truncate(&(nodes.id_of)(reading.node), MAX_ID)
}

impl Findings {
    /// Adds the outliers and the values of the groups of one unit, up to the maximum numbers.
    fn add_parts(
        &mut self,
        unit: Option<&String>,
        parts: &[Part<'_>],
        details: Option<&Details>,
        nodes: &Nodes<'_>,
    ) {
        for outlier in outliers_of(parts) {
            if self.outliers.len() == MAX_OUTLIERS {
                self.more_outliers += 1;
                continue;
            }
            let node = id(nodes, &outlier);
            self.outliers.push(UnitOutlier { node, unit: unit.cloned(), value: outlier.value });
        }
        let room = MAX_GROUP_VALUES.saturating_sub(self.groups.len());
        let groups = details.into_iter().flat_map(|details| &details.groups).take(room);
        self.groups.extend(groups.map(|group| UnitGroup {
            group: group.group.clone(),
            unit: unit.cloned(),
            value: group.value,
            min: group.min,
            max: group.max,
            count: group.count,
        }));
    }
}

#[cfg(test)]
#[path = "evaluation_tests.rs"]
mod tests;
