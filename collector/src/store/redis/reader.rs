//! Reading from Redis: pages, reports after an id, latest reports, epochs.

use std::collections::HashMap;

use jiff::Timestamp;
use redis::{cmd, pipe};

use super::connection::{Connection, Failure};
use super::keys::{self, of_kind};
use crate::fence::Epoch;
use crate::fleet_name::FleetName;
use crate::report::Record;
use crate::store::interface::{Cursor, Filter, Page};
use crate::store::rollup::Kind;

/// Number of reports that are read at once.
const CHUNK: usize = 1_000;
/// Number of entries that are read at once when a filter selects a quantity or unit.
const FILTERED_CHUNK: usize = 10_000;
/// Maximum number of quantities and units that are returned.
const MAX_KINDS: usize = 1_000;

type Entries = Vec<(String, HashMap<String, String>)>;

/// Returns the quantities and units that the filter admits, by their numbers.
pub(super) async fn kinds(
    connection: &mut Connection,
    prefix: &str,
    filter: &Filter,
) -> Result<HashMap<String, Kind>, Failure> {
    let numbers: HashMap<String, String> =
        connection.query(cmd("HGETALL").arg(format!("{prefix}kinds"))).await?;
    let named = numbers.into_iter().map(|(kind, number)| (number, of_kind(&kind)));
    Ok(named
        .filter(|(_, (quantity, unit))| filter.matches_kind(quantity.as_deref(), unit.as_deref()))
        .collect())
}

/// Iterator over the members of `times` between two bounds, both exclusive.
pub(super) struct Members {
    low: String,
    high: String,
    backwards: bool,
    done: bool,
}

impl Members {
    pub(super) fn new(from: Option<i64>, to: Option<i64>, after: Option<Cursor>, backwards: bool) -> Members {
        let mut low = from.map_or_else(String::new, keys::time);
        let mut high = to.map_or_else(|| "~".to_owned(), keys::time);
        if let Some(after) = after {
            let bound = keys::beyond(after, backwards);
            if backwards {
                high = high.min(bound);
            } else {
                low = low.max(bound);
            }
        }
        Members { low, high, backwards, done: false }
    }

    /// Returns at most `count` further members. An empty result is the end.
    pub(super) async fn next(
        &mut self,
        connection: &mut Connection,
        prefix: &str,
        count: usize,
    ) -> Result<Vec<(Cursor, String)>, Failure> {
        if self.done || count == 0 {
            return Ok(Vec::new());
        }
        let (low, high) = (format!("({}", self.low), format!("({}", self.high));
        let low = if self.low.is_empty() { "-".to_owned() } else { low };
        let (command, first, last) =
            if self.backwards { ("ZREVRANGEBYLEX", high, low) } else { ("ZRANGEBYLEX", low, high) };
        let command = cmd(command)
            .arg(format!("{prefix}times"))
            .arg(first)
            .arg(last)
            .arg("LIMIT")
            .arg(0)
            .arg(count)
            .to_owned();
        let members: Vec<String> = connection.query(&command).await?;
        self.done = members.len() < count;
        if let Some(last) = members.last() {
            if self.backwards {
                self.high.clone_from(last);
            } else {
                self.low.clone_from(last);
            }
        }
        let read = members.iter().map(|member| keys::member(member).map(|(at, kind)| (at, kind.to_owned())));
        read.collect::<Option<Vec<_>>>().ok_or_else(Failure::foreign_data)
    }
}

/// Returns the reports with these ids that still exist.
pub(super) async fn fetch(
    connection: &mut Connection,
    prefix: &str,
    ids: impl Iterator<Item = i64>,
) -> Result<Vec<Record>, Failure> {
    let mut commands = pipe();
    for id in ids {
        commands.cmd("XRANGE").arg(format!("{prefix}reports")).arg(format!("{id}-0")).arg(format!("{id}-0"));
    }
    let found: Vec<Entries> = connection.query_all(&commands).await?;
    read(found.into_iter().flatten())
}

fn read(entries: impl Iterator<Item = (String, HashMap<String, String>)>) -> Result<Vec<Record>, Failure> {
    let records = entries.map(|(id, fields)| keys::record(&id, &fields));
    records.collect::<Option<Vec<Record>>>().ok_or_else(Failure::foreign_data)
}

pub(super) async fn page(
    connection: &mut Connection,
    prefix: &str,
    page: &Page,
) -> Result<Vec<Record>, Failure> {
    let Page { filter, after, newest_first, limit } = page;
    let micros = |time: Timestamp| time.as_microsecond();
    let of_kind = if filter.quantity.is_some() || filter.unit.is_some() {
        Some(kinds(connection, prefix, filter).await?)
    } else {
        None
    };
    let mut walk = Members::new(filter.from.map(micros), filter.to.map(micros), *after, *newest_first);
    let mut records = Vec::new();
    if of_kind.as_ref().is_some_and(HashMap::is_empty) {
        return Ok(records);
    }
    while records.len() < *limit {
        let missing = limit - records.len();
        let count = if of_kind.is_some() { FILTERED_CHUNK } else { missing.min(CHUNK) };
        let members = walk.next(connection, prefix, count).await?;
        if members.is_empty() {
            break;
        }
        let admitted = members
            .into_iter()
            .filter(|(_, kind)| of_kind.as_ref().is_none_or(|kinds| kinds.contains_key(kind)));
        let ids: Vec<i64> = admitted.map(|(at, _)| at.id).collect();
        for ids in ids.chunks(CHUNK) {
            let missing = limit - records.len();
            if missing == 0 {
                break;
            }
            // Reports that were pruned in the meantime are missing; then more are read.
            let found = fetch(connection, prefix, ids.iter().copied()).await?;
            records.extend(found.into_iter().take(missing));
        }
    }
    Ok(records)
}

pub(super) async fn since(
    connection: &mut Connection,
    prefix: &str,
    id: i64,
    limit: usize,
) -> Result<Vec<Record>, Failure> {
    let Some(first) = id.max(0).checked_add(1) else { return Ok(Vec::new()) };
    let mut command = cmd("XRANGE");
    command.arg(format!("{prefix}reports")).arg(format!("{first}-0")).arg("+").arg("COUNT").arg(limit);
    let entries: Entries = connection.query(&command).await?;
    read(entries.into_iter())
}

pub(super) async fn last(
    connection: &mut Connection,
    prefix: &str,
    limit: usize,
) -> Result<Vec<Record>, Failure> {
    let mut command = cmd("XREVRANGE");
    command.arg(format!("{prefix}reports")).arg("+").arg("-").arg("COUNT").arg(limit);
    let entries: Entries = connection.query(&command).await?;
    read(entries.into_iter().rev())
}

/// Returns the names of all fleets, that of the default one first. `prefix`: that of all keys.
pub(super) async fn fleets(connection: &mut Connection, prefix: &str) -> Result<Vec<FleetName>, Failure> {
    let names: Vec<String> = connection.query(cmd("SMEMBERS").arg(format!("{prefix}fleets"))).await?;
    let mut fleets = vec![FleetName::default()];
    for name in names {
        fleets.push(FleetName::from_key(&name).map_err(|_| Failure::foreign_data())?);
    }
    fleets.sort();
    Ok(fleets)
}

pub(super) async fn newest(connection: &mut Connection, prefix: &str) -> Result<i64, Failure> {
    let newest: Option<i64> =
        connection.query(cmd("HGET").arg(format!("{prefix}meta")).arg("newest")).await?;
    Ok(newest.unwrap_or(0))
}

pub(super) async fn latest(connection: &mut Connection, prefix: &str) -> Result<Vec<Record>, Failure> {
    let members: Vec<String> = connection.query(cmd("HVALS").arg(format!("{prefix}latest"))).await?;
    let ids = members.iter().take(MAX_KINDS).map(|member| keys::member(member).map(|(at, _)| at.id));
    let ids = ids.collect::<Option<Vec<i64>>>().ok_or_else(Failure::foreign_data)?;
    let mut records = fetch(connection, prefix, ids.into_iter()).await?;
    records.sort_by(|a, b| (&a.report.quantity, &a.report.unit).cmp(&(&b.report.quantity, &b.report.unit)));
    Ok(records)
}

/// Returns the first report of each epoch except the first epoch, if it still exists.
pub(super) async fn changes(
    connection: &mut Connection,
    prefix: &str,
    (from, to): (Timestamp, Timestamp),
    limit: usize,
) -> Result<Vec<(Timestamp, i64)>, Failure> {
    let mut changes = Vec::new();
    let mut last = "+".to_owned();
    while changes.len() < limit {
        let mut command = cmd("ZREVRANGEBYLEX");
        command.arg(format!("{prefix}epochs")).arg(&last).arg("-").arg("LIMIT").arg(0).arg(CHUNK + 1);
        let mut names: Vec<String> = connection.query(&command).await?;
        // The lowest epoch has no predecessor in this chunk: it is the first one, or is read with the next chunk.
        let Some(lowest) = names.pop() else { break };
        if names.is_empty() {
            break;
        }
        last = format!("[{lowest}");
        let mut commands = pipe();
        for name in &names {
            commands.cmd("HGET").arg(format!("{prefix}epoch:{name}")).arg("began");
        }
        let began: Vec<Option<i64>> = connection.query_all(&commands).await?;
        for (name, began) in names.iter().zip(began) {
            let Some(began) = began else { continue };
            let time = Timestamp::from_microsecond(began).map_err(|_| Failure::foreign_data())?;
            let epoch = name.parse().map_err(|_| Failure::foreign_data())?;
            if (from..to).contains(&time) && changes.len() < limit {
                changes.push((time, epoch));
            }
        }
    }
    Ok(changes)
}

pub(super) async fn epochs(
    connection: &mut Connection,
    prefix: &str,
    limit: usize,
) -> Result<Vec<Epoch>, Failure> {
    let limit = limit.min(i32::MAX as usize);
    let mut command = cmd("ZREVRANGEBYLEX");
    command.arg(format!("{prefix}epochs")).arg("+").arg("-").arg("LIMIT").arg(0).arg(limit);
    let names: Vec<String> = connection.query(&command).await?;
    let mut commands = pipe();
    for name in &names {
        commands.cmd("HGETALL").arg(format!("{prefix}epoch:{name}"));
    }
    let all: Vec<HashMap<String, String>> = connection.query_all(&commands).await?;
    let read = names.iter().zip(all).map(|(name, fields)| {
        let whole = |field: &str| fields.get(field)?.parse::<i64>().ok();
        Some(Epoch {
            epoch: name.parse().ok()?,
            first_cycle: whole("first")?,
            last_cycle: whole("last")?,
            reports: whole("reports")?,
            received: Timestamp::from_microsecond(whole("received")?).ok()?,
            reporter: fields.get("reporter").filter(|reporter| !reporter.is_empty()).cloned(),
        })
    });
    read.collect::<Option<Vec<Epoch>>>().ok_or_else(Failure::foreign_data)
}
