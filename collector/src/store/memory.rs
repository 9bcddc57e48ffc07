//! Store in memory, for tests and trials. Its guarantees hold until the process ends.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;

use super::recency::Recency;
use super::sum::{Kind, Sum, kind};
use super::{Cursor, Filter, HOUR, Horizon, Outcome, PRUNED_AT_ONCE, Page, Point, Store, StoreError};
use crate::fence::{Epoch, Fence};
use crate::report::{Key, Record, Report};
use crate::spans::Spans;

/// Store in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    records: BTreeMap<Cursor, Record>,
    /// Time of each report, by id.
    times: BTreeMap<i64, i64>,
    newest: i64,
    /// Position of the latest report of each quantity and unit.
    latest: BTreeMap<Kind, Cursor>,
    keys: HashMap<Key, f64>,
    fence: Fence,
    /// Pruned cycles, by epoch and unit.
    pruned: HashMap<(i64, Option<String>), Spans>,
    hours: BTreeMap<(i64, Kind), Sum>,
}

impl Kept {
    fn record(&mut self, report: Report) -> Outcome {
        if let Some(key) = report.key() {
            if let Some(mean) = self.keys.get(&key) {
                return if report.agrees(*mean) { Outcome::Repeated } else { Outcome::Conflict(*mean) };
            }
            let Key { epoch, cycle, ref unit } = key;
            if self.pruned.get(&(epoch, unit.clone())).is_some_and(|cycles| cycles.contains(cycle)) {
                return Outcome::Repeated;
            }
            if let Err(stale) = self.fence.judge(epoch, cycle) {
                return Outcome::Stale(stale);
            }
            self.fence.admit(epoch, cycle, report.received, report.reporter.as_deref());
            self.keys.insert(key, report.mean);
        }
        self.newest += 1;
        let (id, time) = (self.newest, report.time.as_microsecond());
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
            (beyond && page.filter.admits(&record.report)).then(|| record.clone())
        };
        if page.newest_first {
            self.records.iter().rev().filter_map(wanted).take(page.limit).collect()
        } else {
            self.records.iter().filter_map(wanted).take(page.limit).collect()
        }
    }

    fn series(&self, filter: &Filter, step: i64, limit: usize) -> Vec<Point> {
        let reports = self
            .records
            .iter()
            .filter(|(_, record)| filter.admits(&record.report))
            .map(|(at, record)| (at.time, kind(&record.report), Sum::of(&record.report)));
        let hours = self
            .hours
            .iter()
            .filter(|((hour, (quantity, unit)), _)| {
                let time = Timestamp::from_microsecond(*hour).unwrap_or_default();
                filter.admits_time(time) && filter.admits_kind(quantity.as_deref(), unit.as_deref())
            })
            .map(|((hour, kind), sum)| (*hour, kind.clone(), *sum));
        let mut steps: BTreeMap<(i64, Kind), Sum> = BTreeMap::new();
        for (time, kind, sum) in reports.chain(hours) {
            steps.entry((time - time % step, kind)).and_modify(|all| all.add(sum)).or_insert(sum);
        }
        steps.into_iter().take(limit).map(|((time, kind), sum)| sum.point(time, kind)).collect()
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

    fn prune(&mut self, horizon: Horizon) -> usize {
        let end = Cursor { time: horizon.reports.as_microsecond(), id: 0 };
        let past: Vec<Cursor> = self.records.range(..end).map(|(at, _)| *at).take(PRUNED_AT_ONCE).collect();
        for at in &past {
            let Some(Record { report, .. }) = self.records.remove(at) else { continue };
            self.latest.retain(|_, latest| latest != at);
            self.times.remove(&at.id);
            let sum = Sum::of(&report);
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

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, StoreError>> {
    ready(Ok(value)).boxed()
}

impl Store for MemoryStore {
    fn record(&self, reports: Vec<Report>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        let mut kept = self.kept();
        done(reports.into_iter().map(|report| kept.record(report)).collect())
    }

    fn page(&self, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        done(self.kept().page(&page))
    }

    fn since(&self, id: i64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        let kept = self.kept();
        let after = kept.times.range(id.saturating_add(1)..).take(limit);
        let records = after.filter_map(|(&id, &time)| kept.records.get(&Cursor { time, id }).cloned());
        done(records.collect())
    }

    fn newest(&self) -> BoxFuture<'_, Result<i64, StoreError>> {
        done(self.kept().newest)
    }

    fn series(
        &self,
        filter: Filter,
        step: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Point>, StoreError>> {
        done(self.kept().series(&filter, step, limit))
    }

    fn latest(&self) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        done(self.kept().latest())
    }

    fn epochs(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Epoch>, StoreError>> {
        done(self.kept().fence.newest(limit))
    }

    fn changes(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Timestamp, i64)>, StoreError>> {
        done(self.kept().changes(from, to, limit))
    }

    fn prune(&self, horizon: Horizon) -> BoxFuture<'_, Result<usize, StoreError>> {
        done(self.kept().prune(horizon))
    }

    fn forget_epoch(&self, epoch: i64) -> BoxFuture<'_, Result<usize, StoreError>> {
        done(self.kept().forget_epoch(epoch))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        done(())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    super::super::suite::store_suite!(|_| (MemoryStore::new(), ()));

    #[tokio::test]
    async fn tells_when_leaders_changed() {
        super::super::suite::tells_when_leaders_changed(&MemoryStore::new()).await;
    }
}
