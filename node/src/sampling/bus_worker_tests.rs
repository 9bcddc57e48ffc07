use std::sync::{Arc, Barrier, Mutex};

use atalaya_hal::{Cause, Place, Quantity, ReadError};

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

fn sensor(name: &str, read: impl FnMut() -> Result<Readings, ReadError> + Send + 'static) -> Box<dyn Sensor> {
    let info = SensorInfo {
        name: name.into(),
        chip: "scripted".into(),
        bus: None,
        address: None,
        quantities: vec![Quantity::Temperature, Quantity::Humidity],
    };
    Box::new(Scripted { info, read: Box::new(read) })
}

fn worker(name: &str, sensors: Vec<Box<dyn Sensor>>) -> Worker {
    Worker::start(Bus { name: name.into(), sensors }).unwrap()
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

/// The `number`-th sample; who does not answer is waited for as long as `patience`.
fn when(start: Instant, number: u32, patience: Duration) -> When {
    When {
        asked: start + PERIOD * number,
        time: Timestamp::UNIX_EPOCH,
        period: PERIOD,
        patience,
        spares: true,
    }
}

/// A sample whose answers come.
async fn sample(worker: &mut Worker, when: When) -> Vec<Sample> {
    let asked = worker.ask(&when);
    worker.hear(asked, &when).await
}

fn error(sample: &Sample) -> &str {
    sample.result.as_ref().unwrap_err()
}

fn value(sample: &Sample) -> f64 {
    sample.result.as_ref().unwrap()[0].value()
}

#[test]
fn sensors_that_never_block_need_no_thread() {
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
    assert!(matches!(worker.reader, Reader::Here(_)));
    let asked = worker.ask(&when(Instant::now(), 0, PERIOD));
    assert!(matches!(asked.results[..], [Some(Ok(_))]), "the answer is there at once");
}

#[tokio::test]
async fn a_panic_and_a_hanging_read_cost_their_own_sensor_and_bus_only() {
    let gate = Arc::new(Barrier::new(2));
    let held = Arc::clone(&gate);
    let mut fresh = true;
    let hangs = move || {
        if std::mem::take(&mut fresh) {
            held.wait();
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
        let soon = when(start, number, Duration::ZERO);
        let late = when(start, number, PERIOD);
        // All are asked before any is heard, as a node does it.
        let asked = (bad.ask(&soon), good.ask(&late));
        if number == 0 {
            // Its first answer is on its way; the second never is.
            let heard = bad.pending.as_mut().unwrap();
            let first = heard.answers.recv().await.unwrap();
            let first = heard.take(first);
            assert!(first.result.is_ok());
        }
        let samples = bad.hear(asked.0, &soon).await;
        assert_eq!(error(&samples[1]), "no answer from bus bad: a read does not return");
        assert_eq!(error(&samples[2]), "no answer from bus bad: a read of hangs does not return");
        let samples = good.hear(asked.1, &late).await;
        assert_eq!(error(&samples[0]), "its driver panicked");
        assert_eq!(value(&samples[1]), 7.0);
    }
    gate.wait();
    // Its thread needs a moment to say so.
    let deadline = Instant::now() + Duration::from_secs(30);
    let samples = loop {
        let samples = sample(&mut bad, when(start, 3, PERIOD)).await;
        if samples.iter().all(|sample| sample.result.is_ok()) {
            break samples;
        }
        assert!(Instant::now() < deadline, "{samples:?}");
        tokio::task::yield_now().await;
    };
    let values: Vec<f64> = samples.iter().map(value).collect();
    assert_eq!(values, [3.0, 1.0, 5.0], "it returned: the bus is used again");
}

#[tokio::test]
async fn an_answer_that_comes_after_its_sample_counts_in_the_next_one() {
    let gate = Arc::new(Barrier::new(2));
    let held = Arc::clone(&gate);
    let mut slow = worker(
        "slow",
        vec![sensor("s", move || {
            held.wait();
            warm(4.0)
        })],
    );
    let start = Instant::now();
    let first = sample(&mut slow, when(start, 0, Duration::ZERO)).await;
    assert!(error(&first[0]).contains("does not return"));
    gate.wait();
    // Until the thread has answered.
    let pending = slow.pending.as_mut().unwrap();
    let heard = pending.answers.recv().await.unwrap();
    let (again, answers) = mpsc::unbounded_channel();
    again.send(heard).ok().unwrap();
    pending.answers = answers;
    let second = sample(&mut slow, when(start, 1, Duration::ZERO)).await;
    assert_eq!(value(&second[0]), 4.0);
    assert_eq!(second[0].news, Some(News::Recovered));
}

#[tokio::test]
async fn a_passing_fault_is_tried_again_at_once_and_others_are_not() {
    for (cause, tries) in [
        (Cause::Bus, 3),
        (Cause::Timeout, 3),
        (Cause::Checksum, 3),
        (Cause::NotPresent, 1),
        (Cause::Other, 1),
    ] {
        let count = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&count);
        let mut worker = worker(
            "b",
            vec![sensor("s", move || {
                *counted.lock().unwrap() += 1;
                broken(cause)
            })],
        );
        let start = Instant::now();
        let samples = sample(&mut worker, when(start, 0, PERIOD)).await;
        assert!(samples[0].result.is_err());
        assert_eq!(*count.lock().unwrap(), tries, "{cause:?}");
    }
    let mut reads = 0;
    let mut noisy = worker(
        "b",
        vec![sensor("s", move || {
            reads += 1;
            if reads % 3 == 0 { warm(20.0) } else { broken(Cause::Checksum) }
        })],
    );
    let start = Instant::now();
    for number in 0..3 {
        let samples = sample(&mut noisy, when(start, number, PERIOD)).await;
        assert_eq!((value(&samples[0]), &samples[0].news), (20.0, &None), "nobody notices");
    }
}

#[tokio::test]
async fn a_dead_sensor_is_asked_less_often_and_its_neighbours_in_every_sample() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (dead, living) = (Arc::clone(&asked), Arc::clone(&asked));
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
        let when = When { asked: start + period * number, period, ..when(start, 0, PERIOD) };
        let samples = sample(&mut bus, when).await;
        assert_eq!(error(&samples[0]), "bus error at 0x48 on i2c-1", "said also while it is left alone");
        assert_eq!(value(&samples[1]), 20.0);
    }
    let asked = asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|name| **name == "living").count(), 20);
    // Three samples of three tries, then one at samples 3, 5, 9 and 17.
    assert_eq!(asked.iter().filter(|name| **name == "dead").count(), 13);
}

#[tokio::test]
async fn what_a_driver_has_not_promised_is_a_fault_that_says_so() {
    let (temperature, humidity, pressure) = (Quantity::Temperature, Quantity::Humidity, Quantity::Pressure);
    for (given, words) in [
        (vec![], "gave no reading"),
        (vec![(temperature, 1.0), (temperature, 2.0)], "two readings of temperature"),
        (vec![(pressure, 1.0)], "pressure, which it does not measure"),
        (vec![(temperature, 1.0); 100_000], "gave 100000 readings, and it measures 2 quantities"),
    ] {
        let mut worker = worker("b", vec![sensor("s", move || Ok(readings(&given)))]);
        let samples = sample(&mut worker, when(Instant::now(), 0, PERIOD)).await;
        assert!(error(&samples[0]).contains(words), "{}", error(&samples[0]));
    }
    let some = vec![(humidity, 40.0)];
    let mut worker = worker("b", vec![sensor("s", move || Ok(readings(&some)))]);
    let samples = sample(&mut worker, when(Instant::now(), 0, PERIOD)).await;
    assert_eq!(value(&samples[0]), 40.0, "a part of what it measures is better than nothing");
}

#[tokio::test]
async fn what_filters_drop_is_no_fault() {
    use atalaya_hal::Filter;
    use atalaya_hal::filter::Filtered;
    let dropping = Filtered::wrap(sensor("s", || warm(500.0)), &[Filter::Range(0.0, 100.0)]);
    let empty = Filtered::wrap(sensor("e", || Ok(Readings::new())), &[Filter::Range(0.0, 100.0)]);
    let mut worker = worker("b", vec![dropping, empty]);
    let samples = sample(&mut worker, when(Instant::now(), 0, PERIOD)).await;
    assert!(samples[0].result.as_ref().unwrap().is_empty());
    assert!(error(&samples[1]).contains("gave no reading"), "{}", error(&samples[1]));
}
