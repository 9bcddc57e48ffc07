//! Reads what many znodes say: few requests, bounded memory.

use std::time::{Duration, SystemTime};

use atalaya_recipes::session::BulkRead;
use atalaya_recipes::{Connection, Error, Stat};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use tracing::warn;

use crate::fleet_status::clock::Millis;
use crate::leader::members::Members;

/// Requests under way at once.
const IN_FLIGHT: usize = 4;

/// By this machine's clock.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_else(|_| {
        warn!("this machine's clock shows a time before 1970");
        Duration::ZERO
    });
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

/// The names below `path`; none, if it is not there.
pub(crate) async fn children(connection: &Connection, path: &str) -> Result<Vec<String>, Error> {
    match connection.children(path).await {
        Ok(names) => Ok(names),
        Err(error) if error.is_no_node() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Reads the children of `parent`, and gives what `judge` makes of each that is still there.
pub(crate) async fn all<T>(
    connection: &Connection,
    parent: &str,
    roster: &mut Members,
    judge: impl Fn(&[u8], &Stat) -> T,
) -> Result<Vec<(String, Stat, T)>, Error> {
    read(connection, parent, children(connection, parent).await?, roster, judge).await
}

/// Reads those of the children of `parent` that are called so, and gives what `judge` makes of each that is there.
pub(crate) async fn read<T>(
    connection: &Connection,
    parent: &str,
    names: Vec<String>,
    roster: &mut Members,
    judge: impl Fn(&[u8], &Stat) -> T,
) -> Result<Vec<(String, Stat, T)>, Error> {
    roster.update(parent, names);
    let judge = &judge;
    let answers: Vec<Vec<Option<(usize, Stat, T)>>> = stream::iter(roster.batches())
        .map(|paths| async move {
            let answers = connection.get_many(&paths).await?;
            // Judged batch by batch, so that raw data never piles up.
            let judged = answers.into_iter().map(|answer| match answer {
                BulkRead::Data(data, stat) => Some((data.len(), stat, judge(&data, &stat))),
                BulkRead::Missing(_) => None,
            });
            Ok::<_, Error>(judged.collect())
        })
        .buffered(IN_FLIGHT)
        .try_collect()
        .await?;
    let found = roster.notes().zip(answers.into_iter().flatten()).filter_map(|(mut note, answer)| {
        let (size, stat, judged) = answer?;
        note.found(size, None);
        Some((note.name().to_owned(), stat, judged))
    });
    Ok(found.collect())
}
