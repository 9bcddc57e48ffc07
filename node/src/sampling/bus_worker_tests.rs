use std::sync::{Arc, Barrier, Mutex};

use atalaya_hal::{Cause, Place, Quantity, ReadError};

use super::*;
use crate::model::node_info::tests::sensor_info;

struct ScriptedSensor {
    info: SensorInfo,
    read: Box<dyn FnMut() -> Result<Readings, ReadError> + Send>,
}

impl Sensor for ScriptedSensor {
    fn info(&self) -> &SensorInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        (self.read)()
    }
}

fn sensor(name: &str, read: impl FnMut() -> Result<Readings, ReadError> + Send + 'static) -> Box<dyn Sensor> {
    let info = sensor_info(name, "scripted", &[Quantity::Temperature, Quantity::Humidity]);
    Box::new(ScriptedSensor { info, read: Box::new(read) })
}

fn worker(name: &str, sensors: Vec<Box<dyn Sensor>>) -> BusWorker {
    BusWorker::start(Bus { name: name.into(), sensors }).unwrap()
}

/// Starts a bus with the sensor `s`.
fn single(bus: &str, read: impl FnMut() -> Result<Readings, ReadError> + Send + 'static) -> BusWorker {
    worker(bus, vec![sensor("s", read)])
}

fn readings(values: &[(Quantity, f64)]) -> Readings {
    values.iter().map(|(quantity, value)| Reading::new(*quantity, *value).unwrap()).collect()
}

fn warm(value: f64) -> Result<Readings, ReadError> {
    Ok(readings(&[(Quantity::Temperature, value)]))
}

fn broken(cause: Cause) -> Result<Readings, ReadError> {
    Err(ReadError::new(cause, Place::new("i2c-1", 0x48)))
}

const PERIOD: Duration = Duration::from_secs(60);

fn request(start: Instant, number: u32, timeout: Duration) -> SampleRequest {
    let start = start + PERIOD * number;
    SampleRequest {
        start,
        time: Timestamp::UNIX_EPOCH,
        period: PERIOD,
        deadline: start + timeout,
        backoff: true,
    }
}

async fn sample(worker: &mut BusWorker, request: SampleRequest) -> Vec<Sample> {
    let pending = worker.request(&request, &BusReservations::default());
    worker.collect(pending, &request).await
}

fn error(sample: &Sample) -> &str {
    sample.result.as_ref().unwrap_err()
}

fn value(sample: &Sample) -> f64 {
    sample.result.as_ref().unwrap()[0].value()
}

#[test]
fn bus_of_sensors_that_never_block_has_no_thread() {
    struct Number(SensorInfo);
    impl Sensor for Number {
        fn info(&self) -> &SensorInfo {
            &self.0
        }
        fn read(&mut self) -> Result<Readings, ReadError> {
            warm(7.0)
        }
        fn blocks(&self) -> bool {
            false
        }
    }
    let info = sensor("s", || warm(0.0)).info().clone();
    let mut worker = worker("s", vec![Box::new(Number(info))]);
    assert!(matches!(worker.reader, Reader::Inline(_)));
    let pending = worker.request(&request(Instant::now(), 0, PERIOD), &BusReservations::default());
    assert!(matches!(pending.results[..], [Some(Ok(_))]), "the result is known immediately");
}

#[tokio::test]
async fn panic_and_hanging_read_affect_only_their_own_sensor_and_bus() {
    let gate = Arc::new(Barrier::new(2));
    let thread_gate = Arc::clone(&gate);
    let mut fresh = true;
    let hangs = move || {
        if std::mem::take(&mut fresh) {
            thread_gate.wait();
        }
        warm(1.0)
    };
    let mut good =
        worker("good", vec![sensor("panics", || panic!("as intended")), sensor("good", || warm(7.0))]);
    let mut bad = worker(
        "bad",
        vec![sensor("first", || warm(3.0)), sensor("hangs", hangs), sensor("last", || warm(5.0))],
    );
    let start = Instant::now();
    for number in 0..3 {
        let soon = request(start, number, Duration::ZERO);
        let late = request(start, number, PERIOD);
        // Both are requested before the first is collected, as `Sensors::sample` does.
        let reservations = BusReservations::default();
        let pending = (bad.request(&soon, &reservations), good.request(&late, &reservations));
        if number == 0 {
            // The first sensor answers; the read of the second hangs.
            let outstanding = bad.outstanding.as_mut().unwrap();
            let first = outstanding.replies.recv().await.unwrap();
            outstanding.sensors.retain(|sensor| *sensor != first.sensor);
            assert!(first.result.is_ok());
        }
        let samples = bad.collect(pending.0, &soon).await;
        assert_eq!(error(&samples[1]), "no answer from bus bad: a read does not return");
        assert_eq!(error(&samples[2]), "no answer from bus bad: a read of hangs does not return");
        let samples = good.collect(pending.1, &late).await;
        assert_eq!(error(&samples[0]), "its driver panicked");
        assert_eq!(value(&samples[1]), 7.0);
    }
    gate.wait();
    // The thread needs a moment to send the replies.
    let deadline = Instant::now() + Duration::from_secs(30);
    let samples = loop {
        let samples = sample(&mut bad, request(start, 3, PERIOD)).await;
        if samples.iter().all(|sample| sample.result.is_ok()) {
            break samples;
        }
        assert!(Instant::now() < deadline, "{samples:?}");
        tokio::task::yield_now().await;
    };
    let values: Vec<f64> = samples.iter().map(value).collect();
    assert_eq!(values, [3.0, 1.0, 5.0], "the read returned, so the bus is used again");
}

#[tokio::test]
async fn reply_after_the_deadline_counts_in_the_next_sample() {
    let gate = Arc::new(Barrier::new(2));
    let thread_gate = Arc::clone(&gate);
    let mut slow = single("slow", move || {
        thread_gate.wait();
        warm(4.0)
    });
    let start = Instant::now();
    let first = sample(&mut slow, request(start, 0, Duration::ZERO)).await;
    assert!(error(&first[0]).contains("does not return"));
    gate.wait();
    // Wait for the reply and put it back into the channel.
    let outstanding = slow.outstanding.as_mut().unwrap();
    let reply = outstanding.replies.recv().await.unwrap();
    let (again, replies) = mpsc::unbounded_channel();
    again.send(reply).ok().unwrap();
    outstanding.replies = replies;
    let second = sample(&mut slow, request(start, 1, Duration::ZERO)).await;
    assert_eq!(value(&second[0]), 4.0);
    assert!(second[0].health_changed, "the sensor recovered");
}

#[tokio::test]
async fn only_transient_faults_are_retried_within_a_sample() {
    use Cause::{Bus, Checksum, NotPresent, Other, Timeout};
    for (cause, tries) in [(Bus, 3), (Timeout, 3), (Checksum, 3), (NotPresent, 1), (Other, 1)] {
        let count = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&count);
        let mut worker = single("b", move || {
            *counted.lock().unwrap() += 1;
            broken(cause)
        });
        let start = Instant::now();
        let samples = sample(&mut worker, request(start, 0, PERIOD)).await;
        assert!(samples[0].result.is_err());
        assert_eq!(*count.lock().unwrap(), tries, "{cause:?}");
    }
    let mut reads = 0;
    let mut noisy = single("b", move || {
        reads += 1;
        if reads % 3 == 0 { warm(20.0) } else { broken(Cause::Checksum) }
    });
    let start = Instant::now();
    for number in 0..3 {
        let samples = sample(&mut noisy, request(start, number, PERIOD)).await;
        assert_eq!((value(&samples[0]), samples[0].health_changed), (20.0, false));
    }
}

#[tokio::test]
async fn backoff_of_a_dead_sensor_does_not_affect_others_on_its_bus() {
    let reads = Arc::new(Mutex::new(Vec::new()));
    let (dead, living) = (Arc::clone(&reads), Arc::clone(&reads));
    let mut bus = worker(
        "i2c-1",
        vec![
            sensor("dead", move || {
                dead.lock().unwrap().push("dead");
                broken(Cause::Bus)
            }),
            sensor("living", move || {
                living.lock().unwrap().push("living");
                warm(20.0)
            }),
        ],
    );
    let start = Instant::now();
    let period = Duration::from_secs(1);
    for number in 0..20 {
        let request = SampleRequest { period, ..request(start + period * number, 0, PERIOD) };
        let samples = sample(&mut bus, request).await;
        assert_eq!(error(&samples[0]), "bus error at 0x48 on i2c-1", "also while it is skipped");
        assert_eq!(value(&samples[1]), 20.0);
    }
    let reads = reads.lock().unwrap();
    assert_eq!(reads.iter().filter(|name| **name == "living").count(), 20);
    // Three samples with three tries each, then one try at samples 3, 5, 9 and 17.
    assert_eq!(reads.iter().filter(|name| **name == "dead").count(), 13);
}

#[tokio::test]
async fn readings_that_contradict_the_description_are_a_fault() {
    let (temperature, humidity, pressure) = (Quantity::Temperature, Quantity::Humidity, Quantity::Pressure);
    for (given, words) in [
        (vec![], "gave no reading"),
        (vec![(temperature, 1.0), (temperature, 2.0)], "two readings of temperature"),
        (vec![(pressure, 1.0)], "pressure, which it does not measure"),
        (vec![(temperature, 1.0); 100_000], "gave 100000 readings, but it measures 2 quantities"),
    ] {
        let mut worker = single("b", move || Ok(readings(&given)));
        let samples = sample(&mut worker, request(Instant::now(), 0, PERIOD)).await;
        assert!(error(&samples[0]).contains(words), "{}", error(&samples[0]));
    }
    let some = vec![(humidity, 40.0)];
    let mut worker = single("b", move || Ok(readings(&some)));
    let samples = sample(&mut worker, request(Instant::now(), 0, PERIOD)).await;
    assert_eq!(value(&samples[0]), 40.0, "some of the declared quantities are enough");
}

#[tokio::test]
async fn readings_dropped_by_a_filter_are_not_a_fault() {
    use atalaya_hal::Filter;
    use atalaya_hal::filter::Filtered;
    let dropping = Filtered::wrap(sensor("s", || warm(500.0)), &[Filter::Range(0.0, 100.0)]);
    let empty = Filtered::wrap(sensor("e", || Ok(Readings::new())), &[Filter::Range(0.0, 100.0)]);
    let mut worker = worker("b", vec![dropping, empty]);
    let samples = sample(&mut worker, request(Instant::now(), 0, PERIOD)).await;
    assert!(samples[0].result.as_ref().unwrap().is_empty());
    assert!(error(&samples[1]).contains("gave no reading"), "{}", error(&samples[1]));
}

#[tokio::test]
async fn bus_that_a_task_uses_is_not_read_and_no_failure_is_counted() {
    let reads = Arc::new(Mutex::new(0));
    let counted = reads.clone();
    let mut worker = single("i2c-1", move || {
        *counted.lock().unwrap() += 1;
        warm(7.0)
    });
    let reservations = BusReservations::default();
    let start = Instant::now();
    let mut number = 0;
    let mut next = || {
        number += 1;
        request(start, number, PERIOD)
    };
    let first = next();
    let pending = worker.request(&first, &reservations);
    assert_eq!(value(&worker.collect(pending, &first).await[0]), 7.0);

    let held = reservations.reserve(&["i2c-1".to_owned()], "t-1", PERIOD).await.unwrap();
    for _ in 0..10 {
        let now = next();
        let pending = worker.request(&now, &reservations);
        let samples = worker.collect(pending, &now).await;
        assert_eq!(error(&samples[0]), "its bus is in use by task t-1");
        assert!(samples[0].skipped && !samples[0].health_changed);
    }
    let status = &worker.health[0].status;
    assert_eq!((status.state, status.count), (crate::model::health_status::SensorState::Ok, 0));
    assert_eq!(*reads.lock().unwrap(), 1);

    drop(held);
    let last = next();
    let pending = worker.request(&last, &reservations);
    let samples = worker.collect(pending, &last).await;
    assert_eq!(value(&samples[0]), 7.0);
    assert!(!samples[0].health_changed && worker.health[0].status.error.is_none());
}

#[tokio::test]
async fn task_waits_until_a_read_in_progress_has_returned() {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let (started, reading) = std::sync::mpsc::channel();
    let mut worker = single("i2c-1", move || {
        let _ = started.send(());
        let _ = gate.recv();
        warm(7.0)
    });
    let reservations = BusReservations::default();
    let now = request(Instant::now(), 0, PERIOD);
    let pending = worker.request(&now, &reservations);
    reading.recv().unwrap();
    let bus = ["i2c-1".to_owned()];
    let refused = reservations.reserve(&bus, "t-1", Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(refused, "a read on i2c-1 has not returned within 20ms");
    open.send(()).unwrap();
    assert_eq!(value(&worker.collect(pending, &now).await[0]), 7.0);
    reservations.reserve(&bus, "t-1", PERIOD).await.unwrap();
}
