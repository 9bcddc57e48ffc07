//! Format of the record, and a model of holders with one clock, of which never two consider the lease theirs.

#![allow(clippy::unwrap_used, reason = "serves tests only")]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn record(holder: &str, end: u64) -> Record {
    Record { holder: holder.to_owned(), end }
}

fn now(boot: Duration, wall: Duration) -> ClockReading {
    ClockReading { boot: BootInstant::at(boot), wall }
}

#[test]
fn record_is_written_as_kazoo_writes_it() {
    let text = record("node \"1\"", 1_761_355_800).to_json();
    assert_eq!(text, r#"{"version": 1, "holder": "node \"1\"", "end": "2025-10-25T01:30:00"}"#);
    assert_eq!(record("", 0).to_json(), r#"{"version": 1, "holder": "", "end": "1970-01-01T00:00:00"}"#);
    assert!(record("", MAX_END).to_json().contains("9999-12-31T23:59:59"));
}

#[test]
fn record_is_parsed_as_kazoo_parses_it() {
    let read = |text: &str| Record::parse(text.as_bytes());
    let escaped = r#" {"holder": "n\u00f8de", "end": "2025-10-25T01:30:00", "version": 1.0, "more": [1]}"#;
    assert_eq!(read(escaped), Ok(record("nøde", 1_761_355_800)));
    assert_eq!(read(r#"{"version": 1, "holder": "a", "end": "0001-01-01T00:00:00"}"#), Ok(record("a", 0)));
}

#[test]
fn other_data_is_distinguished_from_a_record_of_another_version() {
    let garbage = [
        "",
        "kazoo",
        "null",
        "1",
        "[]",
        "{}",
        r#""version""#,
        r#"{"holder": "a", "end": "2025-10-25T01:30:00"}"#,
        r#"{"version": 1, "end": "2025-10-25T01:30:00"}"#,
        r#"{"version": 1, "holder": "a"}"#,
        r#"{"version": 1, "holder": 5, "end": "2025-10-25T01:30:00"}"#,
        r#"{"version": 1, "holder": "a", "end": 5}"#,
        r#"{"version": 1, "holder": "a", "end": ""}"#,
        r#"{"version": 1, "holder": "a", "end": "2025-10-25T01:30:00Z"}"#,
        r#"{"version": 1, "holder": "a", "end": "2025-02-30T01:30:00"}"#,
        r#"{"version": 1, "holder": "a", "end": "99999-01-01T00:00:00"}"#,
        r#"{"version": 1, "holder": "\ud800", "end": "2025-10-25T01:30:00"}"#,
        r#"{"version": 1, "holder": "a", "end": "2025-10-25T01:30:00"} "#.trim_end_matches(['}', ' ']),
    ];
    for text in garbage {
        assert_eq!(Record::parse(text.as_bytes()), Err(ParseError::NotALease), "{text}");
    }
    assert_eq!(Record::parse(b"\xff\xfe"), Err(ParseError::NotALease));
    assert_eq!(Record::parse("[".repeat(MAX_DATA_LEN).as_bytes()), Err(ParseError::NotALease));
    let padded = format!("{}{}", record("a", 5).to_json(), " ".repeat(MAX_DATA_LEN));
    assert_eq!(Record::parse(padded.as_bytes()), Err(ParseError::NotALease));
    for (version, shown) in [("2", "2"), ("1.5", "1.5"), ("null", "null"), (r#""1""#, r#""1""#)] {
        let text = format!(r#"{{"version": {version}, "anything": []}}"#);
        assert_eq!(Record::parse(text.as_bytes()), Err(ParseError::UnsupportedVersion(shown.to_owned())));
    }
}

#[test]
fn lease_has_ended_at_its_very_end_for_all_holders() {
    let end = Duration::from_secs(100);
    let found = record("a", 100);
    let before = end - Duration::from_nanos(1);
    let blocks = |holder, wall| found.blocks(holder, wall, Duration::ZERO);
    assert!(blocks("b", before) && !blocks("b", end));
    assert!(!blocks("a", before), "a holder renews");
    let expiry = LocalExpiry::new(&found, now(Duration::ZERO, Duration::from_secs(90)));
    assert!(!expiry.remaining(now(Duration::from_millis(9_999), before)).is_zero());
    assert!(expiry.remaining(now(Duration::from_millis(9_999), end)).is_zero());
    assert!(expiry.remaining(now(Duration::from_secs(10), before)).is_zero());
}

#[test]
fn lease_is_not_extended_by_setting_the_wall_clock_back_and_ends_when_it_is_set_forward() {
    let expiry =
        LocalExpiry::new(&record("a", 100), now(Duration::from_secs(5), Duration::from_millis(90_500)));
    let at = |boot, wall| expiry.remaining(now(Duration::from_secs(boot), Duration::from_secs(wall)));
    assert_eq!(at(6, 20), Duration::from_millis(8_500));
    assert_eq!(at(15, 20), Duration::ZERO);
    assert_eq!(at(6, 99), Duration::from_secs(1));
    assert_eq!(at(6, 5_000), Duration::ZERO);
}

/// Event in the model.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Time passes, in milliseconds.
    Pass(u64),
    /// A client acquires or renews. If the reply is lost, the earlier of the old and the new end applies.
    Acquire {
        client: usize,
        duration: u64,
        lost: bool,
    },
    Release(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1u64..4_000).prop_map(Event::Pass),
        (0usize..4, 1_000u64..9_000, any::<bool>()).prop_map(|(client, duration, lost)| Event::Acquire {
            client,
            duration,
            lost
        }),
        (0usize..4).prop_map(Event::Release),
    ]
}

proptest! {
    #[test]
    fn record_that_is_written_can_be_parsed(holder in ".*", end in 0..=MAX_END) {
        let written = record(&holder, end);
        prop_assert_eq!(Record::parse(written.to_json().as_bytes()), Ok(written.clone()));
        let parsed: Value = serde_json::from_str(&written.to_json()).unwrap();
        prop_assert_eq!(&parsed["holder"], &json!(holder));
    }

    #[test]
    fn record_with_the_longest_name_can_be_parsed(name in "[\\x00-\\x1f\"]{4096}") {
        let written = record(&name, 5);
        prop_assert_eq!(Record::parse(written.to_json().as_bytes()), Ok(written.clone()));
    }

    #[test]
    fn any_data_is_parsed_or_rejected_without_a_panic(
        data in prop::collection::vec(any::<u8>(), 0..200),
        end in ".{0,30}",
    ) {
        let _ = Record::parse(&data);
        prop_assert!(excerpt(&data).chars().count() <= 80);
        let _ = Record::parse(json!({"version": 1, "holder": "a", "end": end}).to_string().as_bytes());
    }

    #[test]
    fn any_duration_and_any_clock_is_handled_without_overflow(
        wall in 0..=u64::MAX,
        duration in 0..=u64::MAX,
        grace in 0..=u64::MAX,
    ) {
        let [wall, duration, grace] = [wall, duration, grace].map(|seconds| Duration::new(seconds, 999_999_999));
        let written = Record::new("a", duration, wall);
        prop_assert_eq!(Record::parse(written.to_json().as_bytes()), Ok(written.clone()));
        let expiry = LocalExpiry::new(&written, now(wall, wall));
        prop_assert!(expiry.remaining(now(wall, wall)) <= duration);
        prop_assert!(expiry.min(expiry) == expiry);
        let _ = written.blocks("b", wall, grace);
    }

    /// A client whose local expiry has not passed is the holder in the stored record, and its lease ends no earlier
    /// there.
    #[test]
    fn lease_is_never_held_by_two(events in prop::collection::vec(event(), 1..60)) {
        let mut wall = Duration::from_millis(1_761_355_800_123);
        let boot = wall;
        let mut stored: Option<Record> = None;
        let mut expiries: [Option<LocalExpiry>; 4] = [None; 4];
        let names = ["a", "b", "c", "d"];
        for event in events {
            let at = now(wall - boot, wall);
            match event {
                Event::Pass(ms) => wall += Duration::from_millis(ms),
                Event::Acquire { client, duration, lost } => {
                    let duration = Duration::from_millis(duration);
                    let blocks = |found: &Record| found.blocks(names[client], wall, Duration::ZERO);
                    if !stored.as_ref().is_some_and(blocks) {
                        let written = Record::new(names[client], duration, wall);
                        let new = LocalExpiry::new(&written, at);
                        stored = Some(written);
                        expiries[client] = match expiries[client] {
                            Some(old) if lost => Some(old.min(new)),
                            None if lost => None,
                            _ => Some(new),
                        };
                    }
                }
                Event::Release(client) => {
                    expiries[client] = None;
                    stored = stored.filter(|found| found.holder != names[client]);
                }
            }
            let at = now(wall - boot, wall);
            for (client, expiry) in expiries.iter().enumerate() {
                let remaining = expiry.map_or(Duration::ZERO, |expiry| expiry.remaining(at));
                if !remaining.is_zero() {
                    let found = stored.clone().unwrap();
                    prop_assert_eq!(&found.holder, names[client]);
                    prop_assert!(wall + remaining <= Duration::from_secs(found.end));
                }
            }
        }
    }
}
