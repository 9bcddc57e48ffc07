//! Reading of measurements.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use redis::{cmd, pipe};

use super::super::connection::{Connection, Failure};
use super::{Record, records};
use crate::measurements::{
    ClockState, FleetSummary, HOUR, LatestSample, MINUTE, Resolution, Row, Selection, SeriesQuery, SeriesRows,
};
use crate::store::rollup::Rollup;
use crate::store::sums::{Steps, Sums};

/// Number of hours whose samples or sums are read at once.
const CHUNK: usize = 24;
/// Number of nodes that are read at once.
const NODES: usize = 500;

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

/// Returns the selected series by fleet, node, sensor and quantity.
async fn select(
    connection: &mut Connection,
    prefix: &str,
    selection: &Selection,
) -> Result<Vec<Selected>, Failure> {
    let nodes: BTreeMap<String, String> =
        connection.query(cmd("HGETALL").arg(format!("{prefix}m:nodes"))).await?;
    let is_wanted = |wanted: &Option<String>, own: &str| wanted.as_deref().is_none_or(|wanted| wanted == own);
    let nodes: Vec<(&str, &str, &String)> = nodes
        .iter()
        .filter_map(|(name, id)| name.split_once('\0').map(|(fleet, node)| (fleet, node, id)))
        .filter(|(fleet, node, _)| is_wanted(&selection.fleet, fleet) && is_wanted(&selection.node, node))
        .collect();
    let mut all = Vec::new();
    for nodes in nodes.chunks(NODES) {
        let mut commands = pipe();
        for (_, _, id) in nodes {
            commands.cmd("HGETALL").arg(format!("{prefix}m:series:{id}"));
            commands.cmd("HGETALL").arg(format!("{prefix}m:latest:{id}"));
        }
        let found: Vec<HashMap<String, String>> = connection.query_all(&commands).await?;
        for ((fleet, node, node_id), maps) in nodes.iter().zip(found.chunks_exact(2)) {
            let [series, latest] = maps else { return Err(Failure::foreign_data()) };
            for (name, id) in series {
                let (sensor, quantity) = name.split_once('\0').ok_or_else(Failure::foreign_data)?;
                if !selection.contains(fleet, node, sensor, quantity) {
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

pub(in crate::store::redis) async fn fleets(
    connection: &mut Connection,
    prefix: &str,
) -> Result<Vec<FleetSummary>, Failure> {
    let all = select(connection, prefix, &Selection::default()).await?;
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

pub(in crate::store::redis) async fn latest(
    connection: &mut Connection,
    prefix: &str,
    selection: &Selection,
    limit: usize,
) -> Result<Vec<LatestSample>, Failure> {
    let all = select(connection, prefix, selection).await?;
    let latest = |Selected { fleet, node, sensor, quantity, latest, .. }| {
        let Latest { time, clock, received, value, unit, .. } = latest;
        let (time, received) = (timestamp(time), timestamp(received));
        LatestSample { fleet, node, sensor, quantity, unit, value, time, clock, received }
    };
    Ok(all.into_iter().map(latest).take(limit).collect())
}

pub(in crate::store::redis) async fn series(
    connection: &mut Connection,
    prefix: &str,
    query: &SeriesQuery,
) -> Result<Vec<SeriesRows>, Failure> {
    let (mut all, mut total) = (Vec::new(), 0);
    for selected in select(connection, prefix, &query.selection).await? {
        if total >= query.max_rows {
            break;
        }
        let rows = match query.resolution {
            _ if query.from >= query.to => Vec::new(),
            Resolution::Samples => samples(connection, prefix, &selected, query).await?,
            Resolution::Step { length, .. } => steps(connection, prefix, &selected.id, query, length).await?,
        };
        total += rows.len();
        let Selected { fleet, node, sensor, quantity, latest, .. } = selected;
        all.push(SeriesRows { fleet, node, sensor, quantity, unit: latest.unit, rows });
    }
    Ok(all)
}

/// Returns the hours in `[from, to)` that an index contains.
async fn hours(connection: &mut Connection, index: &str, from: i64, to: i64) -> Result<Vec<String>, Failure> {
    let mut command = cmd("ZRANGEBYSCORE");
    command.arg(index).arg(from / HOUR).arg((to - 1).max(0) / HOUR);
    connection.query(&command).await
}

async fn samples(
    connection: &mut Connection,
    prefix: &str,
    Selected { id, node_id, .. }: &Selected,
    query: &SeriesQuery,
) -> Result<Vec<Row>, Failure> {
    let boots: HashMap<String, String> =
        connection.query(cmd("HGETALL").arg(format!("{prefix}m:boots:{node_id}"))).await?;
    let named = |boot: u32| {
        let is_it = |text: &str| text.split(' ').next() == Some(&boot.to_string());
        boots.iter().find(|(_, text)| is_it(text)).map(|(name, _)| name.clone())
    };
    let mut names: HashMap<u32, Option<String>> = HashMap::new();
    let mut rows: Vec<Row> = Vec::new();
    for hours in hours(connection, &format!("{prefix}m:raws:{id}"), query.from, query.to).await?.chunks(CHUNK)
    {
        let mut commands = pipe();
        for hour in hours {
            commands.cmd("GET").arg(format!("{prefix}m:raw:{id}:{hour}"));
        }
        let found: Vec<Option<Vec<u8>>> = connection.query_all(&commands).await?;
        for bytes in found.into_iter().flatten() {
            let range = query.from..query.to;
            let mut all: Vec<Record> =
                records(&bytes).filter(|record| range.contains(&record.time)).collect();
            all.sort_by_key(|record| (record.time, record.boot, record.seq));
            rows.extend(all.into_iter().map(|Record { boot, time, seq, value, clock }| {
                let name = names.entry(boot).or_insert_with(|| named(boot));
                Row::of_sample(time, value, clock, name.clone(), seq)
            }));
        }
        if rows.len() >= query.limit {
            break;
        }
    }
    rows.truncate(query.limit);
    Ok(rows)
}

async fn steps(
    connection: &mut Connection,
    prefix: &str,
    id: &str,
    query: &SeriesQuery,
    length: i64,
) -> Result<Vec<Row>, Failure> {
    let (edge, mut steps) = (query.edge(), Steps::new(length));
    if query.from < edge {
        let all: HashMap<i64, String> =
            connection.query(cmd("HGETALL").arg(format!("{prefix}m:hours:{id}"))).await?;
        add_sums(&mut steps, all, HOUR, 0, query.from..edge)?;
    }
    if edge < query.to {
        let hours = hours(connection, &format!("{prefix}m:minutes:{id}"), edge, query.to).await?;
        for hours in hours.chunks(CHUNK) {
            let mut commands = pipe();
            for hour in hours {
                commands.cmd("HGETALL").arg(format!("{prefix}m:minutes:{id}:{hour}"));
            }
            let found: Vec<HashMap<i64, String>> = connection.query_all(&commands).await?;
            for (hour, minutes) in hours.iter().zip(found) {
                let hour: i64 = hour.parse().map_err(|_| Failure::foreign_data())?;
                add_sums(&mut steps, minutes, MINUTE, hour * HOUR, edge..query.to)?;
            }
            if steps.len() > query.limit {
                break;
            }
        }
    }
    Ok(steps.rows(query.limit))
}

/// Adds the sums in a time range. The field of each is its number in units of `unit` milliseconds after `begin`.
fn add_sums(
    steps: &mut Steps,
    all: HashMap<i64, String>,
    unit: i64,
    begin: i64,
    range: std::ops::Range<i64>,
) -> Result<(), Failure> {
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
    let rollup = Rollup { reports, sum: real().unwrap_or(f64::NAN), min: real()?, max: real()? };
    Some(Sums { rollup, clock: ClockState::of_number(parts.next()?.parse().ok()?) })
}
