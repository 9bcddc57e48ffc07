//! Store in memory, for tests and trials. Its guarantees hold until the process ends.

mod samples;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;

use self::samples::Samples;
use super::interface::{
    Cursor, Filter, HOUR, Horizon, Measurements, Outcome, PRUNE_BATCH, Page, Store, StoreFuture, Sum,
};
use super::recency::Recency;
use super::rollup::{Kind, Rollup, kind};
use crate::fence::{Epoch, Fence};
use crate::fleet_name::FleetName;
use crate::interval_set::IntervalSet;
use crate::measurements::{
    FleetSummary, LatestSample, Pruned, Retention, SampleBatch, SampleOutcome, Selection, SeriesQuery,
    SeriesRows,
};
use crate::report::{Key, Record, Report};

/// Store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    data: Mutex<Data>,
    samples: Mutex<Samples>,
}

#[derive(Debug, Default)]
struct Data {
    newest: i64,
    fleets: BTreeMap<FleetName, FleetData>,
}

#[derive(Debug, Default)]
struct FleetData {
    records: BTreeMap<Cursor, Record>,
    /// Time of each report, by id.
    times: BTreeMap<i64, i64>,
    /// Position of the latest report of each quantity and unit.
    latest: BTreeMap<Kind, Cursor>,
    keys: HashMap<Key, f64>,
    fence: Fence,
    /// Pruned cycles, by epoch and unit.
    pruned: HashMap<(i64, Option<String>), IntervalSet>,
    hours: BTreeMap<(i64, Kind), Rollup>,
}

impl Data {
    fn record(&mut self, report: Report) -> Outcome {
        let fleet = self.fleets.entry(report.fleet.clone()).or_default();
        let outcome = fleet.record(report, self.newest + 1);
        if let Outcome::Recorded(id) = outcome {
            self.newest = id;
        }
        outcome
    }

    fn fleets(&self) -> Vec<FleetName> {
        let all: BTreeSet<FleetName> = self.fleets.keys().cloned().chain([FleetName::default()]).collect();
        all.into_iter().collect()
    }

    fn prune(&mut self, horizon: Horizon) -> usize {
        let mut left = PRUNE_BATCH;
        for fleet in self.fleets.values_mut() {
            left -= fleet.prune(horizon, left);
        }
        PRUNE_BATCH - left
    }
}

impl FleetData {
    /// Records a report with this id, if it may be recorded.
    fn record(&mut self, report: Report, id: i64) -> Outcome {
        if let Some(key) = report.key() {
            if let Some(mean) = self.keys.get(&key) {
                return if report.agrees(*mean) { Outcome::Repeated } else { Outcome::Conflict(*mean) };
            }
            let Key { epoch, cycle, ref unit } = key;
            if self.pruned.get(&(epoch, unit.clone())).is_some_and(|cycles| cycles.contains(cycle)) {
                return Outcome::Repeated;
            }
            if let Err(stale) = self.fence.check(epoch, cycle) {
                return Outcome::Stale(stale);
            }
            self.fence.record(epoch, cycle, report.received, report.reporter.as_deref());
            self.keys.insert(key, report.mean);
        }
        let time = report.time.as_microsecond();
        self.times.insert(id, time);
        self.note_latest(Cursor { time, id }, &report);
        self.records.insert(Cursor { time, id }, Record { id, report });
        Outcome::Recorded(id)
    }

    fn note_latest(&mut self, at: Cursor, report: &Report) {
        let kind = kind(report);
        let latest = self.latest.get(&kind).and_then(|latest| self.records.get(latest));
        if latest.is_none_or(|latest| Recency::of(report).supersedes(&Recency::of(&latest.report))) {
            self.latest.insert(kind, at);
        }
    }

    fn page(&self, page: &Page) -> Vec<Record> {
        let wanted = |(at, record): (&Cursor, &Record)| {
            let beyond = match page.after {
                None => true,
                Some(after) if page.newest_first => *at < after,
                Some(after) => *at > after,
            };
            (beyond && page.filter.matches(&record.report)).then(|| record.clone())
        };
        if page.newest_first {
            self.records.iter().rev().filter_map(wanted).take(page.limit).collect()
        } else {
            self.records.iter().filter_map(wanted).take(page.limit).collect()
        }
    }

    fn sums(&self, filter: &Filter, step: i64, limit: usize) -> Vec<Sum> {
        let reports = self
            .records
            .iter()
            .filter(|(_, record)| filter.matches(&record.report))
            .map(|(at, record)| (at.time, kind(&record.report), Rollup::of(&record.report)));
        let hours = self
            .hours
            .iter()
            .filter(|((hour, (quantity, unit)), _)| {
                let time = Timestamp::from_microsecond(*hour).unwrap_or_default();
                filter.matches_time(time) && filter.matches_kind(quantity.as_deref(), unit.as_deref())
            })
            .map(|((hour, kind), sum)| (*hour, kind.clone(), *sum));
        let mut steps: BTreeMap<(i64, Kind), Rollup> = BTreeMap::new();
        for (time, kind, sum) in reports.chain(hours) {
            steps.entry((time - time % step, kind)).and_modify(|all| all.add(sum)).or_insert(sum);
        }
        steps.into_iter().take(limit).map(|((time, kind), sum)| sum.of_step(time, kind)).collect()
    }

    fn latest(&self) -> Vec<Record> {
        self.latest.values().filter_map(|at| self.records.get(at).cloned()).collect()
    }

    fn forget_epoch(&mut self, epoch: i64) -> usize {
        let before = self.records.len();
        self.records.retain(|_, record| record.report.key().is_none_or(|key| key.epoch != epoch));
        let records = &self.records;
        self.times.retain(|&id, &mut time| records.contains_key(&Cursor { time, id }));
        self.latest.retain(|_, at| records.contains_key(at));
        self.keys.retain(|key, _| key.epoch != epoch);
        self.fence.forget(epoch);
        // Quantities without a latest report get the latest one that is left, compared in the order of arrival.
        let known: BTreeSet<Kind> = self.latest.keys().cloned().collect();
        let times: Vec<Cursor> = self.times.iter().map(|(&id, &time)| Cursor { time, id }).collect();
        for at in times {
            if let Some(Record { report, .. }) = self.records.get(&at).cloned()
                && !known.contains(&kind(&report))
            {
                self.note_latest(at, &report);
            }
        }
        before - self.records.len()
    }

    fn changes(&self, from: Timestamp, to: Timestamp, limit: usize) -> Vec<(Timestamp, i64)> {
        let all = self.fence.newest(usize::MAX);
        let began = |epoch: &Epoch| {
            let first = (Some(epoch.epoch), Some(epoch.first_cycle));
            let of_it = |record: &&Record| (record.report.epoch, record.report.cycle) == first;
            self.records.values().find(of_it).map(|record| record.report.time)
        };
        let later = all.len().saturating_sub(1);
        let begun = all.iter().take(later).filter_map(|epoch| Some((began(epoch)?, epoch.epoch)));
        begun.filter(|(time, _)| (from..to).contains(time)).take(limit).collect()
    }

    /// Prunes at most `max` reports.
    fn prune(&mut self, horizon: Horizon, max: usize) -> usize {
        let end = Cursor { time: horizon.reports.as_microsecond(), id: 0 };
        let past: Vec<Cursor> = self.records.range(..end).map(|(at, _)| *at).take(max).collect();
        for at in &past {
            let Some(Record { report, .. }) = self.records.remove(at) else { continue };
            self.latest.retain(|_, latest| latest != at);
            self.times.remove(&at.id);
            let sum = Rollup::of(&report);
            self.hours
                .entry((at.time - at.time % HOUR, kind(&report)))
                .and_modify(|all| all.add(sum))
                .or_insert(sum);
            if let Some(key) = report.key() {
                self.keys.remove(&key);
                self.pruned.entry((key.epoch, key.unit)).or_default().insert(key.cycle, key.cycle);
            }
        }
        if let Some(hours) = horizon.hours {
            let hours = hours.as_microsecond();
            self.hours.retain(|(hour, _), _| *hour >= hours);
        }
        past.len()
    }
}

impl MemoryStore {
    /// Creates an empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the result of `read` for a fleet, or the default if it has no data.
    fn read<T: Default + Send + 'static>(
        &self,
        fleet: &FleetName,
        read: impl FnOnce(&FleetData) -> T,
    ) -> StoreFuture<'_, T> {
        done(self.data().fleets.get(fleet).map(read).unwrap_or_default())
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done<'a, T: Send + 'a>(value: T) -> StoreFuture<'a, T> {
    ready(Ok(value)).boxed()
}

impl Store for MemoryStore {
    fn record(&self, reports: Vec<Report>) -> StoreFuture<'_, Vec<Outcome>> {
        let mut data = self.data();
        done(reports.into_iter().map(|report| data.record(report)).collect())
    }

    fn page(&self, page: Page) -> StoreFuture<'_, Vec<Record>> {
        self.read(&page.filter.fleet, |data| data.page(&page))
    }

    fn since(&self, fleet: &FleetName, id: i64, limit: usize) -> StoreFuture<'_, Vec<Record>> {
        self.read(fleet, |data| {
            let after = data.times.range(id.saturating_add(1)..).take(limit);
            after.filter_map(|(&id, &time)| data.records.get(&Cursor { time, id }).cloned()).collect()
        })
    }

    fn last(&self, fleet: &FleetName, limit: usize) -> StoreFuture<'_, Vec<Record>> {
        self.read(fleet, |data| {
            let last: Vec<_> = data.times.iter().rev().take(limit).collect();
            let last = last.into_iter().rev();
            last.filter_map(|(&id, &time)| data.records.get(&Cursor { time, id }).cloned()).collect()
        })
    }

    fn fleets(&self) -> StoreFuture<'_, Vec<FleetName>> {
        done(self.data().fleets())
    }

    fn newest(&self) -> StoreFuture<'_, i64> {
        done(self.data().newest)
    }

    fn sums(&self, filter: Filter, step: i64, limit: usize, _moments: bool) -> StoreFuture<'_, Vec<Sum>> {
        self.read(&filter.fleet, |data| data.sums(&filter, step, limit))
    }

    fn latest(&self, fleet: &FleetName) -> StoreFuture<'_, Vec<Record>> {
        self.read(fleet, FleetData::latest)
    }

    fn epochs(&self, fleet: &FleetName, limit: usize) -> StoreFuture<'_, Vec<Epoch>> {
        self.read(fleet, |data| data.fence.newest(limit))
    }

    fn changes(
        &self,
        fleet: &FleetName,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> StoreFuture<'_, Vec<(Timestamp, i64)>> {
        self.read(fleet, |data| data.changes(from, to, limit))
    }

    fn prune(&self, horizon: Horizon) -> StoreFuture<'_, usize> {
        done(self.data().prune(horizon))
    }

    fn forget_epoch(&self, fleet: &FleetName, epoch: i64) -> StoreFuture<'_, usize> {
        let mut data = self.data();
        done(data.fleets.get_mut(fleet).map_or(0, |data| data.forget_epoch(epoch)))
    }

    fn forget_fleet(&self, fleet: &FleetName) -> StoreFuture<'_, usize> {
        done(self.data().fleets.remove(fleet).map_or(0, |data| data.records.len()))
    }

    fn measurements(&self) -> &dyn Measurements {
        self
    }

    fn check(&self) -> StoreFuture<'_, ()> {
        done(())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
}

impl Measurements for MemoryStore {
    fn add_samples(&self, batch: SampleBatch) -> StoreFuture<'_, Vec<SampleOutcome>> {
        done(self.samples().add(&batch))
    }

    fn sample_fleets(&self) -> StoreFuture<'_, Vec<FleetSummary>> {
        done(self.samples().fleets())
    }

    fn latest_samples(&self, selection: Selection, limit: usize) -> StoreFuture<'_, Vec<LatestSample>> {
        done(self.samples().latest(&selection, limit))
    }

    fn sample_series(&self, query: SeriesQuery) -> StoreFuture<'_, Vec<SeriesRows>> {
        done(self.samples().series(&query))
    }

    fn prune_samples(&self, retention: Retention, _after: i64) -> StoreFuture<'_, Pruned> {
        done(Pruned { deleted: self.samples().prune(retention), next: None })
    }

    fn forget_node(&self, fleet: String, node: String) -> StoreFuture<'_, bool> {
        done(self.samples().forget_node(&fleet, &node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::store::suite::store_suite!(|_| (MemoryStore::new(), ()));
}
