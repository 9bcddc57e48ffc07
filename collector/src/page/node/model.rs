//! Content of the page of a node: one query for its latest values, one for the averages of its fleet, and one per
//! displayed chart.

use axum::http::HeaderMap;
use jiff::Timestamp;

use crate::app::App;
use crate::fleet::Node;
use crate::measurements::{LatestSample, MAX_SERIES, Selection};
use crate::page::chart::{Chart, Subject};
use crate::page::fleet::{NodeCondition, condition};
use crate::page::model::last_status;
use crate::page::nodes::old_after;
use crate::page::params::{FromAddress, PageParams};
use crate::page::samples;
use crate::problem::Problem;
use crate::store::{Filter, Point};

/// Maximum number of charts in a part of the page.
const PART: usize = 12;
/// Maximum number of points of all averages of the fleet.
const MAX_AVERAGES: usize = 40_000;

/// Parameters of the page of a node.
#[derive(Clone, Debug)]
pub(in super::super) struct NodeParams {
    pub(super) page: PageParams,
    pub(super) node: String,
    /// Number of the part of the series, from 1.
    pub(super) part: usize,
}

impl FromAddress for NodeParams {
    fn of(query: Option<&str>, headers: &HeaderMap) -> NodeParams {
        let pairs: Vec<_> = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
        let get = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value);
        NodeParams {
            page: PageParams::of(query, headers),
            node: get("node").unwrap_or_default().to_owned(),
            part: get("page").and_then(|page| page.parse().ok()).unwrap_or(1),
        }
    }
}

impl NodeParams {
    /// Returns the address of a part, with other parameters of the page.
    pub(super) fn address(&self, page: &PageParams, part: usize) -> String {
        let part = part.to_string();
        let pairs = [("node", &*self.node), ("page", &*part)];
        page.link("node", if part == "1" { &pairs[..1] } else { &pairs })
    }
}

/// Series of a node with its chart.
#[derive(Debug)]
pub(super) struct SeriesChart {
    pub(super) latest: LatestSample,
    pub(super) age: f64,
    pub(super) is_old: bool,
    pub(super) chart: Chart,
}

/// Content of the page of a node.
#[derive(Debug)]
pub(super) struct NodeModel {
    pub(super) params: NodeParams,
    /// Reason for which the store cannot be read.
    pub(super) problem: Option<String>,
    /// Node in the fleet status.
    pub(super) status: Option<Node>,
    pub(super) condition: NodeCondition,
    /// Number of series.
    pub(super) all: usize,
    /// Number of parts, at least 1.
    pub(super) parts: usize,
    pub(super) series: Vec<SeriesChart>,
}

impl NodeModel {
    /// Reads the content. If the store fails, the model contains the problem.
    pub(super) async fn load(app: &App, params: NodeParams) -> NodeModel {
        let mut model = NodeModel {
            params,
            problem: None,
            status: None,
            condition: NodeCondition::Unknown,
            all: 0,
            parts: 1,
            series: Vec::new(),
        };
        if let Err(problem) = model.fill(app, Timestamp::now()).await {
            model.problem = Some(problem.detail().to_owned());
        }
        model
    }

    async fn fill(&mut self, app: &App, now: Timestamp) -> Result<(), Problem> {
        let NodeParams { page, node, .. } = &self.params;
        let (fleet, ahead, window) = (page.fleet.clone(), page.offset(), page.range.window(now));
        let mut period = None;
        if let Some((snapshot, age)) = last_status(app, &fleet) {
            period = snapshot.status.period;
            self.status = snapshot.status.nodes.into_iter().find(|known| known.id == *node);
            if let Some(node) = &self.status {
                self.condition = condition(node, age, period);
            }
        }
        let selection =
            Selection { fleet: Some(fleet.to_string()), node: Some(node.clone()), ..Selection::default() };
        let time = |micros| Timestamp::from_microsecond(micros).unwrap_or(now);
        let filter =
            Filter { fleet, from: Some(time(window.from)), to: Some(time(window.to)), ..Filter::default() };
        let (latest, averages) = futures_util::join!(
            app.with_store_timeout(app.store.measurements().latest_samples(selection, MAX_SERIES)),
            app.with_store_timeout(app.store.series(filter, window.step, MAX_AVERAGES)),
        );
        let (mut latest, averages) = (latest?, averages?);
        samples::move_ended_last(app, &mut latest, now);
        self.all = latest.len();
        self.parts = latest.len().div_ceil(PART).max(1);
        self.params.part = self.params.part.clamp(1, self.parts);
        let shown: Vec<&LatestSample> =
            latest.iter().skip((self.params.part - 1) * PART).take(PART).collect();
        let read = samples::read(app, &shown, &window).await?;
        for (latest, read) in shown.into_iter().zip(read) {
            let age = samples::age(latest, now);
            let average = average_of(&averages, latest);
            let chart = Chart::new(Subject::Samples, window, read.points, ahead);
            let chart = Chart { average, clocks: read.clocks, ..chart };
            let is_old = age > old_after(period);
            self.series.push(SeriesChart { latest: latest.clone(), age, is_old, chart });
        }
        Ok(())
    }
}

/// Returns the means of the quantity and unit of a series.
fn average_of(averages: &[Point], series: &LatestSample) -> Vec<Point> {
    let of_series = averages
        .iter()
        .filter(|point| point.quantity.as_ref() == Some(&series.quantity) && point.unit == series.unit);
    of_series.map(|point| Point { min: point.mean, max: point.mean, ..point.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::i18n::Lang;
    use crate::page::range::Range;

    #[test]
    fn address_of_a_node_is_parsed_and_formatted() {
        let params = NodeParams::of(Some("fleet=home&node=a%2F%3F..&page=2"), &HeaderMap::new());
        assert_eq!((&*params.node, params.part), ("a/?..", 2));
        assert_eq!(params.address(&params.page, 1), "node?fleet=home&node=a%2F%3F..");
        let shortest = params.address(&params.page.in_range(Range::shortest()), 2);
        assert_eq!(shortest, "node?fleet=home&node=a%2F%3F..&page=2&range=5m");
        assert!(params.address(&params.page.in_lang(Lang::Es), 2).ends_with("&page=2&lang=es"));
    }
}
