//! Reads what the whole fleet measured: few requests, bounded memory, and nothing that a znode holds can stop it.

use atalaya_recipes::session::BulkRead;
use atalaya_recipes::{Connection, Error};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tracing::{info, warn};

use crate::leader::aggregate::Aggregate;
use crate::leader::members::{LARGEST_BATCH, Members};
use crate::model::measurement::{self, Exclusion};
use crate::model::senml::Value;

/// Requests under way at once: enough to keep the connection busy, few enough to bound what arrives.
const IN_FLIGHT: usize = 4;

/// What one znode's data is worth.
type Verdict = Result<Vec<Value>, Exclusion>;

/// How large one znode is, whether it is new, and whether it counts.
type Found = (usize, bool, Result<(), Exclusion>);

/// What one reading of the fleet gave.
#[derive(Debug, Default)]
pub struct Gathered {
    /// What was measured.
    pub aggregate: Aggregate,
    /// Znodes that were listed but had no usable measurement.
    pub excluded: usize,
    /// The same by reason, in the order of [`Exclusion::REASONS`].
    pub reasons: [usize; Exclusion::REASONS.len()],
    /// Znodes that had one that is in no cycle yet.
    pub new: usize,
}

/// From when on what was written matters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Since {
    /// What was written before is too old, in milliseconds of ZooKeeper's clock.
    pub time: i64,
    /// What was written in this transaction or before is in an earlier cycle.
    pub zxid: i64,
}

/// Reads every member of `roster`. What was written too long ago does not count. A member whose data changes between usable and not is logged, once.
///
/// # Errors
/// The connection is lost, or the answer did not come in time. Nothing is noted then.
///
/// # Cancellation safety
/// Reads only; nothing is noted before everything is read.
pub async fn gather(connection: &Connection, roster: &mut Members, since: Since) -> Result<Gathered, Error> {
    let mut batches = stream::iter(roster.batches())
        .map(|paths| async move {
            // Parsed batch by batch, so that raw data never piles up.
            let answers = connection.get_many(&paths).await?;
            Ok::<_, Error>(answers.into_iter().map(|answer| judge(answer, since)).collect::<Vec<_>>())
        })
        .buffered(IN_FLIGHT);
    let mut gathered = Gathered::default();
    let mut all: Vec<Found> = Vec::new();
    // Averaged batch by batch, so that values with their units do not pile up either.
    while let Some(batch) = batches.try_next().await? {
        all.extend(batch.into_iter().map(|(size, is_new, verdict)| match verdict {
            Ok(values) if gathered.aggregate.has_room_for(&values) => {
                values.into_iter().for_each(|value| gathered.aggregate.add(value));
                (size, is_new, Ok(()))
            }
            Ok(_) => (size, is_new, Err(Exclusion::TooManyUnits)),
            Err(unusable) => (size, is_new, Err(unusable)),
        }));
    }
    drop(batches);
    for (mut note, (size, is_new, verdict)) in roster.notes().zip(all) {
        let unusable = verdict.err();
        if note.found(size, unusable) {
            match unusable {
                // Those who leave are logged as leaving.
                Some(Exclusion::Gone) => {}
                Some(reason) => {
                    warn!(node = note.name(), "excluded from the average: its measurement {reason}")
                }
                None => info!(node = note.name(), "counts in the average again"),
            }
        }
        match verdict {
            Ok(()) => gathered.new += usize::from(is_new),
            Err(unusable) => {
                gathered.excluded += 1;
                gathered.reasons[unusable.reason()] += 1;
            }
        }
    }
    Ok(gathered)
}

/// How large it is, whether it is new, and what it is worth.
fn judge(answer: BulkRead, since: Since) -> (usize, bool, Verdict) {
    let (data, stat) = match answer {
        BulkRead::Data(data, stat) => (data, stat),
        BulkRead::Missing(_) => return (0, false, Err(Exclusion::Gone)),
    };
    // What is no measurement at all is worth more words than its age.
    let verdict = measurement::parse(&data).and_then(|values| match stat.mtime < since.time {
        true => Err(Exclusion::Stale),
        false => Ok(values),
    });
    (data.len(), stat.mzxid > since.zxid, verdict)
}

/// Those of `missing`, paths of measurements, that have not been written since the transaction `since`, and are there.
///
/// # Errors
/// As [`gather`].
pub async fn not_written_since(
    connection: &Connection,
    missing: Vec<String>,
    since: i64,
) -> Result<Vec<String>, Error> {
    let mut left = Vec::new();
    for batch in missing.chunks(LARGEST_BATCH) {
        let answers = connection.get_many(batch).await?;
        let silent = |answer: &BulkRead| matches!(answer, BulkRead::Data(_, stat) if stat.mzxid <= since);
        left.extend(
            batch.iter().zip(answers).filter(|(_, answer)| silent(answer)).map(|(path, _)| path.clone()),
        );
    }
    Ok(left)
}
