use atalaya_hal::Place;
use proptest::prelude::*;

use super::*;

const PERIOD: Duration = Duration::from_secs(5);

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn fault(kind: Kind) -> Fault {
    Fault::new(kind, "it does not work")
}

#[test]
fn causes_that_may_pass_are_tried_again_and_others_are_not() {
    for (cause, tries) in [
        (Cause::Bus, 3),
        (Cause::Timeout, 3),
        (Cause::Checksum, 3),
        (Cause::NotPresent, 1),
        (Cause::Busy, 1),
        (Cause::OutOfRange, 1),
        (Cause::Other, 1),
    ] {
        let fault = Fault::from(ReadError::new(cause, Place::default()));
        let tried = (1..).find(|tries| retry(&fault, *tries).is_none());
        assert_eq!(tried, Some(tries), "{cause:?}");
    }
}

#[test]
fn it_tells_since_when_what_and_how_often() {
    let (mut health, now) = (Health::default(), Instant::now());
    assert_eq!(health.condition().state, State::Unread);
    assert_eq!(
        health.failed(&fault(Kind::Absent), now, PERIOD, time(1)),
        Some(News::Failing("it does not work".into()))
    );
    assert_eq!(health.failed(&fault(Kind::Absent), now, PERIOD, time(6)), None, "known already");
    assert_eq!(
        health.condition(),
        &Condition {
            state: State::Absent,
            since: Some(time(1)),
            error: Some("it does not work".into()),
            count: 2
        }
    );
    let other = Fault::new(Kind::Passing, "noise");
    assert_eq!(health.failed(&other, now, PERIOD, time(11)), Some(News::Failing("noise".into())));
    assert_eq!((health.condition().state, health.condition().since), (State::Failing, Some(time(1))));
    assert_eq!(health.read(time(16)), Some(News::Recovered));
    assert_eq!(health.read(time(21)), None);
    assert_eq!(
        health.condition(),
        &Condition { state: State::Ok, since: Some(time(16)), ..Condition::default() }
    );
}

#[test]
fn an_error_is_one_line_of_bounded_length() {
    let text = Fault::new(Kind::Lasting, &format!("a\nb\x1b{}", "ñ".repeat(100_000))).text;
    assert_eq!(text.chars().count(), LONGEST_ERROR);
    assert!(text.starts_with("a b ñ"), "{text}");
}

#[test]
fn a_condition_is_json_that_later_versions_may_extend() {
    let json =
        serde_json::to_string(&Condition { state: State::Ok, since: Some(time(0)), ..Condition::default() });
    assert_eq!(json.unwrap(), r#"{"state":"ok","since":"1970-01-01T00:00:00Z"}"#);
    let later: Condition = serde_json::from_str(r#"{"state":"dozing","mood":"fine"}"#).unwrap();
    assert_eq!(later.state, State::Unknown);
    for state in [State::Unread, State::Ok, State::Failing, State::Absent, State::Unknown] {
        assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.name()));
    }
}

/// Samples at every period, each a little late, of a sensor that is broken until `mended`. Gives at which samples it
/// was asked.
fn asked(kind: Kind, period: Duration, samples: u32, late: &[u64], mended: Option<u32>) -> Vec<u32> {
    let (mut health, start) = (Health::default(), Instant::now());
    let mut asked = Vec::new();
    for sample in 0..samples {
        let late = Duration::from_micros(late[sample as usize % late.len()]).min(period / 4);
        let now = start + period * sample + late;
        if !health.is_due(now) {
            continue;
        }
        asked.push(sample);
        if mended.is_some_and(|mended| sample >= mended) {
            health.read(time(0));
        } else {
            health.failed(&fault(kind), now, period, time(0));
        }
    }
    asked
}

#[test]
fn a_dead_sensor_is_asked_ever_less_often_down_to_once_a_minute() {
    // 3 samples, then after 1, 2, 4, 8 periods, then after twelve of them: a minute.
    assert_eq!(asked(Kind::Absent, PERIOD, 50, &[0], None), [0, 1, 2, 3, 5, 9, 17, 29, 41]);
}

#[test]
fn a_driver_that_panicked_is_left_alone_at_once() {
    assert_eq!(asked(Kind::Panic, Duration::from_millis(500), 200, &[0], None), [0, 2, 6, 14, 30, 62, 126]);
}

#[test]
fn a_read_that_does_not_return_does_not_put_the_next_one_off() {
    let (mut health, now) = (Health::default(), Instant::now());
    for _ in 0..100 {
        health.failed(&fault(Kind::Silent), now, PERIOD, time(0));
    }
    assert!(health.is_due(now));
    assert_eq!((health.condition().state, health.condition().count), (State::Failing, 100));
}

#[test]
fn with_a_period_beyond_the_slowest_probe_every_sample_asks() {
    let all: Vec<u32> = (0..20).collect();
    assert_eq!(asked(Kind::Lasting, SLOWEST_PROBE * 60, 20, &[0], None), all);
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::Passing, Kind::Absent, Kind::Lasting, Kind::Panic])
}

proptest! {
    #[test]
    fn what_comes_back_is_found_within_a_minute_and_then_asked_in_every_sample(
        kind in kinds(),
        period in 100u64..100_000,
        late in prop::collection::vec(0u64..50_000, 1..10),
        mended in 0u32..700,
    ) {
        let period = Duration::from_millis(period);
        let slowest = SLOWEST_PROBE.as_nanos().div_ceil(period.as_nanos()) as u32 + 1;
        let samples = mended + slowest + 20;
        let asked = asked(kind, period, samples, &late, Some(mended));
        let found = *asked.iter().find(|sample| **sample >= mended).unwrap();
        prop_assert!(found <= mended + slowest, "mended at {mended}, found at {found}");
        let after: Vec<u32> = asked.iter().copied().filter(|sample| *sample >= found).collect();
        prop_assert_eq!(after, (found..samples).collect::<Vec<_>>());
    }

    #[test]
    fn intervals_between_probes_never_shrink_and_are_never_over_a_minute(
        kind in kinds(),
        period in 100u64..10_000,
        late in prop::collection::vec(0u64..50_000, 1..10),
    ) {
        let period = Duration::from_millis(period);
        let asked = asked(kind, period, 1_500, &late, None);
        let gaps: Vec<u32> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let longest = SLOWEST_PROBE.as_nanos().div_ceil(period.as_nanos()) as u32 + 1;
        prop_assert!(gaps.iter().all(|gap| *gap <= longest), "{gaps:?}");
        // But for one sample at the slowest: a minute need not be a whole number of periods.
        prop_assert!(gaps.windows(2).all(|pair| pair[1] + 1 >= pair[0]), "{gaps:?}");
    }

    #[test]
    fn the_count_is_that_of_the_failures_since_it_last_worked(outcomes in prop::collection::vec((any::<bool>(), kinds()), 0..40)) {
        let (mut health, now) = (Health::default(), Instant::now());
        let (mut count, mut began) = (0, None);
        for (second, (works, kind)) in outcomes.into_iter().enumerate() {
            let time = time(second as i64);
            if works {
                health.read(time);
                (count, began) = (0, None);
            } else {
                health.failed(&fault(kind), now, PERIOD, time);
                count += 1;
                began = began.or(Some(time));
            }
            let condition = health.condition();
            prop_assert_eq!(condition.count, count);
            prop_assert_eq!(condition.error.is_some(), count > 0);
            if count > 0 {
                prop_assert_eq!(condition.since, began);
            }
        }
    }
}
