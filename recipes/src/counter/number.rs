//! The number in a counter's znode. Pure.

/// Reads a counter's data: a whole number of 64 bits in decimal ASCII digits, with or without a sign, with blanks
/// around it. Kazoo's counter reads it with Python's `int`, so its blanks are Python's ASCII blanks. Everything
/// else is refused, also what Kazoo takes as well but does not write: more than 64 bits, and `1_000`.
pub(super) fn parse(data: &[u8]) -> Option<i64> {
    let is_blank = |c: char| matches!(c, '\t'..='\r' | '\x1c'..='\x1f' | ' ');
    str::from_utf8(data).ok()?.trim_matches(is_blank).parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::counter::addition::{Addition, At, Event, Mark, Step};

    #[test]
    fn counter_reads_numbers_as_kazoo_does_or_refuses_them() {
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
            // Kazoo reads ASCII only: neither digits nor blanks of other scripts.
            ("\u{661}\u{662}", None),
            ("\u{ff11}", None),
            ("\u{a0}7", None),
            ("7\u{3000}", None),
        ] {
            assert_eq!(parse(text.as_bytes()), number, "{text:?}");
        }
        assert_eq!(parse(b"\xff7"), None);
    }

    /// Numbers of any length with a sign and blanks, and other text.
    fn data() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "[ \t\n]{0,2}[+-]{0,2}[0-9]{1,40}[ \t\n]{0,2}",
            1 => "[+-]?[\u{660}-\u{669}\u{ff10}-\u{ff19}0-9]{1,30}",
            1 => ".{0,40}",
        ]
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
        /// What is read is the number that the digits say, in arithmetic that does not overflow.
        #[test]
        fn counter_reads_the_number_that_the_digits_say_or_nothing(data in data()) {
            if let Some(number) = parse(data.as_bytes()) {
                let text = data.trim();
                prop_assert!(text.is_ascii());
                let digits = text.trim_start_matches(['+', '-']).trim_start_matches('0');
                prop_assert!(digits.len() <= 19);
                let size = digits.bytes().fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
                prop_assert_eq!(i128::from(number), if text.starts_with('-') { -size } else { size });
            }
        }

        #[test]
        fn counter_reads_any_bytes_without_a_panic(data: Vec<u8>) {
            let _ = parse(&data);
        }

        #[test]
        fn counter_reads_what_it_writes(number in number()) {
            prop_assert_eq!(parse(number.to_string().as_bytes()), Some(number));
        }

        /// At the ends of 64 bits a sum is exact or refused; it never wraps.
        #[test]
        fn addition_is_exact_or_refused(value in number(), amount in number(), version: i32) {
            let mut addition = Addition::new(amount);
            let at = At { czxid: 1, version };
            addition.on(Event::Seen { value, at, mark: Mark::Unused });
            let exact = i128::from(value) + i128::from(amount);
            match addition.step() {
                Step::Write(sum) => prop_assert_eq!(i128::from(sum.to), exact),
                Step::Overflow(at) => {
                    prop_assert_eq!(at, value);
                    prop_assert!(i64::try_from(exact).is_err());
                }
                step => prop_assert!(false, "{:?}", step),
            }
        }
    }
}
