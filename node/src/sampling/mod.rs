//! From sensors to measurements: one thread for each bus, a clock that asks all of them, and one measurement a period.

pub mod barrier_gate;
mod bus_worker;
mod sampler;
pub mod sensor_health;

use std::time::{Duration, Instant};

use atalaya_hal::{Backend, Board, Bus, OpenError, SensorInfo};
use jiff::Timestamp;

use bus_worker::When;
pub use bus_worker::{Sample, Worker};
pub use sampler::{SampleProgress, Sampler};
use sensor_health::Health;

/// Opens what a board carries. Nothing is read yet, and an absent chip is no error before it is.
///
/// # Errors
/// The board asks for something that this machine or this build cannot give.
pub fn open(board: &Board, base_dir: &std::path::Path) -> Result<Vec<Bus>, OpenError> {
    match board.backend {
        #[cfg(feature = "sim")]
        Backend::Sim => atalaya_sim::open(board, base_dir),
        #[cfg(not(feature = "sim"))]
        Backend::Sim => {
            // Pretend sensors may replay files; real ones have none.
            let _ = base_dir;
            let sensor = board.sensors.first().map_or("any", |sensor| &sensor.name);
            Err(OpenError::new(
                sensor,
                "this atalaya was built without the simulator; use backend = \"linux\", or a build with the feature \
                 \"sim\"",
            ))
        }
        #[cfg(target_os = "linux")]
        Backend::Linux => atalaya_hal::linux::open(board, base_dir),
        #[cfg(not(target_os = "linux"))]
        Backend::Linux => {
            Err(OpenError::new("any", "the backend \"linux\" needs Linux; use backend = \"sim\" here"))
        }
    }
}

/// All sensors of a node.
#[derive(Debug)]
pub struct Sensors {
    workers: Vec<Worker>,
    spares: bool,
}

/// Longest wait for a reading, whatever the period.
const LONGEST_READ: Duration = Duration::from_secs(10);

/// How long the readings of one sample are waited for, if one is taken every `period`.
pub fn patience(period: Duration) -> Duration {
    period.min(LONGEST_READ)
}

impl Sensors {
    /// Starts one thread for each bus.
    ///
    /// # Errors
    /// The machine gives no more threads.
    pub fn start(buses: Vec<Bus>) -> std::io::Result<Sensors> {
        let workers = buses.into_iter().map(Worker::start).collect::<Result<_, _>>()?;
        Ok(Sensors { workers, spares: true })
    }

    /// Asks sensors that fail as often as the others: for somebody who waits for one to be plugged in.
    #[must_use]
    pub fn tireless(mut self) -> Sensors {
        self.spares = false;
        self
    }

    /// What there is.
    pub fn infos(&self) -> impl Iterator<Item = &SensorInfo> {
        self.workers.iter().flat_map(Worker::infos)
    }

    /// What there is, and how it is.
    pub fn health(&self) -> impl Iterator<Item = (&SensorInfo, &Health)> {
        self.workers.iter().flat_map(Worker::sensors)
    }

    /// Reads every sensor whose turn it is once; one sample is taken every `period`, and who does not answer within it
    /// ([`patience`]) has failed. A bus whose read has not returned since an earlier sample is not waited for.
    ///
    /// # Cancellation safety
    /// A read under way ends in its thread; the next sample hears of it.
    pub async fn sample(&mut self, period: Duration) -> Vec<Sample> {
        let when = When {
            asked: Instant::now(),
            time: Timestamp::now(),
            period,
            patience: patience(period),
            spares: self.spares,
        };
        let asked: Vec<_> = self.workers.iter_mut().map(|worker| worker.ask(&when)).collect();
        let mut samples = Vec::new();
        for (worker, asked) in self.workers.iter_mut().zip(asked) {
            samples.extend(worker.hear(asked, &when).await);
        }
        samples
    }
}
