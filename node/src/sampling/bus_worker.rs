//! A thread that owns one bus and its sensors. I²C on Linux blocks; no other task has to wait for it here, and a read
//! that never returns affects only its own bus. An error of a driver (a panic, or a reading of a quantity that it
//! does not measure) affects only its own sensor.
//!
//! Sensors that never block (random numbers) are read directly by the caller: two thread switches would cost more
//! than the rest of a measurement.

use std::thread;
use std::time::{Duration, Instant};

use atalaya_hal::{Bus, Reading, Readings, Sensor, SensorInfo};
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::process::panics;
use crate::sampling::bus_reservations::{BusReservations, ReadPermit};
use crate::sampling::sensor_health::{Fault, FaultKind, Health, retry_delay};

/// Result of one sensor in one sample.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Name of the sensor.
    pub sensor: String,
    /// Readings, or the error. A skipped sensor has the error of its last read.
    pub result: Result<Readings, String>,
    /// True if the sensor recovered, started to fail, or fails with another error.
    pub health_changed: bool,
    /// True if the sensor was not read, because it is in backoff or a task uses its bus.
    pub skipped: bool,
}

impl Sample {
    /// Returns the readings; none if the sensor failed.
    pub fn readings(&self) -> impl Iterator<Item = &Reading> {
        self.result.iter().flatten()
    }
}

struct Reply {
    sensor: usize,
    result: Result<Readings, Fault>,
    at: Instant,
}

/// Request to the thread of a bus: read these sensors in this order.
struct ReadRequest {
    /// Sensors, each with true if a transient fault may be retried.
    reads: Vec<(usize, bool)>,
    replies: mpsc::UnboundedSender<Reply>,
    /// End of the sample. No retry may finish later.
    deadline: Instant,
    /// Dropped when all sensors have been read.
    _permit: ReadPermit,
}

/// Replies that the thread has not sent yet.
struct Outstanding {
    replies: mpsc::UnboundedReceiver<Reply>,
    /// Sensors without a reply, in the order of reading. The first is the one whose read has not returned.
    sensors: Vec<usize>,
}

enum Reader {
    Thread(mpsc::UnboundedSender<ReadRequest>),
    /// The worker itself, for sensors that never block.
    Inline(Vec<Box<dyn Sensor>>),
}

pub(super) struct BusWorker {
    name: String,
    pub(super) infos: Vec<SensorInfo>,
    /// Health of each sensor, in the same order.
    pub(super) health: Vec<Health>,
    reader: Reader,
    /// While replies are outstanding, the thread gets no further request, so requests never queue up.
    outstanding: Option<Outstanding>,
}

impl std::fmt::Debug for BusWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusWorker").field("sensors", &self.infos).finish_non_exhaustive()
    }
}

/// Parameters of one sample, the same for all buses.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleRequest {
    /// Start of the sample by the monotonic clock.
    pub(super) start: Instant,
    /// Start of the sample by the wall clock.
    pub(super) time: Timestamp,
    pub(super) period: Duration,
    /// Time up to which replies are waited for.
    pub(super) deadline: Instant,
    /// True if failing sensors are read less often.
    pub(super) backoff: bool,
}

pub(super) struct Pending {
    results: Vec<Option<Result<Readings, Fault>>>,
    /// True if an earlier read has not returned. Then no sensor was requested.
    stuck: bool,
    /// Task that uses the bus, and the sensors that would have been read. Then no sensor was requested.
    reserved: Option<(String, Vec<usize>)>,
}

impl BusWorker {
    /// Moves `bus` to a new thread, which ends when the worker is dropped and the last read has returned. A bus whose
    /// sensors never block gets no thread.
    pub(super) fn start(bus: Bus) -> std::io::Result<BusWorker> {
        let Bus { name, mut sensors } = bus;
        let infos: Vec<SensorInfo> = sensors.iter().map(|sensor| sensor.info().clone()).collect();
        let health = vec![Health::default(); infos.len()];
        if !sensors.iter().any(|sensor| sensor.blocks()) {
            return Ok(BusWorker { name, infos, health, reader: Reader::Inline(sensors), outstanding: None });
        }
        let (requests, mut received) = mpsc::unbounded_channel::<ReadRequest>();
        thread::Builder::new().name(format!("bus {name}")).spawn(move || {
            while let Some(request) = received.blocking_recv() {
                crate::fail_points::point("bus-thread");
                serve(&mut sensors, &request);
            }
        })?;
        Ok(BusWorker { name, infos, health, reader: Reader::Thread(requests), outstanding: None })
    }

    /// Starts a sample: requests a read of each sensor that is due, unless an earlier read has not returned yet or a task
    /// uses the bus.
    pub(super) fn request(&mut self, request: &SampleRequest, reservations: &BusReservations) -> Pending {
        let results = self.infos.iter().map(|_| None).collect();
        let mut pending = Pending { results, stuck: false, reserved: None };
        if let Some(outstanding) = &mut self.outstanding {
            // A reply that came after the end of its sample counts in this one, unless it is older than a period.
            while let Ok(reply) = outstanding.replies.try_recv() {
                outstanding.sensors.retain(|sensor| *sensor != reply.sensor);
                if request.start.saturating_duration_since(reply.at) <= request.period {
                    pending.results[reply.sensor] = Some(reply.result);
                }
            }
            if outstanding.sensors.is_empty() || outstanding.replies.is_closed() {
                self.outstanding = None;
            } else {
                pending.stuck = true;
                return pending;
            }
        }
        let reads: Vec<(usize, bool)> = (0..self.infos.len())
            .filter(|sensor| pending.results[*sensor].is_none())
            .filter(|sensor| !request.backoff || self.health[*sensor].is_due(request.start))
            .map(|sensor| (sensor, self.health[sensor].retry_allowed()))
            .collect();
        if reads.is_empty() {
            return pending;
        }
        let permit = match reservations.start_read(&self.name) {
            Ok(permit) => permit,
            Err(task) => {
                pending.reserved = Some((task, reads.into_iter().map(|(sensor, _)| sensor).collect()));
                return pending;
            }
        };
        match &mut self.reader {
            Reader::Inline(sensors) => {
                for (sensor, _) in reads {
                    pending.results[sensor] = Some(read_once(sensors[sensor].as_mut()));
                }
            }
            Reader::Thread(requests) => {
                let (sender, replies) = mpsc::unbounded_channel();
                let sensors = reads.iter().map(|(sensor, _)| *sensor).collect();
                // If the thread has ended, this drops `sender`, and `collect` sees the closed channel.
                let deadline = request.deadline;
                let _ = requests.send(ReadRequest { reads, replies: sender, deadline, _permit: permit });
                self.outstanding = Some(Outstanding { replies, sensors });
            }
        }
        pending
    }

    /// Waits for the replies until the deadline of the sample, and updates the health of the sensors.
    ///
    /// # Cancellation safety
    /// A sample that is dropped here does not change the health. The next sample receives replies that come later.
    pub(super) async fn collect(&mut self, mut pending: Pending, request: &SampleRequest) -> Vec<Sample> {
        let mut thread_ended = false;
        if let Some(outstanding) = self.outstanding.as_mut().filter(|_| !pending.stuck) {
            let deadline = tokio::time::Instant::from_std(request.deadline);
            while !outstanding.sensors.is_empty() {
                match tokio::time::timeout_at(deadline, outstanding.replies.recv()).await {
                    Ok(Some(reply)) => {
                        outstanding.sensors.retain(|sensor| *sensor != reply.sensor);
                        pending.results[reply.sensor] = Some(reply.result);
                    }
                    Ok(None) => {
                        thread_ended = true;
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
        let waiting =
            self.outstanding.as_ref().map(|outstanding| outstanding.sensors.clone()).unwrap_or_default();
        if waiting.is_empty() || thread_ended {
            self.outstanding = None;
        }
        if let Some((task, sensors)) = &pending.reserved {
            let error = format!("its bus is in use by task {task}");
            sensors.iter().for_each(|sensor| self.health[*sensor].on_bus_in_use(&error));
        }
        let results = pending.results.into_iter().enumerate();
        results
            .map(|(sensor, result)| {
                let no_answer = pending.stuck || waiting.contains(&sensor);
                let fault = || Err(self.no_answer(sensor, waiting.first(), thread_ended));
                let result = result.or_else(|| no_answer.then(fault));
                self.record(sensor, result, request)
            })
            .collect()
    }

    /// Returns the reason why `sensor` has not answered. `hanging` is the sensor whose read has not returned.
    fn no_answer(&self, sensor: usize, hanging: Option<&usize>, thread_ended: bool) -> Fault {
        let bus = &self.name;
        let text = match hanging {
            _ if thread_ended => return Fault::new(FaultKind::Permanent, "its thread has ended"),
            Some(hanging) if *hanging != sensor => {
                let hanging = self.infos.get(*hanging).map_or("another sensor", |info| &info.name);
                format!("no answer from bus {bus}: a read of {hanging} does not return")
            }
            _ => format!("no answer from bus {bus}: a read does not return"),
        };
        Fault::new(FaultKind::NoAnswer, &text)
    }

    /// Updates the health of a sensor. `None` means that the sample skipped it.
    fn record(
        &mut self,
        sensor: usize,
        result: Option<Result<Readings, Fault>>,
        request: &SampleRequest,
    ) -> Sample {
        let skipped = result.is_none();
        let (name, health) = (self.infos[sensor].name.clone(), &mut self.health[sensor]);
        let (result, health_changed) = match result {
            None => (Err(health.status.error.clone().unwrap_or_default()), false),
            Some(Ok(readings)) => (Ok(readings), health.on_read(request.time)),
            Some(Err(fault)) => {
                let is_new = health.on_failed(&fault, request.start, request.period, request.time);
                (Err(fault.text), is_new)
            }
        };
        Sample { sensor: name, result, health_changed, skipped }
    }
}

fn serve(sensors: &mut [Box<dyn Sensor>], request: &ReadRequest) {
    for (sensor, retry_allowed) in &request.reads {
        // The worker was dropped. Its successor may be waiting for the bus, so read no further.
        if request.replies.is_closed() {
            return;
        }
        let Some(driver) = sensors.get_mut(*sensor) else { continue };
        let mut tries = 1;
        let mut started = Instant::now();
        let mut result = read_once(driver.as_mut());
        while let Err(fault) = &result
            && *retry_allowed
            && let Some(delay) = retry_delay(fault, tries)
            // A retry past the deadline would replace the error by a timeout. Assume that it takes as long as before.
            && Instant::now() + delay + started.elapsed() < request.deadline
        {
            thread::sleep(delay);
            started = Instant::now();
            result = read_once(driver.as_mut());
            tries += 1;
        }
        let _ = request.replies.send(Reply { sensor: *sensor, result, at: Instant::now() });
    }
}

fn read_once(sensor: &mut dyn Sensor) -> Result<Readings, Fault> {
    let readings = match panics::catch_panic(|| sensor.read()) {
        Ok(readings) => readings?,
        Err(_) => return Err(Fault::new(FaultKind::Panic, "its driver panicked")),
    };
    check(sensor, &readings).map_err(|problem| Fault::new(FaultKind::Permanent, &problem))?;
    Ok(readings)
}

/// Checks the readings: at least one, only of quantities in the sensor's description, and of each at most one.
fn check(sensor: &dyn Sensor, readings: &[Reading]) -> Result<(), String> {
    if readings.is_empty() && !sensor.may_drop() {
        return Err("its driver gave no reading".to_owned());
    }
    let declared = &sensor.info().quantities;
    if readings.len() > declared.len() {
        let (count, max) = (readings.len(), declared.len());
        return Err(format!("its driver gave {count} readings, but it measures {max} quantities"));
    }
    for (position, reading) in readings.iter().enumerate() {
        let quantity = reading.quantity();
        if !declared.contains(&quantity) {
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
