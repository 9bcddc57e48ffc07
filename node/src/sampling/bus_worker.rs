//! Who owns a bus and its sensors: a thread. I²C on Linux blocks; here nothing else has to wait for it, and a read that
//! never returns costs its own bus only. What a driver does wrong (it panics, it gives what it does not measure) costs
//! its own sensor only.
//!
//! Sensors that never block (random numbers) are read where they are asked for: two thread switches would cost more
//! than all the rest of a measurement.

use std::thread;
use std::time::{Duration, Instant};

use atalaya_hal::{Bus, Reading, Readings, Sensor, SensorInfo};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::process::panics;
use crate::sampling::sensor_health::{Fault, Health, Kind, News, retry};

/// What one sensor gave when it was asked.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The sensor's name.
    pub sensor: String,
    /// What it read, or why not. A sensor that is left alone for a while has failed as it did when it was read last.
    pub result: Result<Readings, String>,
    /// What is worth a log line.
    pub news: Option<News>,
    /// It was not asked, because it has failed for long.
    pub left_alone: bool,
}

impl Sample {
    /// The readings; none if it failed.
    pub fn readings(&self) -> impl Iterator<Item = &Reading> {
        self.result.iter().flatten()
    }
}

/// What one sensor gave, from whoever read it.
struct Heard {
    sensor: usize,
    result: Result<Readings, Fault>,
    at: Instant,
}

/// What the thread of a bus is to do: read these sensors, in this order.
struct Request {
    sensors: Vec<Ask>,
    answers: mpsc::UnboundedSender<Heard>,
    /// Nobody waits for another try after this moment.
    until: Instant,
}

#[derive(Clone, Copy)]
struct Ask {
    sensor: usize,
    /// Passing faults are tried again.
    trusted: bool,
}

/// Answers that are yet to come.
struct Pending {
    answers: mpsc::UnboundedReceiver<Heard>,
    /// Who has not answered, in the order of reading: the first is the one whose read does not return.
    waiting: Vec<usize>,
}

impl Pending {
    fn take(&mut self, heard: Heard) -> Heard {
        self.waiting.retain(|sensor| *sensor != heard.sensor);
        heard
    }
}

/// Who reads.
enum Reader {
    /// The thread at the other end.
    Thread(mpsc::UnboundedSender<Request>),
    /// Whoever asks: these never block.
    Here(Vec<Box<dyn Sensor>>),
}

/// A bus and whoever owns it.
pub struct Worker {
    name: String,
    infos: Vec<SensorInfo>,
    health: Vec<Health>,
    reader: Reader,
    /// Until these have come, the thread is not asked again: requests never pile up.
    pending: Option<Pending>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("name", &self.name)
            .field("sensors", &self.infos)
            .finish_non_exhaustive()
    }
}

/// When a sample is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    /// Its begin, by the clock that does not jump.
    pub(super) asked: Instant,
    /// Its begin, by the clock on the wall.
    pub(super) time: Timestamp,
    /// How often samples are taken.
    pub(super) period: Duration,
    /// How long answers are waited for.
    pub(super) patience: Duration,
    /// Whether sensors that fail are asked less often.
    pub(super) spares: bool,
}

impl When {
    fn until(&self) -> Instant {
        self.asked + self.patience
    }
}

impl Worker {
    /// Hands `bus` to a new thread, which ends when the worker is dropped and its last read has returned; or keeps it, if
    /// none of its sensors blocks.
    ///
    /// # Errors
    /// The machine gives no more threads.
    pub fn start(bus: Bus) -> std::io::Result<Worker> {
        let Bus { name, mut sensors } = bus;
        let infos: Vec<SensorInfo> = sensors.iter().map(|sensor| sensor.info().clone()).collect();
        let health = vec![Health::default(); infos.len()];
        if !sensors.iter().any(|sensor| sensor.blocks()) {
            return Ok(Worker { name, infos, health, reader: Reader::Here(sensors), pending: None });
        }
        let (requests, mut asked) = mpsc::unbounded_channel::<Request>();
        thread::Builder::new().name(format!("bus {name}")).spawn(move || {
            while let Some(request) = asked.blocking_recv() {
                crate::fail_points::point("bus-thread");
                serve(&mut sensors, &request);
            }
        })?;
        Ok(Worker { name, infos, health, reader: Reader::Thread(requests), pending: None })
    }

    /// The sensors on the bus.
    pub fn infos(&self) -> &[SensorInfo] {
        &self.infos
    }

    /// The sensors on the bus, and how they are.
    pub fn sensors(&self) -> impl Iterator<Item = (&SensorInfo, &Health)> {
        self.infos.iter().zip(&self.health)
    }

    /// Begins a sample: asks for a reading of all sensors whose turn it is, unless an earlier read has not returned yet.
    pub(super) fn ask(&mut self, when: &When) -> Asked {
        let mut asked = Asked { results: self.infos.iter().map(|_| None).collect(), stuck: false };
        if let Some(pending) = &mut self.pending {
            // What came after its sample had ended counts in this one, if it is as fresh as measurements are.
            while let Ok(heard) = pending.answers.try_recv() {
                let heard = pending.take(heard);
                if when.asked.saturating_duration_since(heard.at) <= when.period {
                    asked.results[heard.sensor] = Some(heard.result);
                }
            }
            if pending.waiting.is_empty() || pending.answers.is_closed() {
                self.pending = None;
            } else {
                asked.stuck = true;
                return asked;
            }
        }
        let ask: Vec<Ask> = (0..self.infos.len())
            .filter(|sensor| asked.results[*sensor].is_none())
            .filter(|sensor| !when.spares || self.health[*sensor].is_due(when.asked))
            .map(|sensor| Ask { sensor, trusted: self.health[sensor].is_trusted() })
            .collect();
        if ask.is_empty() {
            return asked;
        }
        match &mut self.reader {
            Reader::Here(sensors) => {
                for Ask { sensor, .. } in ask {
                    asked.results[sensor] = Some(attempt(sensors[sensor].as_mut()));
                }
            }
            Reader::Thread(requests) => {
                let (sender, answers) = mpsc::unbounded_channel();
                let waiting = ask.iter().map(|ask| ask.sensor).collect();
                // If the thread is gone, so is `sender`, and the answers say so.
                let _ = requests.send(Request { sensors: ask, answers: sender, until: when.until() });
                self.pending = Some(Pending { answers, waiting });
            }
        }
        asked
    }

    /// Waits for the answers until the sample's patience ends, and notes how the sensors are.
    ///
    /// # Cancellation safety
    /// A sample that is dropped here is not noted. Answers that come later are heard by the next one.
    pub(super) async fn hear(&mut self, mut asked: Asked, when: &When) -> Vec<Sample> {
        let mut ended = false;
        if let Some(pending) = self.pending.as_mut().filter(|_| !asked.stuck) {
            let deadline = tokio::time::Instant::from_std(when.until());
            while !pending.waiting.is_empty() {
                match tokio::time::timeout_at(deadline, pending.answers.recv()).await {
                    Ok(Some(heard)) => {
                        let heard = pending.take(heard);
                        asked.results[heard.sensor] = Some(heard.result);
                    }
                    Ok(None) => {
                        ended = true;
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
        let waiting = self.pending.as_ref().map(|pending| pending.waiting.clone()).unwrap_or_default();
        if waiting.is_empty() || ended {
            self.pending = None;
        }
        let results = asked.results.into_iter().enumerate();
        results
            .map(|(sensor, result)| {
                let silent = asked.stuck || waiting.contains(&sensor);
                let result =
                    result.or_else(|| silent.then(|| Err(self.silent(sensor, waiting.first(), ended))));
                self.note(sensor, result, when)
            })
            .collect()
    }

    /// Why `sensor` has not answered.
    fn silent(&self, sensor: usize, hanging: Option<&usize>, ended: bool) -> Fault {
        let bus = &self.name;
        let text = match hanging {
            _ if ended => return Fault::new(Kind::Lasting, "its thread has ended"),
            Some(hanging) if *hanging != sensor => {
                let hanging = self.infos.get(*hanging).map_or("another sensor", |info| &info.name);
                format!("no answer from bus {bus}: a read of {hanging} does not return")
            }
            _ => format!("no answer from bus {bus}: a read does not return"),
        };
        Fault::new(Kind::Silent, &text)
    }

    /// Notes what became of one sensor in this sample; `None`: it was left alone.
    fn note(&mut self, sensor: usize, result: Option<Result<Readings, Fault>>, when: &When) -> Sample {
        let left_alone = result.is_none();
        let (name, health) = (self.infos[sensor].name.clone(), &mut self.health[sensor]);
        let (result, news) = match result {
            None => (Err(health.condition().error.clone().unwrap_or_default()), None),
            Some(Ok(readings)) => (Ok(readings), health.read(when.time)),
            Some(Err(fault)) => {
                let news = health.failed(&fault, when.asked, when.period, when.time);
                (Err(fault.text), news)
            }
        };
        Sample { sensor: name, result, news, left_alone }
    }
}

/// A sample that has begun.
pub(super) struct Asked {
    /// By sensor: what is known already.
    results: Vec<Option<Result<Readings, Fault>>>,
    /// An earlier read has not returned: nobody was asked.
    stuck: bool,
}

/// In the thread of a bus.
fn serve(sensors: &mut [Box<dyn Sensor>], request: &Request) {
    for Ask { sensor, trusted } in &request.sensors {
        // The worker is gone, and its sensors with it: others may be waiting for the bus.
        if request.answers.is_closed() {
            return;
        }
        let Some(driver) = sensors.get_mut(*sensor) else { continue };
        let mut tries = 1;
        let mut began = Instant::now();
        let mut result = attempt(driver.as_mut());
        while let Err(fault) = &result
            && *trusted
            && let Some(pause) = retry(fault, tries)
            // A read that would not return in time would hide why this one failed.
            && Instant::now() + pause + began.elapsed() < request.until
        {
            thread::sleep(pause);
            began = Instant::now();
            result = attempt(driver.as_mut());
            tries += 1;
        }
        let _ = request.answers.send(Heard { sensor: *sensor, result, at: Instant::now() });
    }
}

/// Reads once, and looks at what the driver gives.
fn attempt(sensor: &mut dyn Sensor) -> Result<Readings, Fault> {
    let readings = match panics::contained(|| sensor.read()) {
        Ok(readings) => readings?,
        Err(_) => return Err(Fault::new(Kind::Panic, "its driver panicked")),
    };
    check(sensor, &readings).map_err(|problem| Fault::new(Kind::Lasting, &problem))?;
    Ok(readings)
}

/// Whether a driver gives what it has promised: some reading, of what it measures, and of each once.
fn check(sensor: &dyn Sensor, readings: &[Reading]) -> Result<(), String> {
    if readings.is_empty() && !sensor.may_drop() {
        return Err("its driver gave no reading".to_owned());
    }
    let promised = &sensor.info().quantities;
    if readings.len() > promised.len() {
        let (got, most) = (readings.len(), promised.len());
        return Err(format!("its driver gave {got} readings, and it measures {most} quantities"));
    }
    for (position, reading) in readings.iter().enumerate() {
        let quantity = reading.quantity();
        if !promised.contains(&quantity) {
            return Err(format!("its driver gave a reading of {quantity}, which it does not measure"));
        }
        if readings[..position].iter().any(|other| other.quantity() == quantity) {
            return Err(format!("its driver gave two readings of {quantity}"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "bus_worker_tests.rs"]
mod tests;
