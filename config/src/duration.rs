//! Durations in human-readable form: `5s`, `500ms`, `1h 30m`, or a bare number of seconds. Used by boards.toml, the
//! command line, the environment and `/config/sampling_period`, so that the syntax is the same in all of them.

use std::time::Duration;

use jiff::fmt::friendly::SpanParser;
use jiff::{SignedDuration, SpanRelativeTo};

/// Minimum sampling period of a fleet.
pub const MIN_PERIOD: Duration = Duration::from_millis(100);

/// Maximum sampling period of a fleet: 31 days.
pub const MAX_PERIOD: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// Error for a text or number that is not a duration, or not an allowed one. The message names the value and the
/// accepted ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}, expected {expected}")]
pub struct NotADuration {
    problem: String,
    expected: &'static str,
}

const EXPECTED: &str = "a duration such as \"5s\", \"500ms\" or \"1h 30m\", or a number of seconds";
const EXPECTED_PERIOD: &str = "a duration from \"100ms\" to \"31d\"";

impl NotADuration {
    fn new(problem: impl Into<String>) -> NotADuration {
        NotADuration { problem: problem.into(), expected: EXPECTED }
    }
}

/// Parses a positive duration: a bare number is seconds (`5`, `2.5`), any other text is jiff's friendly format (`5s`,
/// `500ms`, `1h 30m`, `2 days`; a day has 24 hours). Surrounding whitespace is ignored.
///
/// # Errors
/// The text is not a duration, or the duration is zero, negative or too large to represent.
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    let text = text.trim();
    let shown = excerpt(text);
    // Accepts only digits and a point here: f64 would also parse "inf", "1e9" and "infinity".
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-' || b == b'+') {
        let seconds = text.parse().map_err(|_| NotADuration::new(format!("`{shown}` is not a number")))?;
        return from_seconds(seconds);
    }
    static PARSER: SpanParser = SpanParser::new();
    let duration = PARSER
        .parse_span(text)
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()))
        .map_err(|_| NotADuration::new(format!("`{shown}` is not a duration")))?;
    positive(duration, &shown)
}

/// Converts a positive number of seconds.
///
/// # Errors
/// The number is NaN, infinite, zero, negative or too large to represent.
pub fn from_seconds(seconds: f64) -> Result<Duration, NotADuration> {
    // A large f64 has up to 309 digits.
    let shown = excerpt(&seconds.to_string());
    let duration = SignedDuration::try_from_secs_f64(seconds)
        .map_err(|_| NotADuration::new(format!("{shown} is not a number of seconds")))?;
    positive(duration, &shown)
}

/// Checks that a duration is valid as a sampling period: from [`MIN_PERIOD`] to [`MAX_PERIOD`].
///
/// # Errors
/// The duration is shorter or longer.
pub fn period(duration: Duration) -> Result<Duration, NotADuration> {
    if (MIN_PERIOD..=MAX_PERIOD).contains(&duration) {
        return Ok(duration);
    }
    let problem = format!("{duration:?} is too {}", if duration < MIN_PERIOD { "short" } else { "long" });
    Err(NotADuration { problem, expected: EXPECTED_PERIOD })
}

/// Returns the start of a text, without control characters: it may come from a znode, and the message is written to
/// logs and terminals.
fn excerpt(text: &str) -> String {
    text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn positive(duration: SignedDuration, shown: &str) -> Result<Duration, NotADuration> {
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(NotADuration::new(format!("`{shown}` is not positive"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        let table = [
            ("5s", 5_000),
            ("500ms", 500),
            ("2.5", 2_500),
            ("5", 5_000),
            (" 5 \n", 5_000),
            ("+5", 5_000),
            ("2.5s", 2_500),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("1 hour, 30 minutes", 5_400_000),
            ("5 seconds", 5_000),
            ("31d", 31 * 24 * 3_600_000),
            ("0.1", 100),
        ];
        for (text, milliseconds) in table {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest_and_says_what_would_be_right() {
        for text in [
            "",
            " ",
            "0",
            "0s",
            "-5",
            "-5s",
            "5s ago",
            "abc",
            "5 parsecs",
            "nan",
            "inf",
            "1e400",
            "1e3",
            "--5",
            "5.5.5",
            "1y",
            "99999999999999999999",
            "5s;rm",
            "５s",
        ] {
            let message = parse(text).expect_err(text).to_string();
            assert!(message.contains("expected a duration such as \"5s\""), "{text}: {message}");
        }
        for seconds in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
            assert!(from_seconds(seconds).is_err(), "{seconds}");
        }
    }

    #[test]
    fn periods_are_bounded_on_both_sides() {
        for (milliseconds, good) in
            [(99, false), (100, true), (5_000, true), (2_678_400_000, true), (2_678_400_001, false)]
        {
            assert_eq!(period(Duration::from_millis(milliseconds)).is_ok(), good, "{milliseconds}");
        }
        assert_eq!(
            period(Duration::from_millis(1)).unwrap_err().to_string(),
            "1ms is too short, expected a duration from \"100ms\" to \"31d\""
        );
    }

    #[test]
    fn error_messages_stay_short_for_numbers_of_three_hundred_digits() {
        for seconds in [1e300, -1e300, f64::MAX, f64::MIN] {
            for error in [from_seconds(seconds).unwrap_err(), parse(&seconds.to_string()).unwrap_err()] {
                assert!(error.to_string().chars().count() < 200, "{error}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_positive_duration_or_an_error(text in ".{0,40}") {
            if let Ok(duration) = parse(&text) {
                prop_assert!(!duration.is_zero());
            }
        }

        #[test]
        fn long_texts_are_read_or_refused_in_bounded_time_with_a_short_reason(
            piece in prop_oneof![
                Just("1h "), Just("9"), Just("-"), Just("."), Just("1ns"), Just(" "), Just("+"), Just("é"), Just("0."), Just("\u{1b}[2J"),
            ],
            times in 1_usize..200_000,
        ) {
            let begun = std::time::Instant::now();
            if let Err(error) = parse(&piece.repeat(times)) {
                let message = error.to_string();
                prop_assert!(message.chars().count() < 200 && !message.contains(char::is_control), "{message:.300}");
            }
            prop_assert!(begun.elapsed() < Duration::from_secs(10));
        }

        #[test]
        fn a_bare_number_is_seconds(milliseconds in 1_u64..100_000_000) {
            let text = format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000);
            let got = parse(&text).unwrap();
            prop_assert!(got.abs_diff(Duration::from_millis(milliseconds)) < Duration::from_nanos(100));
        }
    }
}
