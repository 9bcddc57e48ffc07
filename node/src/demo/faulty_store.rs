//! The store of the demo's API: reports each recorded report to the demo, and hangs or fails on demand.

use atalaya_collector::fence::Epoch;
use atalaya_collector::store::{Filter, Horizon, Measurements, Page, Sum};
use atalaya_collector::{FleetName, MemoryStore, Outcome, Record, Report, Store, StoreError};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::Event;
use super::delivery_audit::Key;
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

/// Defines methods that only call the inner store.
macro_rules! forward {
    ($($name:ident($($argument:ident: $type:ty),*) -> $output:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> BoxFuture<'_, $output> {
            self.inner.$name($($argument),*)
        })*
    };
}

impl Store for FaultyStore {
    forward! {
        page(page: Page) -> Result<Vec<Record>, StoreError>;
        since(fleet: &FleetName, id: i64, limit: usize) -> Result<Vec<Record>, StoreError>;
        last(fleet: &FleetName, limit: usize) -> Result<Vec<Record>, StoreError>;
        fleets() -> Result<Vec<FleetName>, StoreError>;
        newest() -> Result<i64, StoreError>;
        sums(filter: Filter, step: i64, limit: usize, moments: bool) -> Result<Vec<Sum>, StoreError>;
        latest(fleet: &FleetName) -> Result<Vec<Record>, StoreError>;
        epochs(fleet: &FleetName, limit: usize) -> Result<Vec<Epoch>, StoreError>;
        changes(
            fleet: &FleetName, from: Timestamp, to: Timestamp, limit: usize
        ) -> Result<Vec<(Timestamp, i64)>, StoreError>;
        prune(horizon: Horizon) -> Result<usize, StoreError>;
        forget_epoch(fleet: &FleetName, epoch: i64) -> Result<usize, StoreError>;
        forget_fleet(fleet: &FleetName) -> Result<usize, StoreError>;
        close() -> ();
    }

    fn measurements(&self) -> &dyn Measurements {
        self.inner.measurements()
    }

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

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            self.apply_fault().await?;
            self.inner.check().await
        }
        .boxed()
    }
}
