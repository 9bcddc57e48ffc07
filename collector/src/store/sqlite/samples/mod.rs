//! Measurements of single sensors: adding samples, with their sums, marks and latest values, in one transaction.

mod cache;
mod reading;
mod retention;

use std::collections::{BTreeMap, HashMap};

use rusqlite::{OptionalExtension, Result, Transaction, params};

pub(super) use self::cache::Cache;
use self::cache::{Boot, KnownSeries};
pub(super) use self::reading::{fleets, latest, series};
pub(super) use self::retention::{forget_node, prune};
use super::statements::change;
use crate::measurements::{HOUR, MINUTE, Position, Sample, SampleBatch, SampleOutcome};
use crate::store::rollup::Rollup;
use crate::store::sums::Sums;

/// Adds batches in their order, and returns the outcomes of each.
pub(super) fn add<'b>(
    transaction: &Transaction<'_>,
    cache: &mut Cache,
    batches: impl Iterator<Item = &'b SampleBatch>,
) -> Result<Vec<Vec<SampleOutcome>>> {
    cache.refresh(transaction)?;
    let mut minutes = HashMap::new();
    let outcomes = batches
        .map(|batch| add_batch(transaction, cache, batch, &mut minutes))
        .collect::<Result<Vec<_>>>()?;
    let minutes: BTreeMap<(i64, i64), Sums> = minutes.into_iter().collect();
    let mut hours: BTreeMap<(i64, i64), Sums> = BTreeMap::new();
    for (&(series, minute), &sums) in &minutes {
        hours.entry((series, minute - minute % HOUR)).and_modify(|all| all.add(sums)).or_insert(sums);
    }
    for (table, sums) in [("sample_minutes", minutes), ("sample_hours", hours)] {
        let mut add = transaction.prepare_cached(&format!(
            "INSERT INTO {table} VALUES (?, ?, ?, ifnull(?, 0.0), ?, ?, ?)
             ON CONFLICT (series, time) DO UPDATE SET
                count = count + excluded.count, sum = ifnull(sum + excluded.sum, 0.0),
                min = min(min, excluded.min), max = max(max, excluded.max), clock = max(clock, excluded.clock)"
        ))?;
        for ((series, time), Sums { rollup: Rollup { reports, sum, min, max, .. }, clock }) in sums {
            add.execute(params![series, time, reports, sum, min, max, clock.number()])?;
        }
    }
    Ok(outcomes)
}

/// Series of a batch while it is added.
struct Adding {
    id: i64,
    mark: Option<i64>,
    latest: Option<Position>,
    /// Sample that is the latest now, if it is of this batch.
    newest: Option<Sample>,
    changed: bool,
}

impl Adding {
    fn new(known: &KnownSeries, boot: &Boot) -> Adding {
        let mark = boot.marks.get(&known.id).copied();
        Adding { id: known.id, mark, latest: known.latest, newest: None, changed: false }
    }
}

fn add_batch(
    transaction: &Transaction<'_>,
    cache: &mut Cache,
    batch: &SampleBatch,
    minutes: &mut HashMap<(i64, i64), Sums>,
) -> Result<Vec<SampleOutcome>> {
    let Some(mut sender) = cache.sender(transaction, batch)? else {
        return Ok(vec![SampleOutcome::TooManySeries; batch.samples.len()]);
    };
    let boot = sender.boot.id;
    let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?, ?)")?;
    let find = "SELECT value FROM samples WHERE series = ? AND time = ? AND boot = ? AND seq = ?";
    let mut find = transaction.prepare_cached(find)?;
    let adding = |name| Some(Adding::new(sender.series(name)?, sender.boot));
    let mut all: Vec<Option<Adding>> = batch.series.iter().map(adding).collect();
    let mut outcomes = Vec::with_capacity(batch.samples.len());
    for sample in &batch.samples {
        let Some(series) = all.get_mut(sample.series).and_then(Option::as_mut) else {
            outcomes.push(SampleOutcome::TooManySeries);
            continue;
        };
        let &Sample { seq, time, value, clock, .. } = sample;
        if series.mark.is_some_and(|mark| seq <= mark) {
            let kept = find.query_row((series.id, time, boot, seq), |row| row.get(0)).optional()?;
            outcomes.push(SampleOutcome::of_repeat(sample, kept));
            continue;
        }
        insert.execute((series.id, time, boot, seq, value, clock.number()))?;
        let sums = Sums::of(sample);
        minutes.entry((series.id, time - time % MINUTE)).and_modify(|all| all.add(sums)).or_insert(sums);
        series.mark = Some(seq);
        series.changed = true;
        let position = Position { boot, time, clock };
        if series.latest.is_none_or(|latest| position.supersedes(&latest)) {
            series.latest = Some(position);
            series.newest = Some(*sample);
        }
        outcomes.push(SampleOutcome::Accepted);
    }
    let mut changed = false;
    for (series, name) in all.into_iter().zip(&batch.series) {
        let Some(Adding { id, mark: Some(mark), latest, newest, changed: true }) = series else { continue };
        changed = true;
        change(transaction, "INSERT OR REPLACE INTO marks VALUES (?, ?, ?)", (boot, id, mark))?;
        sender.boot.marks.insert(id, mark);
        if let Some(Sample { time, value, clock, .. }) = newest {
            let update = "UPDATE series SET unit = ?, time = ?, boot = ?, value = ?, clock = ?, received = ? WHERE id = ?";
            let values = params![name.unit, time, boot, value, clock.number(), batch.received, id];
            change(transaction, update, values)?;
            sender.set_latest(name, latest);
        }
    }
    if changed {
        let update = "UPDATE boots SET received = max(received, ?) WHERE id = ?";
        change(transaction, update, (batch.received, boot))?;
    }
    Ok(outcomes)
}
