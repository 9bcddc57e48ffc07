use atalaya_hal::Place;
use proptest::prelude::*;

use super::*;

const PERIOD: Duration = Duration::from_secs(5);

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, "broken")
}

#[test]
fn only_transient_faults_are_retried() {
    use Cause::{Bus, Busy, Checksum, NotPresent, Other, OutOfRange, Timeout};
    let transient = [Bus, Timeout, Checksum].map(|cause| (cause, 3));
    let others = [NotPresent, Busy, OutOfRange, Other].map(|cause| (cause, 1));
    for (cause, tries) in transient.into_iter().chain(others) {
        let fault = Fault::from(ReadError::new(cause, Place::default()));
        let tried = (1..).find(|tries| retry_delay(&fault, *tries).is_none());
        assert_eq!(tried, Some(tries), "{cause:?}");
    }
}

#[test]
fn health_status_has_the_start_the_error_and_the_count_of_failures() {
    let (mut health, now) = (Health::default(), Instant::now());
    assert_eq!(health.status.state, SensorState::Unread);
    assert!(health.on_failed(&fault(FaultKind::Absent), now, PERIOD, time(1)));
    assert!(!health.on_failed(&fault(FaultKind::Absent), now, PERIOD, time(6)), "not a change");
    let (since, error) = (Some(time(1)), Some("broken".into()));
    assert_eq!(health.status, HealthStatus { state: SensorState::Absent, since, error, count: 2 });
    let other = Fault::new(FaultKind::Transient, "noise");
    assert!(health.on_failed(&other, now, PERIOD, time(11)), "another error");
    assert_eq!((health.status.state, health.status.since), (SensorState::Failing, Some(time(1))));
    assert!(health.on_read(time(16)), "the sensor recovered");
    assert!(!health.on_read(time(21)));
    let since = Some(time(16));
    assert_eq!(health.status, HealthStatus { state: SensorState::Ok, since, ..HealthStatus::default() });
}

#[test]
fn fault_text_is_one_line_of_bounded_length() {
    let text = Fault::new(FaultKind::Permanent, &format!("a\nb\x1b{}", "ñ".repeat(100_000))).text;
    assert_eq!(text.chars().count(), MAX_ERROR_CHARS);
    assert!(text.starts_with("a b ñ"), "{text}");
}

/// Takes samples at every period, each a little late, of a sensor that is broken until sample `repaired`. Returns the
/// samples that read the sensor.
fn probes(kind: FaultKind, period: Duration, samples: u32, late: &[u64], repaired: Option<u32>) -> Vec<u32> {
    let (mut health, start) = (Health::default(), Instant::now());
    let mut probes = Vec::new();
    for sample in 0..samples {
        let late = Duration::from_micros(late[sample as usize % late.len()]).min(period / 4);
        let now = start + period * sample + late;
        if !health.is_due(now) {
            continue;
        }
        probes.push(sample);
        if repaired.is_some_and(|repaired| sample >= repaired) {
            health.on_read(time(0));
        } else {
            health.on_failed(&fault(kind), now, period, time(0));
        }
    }
    probes
}

#[test]
fn probe_interval_of_a_dead_sensor_doubles_up_to_a_minute() {
    // 3 samples, then after 1, 2, 4 and 8 periods, then every 12 periods, which is a minute.
    assert_eq!(probes(FaultKind::Absent, PERIOD, 50, &[0], None), [0, 1, 2, 3, 5, 9, 17, 29, 41]);
}

#[test]
fn backoff_of_a_panicking_driver_starts_with_the_first_panic() {
    let probes = probes(FaultKind::Panic, Duration::from_millis(500), 200, &[0], None);
    assert_eq!(probes, [0, 2, 6, 14, 30, 62, 126]);
}

#[test]
fn read_that_does_not_return_causes_no_backoff() {
    let (mut health, now) = (Health::default(), Instant::now());
    for _ in 0..100 {
        health.on_failed(&fault(FaultKind::NoAnswer), now, PERIOD, time(0));
    }
    assert!(health.is_due(now));
    assert_eq!((health.status.state, health.status.count), (SensorState::Failing, 100));
}

#[test]
fn sensor_is_probed_in_every_sample_if_the_period_exceeds_the_maximum_probe_interval() {
    let all: Vec<u32> = (0..20).collect();
    assert_eq!(probes(FaultKind::Permanent, MAX_PROBE_INTERVAL * 60, 20, &[0], None), all);
}

fn kinds() -> impl Strategy<Value = FaultKind> {
    prop::sample::select(vec![
        FaultKind::Transient,
        FaultKind::Absent,
        FaultKind::Permanent,
        FaultKind::Panic,
    ])
}

proptest! {
    #[test]
    fn repaired_sensor_is_found_within_a_minute_and_then_read_in_every_sample(
        kind in kinds(),
        period in 100u64..100_000,
        late in prop::collection::vec(0u64..50_000, 1..10),
        repaired in 0u32..700,
    ) {
        let period = Duration::from_millis(period);
        let slowest = MAX_PROBE_INTERVAL.as_nanos().div_ceil(period.as_nanos()) as u32 + 1;
        let samples = repaired + slowest + 20;
        let probes = probes(kind, period, samples, &late, Some(repaired));
        let found = *probes.iter().find(|sample| **sample >= repaired).unwrap();
        prop_assert!(found <= repaired + slowest, "repaired at {repaired}, found at {found}");
        let after: Vec<u32> = probes.iter().copied().filter(|sample| *sample >= found).collect();
        prop_assert_eq!(after, (found..samples).collect::<Vec<_>>());
    }

    #[test]
    fn probe_intervals_never_shrink_and_never_exceed_a_minute(
        kind in kinds(),
        period in 100u64..10_000,
        late in prop::collection::vec(0u64..50_000, 1..10),
    ) {
        let period = Duration::from_millis(period);
        let probes = probes(kind, period, 1_500, &late, None);
        let gaps: Vec<u32> = probes.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let longest = MAX_PROBE_INTERVAL.as_nanos().div_ceil(period.as_nanos()) as u32 + 1;
        prop_assert!(gaps.iter().all(|gap| *gap <= longest), "{gaps:?}");
        // One sample of tolerance at the maximum: a minute may not be a whole number of periods.
        prop_assert!(gaps.windows(2).all(|pair| pair[1] + 1 >= pair[0]), "{gaps:?}");
    }

    #[test]
    fn failure_count_restarts_with_each_success(outcomes in prop::collection::vec((any::<bool>(), kinds()), 0..40)) {
        let (mut health, now) = (Health::default(), Instant::now());
        let (mut count, mut began) = (0, None);
        for (second, (works, kind)) in outcomes.into_iter().enumerate() {
            let time = time(second as i64);
            if works {
                health.on_read(time);
                (count, began) = (0, None);
            } else {
                health.on_failed(&fault(kind), now, PERIOD, time);
                count += 1;
                began = began.or(Some(time));
            }
            let status = &health.status;
            prop_assert_eq!(status.count, count);
            prop_assert_eq!(status.error.is_some(), count > 0);
            if count > 0 {
                prop_assert_eq!(status.since, began);
            }
        }
    }
}
