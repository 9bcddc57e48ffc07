//! The store of the demo's API: reports each recorded report to the demo, and hangs or fails on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use atalaya_collector::fence::Epoch;
use atalaya_collector::store::{Filter, Horizon, Page, Point};
use atalaya_collector::{Outcome, Record, Report, Store, StoreError};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::delivery_audit::{ReceivedReport, RecordOutcome};
use super::event::Event;
use super::script::ApiMode;

/// Fault of the API at the moment.
#[derive(Debug, Default)]
pub(super) struct ApiFault {
    hanging: AtomicBool,
    failing: AtomicBool,
}

impl ApiFault {
    pub(super) fn set(&self, mode: ApiMode) {
        self.hanging.store(mode == ApiMode::Hanging, Ordering::Relaxed);
        self.failing.store(mode == ApiMode::Failing, Ordering::Relaxed);
    }

    /// Hangs or fails if a fault is active.
    async fn apply(&self) -> Result<(), StoreError> {
        if self.hanging.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.failing.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("fault injected by the demo".to_owned()));
        }
        Ok(())
    }
}

/// A store with injected faults.
pub(super) struct FaultyStore<S> {
    inner: S,
    fault: Arc<ApiFault>,
    events: mpsc::UnboundedSender<Event>,
}

impl<S: Store> FaultyStore<S> {
    pub(super) fn new(
        inner: S,
        fault: Arc<ApiFault>,
        events: mpsc::UnboundedSender<Event>,
    ) -> FaultyStore<S> {
        FaultyStore { inner, fault, events }
    }

    fn send_events(&self, reports: Vec<Option<ReceivedReport>>, outcomes: &[Outcome]) {
        for (report, outcome) in reports.into_iter().zip(outcomes) {
            let outcome = match outcome {
                Outcome::Recorded(_) => RecordOutcome::New,
                Outcome::Repeated => RecordOutcome::Repeated,
                Outcome::Conflict(_) => RecordOutcome::Conflict,
                Outcome::Stale(_) => RecordOutcome::Stale,
            };
            if let Some(report) = report {
                // Fails at the end of the demo.
                let _ = self.events.send(Event::Received(report, outcome));
            }
        }
    }
}

/// Returns `None` for a report without epoch and cycle: it was not sent by a leader of this fleet but by a user who
/// tries the API.
fn received_report(report: &Report) -> Option<ReceivedReport> {
    let Report { epoch, cycle, mean, count, ref unit, .. } = *report;
    let (epoch, cycle) = epoch.zip(cycle)?;
    let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
    Some(ReceivedReport { epoch, cycle: u64::try_from(cycle).ok()?, unit: unit.clone(), mean, count })
}

impl<S: Store> Store for FaultyStore<S> {
    fn record(&self, reports: Vec<Report>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        async move {
            self.fault.apply().await?;
            let received = reports.iter().map(received_report).collect();
            let outcomes = self.inner.record(reports).await?;
            self.send_events(received, &outcomes);
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
            self.fault.apply().await?;
            self.inner.check().await
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}
