//! State that all handlers share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::fleet::LatestStatus;
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
    /// Id and time of the newest report that this process recorded. It decides whether reports arrive, so its clock is
    /// monotonic.
    arrived: Mutex<Option<(i64, Instant)>>,
    /// Last fleet status.
    pub(crate) fleet: Mutex<LatestStatus>,
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
            arrived: Mutex::default(),
            fleet: Mutex::default(),
            stopping: CancellationToken::new(),
            streams: Mutex::new(StreamSlots::new(&options.limits)),
            buckets: Mutex::new(Buckets::new(&options.limits)),
            refusals: RefusalLog::default(),
            parsers: Arc::new(Semaphore::new(MAX_PARSERS)),
            options,
        }
    }

    /// Records that a report has just arrived.
    pub(crate) fn note_arrival(&self, id: i64) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        if arrived.is_none_or(|(known, _)| id > known) {
            *arrived = Some((id, Instant::now()));
        }
    }

    /// Returns the time since this process recorded report `id`, if that was the newest one that it recorded.
    pub(crate) fn since_arrival(&self, id: i64) -> Option<Duration> {
        let arrived = *self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.filter(|(known, _)| *known == id).map(|(_, at)| at.elapsed())
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
