//! The demo's store: it tells what is recorded, and fails or hangs when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use atalaya_collector::fence::Epoch;
use atalaya_collector::store::{Filter, Horizon, Page, Point};
use atalaya_collector::{Outcome, Record, Report, Store, StoreError};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::happening::Happening;
use super::ledger::{Arrival, Verdict};
use super::script::ApiMode;

/// How it treats whoever wants to write.
#[derive(Debug, Default)]
pub(super) struct Manners {
    hanging: AtomicBool,
    failing: AtomicBool,
}

impl Manners {
    pub(super) fn are(&self, mode: ApiMode) {
        self.hanging.store(mode == ApiMode::Hanging, Ordering::Relaxed);
        self.failing.store(mode == ApiMode::Failing, Ordering::Relaxed);
    }

    async fn show(&self) -> Result<(), StoreError> {
        if self.hanging.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.failing.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("the demo wants it so".to_owned()));
        }
        Ok(())
    }
}

/// See the module.
pub(super) struct Watched<S> {
    inner: S,
    manners: Arc<Manners>,
    happenings: mpsc::UnboundedSender<Happening>,
}

impl<S: Store> Watched<S> {
    pub(super) fn new(
        inner: S,
        manners: Arc<Manners>,
        happenings: mpsc::UnboundedSender<Happening>,
    ) -> Watched<S> {
        Watched { inner, manners, happenings }
    }

    fn tell(&self, arrivals: Vec<Option<Arrival>>, outcomes: &[Outcome]) {
        for (arrival, outcome) in arrivals.into_iter().zip(outcomes) {
            let verdict = match outcome {
                Outcome::Recorded(_) => Verdict::New,
                Outcome::Repeated => Verdict::Repeated,
                Outcome::Conflict(_) => Verdict::Conflict,
                Outcome::Stale(_) => Verdict::Stale,
            };
            if let Some(arrival) = arrival {
                // At the end nobody listens.
                let _ = self.happenings.send(Happening::Arrived(arrival, verdict));
            }
        }
    }
}

/// `None`: it is not from this fleet, whose leaders count; somebody tries the API.
fn arrival(report: &Report) -> Option<Arrival> {
    let Report { epoch, cycle, mean, count, ref unit, .. } = *report;
    let (epoch, cycle) = epoch.zip(cycle)?;
    let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    Some(Arrival { epoch, cycle: u64::try_from(cycle).ok()?, unit: unit.clone(), mean, count })
}

impl<S: Store> Store for Watched<S> {
    fn record(&self, reports: Vec<Report>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        async move {
            self.manners.show().await?;
            let arrivals = reports.iter().map(arrival).collect();
            let outcomes = self.inner.record(reports).await?;
            self.tell(arrivals, &outcomes);
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
            self.manners.show().await?;
            self.inner.check().await
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
