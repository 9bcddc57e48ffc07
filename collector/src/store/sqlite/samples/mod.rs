//! Measurements of single sensors: adding samples, with their sums, marks and latest values, in one transaction.

mod cache;
mod reading;
mod retention;

use rusqlite::{CachedStatement, OptionalExtension, Transaction, params};

pub(super) use self::cache::Cache;
use self::cache::{Boot, KnownSeries};
pub(super) use self::reading::{fleets, latest, series};
pub(super) use self::retention::{forget_node, prune};
use crate::measurements::{Position, Sample, SampleBatch, SampleOutcome};
use crate::store::sums::{NewSums, Sums};

/// Adds batches in their order, and returns the outcomes of each.
pub(super) fn add<'b>(
    transaction: &Transaction<'_>,
    cache: &mut Cache,
    batches: impl Iterator<Item = &'b SampleBatch>,
) -> rusqlite::Result<Vec<Vec<SampleOutcome>>> {
    cache.refresh(transaction)?;
    let mut statements = Statements::new(transaction)?;
    let mut sums = NewSums::default();
    let outcomes = batches
        .map(|batch| add_batch(transaction, cache, batch, &mut statements, &mut sums))
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let [minutes, hours] = sums.into_sorted();
    for (table, sums) in [("sample_minutes", minutes), ("sample_hours", hours)] {
        let mut statement = transaction.prepare_cached(&format!(
            "INSERT INTO {table} VALUES (?, ?, ?, ifnull(?, 0.0), ?, ?, ?)
             ON CONFLICT (series, time) DO UPDATE SET
                count = count + excluded.count, sum = ifnull(sum + excluded.sum, 0.0),
                min = min(min, excluded.min), max = max(max, excluded.max), clock = max(clock, excluded.clock)"
        ))?;
        for ((series, time), Sums { rollup, clock }) in sums {
            statement.execute(params![
                series,
                time,
                rollup.reports,
                rollup.sum,
                rollup.min,
                rollup.max,
                clock.number()
            ])?;
        }
    }
    Ok(outcomes)
}

/// Returns a number as SQLite represents it.
fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Statements that are executed for each sample.
struct Statements<'t> {
    insert: CachedStatement<'t>,
    find: CachedStatement<'t>,
}

impl<'t> Statements<'t> {
    fn new(transaction: &'t Transaction<'_>) -> rusqlite::Result<Statements<'t>> {
        let insert = "INSERT OR IGNORE INTO samples VALUES (?, ?, ?, ?, ?, ?)";
        let find = "SELECT value FROM samples WHERE series = ? AND time = ? AND boot = ? AND seq = ?";
        Ok(Statements {
            insert: transaction.prepare_cached(insert)?,
            find: transaction.prepare_cached(find)?,
        })
    }
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
    Statements { insert, find }: &mut Statements<'_>,
    sums: &mut NewSums,
) -> rusqlite::Result<Vec<SampleOutcome>> {
    let Some(mut sender) = cache.sender(transaction, batch)? else {
        return Ok(vec![SampleOutcome::TooManySeries; batch.samples.len()]);
    };
    let boot = sender.boot.id;
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
        sums.add(series.id, sample);
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
        transaction
            .prepare_cached("INSERT OR REPLACE INTO marks VALUES (?, ?, ?)")?
            .execute((boot, id, mark))?;
        sender.boot.marks.insert(id, mark);
        if let Some(Sample { time, value, clock, .. }) = newest {
            transaction
                .prepare_cached(
                    "UPDATE series SET unit = ?, time = ?, boot = ?, value = ?, clock = ?, received = ? WHERE id = ?",
                )?
                .execute(params![name.unit, time, boot, value, clock.number(), batch.received, id])?;
            sender.set_latest(name, latest);
        }
    }
    if changed {
        transaction
            .prepare_cached("UPDATE boots SET received = max(received, ?) WHERE id = ?")?
            .execute((batch.received, boot))?;
    }
    Ok(outcomes)
}
