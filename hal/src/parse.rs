//! Parser for the one number in a file or in the output of a program. Used by all sources of text: sysfs, `file` and
//! `command`.

/// Maximum length of the excerpt of an invalid text in a message.
const EXCERPT: usize = 60;

/// Parses `text` as a finite number, with optional whitespace around it. Any other text is refused: the 404 of "error
/// 404" is not a measurement.
///
/// # Errors
/// A description of the text, for a message.
pub(crate) fn number(text: &[u8]) -> Result<f64, String> {
    let trimmed = text.trim_ascii();
    if trimmed.is_empty() {
        return Err("empty, where a number should be".to_owned());
    }
    let parsed = std::str::from_utf8(trimmed).ok().and_then(|text| text.parse::<f64>().ok());
    match parsed {
        Some(number) if number.is_finite() => Ok(number),
        Some(_) => Err(format!("`{}` is no finite number", excerpt(trimmed))),
        None => Err(format!("`{}` is not one number", excerpt(trimmed))),
    }
}

/// Returns the beginning of a text of unknown origin, safe for a terminal.
pub(crate) fn excerpt(text: &[u8]) -> String {
    // Takes more bytes than the excerpt has characters, so that a character cut in the middle is beyond the excerpt.
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * EXCERPT + 4)]).into_owned();
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.trim().chars().take(EXCERPT).map(shown).collect();
    if text.trim().chars().nth(EXCERPT).is_some() {
        short.push_str("...");
    }
    short
}

/// Formats a number for an error message. An f64 can have more than 300 decimal digits.
pub(crate) fn short(number: f64) -> String {
    excerpt(number.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_number_with_blanks_around_it_is_read() {
        let table: [(&[u8], f64); 10] = [
            (b"23.5", 23.5),
            (b"-55000\n", -55_000.0),
            (b" \t+7 \r\n\n", 7.0),
            (b"0", 0.0),
            (b"-0.0", 0.0),
            (b".5", 0.5),
            (b"5.", 5.0),
            (b"1e3", 1000.0),
            (b"0.000000012", 12e-9),
            (b"00042", 42.0),
        ];
        for (text, want) in table {
            assert_eq!(number(text), Ok(want), "{}", excerpt(text));
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_reason() {
        let table: [(&[u8], &str); 12] = [
            (b"", "empty, where a number should be"),
            (b" \n\t", "empty, where a number should be"),
            (b"nan", "`nan` is no finite number"),
            (b"inf", "`inf` is no finite number"),
            (b"-Infinity", "`-Infinity` is no finite number"),
            (b"1e999", "`1e999` is no finite number"),
            (b"error 404", "`error 404` is not one number"),
            (b"0.01 0.02 0.03 1/99 4711\n", "`0.01 0.02 0.03 1/99 4711` is not one number"),
            (b"23,5", "`23,5` is not one number"),
            (b"0x10", "`0x10` is not one number"),
            (b"1\x002", "`1 2` is not one number"),
            (b"\xff\xfe5", "`\u{fffd}\u{fffd}5` is not one number"),
        ];
        for (text, want) in table {
            assert_eq!(number(text), Err(want.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_finite_number_or_a_short_printable_reason(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            match number(&bytes) {
                Ok(number) => prop_assert!(number.is_finite()),
                Err(reason) => {
                    prop_assert!(reason.chars().count() < EXCERPT + 40);
                    prop_assert!(!reason.chars().any(char::is_control));
                }
            }
        }

        #[test]
        fn long_texts_are_read_or_refused_in_bounded_time_with_a_short_reason(
            piece in prop_oneof![Just("9"), Just("0"), Just("."), Just("e9"), Just("-"), Just(" "), Just("inf")],
            times in 1_usize..300_000,
        ) {
            let begun = std::time::Instant::now();
            match number(piece.repeat(times).as_bytes()) {
                Ok(number) => prop_assert!(number.is_finite()),
                Err(reason) => prop_assert!(reason.chars().count() < EXCERPT + 40),
            }
            prop_assert!(begun.elapsed() < std::time::Duration::from_secs(10));
        }

        #[test]
        fn every_number_that_a_program_prints_is_read(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            prop_assert_eq!(super::number(format!("{number}\n").as_bytes()), Ok(number));
        }
    }
}
