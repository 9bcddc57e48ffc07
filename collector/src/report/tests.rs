use proptest::prelude::*;

use super::*;
use crate::values::{MAX_REPORTER, is_printable, number};

const FIELDS: &str = "mean dato epoch cycle time quantity unit min max stddev count excluded more";
const VALUES: &str = "text real whole -0.0 -0 1 1e400 18446744073709551615 9223372036854775807 null [[]] \"Cel\" \
                      \"2026-11-21T08:00:00Z\" \"-009999-01-02T01:59:59Z\"";

fn key(epoch: i64, cycle: i64, unit: Option<&str>) -> Key {
    Key { epoch, cycle, unit: unit.map(str::to_owned) }
}

#[test]
fn key_is_parsed_in_the_format_of_nodes_only() {
    assert_eq!(Key::parse("7-3"), Ok(key(7, 3, None)));
    assert_eq!(Key::parse("7-3-%RH"), Ok(key(7, 3, Some("%RH"))));
    assert_eq!(Key::parse("7-3-a-b"), Ok(key(7, 3, Some("a-b"))));
    assert_eq!(Key::parse("\"7-3\""), Ok(key(7, 3, None)), "a structured field");
    assert_eq!(Key::parse("9223372036854775807-0"), Ok(key(i64::MAX, 0, None)));
    let long = format!("7-3-{}", "x".repeat(65));
    let wrong = "7 7- -7-3 +7-3 0-3 7-3- 9223372036854775808-1 ७-3";
    for wrong in wrong.split(' ').chain(["", "7 -3", "7-3-\n", &long]) {
        assert!(Key::parse(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn number_is_finite_or_refused() {
    assert_eq!(number(" 78.4 "), Ok(78.4));
    assert_eq!(number("-1e3"), Ok(-1000.0));
    for wrong in ["", "NaN", "inf", "-infinity", "1e400", "78,4", "0x10", "78.4.1", "\u{fffd}"] {
        assert!(number(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn report_that_contradicts_its_key_is_refused() {
    let at = Timestamp::UNIX_EPOCH;
    let incoming = |epoch, unit: Option<&str>| Incoming {
        epoch: Some(epoch),
        cycle: Some(3),
        unit: unit.map(str::to_owned),
        ..Incoming::bare(1.0)
    };
    assert!(incoming(7, None).accept(Some(key(7, 3, None)), at, None).is_ok());
    assert!(incoming(7, Some("Cel")).accept(Some(key(7, 3, Some("Cel"))), at, None).is_ok());
    assert!(incoming(8, None).accept(Some(key(7, 3, None)), at, None).is_err());
    assert!(incoming(7, Some("Pa")).accept(Some(key(7, 3, Some("Cel"))), at, None).is_err());
    assert!(incoming(7, Some("Pa")).accept(Some(key(7, 3, None)), at, None).is_err());
    let bare = Incoming::bare(1.0).accept(Some(key(7, 3, Some("Cel"))), at, None).unwrap();
    assert_eq!(bare.key(), Some(key(7, 3, Some("Cel"))), "the key completes the report");
}

proptest! {
    #[test]
    fn formatted_key_is_parsed_again(epoch in 1..i64::MAX, cycle in 0..i64::MAX, unit in prop::option::of("[ -~]{1,64}")) {
        prop_assume!(!unit.as_ref().is_some_and(|unit| unit.ends_with([' ', '"'])));
        let key = Key { epoch, cycle, unit };
        prop_assert_eq!(Key::parse(&key.to_string()), Ok(key));
    }

    /// Bytes that are not a report are refused, and a report has finite numbers, no negative zero and printable text.
    #[test]
    fn report_of_arbitrary_bytes_is_sound_or_refused(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        fields in prop::collection::vec((0..13_usize, 0..14_usize, ".{0,70}", any::<f64>(), any::<i64>()), 0..9),
        key in "[0-9]{1,20}-[0-9]{1,20}(-.{0,70})?", reporter in ".{0,300}",
    ) {
        let fields = fields.into_iter().map(|(name, value, text, real, whole)| {
            let value = match VALUES.split(' ').nth(value).unwrap() {
                "text" => serde_json::to_string(&text).unwrap(),
                "real" => format!("{real:e}"),
                "whole" => whole.to_string(),
                value => value.to_owned(),
            };
            format!("\"{}\": {value}", FIELDS.split(' ').nth(name).unwrap())
        });
        let object = format!("{{{}}}", fields.collect::<Vec<_>>().join(", "));
        let key = Key::parse(&key).ok();
        for body in [&bytes[..], object.as_bytes(), format!("[{object}]").as_bytes()] {
            let one = serde_json::from_slice::<Incoming>(body).ok();
            let more = serde_json::from_slice::<Vec<Incoming>>(body).unwrap_or_default();
            for (incoming, key) in one.into_iter().map(|one| (one, key.clone())).chain(more.into_iter().map(|one| (one, None))) {
                let Ok(report) = incoming.accept(key, Timestamp::UNIX_EPOCH, Some(&reporter)) else { continue };
                for number in [Some(report.mean), report.min, report.max, report.stddev].into_iter().flatten() {
                    prop_assert!(number.is_finite() && (number != 0.0 || number.is_sign_positive()));
                }
                for text in [&report.quantity, &report.unit, &report.reporter].into_iter().flatten() {
                    prop_assert!(text.len() <= 4 * MAX_REPORTER && text.chars().all(is_printable), "{text:?}");
                }
                prop_assert!(report.epoch.is_none_or(|epoch| (1..=1 << 62).contains(&epoch)));
                prop_assert!(report.cycle.is_none_or(|cycle| (0..=1 << 62).contains(&cycle)));
            }
        }
    }

    #[test]
    fn parsers_of_arbitrary_text_do_not_panic(text in ".*") {
        let _ = (Key::parse(&text), number(&text), name(&text), shortened(&text), cut(&text));
    }
}
