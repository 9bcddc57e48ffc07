//! Tests of specifications.

use proptest::prelude::*;

use super::*;
use crate::model::json::to_json;

/// Returns a specification of a task for any node.
pub(crate) fn spec(action: &str) -> Spec {
    Spec {
        id: "s1".into(),
        action: action.into(),
        priority: DEFAULT_PRIORITY,
        attempts: DEFAULT_ATTEMPTS,
        by: "me".into(),
        ..Spec::default()
    }
}

#[test]
fn specification_round_trips_and_has_defaults() {
    let minimal = Spec::parse(br#"{"id":"s1","action":"status"}"#).unwrap();
    assert_eq!(minimal, Spec { by: String::new(), ..spec("status") });
    let full = Spec {
        args: BTreeMap::from([("sensor".into(), "air; rm -rf \"$HOME\"\n".into())]),
        to: Target::Nodes(vec!["1".into(), "2".into()]),
        selector: "chip=bme280".parse().unwrap(),
        rollout: Some(Rollout {
            batches: vec![BatchSize::Nodes(1), BatchSize::Percent(100)],
            pause_ms: 5,
            stop_after: 2,
        }),
        retry_of: "3".parse().ok(),
        ..spec("calibrate")
    };
    assert_eq!(Spec::parse(&to_json(&full)), Ok(full));
}

#[test]
fn wrong_specification_is_refused_with_the_reason() {
    let table = [
        (r#"{"id":"s","action":"status","color":1}"#, "unknown field"),
        (r#"{"id":"s","action":"../x"}"#, "not the name of an action"),
        (r#"{"id":"s","action":""}"#, "not the name of an action"),
        (r#"{"id":"s","action":"a","priority":10}"#, "from 0 to 9"),
        (r#"{"id":"s","action":"a","attempts":0}"#, "from 1 to 100"),
        (r#"{"id":"s","action":"a","run_for_ms":0}"#, "run_for"),
        (r#"{"id":"s","action":"a","to":{"nodes":[]}}"#, "empty"),
        (r#"{"id":"s","action":"a","to":{"nodes":["1","1"]}}"#, "twice"),
        (r#"{"id":"s","action":"a","to":{"nodes":["a/b"]}}"#, "cannot contain /"),
        (r#"{"id":"s","action":"a","rollout":{"batches":[{"nodes":1}]}}"#, "several nodes"),
        (r#"{"id":"s","action":"a","to":"all","rollout":{"batches":[{"percent":0}]}}"#, "at least one node"),
        (r#"{"id":"s","action":"a","where":"x"}"#, "not a condition"),
        ("[]", "malformed"),
    ];
    for (text, reason) in table {
        let message = Spec::parse(text.as_bytes()).unwrap_err();
        assert!(message.contains(reason), "{text}: {message}");
    }
    let message = Spec::parse(&vec![b' '; 1 << 20]).unwrap_err();
    assert!(message.contains("1048576 bytes"), "{message}");
}

#[test]
fn batches_are_numbers_or_percentages_of_the_roster() {
    let rollout =
        |text: &str| Rollout { batches: Rollout::parse_batches(text).unwrap(), pause_ms: 0, stop_after: 1 };
    assert_eq!(rollout("1,10%,100%").sizes(50), [1, 5, 44]);
    assert_eq!(rollout("10").sizes(25), [10, 10, 5]);
    assert_eq!(rollout("1%").sizes(3), [1, 1, 1]);
    assert_eq!(rollout("5").sizes(0), [0; 0]);
    for wrong in ["", "0", "101%", "0%", "a", "1,,2", "-1"] {
        assert!(Rollout::parse_batches(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn specification_parses_any_bytes_within_its_limits(data in crate::model::foreign_input::bytes()) {
        let parsed = crate::model::foreign_input::in_time(data.len(), || Spec::parse(&data));
        match parsed {
            Ok(spec) => prop_assert!(spec.check().is_ok()),
            Err(reason) => prop_assert!(reason.chars().count() < 400 && !reason.contains(char::is_control)),
        }
    }

    #[test]
    fn batches_contain_each_node_once(total in 0_usize..500, sizes in prop::collection::vec((any::<bool>(), 1_u8..=100), 1..5)) {
        let batches = sizes.iter().map(|(percent, size)| match percent {
            true => BatchSize::Percent(*size),
            false => BatchSize::Nodes(u32::from(*size)),
        });
        let rollout = Rollout { batches: batches.collect(), pause_ms: 0, stop_after: 1 };
        prop_assert_eq!(rollout.sizes(total).iter().sum::<usize>(), total);
    }
}
