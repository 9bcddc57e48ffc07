-- The tables of version 3, for tests. Later versions added the column `fleet` to all of them.
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
    reporter TEXT
) STRICT;
CREATE UNIQUE INDEX reports_by_key ON reports (epoch, cycle, ifnull(unit, '')) WHERE epoch IS NOT NULL;
CREATE INDEX reports_by_time ON reports (time, id);
CREATE INDEX reports_by_kind ON reports (quantity, unit, time, id);

-- Every quantity and unit that was ever recorded; '' for none.
CREATE TABLE kinds (quantity TEXT NOT NULL, unit TEXT NOT NULL, PRIMARY KEY (quantity, unit)) STRICT, WITHOUT ROWID;

-- The fence.
CREATE TABLE epochs (
    epoch       INTEGER PRIMARY KEY,
    first_cycle INTEGER NOT NULL,
    last_cycle  INTEGER NOT NULL,
    reports     INTEGER NOT NULL,
    received    INTEGER NOT NULL,
    reporter    TEXT
) STRICT;

-- Reports past the retention, by the hour; '' for no quantity, no unit.
CREATE TABLE hours (
    hour     INTEGER NOT NULL,
    quantity TEXT NOT NULL,
    unit     TEXT NOT NULL,
    reports  INTEGER NOT NULL,
    sum      REAL NOT NULL,
    min      REAL NOT NULL,
    max      REAL NOT NULL,
    PRIMARY KEY (hour, quantity, unit)
) STRICT, WITHOUT ROWID;

-- Their keys, so that none is recorded again.
CREATE TABLE pruned (
    epoch       INTEGER NOT NULL,
    unit        TEXT NOT NULL,
    first_cycle INTEGER NOT NULL,
    last_cycle  INTEGER NOT NULL,
    PRIMARY KEY (epoch, unit, first_cycle)
) STRICT, WITHOUT ROWID;

CREATE VIEW readable AS
SELECT id, epoch, cycle, strftime('%Y-%m-%dT%H:%M:%fZ', time / 1e6, 'unixepoch') AS time, quantity, unit, mean, min, max,
       stddev, count, excluded, strftime('%Y-%m-%dT%H:%M:%fZ', received / 1e6, 'unixepoch') AS received, reporter
FROM reports;

CREATE TABLE rollups (
    step     INTEGER NOT NULL,
    time     INTEGER NOT NULL,
    quantity TEXT NOT NULL,
    unit     TEXT NOT NULL,
    reports  INTEGER NOT NULL,
    sum      REAL NOT NULL,
    min      REAL NOT NULL,
    max      REAL NOT NULL,
    PRIMARY KEY (step, time, quantity, unit)
) STRICT, WITHOUT ROWID;

CREATE TABLE latest (
    quantity TEXT NOT NULL,
    unit     TEXT NOT NULL,
    id       INTEGER NOT NULL,
    PRIMARY KEY (quantity, unit)
) STRICT, WITHOUT ROWID;

INSERT INTO reports SELECT id, epoch, cycle, time, quantity, unit, mean, min, max, stddev, count, excluded, received, reporter
FROM new.reports;
INSERT INTO kinds SELECT quantity, unit FROM new.kinds;
INSERT INTO epochs SELECT epoch, first_cycle, last_cycle, reports, received, reporter FROM new.epochs;
INSERT INTO hours SELECT hour, quantity, unit, reports, sum, min, max FROM new.hours;
INSERT INTO pruned SELECT epoch, unit, first_cycle, last_cycle FROM new.pruned;
INSERT INTO rollups SELECT step, time, quantity, unit, reports, sum, min, max FROM new.rollups;
INSERT INTO latest SELECT quantity, unit, id FROM new.latest;
PRAGMA user_version = 3;
