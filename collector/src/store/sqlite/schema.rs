//! Tables, and the settings of a connection. `user_version` is [`VERSION`] in the files of this program.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Result, Transaction, TransactionBehavior};
use tracing::info;

use super::{functions, latest, rollups};

/// Version of the tables; increases with every change.
const VERSION: i64 = 5;

/// Times are microseconds since 1970, UTC; `readable` shows them as text. `fleet` is the number of a fleet or zone, 0
/// for the reports of nodes that send no name. `aggregate` names the main value if it is not the mean.
const REPORTS: &str = "
CREATE TABLE reports (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch    INTEGER,
    cycle    INTEGER,
    time     INTEGER NOT NULL,
    quantity TEXT,
    unit     TEXT,
    mean     REAL NOT NULL,
    min      REAL,
    max      REAL,
    stddev   REAL,
    count    INTEGER,
    excluded INTEGER,
    received INTEGER NOT NULL,
    reporter TEXT,
    fleet    INTEGER NOT NULL DEFAULT 0,
    aggregate TEXT
) STRICT;
";

const FLEETS: &str = "
CREATE TABLE fleets (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
INSERT INTO fleets VALUES (0, 'default');
";

const INDEXES: &str = "
CREATE UNIQUE INDEX reports_by_key ON reports (fleet, epoch, cycle, ifnull(unit, '')) WHERE epoch IS NOT NULL;
CREATE INDEX reports_by_time ON reports (fleet, time, id);
CREATE INDEX reports_by_kind ON reports (fleet, quantity, unit, time, id);
CREATE INDEX reports_by_fleet ON reports (fleet);

CREATE VIEW readable AS
SELECT id, (SELECT name FROM fleets WHERE number = fleet) AS fleet, epoch, cycle,
       strftime('%Y-%m-%dT%H:%M:%fZ', time / 1e6, 'unixepoch') AS time, quantity, unit, mean, min, max,
       stddev, count, excluded, strftime('%Y-%m-%dT%H:%M:%fZ', received / 1e6, 'unixepoch') AS received, reporter
FROM reports;
";

/// Other tables with data of a fleet. Their first column is always its number. `moments`, since version 5: those of the
/// readings, see `functions.rs`.
const OTHER_TABLES: [(&str, &str); 6] = [
    // Every quantity and unit that was ever recorded; '' for none.
    (
        "kinds",
        "CREATE TABLE kinds (
            fleet    INTEGER NOT NULL,
            quantity TEXT NOT NULL,
            unit     TEXT NOT NULL,
            PRIMARY KEY (fleet, quantity, unit)
        ) STRICT, WITHOUT ROWID;",
    ),
    // The fence.
    (
        "epochs",
        "CREATE TABLE epochs (
            fleet       INTEGER NOT NULL,
            epoch       INTEGER NOT NULL,
            first_cycle INTEGER NOT NULL,
            last_cycle  INTEGER NOT NULL,
            reports     INTEGER NOT NULL,
            received    INTEGER NOT NULL,
            reporter    TEXT,
            PRIMARY KEY (fleet, epoch)
        ) STRICT, WITHOUT ROWID;",
    ),
    // Reports past the retention, by the hour; '' for no quantity, no unit.
    (
        "hours",
        "CREATE TABLE hours (
            fleet    INTEGER NOT NULL,
            hour     INTEGER NOT NULL,
            quantity TEXT NOT NULL,
            unit     TEXT NOT NULL,
            reports  INTEGER NOT NULL,
            sum      REAL NOT NULL,
            min      REAL NOT NULL,
            max      REAL NOT NULL,
            moments  BLOB,
            PRIMARY KEY (fleet, hour, quantity, unit)
        ) STRICT, WITHOUT ROWID;",
    ),
    // Their keys, so that none is recorded again.
    (
        "pruned",
        "CREATE TABLE pruned (
            fleet       INTEGER NOT NULL,
            epoch       INTEGER NOT NULL,
            unit        TEXT NOT NULL,
            first_cycle INTEGER NOT NULL,
            last_cycle  INTEGER NOT NULL,
            PRIMARY KEY (fleet, epoch, unit, first_cycle)
        ) STRICT, WITHOUT ROWID;",
    ),
    // Since version 2: sums of the reports in `reports`, for each `step` microseconds; see `rollups.rs`.
    (
        "rollups",
        "CREATE TABLE rollups (
            fleet    INTEGER NOT NULL,
            step     INTEGER NOT NULL,
            time     INTEGER NOT NULL,
            quantity TEXT NOT NULL,
            unit     TEXT NOT NULL,
            reports  INTEGER NOT NULL,
            sum      REAL NOT NULL,
            min      REAL NOT NULL,
            max      REAL NOT NULL,
            moments  BLOB,
            PRIMARY KEY (fleet, step, time, quantity, unit)
        ) STRICT, WITHOUT ROWID;",
    ),
    // Since version 3: the latest report of each quantity and unit; see `latest.rs`.
    (
        "latest",
        "CREATE TABLE latest (
            fleet    INTEGER NOT NULL,
            quantity TEXT NOT NULL,
            unit     TEXT NOT NULL,
            id       INTEGER NOT NULL,
            PRIMARY KEY (fleet, quantity, unit)
        ) STRICT, WITHOUT ROWID;",
    ),
];

/// Addition of version 4: measurements of single sensors. Times are milliseconds since 1970. `clock` is the number of
/// a `ClockState`; of sums, that of the least certain sample. Nodes with an empty fleet are forgotten: see
/// `samples/retention.rs`.
const SAMPLES: &str = "
CREATE TABLE IF NOT EXISTS nodes (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    fleet TEXT NOT NULL,
    node  TEXT NOT NULL,
    UNIQUE (fleet, node)
) STRICT;

CREATE TABLE IF NOT EXISTS boots (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    node     INTEGER NOT NULL,
    boot     TEXT NOT NULL,
    received INTEGER NOT NULL,
    UNIQUE (node, boot)
) STRICT;

-- Series, each with its latest sample.
CREATE TABLE IF NOT EXISTS series (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    node     INTEGER NOT NULL,
    sensor   TEXT NOT NULL,
    quantity TEXT NOT NULL,
    unit     TEXT,
    time     INTEGER NOT NULL,
    boot     INTEGER NOT NULL,
    value    REAL NOT NULL,
    clock    INTEGER NOT NULL,
    received INTEGER NOT NULL,
    UNIQUE (node, sensor, quantity)
) STRICT;

-- Highest accepted number of each series and boot.
CREATE TABLE IF NOT EXISTS marks (
    boot   INTEGER NOT NULL,
    series INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (boot, series)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS samples (
    series INTEGER NOT NULL,
    time   INTEGER NOT NULL,
    boot   INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    value  REAL NOT NULL,
    clock  INTEGER NOT NULL,
    PRIMARY KEY (series, time, boot, seq)
) STRICT, WITHOUT ROWID;

-- Sums of all samples, also of those past the retention.
CREATE TABLE IF NOT EXISTS sample_minutes (
    series INTEGER NOT NULL,
    time   INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    sum    REAL NOT NULL,
    min    REAL NOT NULL,
    max    REAL NOT NULL,
    clock  INTEGER NOT NULL,
    PRIMARY KEY (series, time)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sample_hours (
    series INTEGER NOT NULL,
    time   INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    sum    REAL NOT NULL,
    min    REAL NOT NULL,
    max    REAL NOT NULL,
    clock  INTEGER NOT NULL,
    PRIMARY KEY (series, time)
) STRICT, WITHOUT ROWID;
";

/// Maximum number of cached statements of a connection: more than there are, so that none is compiled again.
const STATEMENTS: usize = 64;

/// Opens a connection that writes. Creates the file and the tables if they are missing.
pub(super) fn open_to_write(
    path: &Path,
    lock_timeout: Duration,
    max_bytes: Option<u64>,
) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut connection = open(path, flags, lock_timeout)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    // Each commit is on the disk before it returns.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    if let Some(bytes) = max_bytes {
        let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from(bytes / u64::from(page.max(1))).unwrap_or(i64::MAX);
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    migrate(&mut connection)?;
    Ok(connection)
}

pub(super) fn open_to_read(path: &Path, lock_timeout: Duration) -> Result<Connection> {
    // Not read-only, because readers also write to the index of the write-ahead log.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let connection = open(path, flags, lock_timeout)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn open(path: &Path, flags: OpenFlags, lock_timeout: Duration) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(lock_timeout)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise SQLite compiles some cached statements again after each change of the bound values, for a better plan.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    functions::register(&connection)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let version = |connection: &Connection| {
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
    };
    if version(connection)? == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match version(&transaction)? {
        // Another process was faster.
        VERSION => {}
        0 => {
            transaction.execute_batch(REPORTS)?;
            transaction.execute_batch(FLEETS)?;
            transaction.execute_batch(INDEXES)?;
            OTHER_TABLES.iter().try_for_each(|(_, create)| transaction.execute_batch(create))?;
        }
        older @ 1..VERSION => {
            info!("the file is of an older version: converting it");
            convert(&transaction, older)?;
        }
        other => {
            let message = format!("the file has version {other}, this program supports {VERSION}");
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB);
            return Err(rusqlite::Error::SqliteFailure(code, Some(message)));
        }
    }
    transaction.execute_batch(SAMPLES)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Returns the names of the other tables with data of a fleet.
pub(super) fn other_tables() -> impl Iterator<Item = &'static str> {
    OTHER_TABLES.into_iter().map(|(name, _)| name)
}

/// Converts a file of an older version. Sums past the retention have no moments, because the numbers of readings are
/// not known any more.
fn convert(transaction: &Transaction<'_>, older: i64) -> Result<()> {
    if older < 4 {
        add_fleets(transaction)?;
    } else {
        transaction.execute_batch(
            "ALTER TABLE hours ADD COLUMN moments BLOB; ALTER TABLE rollups ADD COLUMN moments BLOB;",
        )?;
    }
    transaction.execute_batch("ALTER TABLE reports ADD COLUMN aggregate TEXT;")?;
    rollups::compute_all(transaction)?;
    latest::fill(transaction)
}

/// Adds the column `fleet` to the tables of a version before 4. All of its data is of the fleet `default`.
fn add_fleets(transaction: &Transaction<'_>) -> Result<()> {
    // Old indexes are removed first: the new ones use their space.
    transaction.execute_batch(
        "DROP VIEW readable;
         DROP INDEX reports_by_key; DROP INDEX reports_by_time; DROP INDEX reports_by_kind;
         ALTER TABLE reports ADD COLUMN fleet INTEGER NOT NULL DEFAULT 0;",
    )?;
    transaction.execute_batch(FLEETS)?;
    transaction.execute_batch(INDEXES)?;
    for (name, create) in OTHER_TABLES {
        let exists: bool = transaction.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?)",
            [name],
            |row| row.get(0),
        )?;
        if exists {
            transaction.execute_batch(&format!("ALTER TABLE {name} RENAME TO old_{name};"))?;
        }
        transaction.execute_batch(create)?;
        if exists {
            let moments = if matches!(name, "hours" | "rollups") { ", NULL" } else { "" };
            let copy =
                format!("INSERT INTO {name} SELECT 0, *{moments} FROM old_{name}; DROP TABLE old_{name};");
            transaction.execute_batch(&copy)?;
        }
    }
    Ok(())
}
