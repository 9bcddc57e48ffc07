//! Checks and conversions of single values from requests. Pure.

use serde::Deserialize;

use crate::invalid::Invalid;

/// Maximum length of the name of a quantity or a unit, in characters.
pub(crate) const MAX_NAME: usize = 64;
/// Pattern of such a name, for the OpenAPI document; see [`is_printable`].
pub(crate) const NAME_PATTERN: &str =
    "^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufffd]{1,64}$";
/// Maximum length of the name of a sensor or of the quantity that it measures, in characters.
pub(crate) const MAX_SENSOR: usize = 128;
/// Pattern of such a name; see [`is_printable`].
pub(crate) const SENSOR_PATTERN: &str =
    "^[^\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufffd]{1,128}$";
/// Maximum length of the stored sender of a report, in bytes.
pub(crate) const MAX_REPORTER: usize = 200;

/// Turns negative zero into zero, which is how every other program writes it.
pub(crate) fn without_negative_zero(number: f64) -> f64 {
    number + 0.0
}

/// Parses a finite number in the notation of programs. Returns negative zero as zero.
pub(crate) fn number(text: &str) -> Result<f64, Invalid> {
    match text.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(without_negative_zero(number)),
        _ => Err(Invalid::new(format!("{:?} is not a finite number", shortened(text)))),
    }
}

/// Returns false for characters that control a terminal, break a line or reverse the direction of text, and for
/// U+FFFD, which stands for bytes that are not UTF-8.
pub(crate) fn is_printable(character: char) -> bool {
    let controls_direction = matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks_line = matches!(character, '\u{2028}' | '\u{2029}');
    !(character.is_control() || controls_direction || breaks_line || character == char::REPLACEMENT_CHARACTER)
}

/// Checks the name of a quantity or a unit.
pub(crate) fn name(text: &str) -> Result<String, Invalid> {
    printable(text, MAX_NAME)
}

/// Checks that a name has 1 to `max` characters, all of them printable.
pub(crate) fn printable(text: &str, max: usize) -> Result<String, Invalid> {
    if text.is_empty() || text.chars().nth(max).is_some() || !text.chars().all(is_printable) {
        let text = shortened(text);
        return Err(Invalid::new(format!("{text:?} is not 1 to {max} printable characters")));
    }
    Ok(text.to_owned())
}

/// Returns the beginning of `text`, short enough for an answer.
pub(crate) fn shortened(text: &str) -> &str {
    let end = text.char_indices().map(|(at, _)| at).nth(80).unwrap_or(text.len());
    &text[..end]
}

/// Returns the beginning of a text for storage or an answer, at most [`MAX_REPORTER`] bytes, with a blank for each
/// character that is not printable.
pub(crate) fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_REPORTER);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace(|character| !is_printable(character), " ")
}

/// Deserializes a whole number. JSON has only one kind of number: `3.0` is 3.
pub(crate) fn integer<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    // Beyond this limit `f64` does not represent every whole number.
    let exact = |real: &f64| real.fract() == 0.0 && real.abs() <= 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation, reason = "it is exact")]
    let whole = || number.as_f64().filter(exact).map(|real| real as i64);
    let wrong = || serde::de::Error::custom(format_args!("{number} is not a whole number below 2^63"));
    number.as_i64().or_else(whole).map(Some).ok_or_else(wrong)
}

/// Deserializes a whole number that is mandatory.
pub(crate) fn needed_integer<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: TryFrom<i64>,
{
    let number = integer(deserializer)?.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| serde::de::Error::custom("a whole number that is not negative is needed"))
}
