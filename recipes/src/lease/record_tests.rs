//! What is written is what Kazoo reads; whatever is read is no panic; and a model of holders with one clock, of which
//! never two believe that they hold.

#![allow(clippy::unwrap_used, reason = "serves tests only")]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn record(holder: &str, end: u64) -> Record {
    Record { holder: holder.to_owned(), end }
}

fn now(moment: Duration, wall: Duration) -> Now {
    Now { moment: BootInstant::at(moment), wall }
}

#[test]
fn is_written_as_kazoo_writes_it() {
    let text = record("node \"1\"", 1_761_355_800).text();
    assert_eq!(text, r#"{"version": 1, "holder": "node \"1\"", "end": "2025-10-25T01:30:00"}"#);
    assert_eq!(record("", 0).text(), r#"{"version": 1, "holder": "", "end": "1970-01-01T00:00:00"}"#);
    assert!(record("", LATEST).text().contains("9999-12-31T23:59:59"));
}

#[test]
fn is_read_as_kazoo_reads_it() {
    let read = |text: &str| Record::read(text.as_bytes());
    let escaped = r#" {"holder": "n\u00f8de", "end": "2025-10-25T01:30:00", "version": 1.0, "more": [1]}"#;
    assert_eq!(read(escaped), Ok(record("nøde", 1_761_355_800)));
    assert_eq!(read(r#"{"version": 1, "holder": "a", "end": "0001-01-01T00:00:00"}"#), Ok(record("a", 0)));
}

#[test]
fn what_is_no_lease_is_told_from_one_of_another_version() {
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
        assert_eq!(Record::read(text.as_bytes()), Err(Unreadable::NotALease), "{text}");
    }
    assert_eq!(Record::read(b"\xff\xfe"), Err(Unreadable::NotALease));
    assert_eq!(Record::read("[".repeat(LONGEST).as_bytes()), Err(Unreadable::NotALease));
    let padded = format!("{}{}", record("a", 5).text(), " ".repeat(LONGEST));
    assert_eq!(Record::read(padded.as_bytes()), Err(Unreadable::NotALease));
    for (version, shown) in [("2", "2"), ("1.5", "1.5"), ("null", "null"), (r#""1""#, r#""1""#)] {
        let text = format!(r#"{{"version": {version}, "anything": []}}"#);
        assert_eq!(Record::read(text.as_bytes()), Err(Unreadable::OtherVersion(shown.to_owned())));
    }
}

#[test]
fn at_its_very_end_a_lease_is_over_for_everybody() {
    let end = Duration::from_secs(100);
    let ask = |holder| Ask { holder, length: Duration::from_secs(10), grace: Duration::ZERO };
    let found = record("a", 100);
    let before = end - Duration::from_nanos(1);
    assert!(ask("b").must_respect(&found, before) && !ask("b").must_respect(&found, end));
    assert!(!ask("a").must_respect(&found, before), "a holder renews");
    let belief = LocalExpiry::new(&found, now(Duration::ZERO, Duration::from_secs(90)));
    assert!(!belief.remaining(now(Duration::from_millis(9_999), before)).is_zero());
    assert!(belief.remaining(now(Duration::from_millis(9_999), end)).is_zero());
    assert!(belief.remaining(now(Duration::from_secs(10), before)).is_zero());
}

#[test]
fn a_wall_clock_that_is_set_back_prolongs_nothing_and_one_set_forward_ends_it() {
    let belief =
        LocalExpiry::new(&record("a", 100), now(Duration::from_secs(5), Duration::from_millis(90_500)));
    let at = |moment, wall| belief.remaining(now(Duration::from_secs(moment), Duration::from_secs(wall)));
    assert_eq!(at(6, 20), Duration::from_millis(8_500));
    assert_eq!(at(15, 20), Duration::ZERO);
    assert_eq!(at(6, 99), Duration::from_secs(1));
    assert_eq!(at(6, 5_000), Duration::ZERO);
}

/// One thing that happens in the model.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// So many milliseconds pass.
    Pass(u64),
    /// A holder asks; its reply may be lost, and then it believes in no more than both may say.
    Ask {
        who: usize,
        length: u64,
        lost: bool,
    },
    Release(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (1u64..4_000).prop_map(Deed::Pass),
        (0usize..4, 1_000u64..9_000, any::<bool>()).prop_map(|(who, length, lost)| Deed::Ask {
            who,
            length,
            lost
        }),
        (0usize..4).prop_map(Deed::Release),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(holder in ".*", end in 0..=LATEST) {
        let written = record(&holder, end);
        prop_assert_eq!(Record::read(written.text().as_bytes()), Ok(written.clone()));
        let parsed: Value = serde_json::from_str(&written.text()).unwrap();
        prop_assert_eq!(&parsed["holder"], &json!(holder));
    }

    #[test]
    fn the_longest_name_can_be_read_again(name in "[\\x00-\\x1f\"]{4096}") {
        let written = record(&name, 5);
        prop_assert_eq!(Record::read(written.text().as_bytes()), Ok(written.clone()));
    }

    #[test]
    fn whatever_stands_there_is_read_or_refused(data in prop::collection::vec(any::<u8>(), 0..200), end in ".{0,30}") {
        let _ = Record::read(&data);
        prop_assert!(excerpt(&data).chars().count() <= 80);
        let _ = Record::read(json!({"version": 1, "holder": "a", "end": end}).to_string().as_bytes());
    }

    /// However long, and whatever the clock says, no sum overflows.
    #[test]
    fn no_length_and_no_clock_is_too_much(wall in 0..=u64::MAX, length in 0..=u64::MAX, grace in 0..=u64::MAX) {
        let [wall, length, grace] = [wall, length, grace].map(|seconds| Duration::new(seconds, 999_999_999));
        let ask = Ask { holder: "a", length, grace };
        let written = ask.record(wall);
        prop_assert_eq!(Record::read(written.text().as_bytes()), Ok(written.clone()));
        let belief = LocalExpiry::new(&written, now(wall, wall));
        prop_assert!(belief.remaining(now(wall, wall)) <= length);
        prop_assert!(belief.and(belief) == belief);
        let _ = Ask { holder: "b", ..ask }.must_respect(&written, wall);
    }

    /// Whoever believes that it holds, by whatever it has written or tried to, is what stands there, and alone.
    #[test]
    fn never_two_believe_that_they_hold(deeds in prop::collection::vec(deed(), 1..60)) {
        let mut wall = Duration::from_millis(1_761_355_800_123);
        let boot = wall;
        let mut stands: Option<Record> = None;
        let mut beliefs: [Option<LocalExpiry>; 4] = [None; 4];
        let names = ["a", "b", "c", "d"];
        for deed in deeds {
            let at = now(wall - boot, wall);
            match deed {
                Deed::Pass(ms) => wall += Duration::from_millis(ms),
                Deed::Ask { who, length, lost } => {
                    let ask = Ask { holder: names[who], length: Duration::from_millis(length), grace: Duration::ZERO };
                    if !stands.as_ref().is_some_and(|found| ask.must_respect(found, wall)) {
                        let written = ask.record(wall);
                        let new = LocalExpiry::new(&written, at);
                        stands = Some(written);
                        beliefs[who] = match beliefs[who] {
                            Some(old) if lost => Some(old.and(new)),
                            None if lost => None,
                            _ => Some(new),
                        };
                    }
                }
                Deed::Release(who) => {
                    beliefs[who] = None;
                    stands = stands.filter(|found| found.holder != names[who]);
                }
            }
            let at = now(wall - boot, wall);
            for (who, belief) in beliefs.iter().enumerate() {
                let left = belief.map_or(Duration::ZERO, |belief| belief.remaining(at));
                if !left.is_zero() {
                    let found = stands.clone().unwrap();
                    prop_assert_eq!(&found.holder, names[who]);
                    prop_assert!(wall + left <= Duration::from_secs(found.end));
                }
            }
        }
    }
}
