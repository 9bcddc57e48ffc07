//! Reading from Redis: pages, reports after an id, latest reports, epochs.

use std::collections::HashMap;
use std::fmt::Display;

use jiff::Timestamp;
use redis::{FromRedisValue, cmd, pipe};

use super::connection::{Connection, Failure, Result};
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

type Entry = (String, HashMap<String, String>);

/// Reader of the keys of one fleet.
pub(super) struct Reader<'a> {
    pub(super) connection: &'a mut Connection,
    prefix: String,
    fleet: &'a FleetName,
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
        reader: &mut Reader<'_>,
        count: usize,
    ) -> Result<Vec<(Cursor, String)>> {
        if self.done || count == 0 {
            return Ok(Vec::new());
        }
        let (low, high) = (format!("({}", self.low), format!("({}", self.high));
        let low = if self.low.is_empty() { "-".to_owned() } else { low };
        let (command, first, last) =
            if self.backwards { ("ZREVRANGEBYLEX", high, low) } else { ("ZRANGEBYLEX", low, high) };
        let mut command = cmd(command);
        command.arg(reader.key("times")).arg(first).arg(last).arg("LIMIT").arg(0).arg(count);
        let members: Vec<String> = reader.connection.query(&command).await?;
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

impl<'a> Reader<'a> {
    /// Creates a reader. `prefix`: that of all keys.
    pub(super) fn new(connection: &'a mut Connection, prefix: &str, fleet: &'a FleetName) -> Reader<'a> {
        Reader { connection, prefix: keys::of_fleet(prefix, fleet), fleet }
    }

    pub(super) fn key(&self, name: impl Display) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Runs a command for each of these keys.
    pub(super) async fn each<T: FromRedisValue>(
        &mut self,
        command: &str,
        names: Vec<String>,
    ) -> Result<Vec<T>> {
        let mut commands = pipe();
        for name in names {
            commands.cmd(command).arg(self.key(name));
        }
        self.connection.query_all(&commands).await
    }

    /// Returns the quantities and units that the filter admits, by their numbers.
    pub(super) async fn kinds(&mut self, filter: &Filter) -> Result<HashMap<String, Kind>> {
        let key = self.key("kinds");
        let numbers: HashMap<String, String> = self.connection.query(cmd("HGETALL").arg(key)).await?;
        let named = numbers.into_iter().map(|(kind, number)| (number, of_kind(&kind)));
        Ok(named
            .filter(|(_, (quantity, unit))| filter.matches_kind(quantity.as_deref(), unit.as_deref()))
            .collect())
    }

    /// Returns the reports with these ids that still exist.
    pub(super) async fn fetch(&mut self, ids: impl Iterator<Item = i64>) -> Result<Vec<Record>> {
        let mut commands = pipe();
        for id in ids {
            commands.cmd("XRANGE").arg(self.key("reports")).arg(format!("{id}-0")).arg(format!("{id}-0"));
        }
        let found: Vec<Vec<Entry>> = self.connection.query_all(&commands).await?;
        self.read(found.into_iter().flatten())
    }

    fn read(&self, entries: impl Iterator<Item = Entry>) -> Result<Vec<Record>> {
        let records = entries.map(|(id, fields)| keys::record(self.fleet, &id, &fields));
        records.collect::<Option<Vec<Record>>>().ok_or_else(Failure::foreign_data)
    }

    pub(super) async fn page(mut self, page: Page) -> Result<Vec<Record>> {
        let Page { filter, after, newest_first, limit } = page;
        let micros = |time: Timestamp| time.as_microsecond();
        let of_kind = if filter.quantity.is_some() || filter.unit.is_some() {
            Some(self.kinds(&filter).await?)
        } else {
            None
        };
        let mut walk = Members::new(filter.from.map(micros), filter.to.map(micros), after, newest_first);
        let mut records = Vec::new();
        if of_kind.as_ref().is_some_and(HashMap::is_empty) {
            return Ok(records);
        }
        while records.len() < limit {
            let missing = limit - records.len();
            let count = if of_kind.is_some() { FILTERED_CHUNK } else { missing.min(CHUNK) };
            let members = walk.next(&mut self, count).await?;
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
                let found = self.fetch(ids.iter().copied()).await?;
                records.extend(found.into_iter().take(missing));
            }
        }
        Ok(records)
    }

    pub(super) async fn since(self, id: i64, limit: usize) -> Result<Vec<Record>> {
        let Some(first) = id.max(0).checked_add(1) else { return Ok(Vec::new()) };
        let mut command = cmd("XRANGE");
        command.arg(self.key("reports")).arg(format!("{first}-0")).arg("+").arg("COUNT").arg(limit);
        let entries: Vec<Entry> = self.connection.query(&command).await?;
        self.read(entries.into_iter())
    }

    pub(super) async fn last(self, limit: usize) -> Result<Vec<Record>> {
        let mut command = cmd("XREVRANGE");
        command.arg(self.key("reports")).arg("+").arg("-").arg("COUNT").arg(limit);
        let entries: Vec<Entry> = self.connection.query(&command).await?;
        self.read(entries.into_iter().rev())
    }

    /// Returns the names of all fleets, that of the default one first. The reader must be that of the default fleet.
    pub(super) async fn fleets(self) -> Result<Vec<FleetName>> {
        let key = self.key("fleets");
        let names: Vec<String> = self.connection.query(cmd("SMEMBERS").arg(key)).await?;
        let mut fleets = vec![FleetName::default()];
        for name in names {
            fleets.push(FleetName::from_key(&name).map_err(|_| Failure::foreign_data())?);
        }
        fleets.sort();
        Ok(fleets)
    }

    /// Returns the highest id over all fleets. The reader must be that of the default fleet.
    pub(super) async fn newest(self) -> Result<i64> {
        let key = self.key("meta");
        let newest: Option<i64> = self.connection.query(cmd("HGET").arg(key).arg("newest")).await?;
        Ok(newest.unwrap_or(0))
    }

    pub(super) async fn latest(mut self) -> Result<Vec<Record>> {
        let key = self.key("latest");
        let members: Vec<String> = self.connection.query(cmd("HVALS").arg(key)).await?;
        let ids = members.iter().take(MAX_KINDS).map(|member| keys::member(member).map(|(at, _)| at.id));
        let ids = ids.collect::<Option<Vec<i64>>>().ok_or_else(Failure::foreign_data)?;
        let mut records = self.fetch(ids.into_iter()).await?;
        records
            .sort_by(|a, b| (&a.report.quantity, &a.report.unit).cmp(&(&b.report.quantity, &b.report.unit)));
        Ok(records)
    }

    /// Returns the first report of each epoch except the first epoch, if it still exists.
    pub(super) async fn changes(
        self,
        (from, to): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<Vec<(Timestamp, i64)>> {
        let mut changes = Vec::new();
        let mut last = "+".to_owned();
        while changes.len() < limit {
            let mut command = cmd("ZREVRANGEBYLEX");
            command.arg(self.key("epochs")).arg(&last).arg("-").arg("LIMIT").arg(0).arg(CHUNK + 1);
            let mut names: Vec<String> = self.connection.query(&command).await?;
            // The lowest epoch has no predecessor in this chunk: it is the first one, or is read with the next chunk.
            let Some(lowest) = names.pop() else { break };
            if names.is_empty() {
                break;
            }
            last = format!("[{lowest}");
            let mut commands = pipe();
            for name in &names {
                commands.cmd("HGET").arg(self.key(format_args!("epoch:{name}"))).arg("began");
            }
            let began: Vec<Option<i64>> = self.connection.query_all(&commands).await?;
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

    pub(super) async fn epochs(mut self, limit: usize) -> Result<Vec<Epoch>> {
        let limit = limit.min(i32::MAX as usize);
        let mut command = cmd("ZREVRANGEBYLEX");
        command.arg(self.key("epochs")).arg("+").arg("-").arg("LIMIT").arg(0).arg(limit);
        let names: Vec<String> = self.connection.query(&command).await?;
        let keys = names.iter().map(|name| format!("epoch:{name}")).collect();
        let all: Vec<HashMap<String, String>> = self.each("HGETALL", keys).await?;
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
}
