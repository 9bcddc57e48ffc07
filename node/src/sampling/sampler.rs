//! The clock of a node: measures once a period, and hands on what was measured and how the sensors are.

use std::time::{Duration, Instant};

use atalaya_hal::{Reading, SensorInfo};
use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::persistent_node::NodeState;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use super::{Sample, Sensors, patience};
use crate::leader::fenced_store::BARRIER;
use crate::metrics::{SamplingMetrics, SensorResult};
use crate::model::measurement::Form;
use crate::model::node_id::NodeId;
use crate::model::node_info::SensorStatus;
use crate::sampling::barrier_gate::{Barrier, BarrierGate, SamplingMode};
use crate::sampling::sensor_health::News;

/// How the measuring goes: for whoever sees to it that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleProgress {
    /// How many samples have been taken.
    pub taken: u64,
    /// When the next one has been taken at the latest.
    pub next: Instant,
}

/// Where the measuring says what comes of it.
#[derive(Debug)]
pub struct Sampler {
    /// The newest measurement, as it is published.
    pub measured: watch::Sender<Option<Vec<u8>>>,
    /// How the sensors are, whenever that changes.
    pub sensors: watch::Sender<Vec<SensorStatus>>,
    /// After each sample.
    pub turns: watch::Sender<Option<SampleProgress>>,
    /// Sensors that take the place of those there are.
    pub exchange: mpsc::Receiver<Sensors>,
    /// When to measure. Another period begins with the last sample: the next one comes a new period after it.
    pub pace: watch::Receiver<SamplingMode>,
    /// What was published: in step, nothing is measured before that.
    pub published: watch::Receiver<NodeState>,
    /// Where it is counted.
    pub metrics: SamplingMetrics,
}

impl Sampler {
    /// Measures at once and then at the pace, and hands each measurement on, for ever. Nothing is handed on when no
    /// sensor could be read: the last measurement stands, and its age tells.
    ///
    /// # Cancellation safety
    /// Between two measurements nothing is lost. A read under way ends in its thread, unheard.
    pub async fn run(mut self, id: &NodeId, mut sensors: Sensors) {
        // Other sensors do not measure once more for what was measured.
        let mut turnstile = BarrierGate::default();
        loop {
            let cues =
                Cues { pace: &mut self.pace, published: &mut self.published, turnstile: &mut turnstile };
            let says = Says {
                measured: &self.measured,
                present: &self.sensors,
                turns: &self.turns,
                metrics: &self.metrics,
            };
            let exchanged = tokio::select! {
                biased;
                exchanged = next(&mut self.exchange) => exchanged,
                () = measure(id, &mut sensors, cues, says) => return,
            };
            // The old ones are dropped here: their threads end when their last reads have returned.
            sensors = exchanged;
        }
    }
}

/// The next sensors; never, when nobody can send any.
async fn next(exchange: &mut mpsc::Receiver<Sensors>) -> Sensors {
    match exchange.recv().await {
        Some(exchanged) => exchanged,
        None => std::future::pending().await,
    }
}

/// What tells when to measure.
struct Cues<'a> {
    pace: &'a mut watch::Receiver<SamplingMode>,
    published: &'a mut watch::Receiver<NodeState>,
    turnstile: &'a mut BarrierGate,
}

/// Where it is said what comes of it.
struct Says<'a> {
    measured: &'a watch::Sender<Option<Vec<u8>>>,
    present: &'a watch::Sender<Vec<SensorStatus>>,
    turns: &'a watch::Sender<Option<SampleProgress>>,
    metrics: &'a SamplingMetrics,
}

async fn measure(id: &NodeId, sensors: &mut Sensors, cues: Cues<'_>, says: Says<'_>) {
    let Cues { pace, published, turnstile } = cues;
    let Says { measured, present, turns, metrics } = says;
    let form = Form::of(sensors.infos());
    let SamplingMode { mut period, mut step } = *pace.borrow_and_update();
    let mut ticks = ticks(tokio::time::Instant::now(), period);
    let mut last: Option<tokio::time::Instant> = None;
    let mut ended: Option<BootInstant> = None;
    let mut warned = false;
    // How much was published before what is to be published now.
    let mut unpublished: Option<u64> = None;
    tell(sensors, present);
    metrics.set_sensors(sensors.infos());
    loop {
        let waits_since = last.unwrap_or_else(tokio::time::Instant::now);
        tokio::select! {
            biased;
            Ok(()) = pace.changed() => {
                let now = *pace.borrow_and_update();
                let before = SamplingMode { period, step };
                (period, step) = (now.period, now.step);
                if (now.period, now.step.is_some()) != (before.period, before.step.is_some()) {
                    let next = last.map_or_else(tokio::time::Instant::now, |last| {
                        tokio::time::Instant::now().max(last + period)
                    });
                    ticks = self::ticks(next, period);
                    // Whoever waits for the next sample waits for that one.
                    let next = next.into_std() + patience(period);
                    turns.send_modify(|turn| *turn = turn.map(|turn| SampleProgress { next, ..turn }));
                }
                continue;
            }
            _ = ticks.tick(), if step.is_none() => {}
            Ok(()) = published.changed(), if step.is_some() && unpublished.is_some() => {
                let state = *published.borrow_and_update();
                if unpublished.is_some_and(|before| state.stored > before) {
                    debug!(target: STEP, zxid = state.zxid, "published");
                    turnstile.published(state.zxid);
                    unpublished = None;
                }
                continue;
            }
            () = std::future::ready(()), if unpublished.is_none() && step.is_some_and(|barrier| turnstile.lets_through(barrier)) => {}
            () = tokio::time::sleep_until(waits_since + period * PATIENT_PERIODS), if step.is_some() && !warned => {
                warned = true;
                warn!("waiting at {BARRIER} for {PATIENT_PERIODS} periods: nobody leads in step (sync = \"barrier\")");
                continue;
            }
        }
        if let Some(ended) = ended.filter(|_| step.is_some()) {
            metrics.record_barrier_wait(BootInstant::now().since(ended));
        }
        last = Some(tokio::time::Instant::now());
        if step.is_some() {
            let next = Instant::now() + patience(period);
            turns.send_modify(|turn| *turn = turn.map(|turn| SampleProgress { next, ..turn }));
        }
        if std::mem::take(&mut warned) {
            info!("measuring in step again");
        }
        let samples = sensors.sample(period).await;
        samples.iter().for_each(log);
        metrics.record_sample(samples.iter().map(|sample| SensorResult {
            sensor: &sample.sensor,
            result: sample.result.as_ref().map_err(String::as_str),
            is_skipped: sample.left_alone,
        }));
        ended = Some(BootInstant::now());
        tell(sensors, present);
        let readings: Vec<(&str, Reading)> = samples
            .iter()
            .flat_map(|sample| sample.readings().map(|reading| (sample.sensor.as_str(), *reading)))
            .collect();
        let data = form.write(id.as_str(), &readings);
        turns.send_modify(|turn| {
            let taken = turn.map_or(0, |turn| turn.taken) + 1;
            // In step the next one comes when the leader says so.
            let wait = if step.is_some() { LONGEST_WAIT } else { period };
            *turn = Some(SampleProgress { taken, next: Instant::now() + wait + patience(period) });
        });
        if step.is_some() {
            turnstile.measured(known(pace, period).await);
        }
        if let Some(data) = data {
            debug!(measurement = %String::from_utf8_lossy(&data), "measured");
            unpublished = Some(published.borrow_and_update().stored);
            measured.send_replace(Some(data));
        }
    }
}

/// What the barrier is, once that is seen: measuring begins as soon as it is known that one generation is over, and what is
/// measured is published in the next one.
async fn known(pace: &mut watch::Receiver<SamplingMode>, period: Duration) -> Barrier {
    let undecided = pace.borrow().step == Some(Barrier::Released);
    if !undecided {
        return pace.borrow().step.unwrap_or_default();
    }
    let closed =
        |pace: &SamplingMode| !matches!(pace.step, Some(Barrier::Released | Barrier::Open | Barrier::Unseen));
    let mut warned = false;
    let step = loop {
        match tokio::time::timeout(period * PATIENT_PERIODS, pace.wait_for(closed)).await {
            Ok(Ok(pace)) => break pace.step,
            Ok(Err(_)) => break None,
            Err(_) if std::mem::replace(&mut warned, true) => {}
            Err(_) => {
                warn!(
                    "{BARRIER} has been open for {PATIENT_PERIODS} periods: nobody leads in step (sync = \"barrier\")"
                );
            }
        }
    };
    // It is yet to be acted upon.
    pace.mark_changed();
    step.unwrap_or_default()
}

/// Where it is told how a node keeps step.
const STEP: &str = "atalaya::sampling::barrier_gate";
/// After so many periods without a release at the barrier it is said that nobody leads.
const PATIENT_PERIODS: u32 = 3;
/// How long the leader may take to let a node go on: nothing that is worth a restart.
const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

fn ticks(first: tokio::time::Instant, period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(first, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Says how the sensors are, if that is new.
fn tell(sensors: &Sensors, present: &watch::Sender<Vec<SensorStatus>>) {
    present.send_if_modified(|known| {
        let same = known.len() == sensors.infos().count()
            && known
                .iter()
                .zip(sensors.health())
                .all(|(known, (info, health))| known.health == *health.condition() && known.is(info));
        if !same {
            *known =
                sensors.health().map(|(info, health)| SensorStatus::new(info, health.condition())).collect();
        }
        !same
    });
}

fn log(sample: &Sample) {
    let sensor = &sample.sensor;
    match &sample.news {
        Some(News::Recovered) => info!(sensor, "reads again"),
        Some(News::Failing(fault)) => warn!(sensor, "cannot be read: {fault}"),
        None => {}
    }
}

impl SensorStatus {
    /// Whether it tells of that sensor.
    fn is(&self, info: &SensorInfo) -> bool {
        self.name == info.name
            && self.chip == info.chip
            && self.bus == info.bus
            && self.address == info.address
            && self
                .quantities
                .iter()
                .map(String::as_str)
                .eq(info.quantities.iter().map(|quantity| quantity.name()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as blocking;

    use atalaya_hal::{Bus, Quantity, ReadError, Readings, Sensor};

    use super::*;

    /// Reads when it is let to; for ever, if nobody lets it.
    struct Gated {
        info: SensorInfo,
        /// Told when a read begins.
        begun: mpsc::UnboundedSender<()>,
        gate: blocking::Receiver<()>,
    }

    impl Sensor for Gated {
        fn info(&self) -> &SensorInfo {
            &self.info
        }

        fn read(&mut self) -> Result<Readings, ReadError> {
            let _ = self.begun.send(());
            let _ = self.gate.recv();
            Ok(Readings::from_iter([Reading::new(Quantity::Temperature, 7.0).unwrap()]))
        }
    }

    fn sensors(name: &str) -> (Sensors, blocking::Sender<()>, mpsc::UnboundedReceiver<()>) {
        let (open, gate) = blocking::channel();
        let (begun, reading) = mpsc::unbounded_channel();
        let info = SensorInfo {
            name: name.into(),
            chip: "gated".into(),
            bus: Some("i2c-1".into()),
            address: Some(0x48),
            quantities: vec![Quantity::Temperature],
        };
        let bus = Bus { name: "i2c-1".into(), sensors: vec![Box::new(Gated { info, begun, gate })] };
        (Sensors::start(vec![bus]).unwrap(), open, reading)
    }

    const AN_HOUR: Duration = Duration::from_secs(3600);

    fn nothing_published() -> watch::Receiver<NodeState> {
        watch::channel(NodeState::default()).1
    }

    fn free(period: Duration) -> SamplingMode {
        SamplingMode { period, step: None }
    }
    const DEADLINE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn sensors_are_exchanged_also_while_a_read_of_an_old_one_hangs() {
        let ((old, old_gate, mut reading), (new, new_gate, _)) = (sensors("old"), sensors("new"));
        let (measured, mut measurement) = watch::channel(None);
        let (present, mut presence) = watch::channel(Vec::new());
        let (turns, mut turned) = watch::channel(None);
        let (sender, exchange) = mpsc::channel(1);
        let (_paced, pace) = watch::channel(free(AN_HOUR));
        let (published, metrics) = (nothing_published(), SamplingMetrics::default());
        let measuring = Sampler { measured, sensors: present, turns, exchange, pace, published, metrics };
        let id: NodeId = "1".parse().unwrap();
        let watching = async {
            reading.recv().await.unwrap();
            sender.send(new).await.unwrap();
            new_gate.send(()).unwrap();
            measurement.wait_for(|data| data.as_deref() == Some(b"7")).await.unwrap();
            presence.wait_for(|sensors| sensors.len() == 1 && sensors[0].name == "new").await.unwrap();
            turned.wait_for(|turn| turn.is_some_and(|turn| turn.taken == 1)).await.unwrap();
        };
        tokio::select! {
            () = measuring.run(&id, old) => panic!("it goes on for ever"),
            done = tokio::time::timeout(DEADLINE, watching) => done.unwrap(),
        }
        // Its thread is still in the read, and ends after it: then nobody holds the other end of its gate.
        old_gate.send(()).unwrap();
        let deadline = Instant::now() + DEADLINE;
        while old_gate.send(()).is_ok() {
            assert!(Instant::now() < deadline, "the thread of the old bus does not end");
            std::thread::yield_now();
        }
    }

    /// Lets the sensor read once more, and gives how much later than the sample before it was asked.
    async fn next_sample(
        gate: &blocking::Sender<()>,
        reading: &mut mpsc::UnboundedReceiver<()>,
        last: &mut Instant,
    ) -> Duration {
        reading.recv().await.unwrap();
        gate.send(()).unwrap();
        let now = Instant::now();
        now - std::mem::replace(last, now)
    }

    #[tokio::test]
    async fn another_period_begins_with_the_last_sample() {
        let (sensors, gate, mut reading) = sensors("s");
        let (measured, _measurement) = watch::channel(None);
        let (present, _presence) = watch::channel(Vec::new());
        let (turns, mut turned) = watch::channel(None);
        let (_sender, exchange) = mpsc::channel(1);
        let (paced, pace) = watch::channel(free(AN_HOUR));
        let (published, metrics) = (nothing_published(), SamplingMetrics::default());
        let measuring = Sampler { measured, sensors: present, turns, exchange, pace, published, metrics };
        let id: NodeId = "1".parse().unwrap();
        let watching = async {
            let mut last = Instant::now();
            next_sample(&gate, &mut reading, &mut last).await;
            let hourly = *turned.wait_for(|turn| turn.is_some()).await.unwrap();
            // Not after the hour has run out, but a new period after the last sample, and then every new period.
            paced.send_replace(free(Duration::from_millis(200)));
            for _ in 0..3 {
                // The time at which a reader is asked has some play.
                assert!(next_sample(&gate, &mut reading, &mut last).await >= Duration::from_millis(100));
            }
            // A longer one as well: whoever waits for the next sample is told.
            paced.send_replace(free(AN_HOUR));
            turned.wait_for(|turn| turn.is_some_and(|turn| turn.next >= hourly.unwrap().next)).await.unwrap();
        };
        tokio::select! {
            () = measuring.run(&id, sensors) => panic!("it goes on for ever"),
            done = tokio::time::timeout(DEADLINE, watching) => done.unwrap(),
        }
    }
}
