//! Content of the list of nodes: one query for all latest values, and one per small chart of the displayed part.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::Timestamp;

use super::params::{NodesParams, Sort};
use crate::app::App;
use crate::fleet::Node;
use crate::measurements::{LatestSample, MAX_SERIES, Selection};
use crate::page::fleet::{NodeCondition, condition};
use crate::page::model::last_status;
use crate::page::range::Window;
use crate::page::samples;
use crate::page::status::stale_after;
use crate::problem::Problem;
use crate::store::Point;

/// Maximum number of nodes in a part of the list.
const PART: usize = 100;

/// A node in the list.
#[derive(Debug)]
pub(super) struct NodeRow {
    pub(super) name: String,
    /// Node in the fleet status.
    pub(super) status: Option<Node>,
    pub(super) condition: NodeCondition,
    /// Latest sample of each series, that of the small chart first.
    pub(super) latest: Vec<LatestSample>,
    /// Seconds since the newest sample.
    pub(super) age: Option<f64>,
    pub(super) is_old: bool,
    /// Points of the small chart.
    pub(super) points: Vec<Point>,
}

/// Content of the list of nodes.
#[derive(Debug)]
pub(super) struct NodesModel {
    pub(super) params: NodesParams,
    /// Reason for which the store cannot be read.
    pub(super) problem: Option<String>,
    /// Number of nodes in the fleet.
    pub(super) all: usize,
    /// Number of nodes that match the filter, and of those with old data.
    pub(super) found: usize,
    pub(super) old: usize,
    /// Number of parts, at least 1.
    pub(super) parts: usize,
    /// Nodes in the displayed part.
    pub(super) nodes: Vec<NodeRow>,
    pub(super) window: Window,
}

/// Returns the seconds after which data is old: some periods of the fleet, because nodes deliver samples in batches.
pub(in super::super) fn old_after(period: Option<f64>) -> f64 {
    period.map_or(300.0, |period| stale_after(Some(period)).max(60.0))
}

impl NodesModel {
    /// Reads the content. If the store fails, the model contains the problem.
    pub(super) async fn load(app: &App, params: NodesParams) -> NodesModel {
        let now = Timestamp::now();
        let range = params.page.range;
        let window = range.window_of_steps(range.coarse_step(), now);
        let mut model = NodesModel {
            params,
            problem: None,
            all: 0,
            found: 0,
            old: 0,
            parts: 1,
            nodes: Vec::new(),
            window,
        };
        if let Err(problem) = model.fill(app, now).await {
            model.problem = Some(problem.detail().to_owned());
        }
        model
    }

    async fn fill(&mut self, app: &App, now: Timestamp) -> Result<(), Problem> {
        let fleet = &self.params.page.fleet;
        let selection = Selection { fleet: Some(fleet.to_string()), ..Selection::default() };
        let latest = app.store.measurements().latest_samples(selection, MAX_SERIES);
        let latest = app.with_store_timeout(latest).await?;
        let (status, status_age) = match last_status(app, fleet) {
            Some((snapshot, age)) => (Some(snapshot.status), age),
            None => (None, 0.0),
        };
        let period = status.as_ref().and_then(|status| status.period);
        let mut nodes: BTreeMap<String, (Option<Node>, Vec<LatestSample>)> = BTreeMap::new();
        for node in status.into_iter().flat_map(|status| status.nodes) {
            nodes.insert(node.id.clone(), (Some(node), Vec::new()));
        }
        for sample in latest {
            nodes.entry(sample.node.clone()).or_default().1.push(sample);
        }
        for (_, latest) in nodes.values_mut() {
            match samples::move_ended_last(app, latest, now) {
                0 => {}
                current => latest.truncate(current),
            }
        }
        self.all = nodes.len();
        let find = self.params.find.to_lowercase();
        let mut rows: Vec<NodeRow> = nodes
            .into_iter()
            .filter_map(|(name, (status, latest))| {
                let latest = filtered(&name, latest, &find)?;
                let age = latest.iter().map(|sample| samples::age(sample, now)).reduce(f64::min);
                let is_old = age.is_some_and(|age| age > old_after(period));
                let condition = match &status {
                    Some(node) => condition(node, status_age, period),
                    None if is_old => NodeCondition::Late,
                    None => NodeCondition::Unknown,
                };
                Some(NodeRow { name, status, condition, latest, age, is_old, points: Vec::new() })
            })
            .collect();
        sort(&mut rows, self.params.sort);
        self.found = rows.len();
        self.old = rows.iter().filter(|row| row.is_old).count();
        self.parts = rows.len().div_ceil(PART).max(1);
        self.params.part = self.params.part.clamp(1, self.parts);
        self.nodes = rows.into_iter().skip((self.params.part - 1) * PART).take(PART).collect();

        let (with, series): (Vec<usize>, Vec<&LatestSample>) =
            self.nodes.iter().enumerate().filter_map(|(at, row)| Some((at, row.latest.first()?))).unzip();
        let points = samples::read(app, &series, &self.window).await?;
        for (at, read) in with.into_iter().zip(points) {
            if let Some(row) = self.nodes.get_mut(at) {
                row.points = read.points;
            }
        }
        Ok(())
    }
}

/// Returns the samples of a node if its name or one of its sensors contains the text. The first sensor that does comes
/// first.
fn filtered(name: &str, mut latest: Vec<LatestSample>, find: &str) -> Option<Vec<LatestSample>> {
    let contains = |text: &str| text.to_lowercase().contains(find);
    if find.is_empty() || contains(name) {
        return Some(latest);
    }
    let first = latest.iter().position(|sample| contains(&sample.sensor))?;
    latest.get_mut(..=first)?.rotate_right(1);
    Some(latest)
}

/// Sorts nodes that are ordered by name. Nodes without data come last.
fn sort(rows: &mut [NodeRow], sort: Sort) {
    let value = |row: &NodeRow| row.latest.first().map(|sample| sample.value);
    match sort {
        Sort::Name => rows.sort_by_cached_key(|row| numbered(&row.name)),
        Sort::Age => rows.sort_by(|one, other| descending(one.age, other.age)),
        Sort::Highest => rows.sort_by(|one, other| descending(value(one), value(other))),
        Sort::Lowest => rows.sort_by(|one, other| {
            let negative = |row| value(row).map(|value: f64| -value);
            descending(negative(one), negative(other))
        }),
    }
}

/// Compares by the higher number; `None` is last.
fn descending(one: Option<f64>, other: Option<f64>) -> Ordering {
    let number = |number: Option<f64>| number.unwrap_or(f64::NEG_INFINITY);
    number(other).total_cmp(&number(one))
}

/// Returns a key that sorts `n2` before `n10`: each number has at least 20 digits.
fn numbered(name: &str) -> String {
    let is_digit = |character: &char| character.is_ascii_digit();
    let characters: Vec<char> = name.chars().collect();
    let runs = characters.chunk_by(|one, next| is_digit(one) == is_digit(next));
    runs.map(|run| {
        let run: String = run.iter().collect();
        if run.starts_with(|first| is_digit(&first)) { format!("{run:0>20}") } else { run }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_are_compared_as_numbers() {
        let mut names = ["n10", "n9", "a", "10", "2", "n9b", "n009"];
        names.sort_by_cached_key(|name| numbered(name));
        assert_eq!(names, ["2", "10", "a", "n9", "n009", "n9b", "n10"]);
    }

    #[test]
    fn first_sensor_with_the_text_comes_first() {
        let now = Timestamp::now();
        let sample = |sensor: &str| LatestSample::of_sensor(sensor, now, now);
        let found = |find: &str| {
            let found = filtered("N1", ["Attic", "Cellar", "Roof"].map(sample).to_vec(), find)?;
            Some(found.into_iter().map(|sample| sample.sensor).collect::<Vec<_>>().join(" "))
        };
        for (find, sensors) in [
            ("", "Attic Cellar Roof"),
            ("n1", "Attic Cellar Roof"),
            ("roof", "Roof Attic Cellar"),
            ("ell", "Cellar Attic Roof"),
        ] {
            assert_eq!(found(find).as_deref(), Some(sensors), "{find}");
        }
        assert_eq!(found("x"), None);
    }

    #[test]
    fn missing_numbers_are_last() {
        let mut numbers = [None, Some(-1e308), Some(2.0), Some(3.0)];
        numbers.sort_by(|one, other| descending(*one, *other));
        assert_eq!(numbers, [Some(3.0), Some(2.0), Some(-1e308), None]);
    }

    #[test]
    fn data_is_old_after_some_periods() {
        assert_eq!([None, Some(1.0), Some(60.0)].map(old_after), [300.0, 60.0, 181.0]);
    }
}
