//! Who owns a bus and its sensors: a thread. I²C on Linux blocks; here nothing else has to wait for it, and a read that
//! never returns or a driver that panics costs its own bus only.
//!
//! Sensors that never block (random numbers) are read where they are asked for: two thread switches would cost more
//! than all the rest of a measurement.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use atalaya_hal::{Bus, Reading, Readings, Sensor, SensorInfo};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// What one sensor gave when it was asked.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The sensor's name.
    pub sensor: String,
    /// What it read, or why not.
    pub result: Result<Readings, String>,
}

impl Sample {
    /// The readings; none if it failed.
    pub fn readings(&self) -> impl Iterator<Item = &Reading> {
        self.result.iter().flatten()
    }
}

type Answer = oneshot::Receiver<Vec<Sample>>;

/// Who reads.
enum Reader {
    /// The thread at the other end.
    Thread(mpsc::UnboundedSender<oneshot::Sender<Vec<Sample>>>),
    /// Whoever asks: these never block.
    Here(Vec<Box<dyn Sensor>>),
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reader::Thread(_) => "Thread",
            Reader::Here(_) => "Here",
        })
    }
}

/// A bus and whoever owns it.
#[derive(Debug)]
pub struct Worker {
    name: String,
    infos: Vec<SensorInfo>,
    reader: Reader,
    /// An answer that did not come in time. Until it comes, the thread is not asked again: requests never pile up.
    overdue: Option<Answer>,
}

impl Worker {
    /// Hands `bus` to a new thread, which ends when the worker is dropped and its last read has returned; or keeps it, if
    /// none of its sensors blocks.
    ///
    /// # Errors
    /// The machine gives no more threads.
    pub fn start(bus: Bus) -> std::io::Result<Worker> {
        let Bus { name, mut sensors } = bus;
        let infos = sensors.iter().map(|sensor| sensor.info().clone()).collect();
        if !sensors.iter().any(|sensor| sensor.blocks()) {
            return Ok(Worker { name, infos, reader: Reader::Here(sensors), overdue: None });
        }
        let (requests, mut asked) = mpsc::unbounded_channel::<oneshot::Sender<Vec<Sample>>>();
        thread::Builder::new().name(format!("bus {name}")).spawn(move || {
            while let Some(answer) = asked.blocking_recv() {
                // Nobody may be waiting any more; that is their affair.
                let _ = answer.send(read_all(&mut sensors));
            }
        })?;
        Ok(Worker { name, infos, reader: Reader::Thread(requests), overdue: None })
    }

    /// The sensors on the bus.
    pub fn infos(&self) -> &[SensorInfo] {
        &self.infos
    }

    /// Asks for a reading of all its sensors.
    pub(super) fn ask(&mut self) -> Answer {
        if let Some(overdue) = self.overdue.take() {
            return overdue;
        }
        let (sender, answer) = oneshot::channel();
        // If the thread is gone, so is `sender`, and the answer says so.
        match &mut self.reader {
            Reader::Thread(requests) => drop(requests.send(sender)),
            Reader::Here(sensors) => drop(sender.send(read_all(sensors))),
        }
        answer
    }

    /// Waits for the answer until `deadline`.
    pub(super) async fn answer(&mut self, mut answer: Answer, deadline: Instant) -> Vec<Sample> {
        match tokio::time::timeout_at(deadline, &mut answer).await {
            Ok(Ok(samples)) => samples,
            Ok(Err(_)) => self.all_failed("its thread has ended"),
            Err(_) => {
                self.overdue = Some(answer);
                self.all_failed(&format!("no answer from bus {}, a read does not return", self.name))
            }
        }
    }

    fn all_failed(&self, why: &str) -> Vec<Sample> {
        let failed = |info: &SensorInfo| Sample { sensor: info.name.clone(), result: Err(why.to_owned()) };
        self.infos.iter().map(failed).collect()
    }
}

fn read_all(sensors: &mut [Box<dyn Sensor>]) -> Vec<Sample> {
    sensors.iter_mut().map(|sensor| read(sensor.as_mut())).collect()
}

fn read(sensor: &mut dyn Sensor) -> Sample {
    let name = sensor.info().name.clone();
    let result = match catch_unwind(AssertUnwindSafe(|| sensor.read())) {
        Ok(Ok(readings)) => Ok(readings),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its driver panicked".to_owned()),
    };
    Sample { sensor: name, result }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};
    use std::time::Duration;

    use atalaya_hal::{Quantity, ReadError};

    use super::*;

    struct Scripted {
        info: SensorInfo,
        read: Box<dyn FnMut() -> Result<Readings, ReadError> + Send>,
    }

    impl Sensor for Scripted {
        fn info(&self) -> &SensorInfo {
            &self.info
        }

        fn read(&mut self) -> Result<Readings, ReadError> {
            (self.read)()
        }
    }

    #[test]
    fn what_never_blocks_needs_no_thread() {
        let buses = atalaya_sim::open(atalaya_hal::Boards::builtin().board(None).unwrap().1, "").unwrap();
        for bus in buses {
            let mut worker = Worker::start(bus).unwrap();
            assert!(matches!(worker.reader, Reader::Here(_)));
            let samples = worker.ask().try_recv().expect("the answer is there at once");
            assert!(samples[0].result.is_ok());
        }
    }

    fn bus(name: &str, mut reads: impl FnMut() -> f64 + Send + 'static) -> Bus {
        let info = SensorInfo {
            name: name.into(),
            chip: "scripted".into(),
            bus: None,
            address: None,
            quantities: vec![Quantity::Temperature],
        };
        let read = move || Ok(vec![Reading::new(Quantity::Temperature, reads()).unwrap()]);
        Bus { name: name.into(), sensors: vec![Box::new(Scripted { info, read: Box::new(read) })] }
    }

    #[tokio::test]
    async fn a_panic_and_a_hanging_read_cost_their_own_bus_only() {
        let gate = Arc::new(Barrier::new(2));
        let held = Arc::clone(&gate);
        let hangs = move || {
            held.wait();
            1.0
        };
        let mut good = Worker::start(bus("good", || 7.0)).unwrap();
        let mut panics = Worker::start(bus("panics", || panic!("as intended"))).unwrap();
        let mut hangs = Worker::start(bus("hangs", hangs)).unwrap();
        let soon = Instant::now();
        let late = soon + Duration::from_secs(60);
        for _ in 0..3 {
            // All three are asked before any is heard, as a node does it.
            let asked = (hangs.ask(), panics.ask(), good.ask());
            let samples = hangs.answer(asked.0, soon).await;
            assert!(samples[0].result.as_ref().unwrap_err().contains("does not return"));
            let samples = panics.answer(asked.1, late).await;
            assert!(samples[0].result.as_ref().unwrap_err().contains("panicked"));
            let samples = good.answer(asked.2, late).await;
            assert_eq!(samples[0].result.as_ref().unwrap()[0].value(), 7.0);
        }
        gate.wait();
        let asked = hangs.ask();
        let samples = hangs.answer(asked, late).await;
        assert_eq!(samples[0].result.as_ref().unwrap()[0].value(), 1.0, "it returned: it is asked again");
    }
}
