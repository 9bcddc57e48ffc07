//! From sensors to measurements: one thread per bus, and a sampler that reads all sensors once per period.

pub(crate) mod barrier_gate;
mod bus_reservations;
#[cfg(all(target_os = "linux", feature = "chips"))]
pub(crate) mod bus_scan;
mod bus_worker;
mod sampler;
pub(crate) mod sensor_health;

use std::time::{Duration, Instant};

use atalaya_config::{Backend, Board};
use atalaya_hal::{Bus, OpenError, SensorInfo};
use jiff::Timestamp;

pub use bus_reservations::{BusReservations, Reservation};
pub use bus_worker::Sample;
use bus_worker::{BusWorker, SampleRequest};
pub(crate) use sampler::Sampler;
use sensor_health::Health;

/// Opens the buses and sensors of a board. Reads nothing yet: a missing chip is an error only when it is read.
///
/// # Errors
/// The board needs something that this machine or this build does not have.
pub fn open(board: &Board, base_dir: &std::path::Path) -> Result<Vec<Bus>, OpenError> {
    match board.backend {
        #[cfg(feature = "sim")]
        Backend::Sim => atalaya_sim::open(board.simulated(), base_dir),
        #[cfg(not(feature = "sim"))]
        Backend::Sim => {
            // Only simulated sensors replay files from this directory.
            let _ = base_dir;
            let sensor = board.specs().next().map_or("any", |spec| &spec.name);
            Err(OpenError::new(
                sensor,
                "this atalaya was built without the simulator; use backend = \"linux\", or a build with the feature \
                 \"sim\"",
            ))
        }
        #[cfg(all(target_os = "linux", feature = "chips"))]
        Backend::Linux => atalaya_hal::linux::open(board.specs(), base_dir),
        #[cfg(not(all(target_os = "linux", feature = "chips")))]
        Backend::Linux => Err(OpenError::new(
            "any",
            "the backend \"linux\" needs Linux, and a build with the feature \"chips\"; use backend = \"sim\" here",
        )),
    }
}

/// All sensors of a node.
#[derive(Debug)]
pub struct Sensors {
    workers: Vec<BusWorker>,
    /// False if failing sensors are read in each sample, so that one that is plugged in is found immediately.
    pub(crate) backoff: bool,
    /// Buses that tasks use, whose sensors are not read.
    pub(crate) reservations: BusReservations,
}

/// Newest sample of all sensors.
#[derive(Clone, Debug)]
pub struct LatestSample {
    /// End of the sample.
    pub time: Timestamp,
    /// Result of each sensor.
    pub samples: Vec<Sample>,
}

/// Maximum time to wait for a reading, for any period.
const MAX_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the maximum time to wait for the readings of one sample if one is taken every `period`.
pub(crate) fn read_timeout(period: Duration) -> Duration {
    period.min(MAX_READ_TIMEOUT)
}

impl Sensors {
    /// Starts one thread per bus.
    ///
    /// # Errors
    /// The system cannot start more threads.
    pub fn start(buses: Vec<Bus>) -> std::io::Result<Sensors> {
        let workers = buses.into_iter().map(BusWorker::start).collect::<Result<_, _>>()?;
        Ok(Sensors { workers, backoff: true, reservations: BusReservations::default() })
    }

    /// Returns the descriptions of all sensors.
    pub fn infos(&self) -> impl Iterator<Item = &SensorInfo> {
        self.workers.iter().flat_map(|worker| &worker.infos)
    }

    pub(crate) fn health(&self) -> impl Iterator<Item = (&SensorInfo, &Health)> {
        self.workers.iter().flat_map(|worker| worker.infos.iter().zip(&worker.health))
    }

    /// Reads once every sensor that is due. Samples are taken every `period`; a sensor that does not answer within
    /// `read_timeout` has failed. A bus with an unfinished read of an earlier sample is not waited for.
    ///
    /// # Cancellation safety
    /// A read in progress ends in its thread; the next sample receives its result.
    pub async fn sample(&mut self, period: Duration) -> Vec<Sample> {
        let (start, time, backoff) = (Instant::now(), Timestamp::now(), self.backoff);
        let deadline = start + read_timeout(period);
        let request = SampleRequest { start, time, period, deadline, backoff };
        // All buses start reading before the first is waited for.
        let pending: Vec<_> = {
            let reservations = &self.reservations;
            self.workers.iter_mut().map(|worker| worker.request(&request, reservations)).collect()
        };
        let mut samples = Vec::new();
        for (worker, pending) in self.workers.iter_mut().zip(pending) {
            samples.extend(worker.collect(pending, &request).await);
        }
        samples
    }
}
