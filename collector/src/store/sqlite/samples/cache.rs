//! Numbers, marks and latest values of the nodes that send, so that a batch reads nothing that an earlier one has read.
//! The cache belongs to a connection. It is emptied when another process has changed the file, and dropped with the
//! connection when a transaction fails.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{Result, Transaction};

use super::super::statements::{change, count as limit, find, rows};
use crate::measurements::{ClockState, MAX_BOOTS, MAX_FLEETS, MAX_SERIES, Position, SampleBatch, SeriesName};

/// Maximum number of cached series and marks; beyond it the cache is emptied.
const MAX_CACHED: usize = 200_000;

#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// `data_version` of the file.
    version: i64,
    /// Nodes, by fleet and name.
    nodes: HashMap<(String, String), Node>,
    /// Number of series of each fleet.
    series: HashMap<String, i64>,
    /// Number of cached series and marks, at least.
    cached: usize,
}

#[derive(Debug)]
struct Node {
    id: i64,
    /// Series, by sensor and quantity.
    series: HashMap<(String, String), KnownSeries>,
    /// Last boot, with its name.
    boot: Option<(String, Boot)>,
}

#[derive(Debug)]
pub(super) struct KnownSeries {
    pub(super) id: i64,
    /// `None`: the series has no samples yet.
    pub(super) latest: Option<Position>,
}

#[derive(Debug)]
pub(super) struct Boot {
    pub(super) id: i64,
    /// Highest accepted number of each series.
    pub(super) marks: HashMap<i64, i64>,
}

impl Cache {
    /// Empties the cache if it is too large, or if another connection has changed the file.
    pub(super) fn refresh(&mut self, transaction: &Transaction<'_>) -> Result<()> {
        let version = transaction.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if version != self.version || self.cached > MAX_CACHED {
            *self = Cache { version, ..Cache::default() };
        }
        Ok(())
    }

    /// Empties the cache.
    pub(super) fn clear(&mut self) {
        *self = Cache::default();
    }

    /// Returns the sender of a batch, with as many of the batch's series as may exist. Creates missing rows. Returns
    /// `None` if none of the series may exist.
    pub(super) fn sender(
        &mut self,
        transaction: &Transaction<'_>,
        batch: &SampleBatch,
    ) -> Result<Option<Sender<'_>>> {
        let count = match self.series.get_mut(&batch.fleet) {
            Some(count) => count,
            None => {
                self.cached += 1;
                let count = count_series(transaction, &batch.fleet)?;
                self.series.entry(batch.fleet.clone()).or_insert(count)
            }
        };
        let Node { id, series, boot } = match self.nodes.entry((batch.fleet.clone(), batch.node.clone())) {
            Entry::Occupied(node) => node.into_mut(),
            Entry::Vacant(vacant) => {
                let Some(node) = load_node(transaction, batch, *count)? else { return Ok(None) };
                self.cached += 1 + 2 * node.series.len();
                vacant.insert(node)
            }
        };
        for name in &batch.series {
            if *count < limit(MAX_SERIES) && !series.contains_key(&key(name)) {
                let known = create_series(transaction, *id, name)?;
                series.insert(key(name), known);
                *count += 1;
                self.cached += 2;
            }
        }
        if !batch.series.iter().any(|name| series.contains_key(&key(name))) {
            return Ok(None);
        }
        let cached = boot.take().filter(|(name, _)| *name == batch.boot);
        let (_, boot) = boot.insert(match cached {
            Some(cached) => cached,
            None => (batch.boot.clone(), load_boot(transaction, *id, batch)?),
        });
        Ok(Some(Sender { series, boot }))
    }
}

/// Series and boot of the node that has sent a batch.
pub(super) struct Sender<'c> {
    series: &'c mut HashMap<(String, String), KnownSeries>,
    pub(super) boot: &'c mut Boot,
}

impl Sender<'_> {
    pub(super) fn series(&self, name: &SeriesName) -> Option<&KnownSeries> {
        self.series.get(&key(name))
    }

    pub(super) fn set_latest(&mut self, name: &SeriesName, latest: Option<Position>) {
        if let Some(series) = self.series.get_mut(&key(name)) {
            series.latest = latest;
        }
    }
}

fn key(name: &SeriesName) -> (String, String) {
    (name.sensor.clone(), name.quantity.clone())
}

fn count_series(transaction: &Transaction<'_>, fleet: &str) -> Result<i64> {
    let count = "SELECT count(*) FROM nodes JOIN series ON series.node = nodes.id WHERE fleet = ?";
    Ok(find(transaction, count, [fleet], |row| row.get(0))?.unwrap_or_default())
}

/// Loads a node, or creates it if another series may exist in its fleet, which has `count` series.
fn load_node(transaction: &Transaction<'_>, batch: &SampleBatch, count: i64) -> Result<Option<Node>> {
    let id = "SELECT id FROM nodes WHERE fleet = ? AND node = ?";
    let Some(id) = find(transaction, id, (&batch.fleet, &batch.node), |row| row.get(0))? else {
        let fleets = "SELECT count(DISTINCT fleet) FROM nodes";
        let is_full = match count {
            0 => transaction.query_row(fleets, [], |row| row.get::<_, i64>(0))? >= limit(MAX_FLEETS),
            _ => count >= limit(MAX_SERIES),
        };
        if is_full {
            return Ok(None);
        }
        change(transaction, "INSERT INTO nodes (fleet, node) VALUES (?, ?)", (&batch.fleet, &batch.node))?;
        let id = transaction.last_insert_rowid();
        return Ok(Some(Node { id, series: HashMap::new(), boot: None }));
    };
    let series = "SELECT sensor, quantity, id, boot, time, clock FROM series WHERE node = ?";
    let series = rows(transaction, series, [id], |row| {
        let clock = ClockState::of_number(row.get(5)?);
        let latest = Position { boot: row.get(3)?, time: row.get(4)?, clock };
        Ok(((row.get(0)?, row.get(1)?), KnownSeries { id: row.get(2)?, latest: Some(latest) }))
    })?;
    Ok(Some(Node { id, series, boot: None }))
}

/// Creates a series. Its latest sample is set in the same transaction.
fn create_series(
    transaction: &Transaction<'_>,
    node: i64,
    SeriesName { sensor, quantity, .. }: &SeriesName,
) -> Result<KnownSeries> {
    let insert = "INSERT INTO series (node, sensor, quantity, time, boot, value, clock, received)
        VALUES (?, ?, ?, 0, 0, 0.0, 0, 0)";
    change(transaction, insert, (node, sensor, quantity))?;
    Ok(KnownSeries { id: transaction.last_insert_rowid(), latest: None })
}

/// Loads a boot, or creates it and drops the oldest ones beyond the maximum.
fn load_boot(transaction: &Transaction<'_>, node: i64, batch: &SampleBatch) -> Result<Boot> {
    let id = "SELECT id FROM boots WHERE node = ? AND boot = ?";
    if let Some(id) = find(transaction, id, (node, &batch.boot), |row| row.get(0))? {
        let marks = "SELECT series, seq FROM marks WHERE boot = ?";
        let marks = rows(transaction, marks, [id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        return Ok(Boot { id, marks });
    }
    let insert = "INSERT INTO boots (node, boot, received) VALUES (?, ?, ?)";
    change(transaction, insert, (node, &batch.boot, batch.received))?;
    let id = transaction.last_insert_rowid();
    let oldest =
        "SELECT id FROM boots WHERE node = ? AND id <> ? ORDER BY received DESC, id DESC LIMIT -1 OFFSET ?";
    let oldest: Vec<i64> = rows(transaction, oldest, (node, id, limit(MAX_BOOTS - 1)), |row| row.get(0))?;
    oldest.into_iter().try_for_each(|boot| delete_boot(transaction, boot))?;
    Ok(Boot { id, marks: HashMap::new() })
}

/// Deletes a boot and its marks.
pub(super) fn delete_boot(transaction: &Transaction<'_>, boot: i64) -> Result<()> {
    change(transaction, "DELETE FROM marks WHERE boot = ?", [boot])?;
    change(transaction, "DELETE FROM boots WHERE id = ?", [boot])?;
    Ok(())
}
