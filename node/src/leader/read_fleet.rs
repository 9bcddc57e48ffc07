//! Reads the measurements of the fleet with few requests and bounded memory. Wrong data excludes its own znode only.

use atalaya_recipes::session::BulkRead;
use atalaya_recipes::{Connection, Error};
use futures_util::TryStreamExt;
use tracing::{info, warn};

use crate::fleet_status::RawMeasurement;
use crate::leader::aggregate::Aggregate;
use crate::leader::members::Members;
use crate::model::measurement::{self, Exclusion};
use crate::zk::bulk_read::read_batches;
use crate::zk::server_clock::Millis;

/// Result of one reading of the fleet.
#[derive(Debug, Default)]
pub struct FleetReading {
    /// The usable measurements.
    pub aggregate: Aggregate,
    /// Number of listed znodes without a usable measurement.
    pub excluded: usize,
    /// The same by reason, in the order of [`Exclusion::REASONS`].
    pub excluded_by_reason: [usize; Exclusion::REASONS.len()],
    /// Number of znodes with a usable measurement that is in no earlier cycle.
    pub new: usize,
    /// Names and measurements of the first znodes, for the fleet status; see [`read_fleet`].
    pub(crate) measurements: Vec<(String, RawMeasurement)>,
}

/// Limits that decide whether a measurement is fresh and whether it is new.
#[derive(Clone, Copy, Debug, Default)]
pub struct Freshness {
    /// A measurement that was written before this time, by ZooKeeper's clock, is stale.
    pub min_time: Millis,
    /// Transaction of the newest cycle: a measurement that was not written after it is in an earlier cycle.
    pub last_cycle_zxid: i64,
}

/// Reads the measurements of all `members` and records in `members` which are excluded. A member that is excluded, or
/// is included again, is logged once. The result contains the measurements of the first `keep` znodes besides.
///
/// # Errors
/// The connection is lost, or a response did not arrive in time. Then `members` is unchanged, except that the next reading
/// makes smaller requests.
///
/// # Cancellation safety
/// Reads only. `members` changes only after the whole fleet has been read, or the reading has failed.
pub async fn read_fleet(
    connection: &Connection,
    members: &mut Members,
    freshness: Freshness,
    keep: usize,
) -> Result<FleetReading, Error> {
    let read = read(connection, members, freshness, keep).await;
    let (mut reading, found, kept) = read.inspect_err(|_| members.forget_sizes())?;
    let mut kept = kept.into_iter();
    for (member, Found { size, is_new, excluded }) in members.0.iter_mut().zip(found) {
        if let Some(Some(measurement)) = kept.next() {
            reading.measurements.push((member.name().to_owned(), measurement));
        }
        if member.record(size, excluded) {
            log_change(member.name(), excluded);
        }
        match excluded {
            None => reading.new += usize::from(is_new),
            Some(reason) => {
                reading.excluded += 1;
                reading.excluded_by_reason[reason.reason()] += 1;
            }
        }
    }
    Ok(reading)
}

/// Result of reading one member.
struct Found {
    /// Size of the data in bytes.
    size: usize,
    is_new: bool,
    excluded: Option<Exclusion>,
}

/// Reads and aggregates the measurements. Also returns the result of each member, and the measurements of the first `keep`.
async fn read(
    connection: &Connection,
    members: &Members,
    freshness: Freshness,
    keep: usize,
) -> Result<(FleetReading, Vec<Found>, Vec<Option<RawMeasurement>>), Error> {
    let mut reading = FleetReading::default();
    let mut kept = Vec::new();
    let mut found = Vec::with_capacity(members.len());
    let parse = |answer| match answer {
        BulkRead::Data(data, stat) => (data.len(), Some(stat), measurement::parse(&data)),
        // The znode does not exist, or must not be read.
        BulkRead::Missing(_) => (0, None, Err(Exclusion::Gone)),
    };
    let mut batches = std::pin::pin!(read_batches(connection, members.all_batches(), &parse));
    // Aggregated batch by batch, so that values with their units do not accumulate.
    while let Some(batch) = batches.try_next().await? {
        for (size, stat, values) in batch {
            if kept.len() < keep {
                kept.push(stat.map(|stat| RawMeasurement::from_parsed(&values, &stat)));
            }
            let is_new = stat.is_some_and(|stat| stat.mzxid > freshness.last_cycle_zxid);
            let excluded = match values {
                // The data is judged first: wrong data is reported as such however old it is.
                Err(reason) => Some(reason),
                Ok(_) if stat.is_some_and(|stat| stat.mtime < freshness.min_time) => Some(Exclusion::Stale),
                Ok(values) if reading.aggregate.has_room_for(&values) => {
                    values.into_iter().for_each(|value| reading.aggregate.add(found.len(), value));
                    None
                }
                Ok(_) => Some(Exclusion::TooManyUnits),
            };
            found.push(Found { size, is_new, excluded });
        }
    }
    Ok((reading, found, kept))
}

fn log_change(name: &str, excluded: Option<Exclusion>) {
    match excluded {
        // The member list will log that the node left.
        Some(Exclusion::Gone) => {}
        Some(reason) => warn!(node = name, "excluded from the average: its measurement {reason}"),
        None => info!(node = name, "included in the average again"),
    }
}

/// Returns those of the measurement znodes at `paths` that exist and were not written since the transaction `zxid`.
pub(super) async fn not_written_since(
    connection: &Connection,
    members: &Members,
    paths: &[String],
    zxid: i64,
) -> Result<Vec<String>, Error> {
    let is_old = |answer| matches!(answer, BulkRead::Data(_, stat) if stat.mzxid <= zxid);
    let batches = members.batches(paths);
    let old: Vec<Vec<bool>> = read_batches(connection, batches, &is_old).try_collect().await?;
    let old = paths.iter().zip(old.into_iter().flatten());
    Ok(old.filter(|(_, is_old)| *is_old).map(|(path, _)| path.clone()).collect())
}

#[cfg(test)]
mod tests {
    use atalaya_recipes::Stat;

    use super::*;
    use crate::leader::test_support::{connect, server};

    const PARENT: &str = "/mediciones";

    async fn write(connection: &Connection, name: &str, data: &str) -> Stat {
        let path = format!("{PARENT}/{name}");
        connection.ensure(&path).await.unwrap();
        connection.set(&path, data.as_bytes(), None).await.unwrap()
    }

    async fn members(connection: &Connection) -> Members {
        let mut members = Members::default();
        members.update(PARENT, connection.children(PARENT).await.unwrap());
        members
    }

    #[tokio::test]
    async fn read_fleet_averages_usable_measurements_and_counts_the_others_by_reason() {
        let server = server().await;
        let session = connect(&server);
        let connection = session.connection().await;
        for (name, data) in [("1", "75"), ("2", "80"), ("3", "NaN"), ("4", ""), ("5", "85")] {
            write(&connection, name, data).await;
        }
        let mut members = members(&connection).await;
        connection.delete(&format!("{PARENT}/5"), None).await.unwrap();
        let reading = read_fleet(&connection, &mut members, Freshness::default(), 2).await.unwrap();
        let averages = reading.aggregate.averages();
        assert_eq!((averages[0].mean, averages[0].count, reading.excluded, reading.new), (77.5, 2, 3, 2));
        let of = |reason: Exclusion| reading.excluded_by_reason[reason.reason()];
        assert_eq!((of(Exclusion::NotFinite), of(Exclusion::Empty), of(Exclusion::Gone)), (1, 1, 1));
        let kept: Vec<&str> = reading.measurements.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(kept, ["1", "2"]);
    }

    #[tokio::test]
    async fn read_fleet_excludes_stale_measurements_and_counts_new_ones() {
        let server = server().await;
        let session = connect(&server);
        let connection = session.connection().await;
        let old = write(&connection, "1", "75").await;
        server.faults().advance_clock(std::time::Duration::from_secs(10)).await;
        let new = write(&connection, "2", "80").await;
        let mut members = members(&connection).await;
        let last_cycle_zxid = old.mzxid;
        let reading = |min_time| Freshness { min_time, last_cycle_zxid };
        let fresh = read_fleet(&connection, &mut members, reading(old.mtime), 0).await.unwrap();
        assert_eq!((fresh.excluded, fresh.new), (0, 1), "only node 2 has written since the cycle");
        let stale = read_fleet(&connection, &mut members, reading(new.mtime), 0).await.unwrap();
        assert_eq!(
            (stale.excluded, stale.excluded_by_reason[Exclusion::Stale.reason()], stale.new),
            (1, 1, 1)
        );
    }

    #[tokio::test]
    async fn not_written_since_returns_existing_znodes_with_old_data() {
        let server = server().await;
        let session = connect(&server);
        let connection = session.connection().await;
        let old = write(&connection, "1", "75").await;
        write(&connection, "2", "80").await;
        let paths = ["1", "2", "missing"].map(|name| format!("{PARENT}/{name}"));
        let left = not_written_since(&connection, &Members::default(), &paths, old.mzxid).await.unwrap();
        assert_eq!(left, [format!("{PARENT}/1")]);
    }
}
