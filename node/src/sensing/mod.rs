//! From sensors to measurements: one thread for each bus, a clock that asks all of them, and one measurement a period.

mod worker;

use std::time::Duration;

use atalaya_hal::{Backend, Board, Bus, OpenError, Reading, SensorInfo};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::id::NodeId;
use crate::measurement::Form;
use crate::vitals::Faults;
pub use worker::{Sample, Worker};

/// Opens what a board carries. Nothing is read yet, and an absent chip is no error before it is.
///
/// # Errors
/// The board asks for something that this machine or this build cannot give.
pub fn open(board: &Board, base_dir: &std::path::Path) -> Result<Vec<Bus>, OpenError> {
    match board.backend {
        Backend::Sim => atalaya_sim::open(board, base_dir),
        #[cfg(target_os = "linux")]
        Backend::Linux => atalaya_hal::linux::open(board),
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
    /// What is wrong with a sensor at the moment: said when it changes.
    faults: Faults,
}

/// Longest wait for a reading, whatever the period.
const LONGEST_READ: Duration = Duration::from_secs(10);

impl Sensors {
    /// Starts one thread for each bus.
    ///
    /// # Errors
    /// The machine gives no more threads.
    pub fn start(buses: Vec<Bus>) -> std::io::Result<Sensors> {
        let workers = buses.into_iter().map(Worker::start).collect::<Result<_, _>>()?;
        Ok(Sensors { workers, faults: Faults::new() })
    }

    /// What there is.
    pub fn infos(&self) -> impl Iterator<Item = &SensorInfo> {
        self.workers.iter().flat_map(Worker::infos)
    }

    /// Reads every sensor once; who does not answer within `patience` has failed.
    pub async fn sample(&mut self, patience: Duration) -> Vec<Sample> {
        let deadline = tokio::time::Instant::now() + patience.min(LONGEST_READ);
        let asked: Vec<_> = self.workers.iter_mut().map(Worker::ask).collect();
        let mut samples = Vec::new();
        for (worker, answer) in self.workers.iter_mut().zip(asked) {
            samples.extend(worker.answer(answer, deadline).await);
        }
        samples
    }

    /// Logs which sensors began to fail, fail in another way, or work again.
    fn log_changes(&mut self, samples: &[Sample]) {
        for sample in samples {
            match &sample.result {
                Ok(_) => {
                    if self.faults.remove(&sample.sensor).is_some() {
                        info!(sensor = sample.sensor, "reads again");
                    }
                }
                Err(fault) => {
                    if self.faults.get(&sample.sensor) != Some(fault) {
                        warn!(sensor = sample.sensor, "cannot be read: {fault}");
                        self.faults.insert(sample.sensor.clone(), fault.clone());
                    }
                }
            }
        }
    }
}

/// Measures at once and then once a `period`, and hands each measurement on, and which sensors cannot be read, for ever.
/// Nothing is handed on when no
/// sensor could be read: the last measurement stands, and its age tells.
///
/// # Cancellation safety
/// Between two measurements nothing is lost. A read under way ends in its thread, unheard.
pub async fn measure(
    mut sensors: Sensors,
    id: &NodeId,
    period: Duration,
    measured: watch::Sender<Option<Vec<u8>>>,
    faults: watch::Sender<Faults>,
) {
    let form = Form::of(sensors.infos());
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let samples = sensors.sample(period).await;
        sensors.log_changes(&samples);
        faults.send_if_modified(|known| {
            let changed = *known != sensors.faults;
            if changed {
                known.clone_from(&sensors.faults);
            }
            changed
        });
        let readings: Vec<(&str, Reading)> = samples
            .iter()
            .flat_map(|sample| sample.readings().map(|reading| (sample.sensor.as_str(), *reading)))
            .collect();
        if let Some(data) = form.write(id.as_str(), &readings) {
            tracing::debug!(measurement = %String::from_utf8_lossy(&data), "measured");
            measured.send_replace(Some(data));
        }
    }
}
