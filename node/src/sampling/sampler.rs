//! Takes samples of all sensors, triggered by a timer or by the barrier, and passes on measurements and sensor health.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_hal::Reading;
use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::persistent_node::NodeState;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant as TokioInstant, Interval, MissedTickBehavior};
use tracing::{debug, info, warn};

use super::barrier_gate::BarrierGate;
use super::{BusReservations, LatestSample, Sample, Sensors, read_timeout};
use crate::history::Recorder;
use crate::metrics::SamplingMetrics;
use crate::model::barrier::{self, Barrier, LOG_TARGET, SamplingMode};
use crate::model::measurement::Format;
use crate::model::node_id::NodeId;
use crate::model::node_info::SensorStatus;

/// Periods without a release of the barrier after which a warning is logged.
const PERIODS_BEFORE_WARNING: u32 = 3;
/// Maximum time between two samples in lock-step mode, for the watchdog. A leader that releases no barrier is not a
/// reason to restart a node, so this is practically unlimited.
const MAX_BARRIER_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

#[derive(Debug)]
pub(crate) struct Sampler {
    /// Newest measurement, encoded for its znode.
    pub(crate) measurement: watch::Sender<Option<Vec<u8>>>,
    /// Description and health of the sensors. Notified only of changes.
    pub(crate) sensor_info: watch::Sender<Vec<SensorStatus>>,
    /// Newest sample, for the actions of tasks.
    pub(crate) latest: watch::Sender<Option<Arc<LatestSample>>>,
    /// Buses that tasks use. All sensors share them, also those that replace others.
    pub(crate) reservations: BusReservations,
    /// Latest time at which the next sample must be complete, for the watchdog; `None` before the first sample.
    pub(crate) progress: watch::Sender<Option<Instant>>,
    /// Timer or barrier. A changed period counts from the last sample.
    pub(crate) mode: watch::Receiver<SamplingMode>,
    /// State of the measurement's znode. In lock-step mode, the next sample waits until the last one is published.
    pub(crate) published: watch::Receiver<NodeState>,
    pub(crate) metrics: SamplingMetrics,
    /// Stores each reading for the collector.
    pub(crate) recorder: Option<Recorder>,
}

impl Sampler {
    /// Takes a sample immediately and then whenever one is due. `replacements` are sensors that replace the current
    /// ones. If no sensor could be read, no measurement is passed on: the last one stays published, and its age shows
    /// that it is old.
    ///
    /// # Cancellation safety
    /// Between two samples nothing is lost. A read in progress ends in its thread, and its result is discarded.
    pub(crate) async fn run(
        mut self,
        id: &NodeId,
        mut sensors: Sensors,
        mut replacements: mpsc::Receiver<Sensors>,
    ) {
        // Kept across replacements: new sensors do not take another sample for the same generation of the barrier, or
        // before the last one is published.
        let mut gate = BarrierGate::default();
        loop {
            // The old sensors are dropped here. Their threads end when their last reads have returned.
            sensors = tokio::select! {
                biased;
                Some(replacement) = replacements.recv() => replacement,
                () = self.sample_repeatedly(id, &mut sensors, &mut gate) => return,
            };
        }
    }

    async fn sample_repeatedly(&mut self, id: &NodeId, sensors: &mut Sensors, gate: &mut BarrierGate) {
        sensors.reservations = self.reservations.clone();
        let format = Format::for_sensors(sensors.infos());
        let mut mode = *self.mode.borrow_and_update();
        let mut ticks = interval_from(TokioInstant::now(), mode.period);
        let mut last_start: Option<TokioInstant> = None;
        let mut last_end: Option<BootInstant> = None;
        let mut warned = false;
        self.publish_sensor_info(sensors);
        self.metrics.update(|stats| stats.set_sensors(sensors.infos()));
        loop {
            let lock_step = mode.barrier.is_some();
            let gate_open = mode.barrier.is_some_and(|barrier| gate.should_sample(barrier));
            let warn_at = last_start.unwrap_or_else(TokioInstant::now) + mode.period * PERIODS_BEFORE_WARNING;
            tokio::select! {
                biased;
                Ok(()) = self.mode.changed() => {
                    let old = std::mem::replace(&mut mode, *self.mode.borrow_and_update());
                    if (mode.period, mode.barrier.is_some()) != (old.period, lock_step) {
                        ticks = self.restart_timer(last_start, mode.period);
                    }
                    continue;
                }
                _ = ticks.tick(), if !lock_step => {}
                Ok(()) = self.published.changed(), if lock_step && gate.stored_before.is_some() => {
                    gate.on_stored(*self.published.borrow_and_update());
                    continue;
                }
                () = std::future::ready(()), if gate_open => {}
                () = tokio::time::sleep_until(warn_at), if lock_step && !warned => {
                    warned = true;
                    warn_about_leader(&format!("no release of {}", barrier::PATH));
                    continue;
                }
            }
            if let Some(ended) = last_end.filter(|_| lock_step) {
                self.metrics.record_barrier_wait(BootInstant::now().since(ended));
            }
            last_start = Some(TokioInstant::now());
            if lock_step {
                self.set_deadline(Instant::now() + read_timeout(mode.period));
            }
            if std::mem::take(&mut warned) {
                info!("lock-step sampling continues");
            }
            let data = self.sample(id, sensors, format, mode).await;
            last_end = Some(BootInstant::now());
            if lock_step && !gate.on_sampled(self.barrier_after_release(mode.period).await) {
                debug!(target: LOG_TARGET, "sample not published: the last one was published in this generation");
                continue;
            }
            if let Some(data) = data {
                debug!(measurement = %String::from_utf8_lossy(&data), "measured");
                gate.stored_before = Some(self.published.borrow_and_update().stored);
                self.measurement.send_replace(Some(data));
            }
        }
    }

    /// Takes one sample and publishes metrics, health and progress. Returns the measurement, if a sensor was read.
    async fn sample(
        &self,
        id: &NodeId,
        sensors: &mut Sensors,
        format: Format,
        mode: SamplingMode,
    ) -> Option<Vec<u8>> {
        let samples = sensors.sample(mode.period).await;
        samples.iter().for_each(log_health_change);
        let results = samples.iter().map(|sample| {
            (sample.sensor.as_str(), sample.result.as_ref().map_err(String::as_str), sample.skipped)
        });
        self.metrics.update(|stats| stats.record_sample(results, BootInstant::now()));
        self.publish_sensor_info(sensors);
        let readings: Vec<(&str, Reading)> = samples
            .iter()
            .flat_map(|sample| sample.readings().map(|reading| (sample.sensor.as_str(), *reading)))
            .collect();
        if let Some(recorder) = &self.recorder {
            recorder.record(&readings);
        }
        // In lock-step mode the leader decides when the next sample is due.
        let wait = if mode.barrier.is_some() { MAX_BARRIER_WAIT } else { mode.period };
        let next_by = Instant::now() + wait + read_timeout(mode.period);
        self.progress.send_replace(Some(next_by));
        let data = format.encode(id.as_str(), &readings);
        drop(readings);
        self.latest.send_replace(Some(Arc::new(LatestSample { time: Timestamp::now(), samples })));
        data
    }

    /// Returns the state of the barrier. After a release, waits until the next generation is known: the sample was
    /// started by the release, and its measurement is published in that generation.
    async fn barrier_after_release(&mut self, period: Duration) -> Barrier {
        let current = self.mode.borrow().barrier;
        if current != Some(Barrier::Released) {
            return current.unwrap_or_default();
        }
        let decided = |mode: &SamplingMode| matches!(mode.barrier, None | Some(Barrier::Closed(_)));
        let mut warned = false;
        let barrier = loop {
            match tokio::time::timeout(period * PERIODS_BEFORE_WARNING, self.mode.wait_for(decided)).await {
                Ok(Ok(mode)) => break mode.barrier,
                Ok(Err(_)) => break None,
                Err(_) if std::mem::replace(&mut warned, true) => {}
                Err(_) => warn_about_leader(&format!("{} has been open", barrier::PATH)),
            }
        };
        // `wait_for` has marked the new mode as seen, but the sampling loop must still act on it.
        self.mode.mark_changed();
        barrier.unwrap_or_default()
    }

    /// Returns a timer that ticks `period` after the last sample, or immediately, and moves the deadline accordingly.
    fn restart_timer(&self, last_start: Option<TokioInstant>, period: Duration) -> Interval {
        let now = TokioInstant::now();
        let first = last_start.map_or(now, |last| now.max(last + period));
        self.set_deadline(first.into_std() + read_timeout(period));
        interval_from(first, period)
    }

    fn set_deadline(&self, next_by: Instant) {
        self.progress.send_modify(|progress| *progress = progress.map(|_| next_by));
    }

    fn publish_sensor_info(&self, sensors: &Sensors) {
        let info: Vec<SensorStatus> =
            sensors.health().map(|(info, health)| SensorStatus::new(info, &health.status)).collect();
        self.sensor_info.send_if_modified(|known| std::mem::replace(known, info.clone()) != info);
    }
}

fn warn_about_leader(observed: &str) {
    warn!("{observed} for {PERIODS_BEFORE_WARNING} periods: no leader runs with sync = \"barrier\"");
}

fn interval_from(first: TokioInstant, period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(first, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    interval
}

fn log_health_change(sample: &Sample) {
    let sensor = &sample.sensor;
    match &sample.result {
        Ok(_) if sample.health_changed => info!(sensor, "sensor recovered"),
        Err(fault) if sample.health_changed => warn!(sensor, "sensor cannot be read: {fault}"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;

    use atalaya_hal::{Bus, Quantity, ReadError, Readings, Sensor, SensorInfo};

    use super::*;
    use crate::model::node_info::tests::sensor_info;

    const DEADLINE: Duration = Duration::from_secs(30);
    const HOUR: Duration = Duration::from_secs(3600);

    /// A sensor whose reads block until the test allows them to return.
    struct GatedSensor {
        info: SensorInfo,
        started: mpsc::UnboundedSender<()>,
        gate: blocking::Receiver<()>,
    }

    impl Sensor for GatedSensor {
        fn info(&self) -> &SensorInfo {
            &self.info
        }

        fn read(&mut self) -> Result<Readings, ReadError> {
            let _ = self.started.send(());
            let _ = self.gate.recv();
            Ok(Readings::from_iter([Reading::new(Quantity::Temperature, 7.0).unwrap()]))
        }
    }

    /// Returns a sensor, the sender that lets a read return, and the receiver that gets a message when a read starts.
    fn gated_sensor(name: &str) -> (Sensors, blocking::Sender<()>, mpsc::UnboundedReceiver<()>) {
        let (open, gate) = blocking::channel();
        let (started, reads) = mpsc::unbounded_channel();
        let info = sensor_info(name, "gated", &[Quantity::Temperature]);
        let bus = Bus { name: "i2c-1".into(), sensors: vec![Box::new(GatedSensor { info, started, gate })] };
        (Sensors::start(vec![bus]).unwrap(), open, reads)
    }

    /// A sampler and the other ends of its channels.
    struct Harness {
        sampler: Sampler,
        measurement: watch::Receiver<Option<Vec<u8>>>,
        sensor_info: watch::Receiver<Vec<SensorStatus>>,
        progress: watch::Receiver<Option<Instant>>,
        mode: watch::Sender<SamplingMode>,
    }

    fn free_running(period: Duration) -> SamplingMode {
        SamplingMode { period, barrier: None }
    }

    fn harness() -> Harness {
        let (measurement, measurements) = watch::channel(None);
        let (sensor_info, sensor_infos) = watch::channel(Vec::new());
        let (progress, progress_updates) = watch::channel(None);
        let (mode, modes) = watch::channel(free_running(HOUR));
        let published = watch::channel(NodeState::default()).1;
        let metrics = SamplingMetrics::default();
        Harness {
            sampler: Sampler {
                measurement,
                sensor_info,
                latest: watch::Sender::default(),
                reservations: BusReservations::default(),
                progress,
                mode: modes,
                published,
                metrics,
                recorder: None,
            },
            measurement: measurements,
            sensor_info: sensor_infos,
            progress: progress_updates,
            mode,
        }
    }

    #[tokio::test]
    async fn sensors_are_replaced_while_a_read_of_an_old_one_hangs() {
        let ((old, old_gate, mut old_reads), (new, new_gate, _)) = (gated_sensor("old"), gated_sensor("new"));
        let mut harness = harness();
        let (replace, replacements) = mpsc::channel(1);
        let id: NodeId = "1".parse().unwrap();
        let scenario = async {
            old_reads.recv().await.unwrap();
            replace.send(new).await.unwrap();
            new_gate.send(()).unwrap();
            harness.measurement.wait_for(|data| data.as_deref() == Some(b"7")).await.unwrap();
            let is_new = |sensors: &Vec<SensorStatus>| sensors.len() == 1 && sensors[0].name == "new";
            harness.sensor_info.wait_for(is_new).await.unwrap();
            harness.progress.wait_for(Option::is_some).await.unwrap();
        };
        tokio::select! {
            () = harness.sampler.run(&id, old, replacements) => panic!("the sampler ended"),
            done = tokio::time::timeout(DEADLINE, scenario) => done.unwrap(),
        }
        // The old thread is still in the read and ends after it. Then the receiver of its gate is dropped.
        old_gate.send(()).unwrap();
        let deadline = Instant::now() + DEADLINE;
        while old_gate.send(()).is_ok() {
            assert!(Instant::now() < deadline, "the thread of the old bus does not end");
            std::thread::yield_now();
        }
    }

    /// Lets the sensor read once.
    async fn next_sample(gate: &blocking::Sender<()>, reads: &mut mpsc::UnboundedReceiver<()>) {
        reads.recv().await.unwrap();
        gate.send(()).unwrap();
    }

    #[tokio::test]
    async fn changed_period_counts_from_the_last_sample() {
        let (sensors, gate, mut reads) = gated_sensor("s");
        let mut harness = harness();
        let (_replace, replacements) = mpsc::channel(1);
        let id: NodeId = "1".parse().unwrap();
        let scenario = async {
            let started = Instant::now();
            next_sample(&gate, &mut reads).await;
            let hourly = harness.progress.wait_for(Option::is_some).await.unwrap().unwrap();
            // The next sample comes one new period after the last one, not after the hour.
            let period = Duration::from_millis(200);
            harness.mode.send_replace(free_running(period));
            for count in 1..=3 {
                next_sample(&gate, &mut reads).await;
                // On a busy machine, this task learns late of a read, so the time between two reads is not exact.
                assert!(started.elapsed() >= period * count);
            }
            // A longer period moves the deadline for the watchdog.
            harness.mode.send_replace(free_running(HOUR));
            let later = |next_by: &Option<Instant>| next_by.is_some_and(|next_by| next_by >= hourly);
            harness.progress.wait_for(later).await.unwrap();
        };
        tokio::select! {
            () = harness.sampler.run(&id, sensors, replacements) => panic!("the sampler ended"),
            done = tokio::time::timeout(DEADLINE, scenario) => done.unwrap(),
        }
    }
}
