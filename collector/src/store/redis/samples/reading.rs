//! Reading of measurements.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use jiff::Timestamp;
use redis::{cmd, pipe};

use super::super::connection::{Failure, Result};
use super::super::reader::Reader;
use super::{Record, records};
use crate::measurements::{
    ClockState, FleetSummary, HOUR, LatestSample, MINUTE, Resolution, Row, Selection, SeriesQuery, SeriesRows,
};
use crate::store::rollup::Rollup;
use crate::store::sums::{Steps, Sums};

/// Number of hours whose samples or sums per minute are read at once.
const CHUNK: usize = 100;
/// Number of nodes that are read at once.
const NODES: usize = 500;
/// Maximum number of series whose rows are read at once.
const SERIES: usize = 100;
/// Maximum number of hours whose sums are read by their names; beyond it, all hours of a series are read.
const NAMED_HOURS: i64 = 1_000;

/// Series that a selection contains.
struct Selected {
    fleet: String,
    node: String,
    sensor: String,
    quantity: String,
    /// Number of the node.
    node_id: String,
    id: String,
    latest: Latest,
}

/// Latest sample of a series, as the script formats it.
#[derive(Clone, Debug)]
pub(super) struct Latest {
    pub(super) boot: i64,
    pub(super) time: i64,
    pub(super) clock: ClockState,
    pub(super) received: i64,
    value: f64,
    unit: Option<String>,
}

impl Latest {
    pub(super) fn parse(text: &str) -> Option<Latest> {
        let mut parts = text.splitn(6, ' ');
        let mut whole = || parts.next()?.parse().ok();
        let (boot, time, clock, received) = (whole()?, whole()?, ClockState::of_number(whole()?), whole()?);
        let value = parts.next()?.parse().ok()?;
        let unit = parts.next().filter(|unit| !unit.is_empty()).map(str::to_owned);
        Some(Latest { boot, time, clock, received, value, unit })
    }
}

fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

impl Reader<'_> {
    /// Returns the numbers of the nodes that a selection may contain, by fleet and node. If all selections name a node,
    /// only these are read.
    async fn nodes(&mut self, selections: &[Selection]) -> Result<BTreeMap<String, String>> {
        let key = self.key("m:nodes");
        let name = |selection: &Selection| {
            Some(format!("{}\0{}", selection.fleet.as_ref()?, selection.node.as_ref()?))
        };
        let Some(names) = selections.iter().map(name).collect::<Option<BTreeSet<String>>>() else {
            return self.connection.query(cmd("HGETALL").arg(key)).await;
        };
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let ids: Vec<Option<String>> = self.connection.query(cmd("HMGET").arg(key).arg(&names)).await?;
        Ok(names.into_iter().zip(ids).filter_map(|(name, id)| Some((name, id?))).collect())
    }

    /// Returns all series that one of the selections contains, each once, by fleet, node, sensor and quantity.
    async fn select(&mut self, selections: &[Selection]) -> Result<Vec<Selected>> {
        let nodes = self.nodes(selections).await?;
        let is_wanted =
            |wanted: &Option<String>, own: &str| wanted.as_deref().is_none_or(|wanted| wanted == own);
        let may_contain = |selection: &Selection, fleet: &str, node: &str| {
            is_wanted(&selection.fleet, fleet) && is_wanted(&selection.node, node)
        };
        let nodes: Vec<(&str, &str, &String)> = nodes
            .iter()
            .filter_map(|(name, id)| name.split_once('\0').map(|(fleet, node)| (fleet, node, id)))
            .filter(|(fleet, node, _)| selections.iter().any(|selection| may_contain(selection, fleet, node)))
            .collect();
        let mut all = Vec::new();
        for nodes in nodes.chunks(NODES) {
            let keys =
                nodes.iter().flat_map(|(_, _, id)| [format!("m:series:{id}"), format!("m:latest:{id}")]);
            let found: Vec<HashMap<String, String>> = self.each("HGETALL", keys.collect()).await?;
            for ((fleet, node, node_id), maps) in nodes.iter().zip(found.chunks_exact(2)) {
                let [series, latest] = maps else { return Err(Failure::foreign_data()) };
                for (name, id) in series {
                    let (sensor, quantity) = name.split_once('\0').ok_or_else(Failure::foreign_data)?;
                    if !selections.iter().any(|selection| selection.contains(fleet, node, sensor, quantity)) {
                        continue;
                    }
                    let latest = latest.get(id).and_then(|text| Latest::parse(text));
                    all.push(Selected {
                        fleet: (*fleet).to_owned(),
                        node: (*node).to_owned(),
                        sensor: sensor.to_owned(),
                        quantity: quantity.to_owned(),
                        node_id: (*node_id).clone(),
                        id: id.clone(),
                        latest: latest.ok_or_else(Failure::foreign_data)?,
                    });
                }
            }
        }
        all.sort_by(|a, b| {
            (&a.fleet, &a.node, &a.sensor, &a.quantity).cmp(&(&b.fleet, &b.node, &b.sensor, &b.quantity))
        });
        Ok(all)
    }

    pub(crate) async fn sample_fleets(mut self) -> Result<Vec<FleetSummary>> {
        let all = self.select(&[Selection::default()]).await?;
        let summary = |series: &[Selected]| {
            let nodes: HashSet<&str> = series.iter().map(|series| series.node.as_str()).collect();
            let received = series.iter().map(|series| series.latest.received).max()?;
            let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
            Some(FleetSummary {
                fleet: series.first()?.fleet.clone(),
                nodes: count(nodes.len()),
                series: count(series.len()),
                received: timestamp(received),
            })
        };
        Ok(all.chunk_by(|a, b| a.fleet == b.fleet).filter_map(summary).collect())
    }

    pub(crate) async fn latest_samples(
        mut self,
        selection: Selection,
        limit: usize,
    ) -> Result<Vec<LatestSample>> {
        let all = self.select(&[selection]).await?;
        let latest = |Selected { fleet, node, sensor, quantity, latest, .. }| {
            let Latest { time, clock, received, value, unit, .. } = latest;
            let (time, received) = (timestamp(time), timestamp(received));
            LatestSample { fleet, node, sensor, quantity, unit, value, time, clock, received }
        };
        Ok(all.into_iter().map(latest).take(limit).collect())
    }

    pub(crate) async fn sample_series(mut self, query: SeriesQuery) -> Result<Vec<SeriesRows>> {
        let found = self.select(&query.selections).await?;
        let is_in = |selection: &Selection, series: &Selected| {
            selection.contains(&series.fleet, &series.node, &series.sensor, &series.quantity)
        };
        let selected: Vec<&Selected> = query
            .selections
            .iter()
            .flat_map(|selection| found.iter().filter(move |series| is_in(selection, series)))
            .collect();
        let (mut all, mut total) = (Vec::new(), 0);
        // As many series at once as cannot have more rows than the maximum.
        for selected in selected.chunks((query.max_rows / query.limit.max(1)).clamp(1, SERIES)) {
            if total >= query.max_rows {
                break;
            }
            let rows = match query.resolution {
                _ if query.from >= query.to => vec![Vec::new(); selected.len()],
                Resolution::Samples => self.samples(selected, &query).await?,
                Resolution::Step { length, .. } => self.steps(selected, &query, length).await?,
            };
            for (&Selected { fleet, node, sensor, quantity, latest, .. }, rows) in selected.iter().zip(rows) {
                if total >= query.max_rows {
                    break;
                }
                total += rows.len();
                let [fleet, node, sensor, quantity] = [fleet, node, sensor, quantity].map(Clone::clone);
                all.push(SeriesRows { fleet, node, sensor, quantity, unit: latest.unit.clone(), rows });
            }
        }
        Ok(all)
    }

    /// Returns the hours in `[from, to)` of which each series has data of a kind, with the index of the series.
    async fn sample_hours(
        &mut self,
        kind: &str,
        selected: &[&Selected],
        (from, to): (i64, i64),
    ) -> Result<Vec<(usize, String)>> {
        let mut commands = pipe();
        for series in selected {
            let index = self.key(format_args!("m:{kind}:{}", series.id));
            commands.cmd("ZRANGEBYSCORE").arg(index).arg(from / HOUR).arg((to - 1).max(0) / HOUR);
        }
        let found: Vec<Vec<String>> = self.connection.query_all(&commands).await?;
        let of_series = |(at, hours): (usize, Vec<String>)| hours.into_iter().map(move |hour| (at, hour));
        Ok(found.into_iter().enumerate().flat_map(of_series).collect())
    }

    /// Names of the boots of a node, by their numbers.
    async fn boots(&mut self, selected: &[&Selected]) -> Result<HashMap<u32, String>> {
        let nodes: BTreeSet<&str> = selected.iter().map(|series| series.node_id.as_str()).collect();
        let keys = nodes.into_iter().map(|node| format!("m:boots:{node}")).collect();
        let found: Vec<HashMap<String, String>> = self.each("HGETALL", keys).await?;
        let number = |text: &str| text.split(' ').next()?.parse().ok();
        Ok(found.into_iter().flatten().filter_map(|(name, text)| Some((number(&text)?, name))).collect())
    }

    async fn samples(&mut self, selected: &[&Selected], query: &SeriesQuery) -> Result<Vec<Vec<Row>>> {
        let boots = self.boots(selected).await?;
        let mut all: Vec<Vec<Row>> = vec![Vec::new(); selected.len()];
        let hours = self.sample_hours("raws", selected, (query.from, query.to)).await?;
        for hours in hours.chunks(CHUNK) {
            let wanted: Vec<_> = hours.iter().filter(|(at, _)| all[*at].len() < query.limit).collect();
            let keys = wanted.iter().map(|(at, hour)| format!("m:raw:{}:{hour}", selected[*at].id)).collect();
            let found: Vec<Option<Vec<u8>>> = self.each("GET", keys).await?;
            for ((at, _), bytes) in wanted.into_iter().zip(found) {
                let range = query.from..query.to;
                let bytes = bytes.unwrap_or_default();
                let mut own: Vec<Record> =
                    records(&bytes).filter(|record| range.contains(&record.time)).collect();
                own.sort_by_key(|record| (record.time, record.boot, record.seq));
                all[*at].extend(own.into_iter().map(|Record { boot, time, seq, value, clock }| {
                    Row::of_sample(time, value, clock, boots.get(&boot).cloned(), seq)
                }));
            }
        }
        all.iter_mut().for_each(|rows| rows.truncate(query.limit));
        Ok(all)
    }

    async fn steps(
        &mut self,
        selected: &[&Selected],
        query: &SeriesQuery,
        length: i64,
    ) -> Result<Vec<Vec<Row>>> {
        let edge = query.edge();
        let mut all: Vec<Steps> = selected.iter().map(|_| Steps::new(length)).collect();
        if query.from < edge {
            let found = self.sums_per_hour(selected, query.from..edge).await?;
            for (steps, hours) in all.iter_mut().zip(found) {
                add_sums(steps, hours, HOUR, 0, query.from..edge)?;
            }
        }
        if edge < query.to {
            let hours = self.sample_hours("minutes", selected, (edge, query.to)).await?;
            for hours in hours.chunks(CHUNK) {
                let wanted: Vec<_> = hours.iter().filter(|(at, _)| all[*at].len() <= query.limit).collect();
                let key = |(at, hour): &&(usize, String)| format!("m:minutes:{}:{hour}", selected[*at].id);
                let keys = wanted.iter().map(key).collect();
                let found: Vec<HashMap<i64, String>> = self.each("HGETALL", keys).await?;
                for ((at, hour), minutes) in wanted.into_iter().zip(found) {
                    let hour: i64 = hour.parse().map_err(|_| Failure::foreign_data())?;
                    add_sums(&mut all[*at], minutes, MINUTE, hour * HOUR, edge..query.to)?;
                }
            }
        }
        Ok(all.into_iter().map(|steps| steps.rows(query.limit)).collect())
    }

    /// Returns the sums per hour of each series in a time range, by the number of the hour; also others if the range is
    /// long.
    async fn sums_per_hour(
        &mut self,
        selected: &[&Selected],
        range: Range<i64>,
    ) -> Result<Vec<HashMap<i64, String>>> {
        let hours = range.start / HOUR..(range.end - 1) / HOUR + 1;
        let keys = selected.iter().map(|series| format!("m:hours:{}", series.id));
        if hours.end - hours.start > NAMED_HOURS {
            return self.each("HGETALL", keys.collect()).await;
        }
        let mut commands = pipe();
        for key in keys {
            commands.cmd("HMGET").arg(self.key(key)).arg(hours.clone().collect::<Vec<_>>());
        }
        let found: Vec<Vec<Option<String>>> = self.connection.query_all(&commands).await?;
        let named = |texts: Vec<Option<String>>| {
            hours.clone().zip(texts).filter_map(|(hour, text)| Some((hour, text?))).collect()
        };
        Ok(found.into_iter().map(named).collect())
    }
}

/// Adds the sums in a time range. The field of each is its number in units of `unit` milliseconds after `begin`.
fn add_sums(
    steps: &mut Steps,
    all: HashMap<i64, String>,
    unit: i64,
    begin: i64,
    range: Range<i64>,
) -> Result<()> {
    let all: BTreeMap<i64, String> =
        all.into_iter().map(|(number, text)| (begin + number * unit, text)).collect();
    for (time, text) in all.range(range) {
        steps.add(*time, sums(text).ok_or_else(Failure::foreign_data)?);
    }
    Ok(())
}

/// Parses sums in the format of the script.
fn sums(text: &str) -> Option<Sums> {
    let mut parts = text.split(' ');
    let reports = parts.next()?.parse().ok()?;
    // A sum that overflows is infinite or NaN.
    let mut real = || parts.next()?.parse::<f64>().ok();
    let rollup =
        Rollup { reports, sum: real().unwrap_or(f64::NAN), min: real()?, max: real()?, moments: None };
    Some(Sums { rollup, clock: ClockState::of_number(parts.next()?.parse().ok()?) })
}
