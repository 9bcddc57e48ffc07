//! The store of the demo's API: reports each recorded report to the demo, and hangs or fails on demand.

use atalaya_collector::fence::Epoch;
use atalaya_collector::store::{Filter, Horizon, Page, Point};
use atalaya_collector::{MemoryStore, Outcome, Record, Report, Store, StoreError};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::delivery_audit::Key;
use super::event::Event;
use super::script::ApiMode;

/// A store that hangs or fails as long as the API is in such a mode.
pub(super) struct FaultyStore {
    pub(super) inner: MemoryStore,
    pub(super) mode: watch::Receiver<ApiMode>,
    pub(super) events: mpsc::UnboundedSender<Event>,
}

impl FaultyStore {
    async fn apply_fault(&self) -> Result<(), StoreError> {
        let mode = *self.mode.borrow();
        match mode {
            ApiMode::Up | ApiMode::Down => Ok(()),
            ApiMode::Hanging => std::future::pending().await,
            ApiMode::Failing => Err(StoreError::Unavailable("fault injected by the demo".to_owned())),
        }
    }
}

/// Returns `None` for a report without epoch and cycle: it was not sent by a leader of this fleet but by a user who
/// tries the API.
fn key(report: &Report) -> Option<Key> {
    Some((report.epoch?, u64::try_from(report.cycle?).ok()?, report.unit.clone()))
}

impl Store for FaultyStore {
    fn record(&self, reports: Vec<Report>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        async move {
            self.apply_fault().await?;
            let keys: Vec<_> = reports.iter().map(key).collect();
            let outcomes = self.inner.record(reports).await?;
            for (key, outcome) in keys.into_iter().zip(&outcomes) {
                if let Some(key) = key {
                    // Fails at the end of the demo.
                    let _ = self.events.send(Event::Received(key, outcome.clone()));
                }
            }
            Ok(outcomes)
        }
        .boxed()
    }

    fn page(&self, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.inner.page(page)
    }

    fn since(&self, id: i64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.inner.since(id, limit)
    }

    fn newest(&self) -> BoxFuture<'_, Result<i64, StoreError>> {
        self.inner.newest()
    }

    fn series(
        &self,
        filter: Filter,
        step: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Point>, StoreError>> {
        self.inner.series(filter, step, limit)
    }

    fn latest(&self) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.inner.latest()
    }

    fn epochs(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Epoch>, StoreError>> {
        self.inner.epochs(limit)
    }

    fn changes(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Timestamp, i64)>, StoreError>> {
        self.inner.changes(from, to, limit)
    }

    fn prune(&self, horizon: Horizon) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.inner.prune(horizon)
    }

    fn forget_epoch(&self, epoch: i64) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.inner.forget_epoch(epoch)
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            self.apply_fault().await?;
            self.inner.check().await
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
