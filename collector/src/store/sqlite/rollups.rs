//! Sums per minute and per hour, so that a series of a year need not read all of its reports.
//!
//! They cover exactly the reports in the table `reports`: new reports are added, and reports past the retention are
//! subtracted, in the same transaction. A query is divided into pieces: whole hours, whole minutes where no hour fits,
//! and reports where no minute does. Therefore its result is the same as if every report had been read.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Result, Transaction, params};

use super::fleets;
use super::statements::{change, rows};
use crate::moments::Moments;
use crate::store::interface::HOUR;
use crate::store::rollup::Rollup;

/// Microseconds in a minute.
const MINUTE: i64 = 60_000_000;
/// Lengths of the sums, in microseconds.
const STEPS: [i64; 2] = [MINUTE, HOUR];

/// Time range that is read from one source: `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Length of the sums in microseconds; `None`: the reports themselves.
    pub(super) step: Option<i64>,
    pub(super) from: Option<i64>,
    pub(super) to: Option<i64>,
}

impl Piece {
    fn is_empty(&self) -> bool {
        self.from.zip(self.to).is_some_and(|(from, to)| from >= to)
    }
}

/// Divides `[from, to)` into pieces for steps of `step`. Times before 1970 have no sums, because division rounds the
/// other way there.
pub(super) fn pieces(from: Option<i64>, to: Option<i64>, step: i64) -> Vec<Piece> {
    let usable = STEPS.iter().rev().copied().filter(|size| step % size == 0);
    let mut pieces = Vec::new();
    cut(from, to, &usable.collect::<Vec<_>>(), &mut pieces);
    pieces
}

/// Cuts the largest of `sizes` out of the middle, and the smaller ones out of the rest.
fn cut(from: Option<i64>, to: Option<i64>, sizes: &[i64], pieces: &mut Vec<Piece>) {
    let whole = Piece { step: None, from, to };
    let Some((&size, smaller)) = sizes.split_first() else {
        if !whole.is_empty() {
            pieces.push(whole);
        }
        return;
    };
    let first = match from {
        Some(from) if from > 0 => from.checked_add(size - 1).map_or(i64::MAX, |up| up - up % size),
        _ => 0,
    };
    let last = to.map(|to| to - to.rem_euclid(size));
    let middle = Piece { step: Some(size), from: Some(first), to: last };
    if middle.is_empty() {
        return cut(from, to, smaller, pieces);
    }
    cut(from, Some(first), smaller, pieces);
    pieces.push(middle);
    if last.is_some() && last != to {
        cut(last, to, smaller, pieces);
    }
}

/// Returns the `SELECT` of a piece, and the values of its placeholders. `kinds` are conditions on fleet, quantity and
/// unit. Without moments, their column is NULL.
pub(super) fn select(
    piece: &Piece,
    kinds: &str,
    kind_values: &[Value],
    with_moments: bool,
) -> (String, Vec<Value>) {
    let mut values = Vec::new();
    let mut conditions = Vec::new();
    if let Some(step) = piece.step {
        conditions.push("step = ?");
        values.push(Value::from(step));
    }
    for (condition, bound) in [("time >= ?", piece.from), ("time < ?", piece.to)] {
        if let Some(bound) = bound {
            conditions.push(condition);
            values.push(Value::from(bound));
        }
    }
    conditions.push(kinds);
    values.extend_from_slice(kind_values);
    let conditions = conditions.join(" AND ");
    let sql = match piece.step {
        Some(_) => {
            let moments = if with_moments { "moments" } else { "NULL" };
            format!(
                "SELECT time, quantity, unit, reports, sum, min, max, {moments} FROM rollups WHERE {conditions}"
            )
        }
        None => format!(
            "SELECT time, ifnull(quantity, '') AS quantity, ifnull(unit, '') AS unit, 1 AS reports, mean AS sum,
                    ifnull(min, mean) AS min, ifnull(max, mean) AS max, {}
             FROM reports WHERE {conditions}",
            if with_moments { OF_REPORT } else { "NULL" }
        ),
    };
    (sql, values)
}

/// Moments of a row of the table `reports`.
pub(super) const OF_REPORT: &str = "moments_of(count, mean, stddev, aggregate)";

const JOIN: &str = "ON CONFLICT (fleet, step, time, quantity, unit) DO UPDATE SET
    reports = reports + excluded.reports, sum = ifnull(sum + excluded.sum, 0.0),
    min = min(min, excluded.min), max = max(max, excluded.max),
    moments = merge_moments(moments, excluded.moments)";

/// Returns the lengths and the beginnings of the steps to whose sums a report of `time` belongs.
pub(super) fn steps(time: Timestamp) -> impl Iterator<Item = (i64, i64)> {
    let time = time.as_microsecond();
    STEPS.into_iter().filter(move |_| time >= 0).map(move |step| (step, time - time % step))
}

/// Adds recorded reports of one step and kind to the sums.
pub(super) fn add(
    transaction: &Transaction<'_>,
    (step, time): (i64, i64),
    (fleet, quantity, unit): (i64, &str, &str),
    Rollup { reports, sum, min, max, moments }: Rollup,
) -> Result<usize> {
    let sql = format!("INSERT INTO rollups VALUES (?, ?, ?, ?, ?, ?, ifnull(?, 0.0), ?, ?, ?) {JOIN}");
    let moments = moments.map(Moments::to_bytes);
    let values = params![fleet, step, time, quantity, unit, reports, sum, min, max, moments];
    change(transaction, &sql, values)
}

/// Deletes the sums of a fleet up to `end`, after all of its reports up to there have been deleted, and recomputes the last ones from the
/// reports that are left.
pub(super) fn delete_until(transaction: &Transaction<'_>, fleet: i64, end: i64) -> Result<()> {
    for step in STEPS {
        let last = end - end.rem_euclid(step);
        transaction
            .execute("DELETE FROM rollups WHERE fleet = ? AND step = ? AND time <= ?", [fleet, step, last])?;
        sum_up(transaction, fleet, step, (last.max(0), last.saturating_add(step)))?;
    }
    Ok(())
}

/// Computes the sums of a file from an earlier version again.
pub(super) fn compute_all(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute("DELETE FROM rollups", [])?;
    for fleet in fleets::numbers(transaction)? {
        for step in STEPS {
            sum_up(transaction, fleet, step, (0, i64::MAX))?;
        }
    }
    Ok(())
}

/// Returns the lengths and the beginnings of the steps to whose sums reports of `epoch` belong.
pub(super) fn steps_of(transaction: &Transaction<'_>, fleet: i64, epoch: i64) -> Result<Vec<(i64, i64)>> {
    let sql = "SELECT DISTINCT time - time % ?1 FROM reports WHERE fleet = ?2 AND epoch = ?3 AND time >= 0";
    let begins =
        |step: i64| rows(transaction, sql, [step, fleet, epoch], |row| Ok((step, row.get::<_, i64>(0)?)));
    let all: Vec<Vec<(i64, i64)>> = STEPS.into_iter().map(begins).collect::<Result<_>>()?;
    Ok(all.concat())
}

/// Replaces the sums of `steps` by those of the reports that are left.
pub(super) fn recompute(transaction: &Transaction<'_>, fleet: i64, steps: &[(i64, i64)]) -> Result<()> {
    for &(step, begin) in steps {
        let delete = "DELETE FROM rollups WHERE fleet = ? AND step = ? AND time = ?";
        change(transaction, delete, [fleet, step, begin])?;
        sum_up(transaction, fleet, step, (begin, begin.saturating_add(step)))?;
    }
    Ok(())
}

/// Computes the sums of a fleet's reports in `[from, to)`, for which there must be no sums yet.
fn sum_up(transaction: &Transaction<'_>, fleet: i64, step: i64, (from, to): (i64, i64)) -> Result<usize> {
    let sql = format!(
        "INSERT INTO rollups
         SELECT ?4, ?1, time - time % ?1, ifnull(quantity, ''), ifnull(unit, ''), count(*), ifnull(sum(mean), 0.0),
                min(ifnull(min, mean)), max(ifnull(max, mean)), all_moments({OF_REPORT})
         FROM reports WHERE fleet = ?4 AND time >= ?2 AND time < ?3 GROUP BY 3, 4, 5"
    );
    change(transaction, &sql, [step, from, to, fleet])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(step: Option<i64>, from: i64, to: i64) -> Piece {
        Piece { step, from: Some(from), to: Some(to) }
    }

    #[test]
    fn hours_then_minutes_then_reports() {
        let from = HOUR - MINUTE - 1;
        let to = 3 * HOUR + 2 * MINUTE + 5;
        let expected = [
            piece(None, from, HOUR - MINUTE),
            piece(Some(MINUTE), HOUR - MINUTE, HOUR),
            piece(Some(HOUR), HOUR, 3 * HOUR),
            piece(Some(MINUTE), 3 * HOUR, 3 * HOUR + 2 * MINUTE),
            piece(None, 3 * HOUR + 2 * MINUTE, to),
        ];
        assert_eq!(pieces(Some(from), Some(to), 24 * HOUR), expected);
        assert_eq!(pieces(Some(from), Some(to), 1_000_000), [piece(None, from, to)]);
        let minutes = pieces(Some(0), Some(HOUR), 5 * MINUTE);
        assert_eq!(minutes, [piece(Some(MINUTE), 0, HOUR)]);
    }

    proptest! {
        /// No time is read twice, none is left out, and only complete sums are used.
        #[test]
        fn pieces_are_the_whole(
            from in prop::option::of(-3 * HOUR..3 * HOUR),
            length in prop::option::of(0..9 * HOUR),
            step in prop::sample::select(vec![1_000_000, MINUTE, 5 * MINUTE, HOUR, 24 * HOUR]),
        ) {
            let to = length.map(|length| from.unwrap_or(0) + length);
            let mut at = from;
            let pieces = pieces(from, to, step);
            for piece in &pieces {
                prop_assert_eq!(piece.from, at);
                prop_assert!(piece.to.is_none_or(|to| piece.from.is_none_or(|from| from < to)));
                if let Some(size) = piece.step {
                    prop_assert!(piece.from.unwrap() >= 0 && piece.from.unwrap() % size == 0 && step % size == 0);
                    prop_assert!(piece.to.is_none_or(|to| to % size == 0));
                }
                at = piece.to;
            }
            prop_assert!(pieces.is_empty() == (from.is_some() && length == Some(0)), "{pieces:?}");
            prop_assert!(pieces.is_empty() || at == to);
        }
    }
}
