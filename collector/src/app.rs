//! State that all handlers share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::fleet_name::FleetName;
use crate::fleets::{Fleets, MAX_FLEETS, MAX_ZONES};
use crate::limits::Buckets;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::problem::Problem;
use crate::refusal_log::RefusalLog;
use crate::store::{Store, StoreError};
use crate::stream_slots::StreamSlots;

/// State that all handlers share.
pub(crate) struct App {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) options: Options,
    pub(crate) metrics: Metrics,
    /// Highest id that this process has recorded.
    pub(crate) newest: watch::Sender<i64>,
    fleets: Mutex<Fleets>,
    /// Cancelled at shutdown; ends the streams.
    pub(crate) stopping: CancellationToken,
    pub(crate) streams: Mutex<StreamSlots>,
    pub(crate) buckets: Mutex<Buckets>,
    pub(crate) refusals: RefusalLog,
    /// Permits to unpack and parse a batch of measurements. They bound the memory for unpacked bodies.
    pub(crate) parsers: Arc<Semaphore>,
}

/// Maximum number of batches of measurements that are unpacked and parsed at a time.
const MAX_PARSERS: usize = 4;

impl App {
    pub(crate) fn new(store: Arc<dyn Store>, options: Options) -> App {
        App {
            store,
            metrics: Metrics::new(),
            newest: watch::Sender::new(0),
            fleets: Mutex::default(),
            stopping: CancellationToken::new(),
            streams: Mutex::new(StreamSlots::new(&options.limits)),
            buckets: Mutex::new(Buckets::new(&options.limits)),
            refusals: RefusalLog::default(),
            parsers: Arc::new(Semaphore::new(MAX_PARSERS)),
            options,
        }
    }

    /// Returns the known fleets.
    pub(crate) fn fleets(&self) -> MutexGuard<'_, Fleets> {
        self.fleets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a fleet, unless it is unknown, and there are [`MAX_FLEETS`], or the fleet has [`MAX_ZONES`], already. If the
    /// store fails, only the fleets that this process knows count.
    pub(crate) async fn admit_fleet(&self, fleet: &FleetName) -> Result<(), Problem> {
        if self.fleets().contains(fleet) {
            return Ok(());
        }
        let stored = self.with_store_timeout(self.store.fleets()).await.unwrap_or_default();
        let mut fleets = self.fleets();
        fleets.add_stored(stored);
        match fleets.admit(fleet) {
            true => Ok(()),
            false if fleets.has_all_zones(fleet) => Err(Problem::too_many_zones(fleet, MAX_ZONES)),
            false => Err(Problem::too_many_fleets(fleet, MAX_FLEETS)),
        }
    }

    /// Waits for an answer of the store, up to the limit for answers.
    pub(crate) async fn with_store_timeout<T>(
        &self,
        answer: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Problem> {
        let answer = timeout(self.options.limits.answer, answer).await;
        Ok(answer.map_err(|_| Problem::unavailable("the store has not answered in time"))??)
    }
}

/// Address of the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);
