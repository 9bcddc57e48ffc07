//! Recording of the reports of one transaction. Epochs, quantities and sums, which each report changes a little, are
//! read once and written once per transaction.

use std::collections::BTreeMap;

use rusqlite::{Error, Result, Transaction, named_params, params};

use super::statements::{change, find};
use super::{fleets, latest, rollups};
use crate::fence::Stale;
use crate::fleet_name::FleetName;
use crate::report::{Key, Report};
use crate::store::interface::Outcome;
use crate::store::recency::Recency;
use crate::store::rollup::Rollup;

/// Records `reports` in their order, and returns the outcome of each.
pub(super) fn record<'r>(
    transaction: &Transaction<'_>,
    reports: impl Iterator<Item = &'r Report>,
) -> Result<Vec<Outcome>> {
    let mut recording = Recording::new(transaction)?;
    let outcomes = reports.map(|report| recording.add(report)).collect::<Result<_>>()?;
    recording.finish()?;
    Ok(outcomes)
}

/// Number of the fleet, quantity and unit; the texts are empty if missing.
type Kind<'r> = (i64, &'r str, &'r str);

/// State of a transaction, in addition to the table `reports`.
struct Recording<'t, 'r> {
    transaction: &'t Transaction<'t>,
    /// True if any report is past the retention.
    pruned: bool,
    /// Numbers of the fleets of the transaction.
    fleets: BTreeMap<&'r FleetName, i64>,
    /// For each fleet and epoch, the later leader that had reported the lowest cycle before this transaction.
    above: BTreeMap<(i64, i64), Option<Stale>>,
    /// Changes by fleet and epoch.
    epochs: BTreeMap<(i64, i64), EpochChange<'r>>,
    /// Latest report of each quantity and unit of the transaction, and its id if it is of this transaction.
    kinds: BTreeMap<Kind<'r>, (Recency, Option<i64>)>,
    /// Sums by length of the step, beginning of the step and kind.
    sums: BTreeMap<(i64, i64, Kind<'r>), Rollup>,
}

/// Addition to an epoch.
struct EpochChange<'r> {
    first_cycle: i64,
    last_cycle: i64,
    reports: i64,
    /// Last report of the epoch in this transaction.
    newest: &'r Report,
}

impl<'t, 'r> Recording<'t, 'r> {
    fn new(transaction: &'t Transaction<'t>) -> Result<Self> {
        let pruned = find(transaction, "SELECT 1 FROM pruned LIMIT 1", [], |_| Ok(()))?.is_some();
        Ok(Recording {
            transaction,
            pruned,
            fleets: BTreeMap::new(),
            above: BTreeMap::new(),
            epochs: BTreeMap::new(),
            kinds: BTreeMap::new(),
            sums: BTreeMap::new(),
        })
    }

    /// Returns the number of a fleet.
    fn fleet(&mut self, name: &'r FleetName) -> Result<i64> {
        match self.fleets.get(name) {
            Some(number) => Ok(*number),
            None => {
                let number = fleets::assign_number(self.transaction, name)?;
                Ok(*self.fleets.entry(name).or_insert(number))
            }
        }
    }

    fn add(&mut self, report: &'r Report) -> Result<Outcome> {
        let fleet = self.fleet(&report.fleet)?;
        let key = report.key();
        if let Some(key) = &key
            && let Some(refused) = self.refusal(fleet, key)?
        {
            // A repeated report is confirmed even if a later leader has reported its cycle.
            return Ok(self.known(fleet, key, report)?.unwrap_or(refused));
        }
        if let Err(error) = self.insert(fleet, report) {
            // A known key is looked up only now, because nearly all are new. The failed insertion has used no id.
            let Some(key) = key.filter(|_| is_not_unique(&error)) else { return Err(error) };
            return self.known(fleet, &key, report)?.ok_or(error);
        }
        let id = self.transaction.last_insert_rowid();
        if let Some(Key { epoch, cycle, .. }) = key {
            let change = EpochChange { first_cycle: cycle, last_cycle: cycle, reports: 0, newest: report };
            let change = self.epochs.entry((fleet, epoch)).or_insert(change);
            change.first_cycle = change.first_cycle.min(cycle);
            change.last_cycle = change.last_cycle.max(cycle);
            change.reports += 1;
            change.newest = report;
        }
        let kind = (fleet, report.quantity.as_deref().unwrap_or(""), report.unit.as_deref().unwrap_or(""));
        self.note_latest(kind, id, report)?;
        let own = Rollup::of(report);
        for (step, time) in rollups::steps(report.time) {
            self.sums.entry((step, time, kind)).and_modify(|sum| sum.add(own)).or_insert(own);
        }
        Ok(Outcome::Recorded(id))
    }

    fn insert(&self, fleet: i64, report: &Report) -> Result<()> {
        let insert = "INSERT INTO reports
                (fleet, epoch, cycle, time, quantity, unit, mean, min, max, stddev, count, excluded, received,
                 reporter, aggregate)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        let values = params![
            fleet,
            report.epoch,
            report.cycle,
            report.time.as_microsecond(),
            report.quantity,
            report.unit,
            report.mean,
            report.min,
            report.max,
            report.stddev,
            report.count,
            report.excluded,
            report.received.as_microsecond(),
            report.reporter,
            report.aggregate,
        ];
        change(self.transaction, insert, values)?;
        Ok(())
    }

    fn note_latest(&mut self, kind: Kind<'r>, id: i64, report: &Report) -> Result<()> {
        let latest = match self.kinds.get(&kind) {
            Some((latest, _)) => Some(*latest),
            None => {
                let latest = latest::read(self.transaction, kind)?;
                if latest.is_none() {
                    change(self.transaction, "INSERT OR IGNORE INTO kinds VALUES (?, ?, ?)", kind)?;
                }
                latest
            }
        };
        let own = Recency::of(report);
        match latest.filter(|latest| !own.supersedes(latest)) {
            None => self.kinds.insert(kind, (own, Some(id))),
            Some(latest) => Some(*self.kinds.entry(kind).or_insert((latest, None))),
        };
        Ok(())
    }

    /// Returns the outcome of a report whose key is in the table `reports`, or `None` if it is not.
    fn known(&self, fleet: i64, key: &Key, report: &Report) -> Result<Option<Outcome>> {
        let kept = "SELECT mean FROM reports
            WHERE fleet = ? AND epoch = ? AND cycle = ? AND ifnull(unit, '') = ? AND epoch IS NOT NULL";
        let values = (fleet, key.epoch, key.cycle, key.unit.as_deref().unwrap_or(""));
        let mean: Option<f64> = find(self.transaction, kept, values, |row| row.get(0))?;
        Ok(mean.map(|mean| if report.agrees(mean) { Outcome::Repeated } else { Outcome::Conflict(mean) }))
    }

    /// Returns the reason for not recording a report with a new key, if any.
    fn refusal(&mut self, fleet: i64, key: &Key) -> Result<Option<Outcome>> {
        let Key { epoch, cycle, ref unit } = *key;
        let unit = unit.as_deref().unwrap_or("");
        if self.pruned {
            let pruned = "SELECT last_cycle FROM pruned
                WHERE fleet = ? AND epoch = ? AND unit = ? AND first_cycle <= ?
                ORDER BY first_cycle DESC LIMIT 1";
            let last = find(self.transaction, pruned, (fleet, epoch, unit, cycle), |row| row.get(0))?;
            if last.is_some_and(|last: i64| cycle <= last) {
                return Ok(Some(Outcome::Repeated));
            }
        }
        Ok(self.lowest_above(fleet, epoch)?.filter(|later| later.first_cycle <= cycle).map(Outcome::Stale))
    }

    /// Returns the leader later than `epoch` that has reported the lowest cycle.
    fn lowest_above(&mut self, fleet: i64, epoch: i64) -> Result<Option<Stale>> {
        let before = match self.above.get(&(fleet, epoch)) {
            Some(before) => *before,
            None => {
                let lowest = "SELECT epoch, first_cycle FROM epochs WHERE fleet = ? AND epoch > ?
                    ORDER BY first_cycle, epoch LIMIT 1";
                let before = find(self.transaction, lowest, [fleet, epoch], |row| {
                    Ok(Stale { epoch: row.get(0)?, first_cycle: row.get(1)? })
                })?;
                *self.above.entry((fleet, epoch)).or_insert(before)
            }
        };
        let after = (std::ops::Bound::Excluded((fleet, epoch)), std::ops::Bound::Included((fleet, i64::MAX)));
        let since = self
            .epochs
            .range(after)
            .map(|(&(_, epoch), change)| Stale { epoch, first_cycle: change.first_cycle });
        Ok(since.chain(before).min_by_key(|later| (later.first_cycle, later.epoch)))
    }

    /// Writes the accumulated changes.
    fn finish(self) -> Result<()> {
        let Recording { transaction, epochs, kinds, sums, .. } = self;
        for ((fleet, epoch), EpochChange { first_cycle, last_cycle, reports, newest }) in epochs {
            let add = "INSERT INTO epochs VALUES (:fleet, :epoch, :first, :last, :reports, :received, :reporter)
                 ON CONFLICT (fleet, epoch) DO UPDATE SET
                    first_cycle = min(first_cycle, excluded.first_cycle),
                    last_cycle = max(last_cycle, excluded.last_cycle),
                    reports = reports + excluded.reports, received = excluded.received, reporter = excluded.reporter";
            let values = named_params! {
                ":fleet": fleet, ":epoch": epoch, ":first": first_cycle, ":last": last_cycle, ":reports": reports,
                ":received": newest.received.as_microsecond(), ":reporter": newest.reporter,
            };
            change(transaction, add, values)?;
        }
        for (kind, (_, id)) in kinds {
            if let Some(id) = id {
                latest::write(transaction, kind, id)?;
            }
        }
        for ((step, time, kind), sum) in sums {
            rollups::add(transaction, (step, time), kind, sum)?;
        }
        Ok(())
    }
}

/// Returns true if the key of a report is in the table already.
fn is_not_unique(error: &Error) -> bool {
    let unique = rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE;
    error.sqlite_error().is_some_and(|error| error.extended_code == unique)
}
