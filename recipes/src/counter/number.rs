//! Parser of a counter's data. No I/O.

/// Parses a whole number of 64 bits in decimal ASCII digits, with an optional sign and surrounding blanks. Kazoo's
/// counter parses it with Python's `int`, so the blanks are Python's ASCII blanks. Returns `None` for all other data,
/// including data that Kazoo accepts but does not write: more than 64 bits, and `1_000`.
pub(super) fn parse(data: &[u8]) -> Option<i64> {
    let is_blank = |c: char| matches!(c, '\t'..='\r' | '\x1c'..='\x1f' | ' ');
    str::from_utf8(data).ok()?.trim_matches(is_blank).parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::counter::addition::{Addition, AdditionRecord, Event, Step, ZnodeVersion};

    #[test]
    fn parser_accepts_numbers_as_kazoo_does_or_rejects_them() {
        for (text, number) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("+7", Some(7)),
            ("007", Some(7)),
            (" \t\r\n\x0b\x0c\x1c\x1f-7\n", Some(-7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("00000000000000000000000000000000000001", Some(1)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("123456789012345678901234567890", None),
            ("", None),
            (" ", None),
            ("+", None),
            ("--1", None),
            ("+-1", None),
            ("- 1", None),
            ("1 2", None),
            ("1_000", None),
            ("1.0", None),
            ("1e3", None),
            ("0x10", None),
            ("7\0", None),
            // Only ASCII: no digits or blanks of other scripts.
            ("\u{661}\u{662}", None),
            ("\u{ff11}", None),
            ("\u{a0}7", None),
            ("7\u{3000}", None),
        ] {
            assert_eq!(parse(text.as_bytes()), number, "{text:?}");
        }
        assert_eq!(parse(b"\xff7"), None);
    }

    fn number() -> impl Strategy<Value = i64> {
        let near = |limit: i64, offset: i64| limit.saturating_add(offset);
        prop_oneof![
            any::<i64>(),
            (-3..=0_i64).prop_map(move |offset| near(i64::MAX, offset)),
            (0..=3_i64).prop_map(move |offset| near(i64::MIN, offset)),
            -3..=3_i64,
        ]
    }

    proptest! {
        #[test]
        fn parser_accepts_every_written_number(number in number()) {
            prop_assert_eq!(parse(number.to_string().as_bytes()), Some(number));
        }

        /// Near the limits of 64 bits a sum never wraps.
        #[test]
        fn addition_is_exact_or_overflows_with_an_error(value in number(), amount in number(), version: i32) {
            let mut addition = Addition::new(amount);
            let at = ZnodeVersion { czxid: 1, version };
            addition.on(Event::Read { value, at, record: AdditionRecord::Unused });
            let exact = i128::from(value) + i128::from(amount);
            match addition.step() {
                Step::Write(write) => prop_assert_eq!(i128::from(write.sum), exact),
                Step::Overflow(found) => {
                    prop_assert_eq!(found, value);
                    prop_assert!(i64::try_from(exact).is_err());
                }
                step => prop_assert!(false, "{:?}", step),
            }
        }
    }
}
