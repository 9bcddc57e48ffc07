use std::io::{Seek, Write};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, StatementStatus};

use super::*;
use crate::store::StoreError;
use crate::store::suite::{at, fleet, keyed, means, store_suite, unavailable_because};

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions::new(folder.join("reports.db"))).unwrap()
}

/// Opens a store in a new folder.
fn opened() -> (tempfile::TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    (folder, store)
}

store_suite!(|folder| (open(folder), ()));

#[tokio::test]
async fn recorded_reports_are_present_after_reopening() {
    let (folder, store) = opened();
    store.record(vec![keyed(7, 1, None, 79.5)]).await.unwrap();
    store.close().await;
    assert_eq!(store.record(vec![keyed(7, 2, None, 1.0)]).await, Err(StoreError::closed()));
    assert!(!folder.path().join("reports.db-wal").exists(), "one file is left");
    let store = open(folder.path());
    assert_eq!(store.record(vec![keyed(7, 1, None, 79.5)]).await.unwrap(), [Outcome::Repeated]);
    assert_eq!(means(&store).await, [79.5]);
}

#[tokio::test]
async fn waiting_calls_are_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        lock_timeout: Duration::from_secs(60),
        ..SqliteOptions::new(folder.path().join("db"))
    };
    let store = SqliteStore::open(options.clone()).unwrap();
    store.check().await.unwrap();
    let before = store.commits();
    let other = Connection::open(&options.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let tries = (0..500).map(|cycle| store.record(vec![keyed(1, cycle, None, 1.0)]));
    let tries = futures_util::future::join_all(tries);
    let release = async { other.execute_batch("COMMIT").unwrap() };
    // All calls have started before the lock is released: they are polled first.
    let (outcomes, ()) = futures_util::future::join(tries, release).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert!(store.commits() - before <= 2, "{} transactions", store.commits() - before);
}

#[test]
fn statements_are_compiled_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let mut connection = schema::open_to_write(&path, Duration::from_secs(1), None).unwrap();
    for cycle in 0..5 {
        let transaction = connection.transaction().unwrap();
        let report = keyed(1 + cycle, cycle, Some(if cycle % 2 == 0 { "Cel" } else { "%RH" }), 1.0);
        let outcomes = recording::record(&transaction, [report].iter()).unwrap();
        assert!(matches!(outcomes[..], [Outcome::Recorded(_)]));
        transaction.commit().unwrap();
    }
    let statement = connection.prepare_cached(latest::READ).unwrap();
    assert_eq!(
        [StatementStatus::Run, StatementStatus::RePrepare].map(|status| statement.get_status(status)),
        [5, 0]
    );
}

#[tokio::test]
async fn locked_file_is_reported_and_usable_after_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        lock_timeout: Duration::from_millis(10),
        ..SqliteOptions::new(folder.path().join("db"))
    };
    let store = SqliteStore::open(options.clone()).unwrap();
    store.record(vec![keyed(1, 1, None, 1.0)]).await.unwrap();
    let other = Connection::open(&options.path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    unavailable_because(&store.record(vec![keyed(1, 2, None, 2.0)]).await, "locked");
    assert!(store.check().await.is_err());
    assert_eq!(means(&store).await, [1.0], "reads continue");
    other.execute_batch("COMMIT").unwrap();
    store.check().await.unwrap();
    assert_eq!(store.record(vec![keyed(1, 2, None, 2.0)]).await.unwrap(), [Outcome::Recorded(2)]);
}

#[tokio::test]
async fn full_disk_loses_nothing_and_recovers_after_pruning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let options = SqliteOptions { max_bytes: Some(400_000), ..SqliteOptions::new(&path) };
    let store = SqliteStore::open(options).unwrap();
    let mut acknowledged = 0;
    let full = loop {
        let cycles = acknowledged..acknowledged + 100;
        match store.record(cycles.map(|cycle| keyed(1, cycle, None, 1.0)).collect()).await {
            Ok(outcomes) => {
                assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Recorded(_))));
                acknowledged += 100;
            }
            full => break full,
        }
    };
    unavailable_because(&full, "full");
    assert!(acknowledged > 100);
    assert!(store.check().await.is_err() && store.check().await.is_err());
    assert_eq!(means(&store).await.len(), usize::try_from(acknowledged).unwrap(), "all or nothing of a call");
    let half = Horizon { reports: at(acknowledged / 2), hours: None };
    assert_eq!(i64::try_from(store.prune(half).await.unwrap()).unwrap(), acknowledged / 2);
    store.check().await.unwrap();
    let again = store.record(vec![keyed(1, acknowledged, None, 1.0)]).await.unwrap();
    assert_eq!(again, [Outcome::Recorded(acknowledged + 1)]);
}

#[tokio::test]
async fn damaged_file_is_reported_until_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports.db");
    std::fs::write(&path, "this is not a database, and long enough to be read as one".repeat(100)).unwrap();
    let store = open(folder.path());
    unavailable_because(&store.record(vec![keyed(1, 1, None, 1.0)]).await, "damaged");
    assert!(store.check().await.is_err() && store.latest(&fleet()).await.is_err());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(store.record(vec![keyed(1, 1, None, 1.0)]).await.unwrap(), [Outcome::Recorded(1)]);
    store.close().await;
    // Damage in the middle is found only when it is read.
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(std::io::SeekFrom::Start(4096)).unwrap();
    file.write_all(&[0xa5; 4096 * 8]).unwrap();
    drop(file);
    let store = open(folder.path());
    unavailable_because(&store.record(vec![keyed(1, 2, None, 1.0)]).await, "damaged");
}

#[tokio::test]
async fn file_of_a_later_version_is_not_modified() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let store = open(folder.path());
    assert!(store.record(vec![keyed(1, 1, None, 1.0)]).await.is_err());
    let tables = "SELECT count(*) FROM sqlite_schema";
    assert_eq!(Connection::open(&path).unwrap().query_row(tables, [], |row| row.get(0)), Ok(0));
}

/// Replaces a file by one of version 3 with the same reports.
fn downgrade(path: &Path) -> Connection {
    let new = path.with_extension("new");
    std::fs::rename(path, &new).unwrap();
    let connection = Connection::open(path).unwrap();
    connection.execute("ATTACH ? AS new", [new.to_str().unwrap()]).unwrap();
    connection.execute_batch(include_str!("version_3.sql")).unwrap();
    connection.execute_batch("DETACH new").unwrap();
    connection
}

/// All data of version 3 is of the fleet `default`, and its limits continue.
#[tokio::test]
async fn file_of_version_3_has_one_fleet_and_accepts_others() {
    let (folder, store) = opened();
    let reports: Vec<_> = (0..5_000).map(|cycle| keyed(7, cycle, Some("Cel"), 0.5)).collect();
    store.record(reports).await.unwrap();
    store.record(vec![keyed(8, 5_000, None, 1.0)]).await.unwrap();
    store.prune(Horizon { reports: at(1_000), hours: None }).await.unwrap();
    let all = async |store: &SqliteStore| {
        let page = Page { filter: Filter::default(), after: None, newest_first: false, limit: 9_000 };
        let changes = store.changes(&fleet(), at(0), at(9_000), 9).await.unwrap();
        (
            store.page(page).await.unwrap(),
            store.series(Filter::default(), 3_600_000_000, 10).await.unwrap(),
            (store.latest(&fleet()).await.unwrap(), store.epochs(&fleet(), 9).await.unwrap(), changes),
            (store.last(&fleet(), 5).await.unwrap(), store.newest().await.unwrap()),
        )
    };
    let before = all(&store).await;
    store.close().await;
    drop(downgrade(&folder.path().join("reports.db")));
    let store = open(folder.path());
    store.check().await.unwrap();
    assert_eq!(all(&store).await, before);
    assert_eq!(store.fleets().await.unwrap(), [fleet()]);
    assert_eq!(
        store.record(vec![keyed(7, 3, Some("Cel"), 0.5)]).await.unwrap(),
        [Outcome::Repeated],
        "pruned"
    );
    assert!(matches!(store.record(vec![keyed(7, 5_001, None, 0.5)]).await.unwrap()[0], Outcome::Stale(_)));
    let other = Report { fleet: "home".parse().unwrap(), ..keyed(7, 3, Some("Cel"), 0.5) };
    assert_eq!(store.record(vec![other]).await.unwrap(), [Outcome::Recorded(5_002)], "ids continue");
    assert_eq!(all(&store).await.0, before.0);
}

/// Version 4 had no moments. Those of the existing reports are computed, and those past the retention are not known.
#[tokio::test]
async fn file_of_version_4_gets_the_moments_of_its_reports() {
    let (folder, store) = opened();
    let report = |cycle| Report { count: Some(3), stddev: Some(0.5), ..keyed(7, cycle, Some("Cel"), 20.0) };
    store.record((0..7_200).map(report).collect()).await.unwrap();
    let sums =
        async |store: &SqliteStore| store.sums(Filter::default(), 3_600_000_000, 10, true).await.unwrap();
    let before = sums(&store).await;
    assert_eq!(before.iter().map(|sum| sum.moments.unwrap().readings).collect::<Vec<_>>(), [10_800, 10_800]);
    store.prune(Horizon { reports: at(3_600), hours: None }).await.unwrap();
    assert_eq!(sums(&store).await.len(), 2);
    store.close().await;
    let older = "ALTER TABLE reports DROP COLUMN aggregate; ALTER TABLE hours DROP COLUMN moments;
        ALTER TABLE rollups DROP COLUMN moments; PRAGMA user_version = 4;";
    Connection::open(folder.path().join("reports.db")).unwrap().execute_batch(older).unwrap();
    let store = open(folder.path());
    store.check().await.unwrap();
    let after = sums(&store).await;
    assert_eq!((after[0].reports, after[0].moments), (3_600, None));
    assert_eq!(after[1].moments.map(|own| (own.readings, own.mean)), Some((10_800, 20.0)));
    assert_eq!(store.series(Filter::default(), 3_600_000_000, 10).await.unwrap().len(), 2);
    let zone = FleetName::from_key("default/north").unwrap();
    let other = Report { fleet: zone.clone(), ..report(1) };
    assert!(matches!(store.record(vec![other]).await.unwrap()[..], [Outcome::Recorded(_)]));
    assert_eq!(store.fleets().await.unwrap(), [fleet(), zone]);
}

#[tokio::test]
async fn file_of_an_earlier_version_gets_its_sums() {
    let (folder, store) = opened();
    let reports: Vec<_> = (0..5_000).map(|cycle| keyed(7, cycle, Some("Cel"), 0.5)).collect();
    store.record(reports).await.unwrap();
    let hours = store.series(Filter::default(), 3_600_000_000, 10).await.unwrap();
    store.close().await;
    let path = folder.path().join("reports.db");
    let before = "DROP TABLE rollups; DROP TABLE latest; PRAGMA user_version = 1;";
    downgrade(&path).execute_batch(before).unwrap();
    let store = open(folder.path());
    store.check().await.unwrap();
    assert_eq!(store.series(Filter::default(), 3_600_000_000, 10).await.unwrap(), hours);
    assert_eq!((hours.len(), hours[0].reports), (2, 3_600));
    store.record(vec![keyed(7, 5_000, Some("Cel"), 0.5)]).await.unwrap();
    assert_eq!(store.series(Filter::default(), 3_600_000_000, 10).await.unwrap()[1].reports, 1_401);
}

/// Version 2 had no table of the latest reports, and decided by time.
#[tokio::test]
async fn file_of_version_2_gets_its_latest_reports_by_epoch_and_cycle() {
    let (folder, store) = opened();
    let ahead = Report { time: at(80_000), ..keyed(7, 1, Some("Cel"), 1.0) };
    store.record(vec![ahead, keyed(7, 2, Some("Cel"), 2.0), keyed(7, 2, None, 3.0)]).await.unwrap();
    store.close().await;
    let before = "DROP TABLE latest; PRAGMA user_version = 2;";
    downgrade(&folder.path().join("reports.db")).execute_batch(before).unwrap();
    let store = open(folder.path());
    store.check().await.unwrap();
    let latest: Vec<f64> =
        store.latest(&fleet()).await.unwrap().iter().map(|record| record.report.mean).collect();
    assert_eq!(latest, [3.0, 2.0]);
}

#[cfg(unix)]
#[tokio::test]
async fn file_that_is_moved_away_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports.db");
    let store = open(folder.path());
    store.record(vec![keyed(1, 1, None, 1.0)]).await.unwrap();
    assert_eq!(means(&store).await, [1.0]);
    for name in ["reports.db", "reports.db-wal", "reports.db-shm"] {
        std::fs::rename(folder.path().join(name), folder.path().join(format!("old-{name}"))).unwrap();
    }
    assert_eq!(store.record(vec![keyed(1, 2, None, 2.0)]).await.unwrap(), [Outcome::Recorded(1)]);
    assert_eq!(means(&store).await, [2.0]);
    store.close().await;
    assert!(path.exists());
    let old = Connection::open(folder.path().join("old-reports.db")).unwrap();
    assert_eq!(old.query_row("SELECT count(*) FROM reports", [], |row| row.get(0)), Ok(1), "none is lost");
}

#[tokio::test]
async fn missing_folder_is_usable_once_it_exists() {
    let folder = tempfile::tempdir().unwrap();
    let later = folder.path().join("later");
    let store = open(&later);
    unavailable_because(&store.record(vec![keyed(1, 1, None, 1.0)]).await, "opened");
    std::fs::create_dir(&later).unwrap();
    store.check().await.unwrap();
}

#[tokio::test]
async fn query_that_takes_too_long_is_aborted() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        SqliteOptions { read_timeout: Duration::ZERO, ..SqliteOptions::new(folder.path().join("db")) };
    let store = SqliteStore::open(options.clone()).unwrap();
    for from in [0, 5_000] {
        let reports = (from..from + 5_000).map(|cycle| keyed(1, cycle, None, 1.0)).collect();
        store.record(reports).await.unwrap();
    }
    assert_eq!(store.series(Filter::default(), 1_000_000, 10).await, Err(StoreError::TooLong));
    let other = SqliteStore::open(SqliteOptions::new(&options.path)).unwrap();
    assert_eq!(other.series(Filter::default(), 1_000_000, 10).await.unwrap().len(), 10);
}

#[tokio::test]
async fn readable_view_shows_times_as_text() {
    let (folder, store) = opened();
    store.record(vec![keyed(7, 1, Some("Cel"), 79.5)]).await.unwrap();
    let other = Connection::open(folder.path().join("reports.db")).unwrap();
    let found: (String, f64) =
        other.query_row("SELECT time, mean FROM readable", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(found, ("2026-01-01T00:00:01.000Z".to_owned(), 79.5));
}
