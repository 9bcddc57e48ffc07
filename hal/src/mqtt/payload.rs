//! Number in a message.

use serde_json::Value;

use crate::parse;

/// Returns the number in a message: all of it, or the value at a JSON pointer.
///
/// # Errors
/// The reason, for a message.
pub(super) fn number(payload: &[u8], pointer: Option<&str>) -> Result<f64, String> {
    let Some(pointer) = pointer else {
        return parse::number(payload).map_err(|problem| format!("the message is {problem}"));
    };
    // The parser bounds the depth.
    let message: Value =
        serde_json::from_slice(payload).map_err(|error| format!("the message is not JSON: {error}"))?;
    let place =
        || if pointer.is_empty() { "the message".to_owned() } else { format!("the value at {pointer}") };
    match message.pointer(pointer) {
        None => Err(format!("the message has no {pointer}")),
        Some(Value::Number(number)) => {
            let number = number.as_f64().filter(|number| number.is_finite());
            number.ok_or_else(|| format!("{} is not a finite number", place()))
        }
        Some(Value::String(text)) => {
            parse::number(text.as_bytes()).map_err(|problem| format!("{} is {problem}", place()))
        }
        Some(other) => Err(format!("{} is {}, not a number", place(), kind(other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
        Value::Number(_) | Value::String(_) => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_of_devices_are_read() {
        let zigbee2mqtt = br#"{"battery":100,"humidity":45.31,"linkquality":87,"pressure":1006.5,"temperature":21.84,"voltage":3015}"#;
        let tasmota = br#"{"Time":"2026-11-30T06:00:00","AM2301":{"Temperature":21.4,"Humidity":48.9,"DewPoint":10.2},"TempUnit":"C"}"#;
        let tasmota_status = br#"{"POWER":"ON","ENERGY":{"Power":[12,"34.5"]}}"#;
        let table: [(&[u8], Option<&str>, f64); 12] = [
            (b"21.43", None, 21.43),
            (b" 7\n", None, 7.0),
            (b"-0.5", None, -0.5),
            (zigbee2mqtt, Some("/temperature"), 21.84),
            (zigbee2mqtt, Some("/linkquality"), 87.0),
            (tasmota, Some("/AM2301/Temperature"), 21.4),
            (tasmota_status, Some("/ENERGY/Power/0"), 12.0),
            (tasmota_status, Some("/ENERGY/Power/1"), 34.5),
            (b"\"21.5\"", Some(""), 21.5),
            (b"21.5", Some(""), 21.5),
            (b"{\"a/b\":{\"~\":\" 1e3 \"}}", Some("/a~1b/~0"), 1000.0),
            (b"18446744073709551615", Some(""), 18_446_744_073_709_551_615.0),
        ];
        for (payload, pointer, want) in table {
            assert_eq!(number(payload, pointer), Ok(want), "{pointer:?}");
        }
    }

    #[test]
    fn other_messages_are_refused_with_the_reason() {
        let table: [(&[u8], Option<&str>, &str); 20] = [
            (b"", None, "the message is empty, where a number should be"),
            (b"21.5 C", None, "the message is `21.5 C` is not one number"),
            (b"nan", None, "the message is `nan` is no finite number"),
            (b"1e999", None, "the message is `1e999` is no finite number"),
            (b"ON", None, "the message is `ON` is not one number"),
            (b"true", None, "the message is `true` is not one number"),
            (b"\"21.5\"", None, "is not one number"),
            (b"\xff\xfe", None, "is not one number"),
            (b"unavailable", Some("/t"), "the message is not JSON: expected value at line 1 column 1"),
            (b"", Some("/t"), "the message is not JSON: EOF"),
            (b"{\"t\":NaN}", Some("/t"), "the message is not JSON"),
            (b"{\"t\":1e999}", Some("/t"), "the message is not JSON: number out of range"),
            (b"{\"t\":1}{", Some("/t"), "the message is not JSON: trailing characters"),
            (b"{\"T\":1}", Some("/t"), "the message has no /t"),
            (b"{\"t\":true}", Some("/t"), "the value at /t is true, not a number"),
            (b"{\"t\":null}", Some("/t"), "the value at /t is null, not a number"),
            (b"{\"t\":[1]}", Some("/t"), "the value at /t is a list, not a number"),
            (b"{\"t\":{\"u\":1}}", Some("/t"), "the value at /t is an object, not a number"),
            (b"{\"t\":\"inf\"}", Some("/t"), "no finite number"),
            (b"false", Some(""), "the message is false, not a number"),
        ];
        for (payload, pointer, want) in table {
            let reason = number(payload, pointer).unwrap_err();
            assert!(reason.contains(want), "{reason}");
        }
        let deep = "[".repeat(60_000);
        assert!(number(deep.as_bytes(), Some("/0")).unwrap_err().contains("recursion limit"));
    }

    proptest! {
        #[test]
        fn any_message_is_a_finite_number_or_a_short_printable_reason(
            payload in prop::collection::vec(any::<u8>(), 0..600),
            pointer in prop_oneof![Just(None), Just(Some("")), Just(Some("/a")), Just(Some("/0"))],
        ) {
            match number(&payload, pointer) {
                Ok(number) => prop_assert!(number.is_finite()),
                Err(reason) => {
                    prop_assert!(reason.chars().count() < 200);
                    prop_assert!(!reason.contains(char::is_control));
                }
            }
        }

        #[test]
        fn every_json_value_at_a_pointer_is_read_as_what_it_is(number_in in any::<f64>().prop_filter("finite", |n| n.is_finite()), text in "\\PC{0,20}") {
            let message = serde_json::json!({"a": {"b": [number_in, number_in.to_string(), text]}}).to_string();
            prop_assert_eq!(number(message.as_bytes(), Some("/a/b/0")), Ok(number_in));
            prop_assert_eq!(number(message.as_bytes(), Some("/a/b/1")), Ok(number_in));
            let read = number(message.as_bytes(), Some("/a/b/2"));
            prop_assert_eq!(read.ok(), text.trim_ascii().parse::<f64>().ok().filter(|n| n.is_finite()));
        }
    }
}
