//! Sanitises text of unknown origin for terminals and logs: data of znodes, units, reasons, names of processes.

use std::borrow::Cow;

pub(crate) use atalaya_recipes::text::{is_unsafe, truncate};

/// Maximum length of an invalid value in a message, in characters.
const MAX_SHOWN: usize = 80;

/// Replaces each unsafe character by U+FFFD, including line breaks: the result is one line.
pub(crate) fn sanitize_line(text: &str) -> Cow<'_, str> {
    replace_chars(text, is_unsafe)
}

/// Replaces each unsafe character by U+FFFD, except line breaks and tabs.
pub(crate) fn sanitize_lines(text: &str) -> Cow<'_, str> {
    replace_chars(text, |character| is_unsafe(character) && !matches!(character, '\n' | '\t'))
}

fn replace_chars(text: &str, replace: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&replace) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if replace(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Formats a duration or an age in seconds.
pub(crate) fn format_age(seconds: f64) -> String {
    let whole = seconds as u64;
    match whole {
        0..60 => format!("{seconds:.1}s"),
        60..3_600 => format!("{}m {}s", whole / 60, whole % 60),
        3_600..86_400 => format!("{}h {}m", whole / 3_600, whole / 60 % 60),
        _ => format!("{}d {}h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// Returns the first 80 characters of an invalid value, sanitised, for a message.
pub(crate) fn sanitize_for_log(text: &str) -> String {
    truncate(text, MAX_SHOWN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sanitised_text_has_no_control_characters_overrides_or_invisible_characters() {
        for character in
            ['\0', '\x07', '\x1b', '\x7f', '\u{9b}', '\u{202e}', '\u{2066}', '\u{2028}', '\u{feff}']
        {
            let text = format!("a{character}b");
            assert_eq!(sanitize_line(&text), "a\u{fffd}b", "{character:?}");
            assert_eq!(sanitize_lines(&text), "a\u{fffd}b", "{character:?}");
            assert_eq!(truncate(&text, 2), "a\u{fffd}", "{character:?}");
        }
        assert_eq!(sanitize_line("one\ntwo\tthree"), "one\u{fffd}two\u{fffd}three");
        assert_eq!(sanitize_lines("one\ntwo\tthree\r"), "one\ntwo\tthree\u{fffd}");
        for plain in ["°C", "µg/m³", "naïve", "日本", "שלום", "👩\u{200d}🌾"] {
            assert!(matches!(sanitize_line(plain), Cow::Borrowed(same) if same == plain));
        }
    }

    proptest! {
        #[test]
        fn sanitised_text_is_safe_for_any_input(text: String, max_chars in 0_usize..100) {
            prop_assert!(!sanitize_line(&text).contains(is_unsafe));
            prop_assert!(!sanitize_lines(&text).contains(|c| is_unsafe(c) && c != '\n' && c != '\t'));
            prop_assert!(!truncate(&text, max_chars).contains(is_unsafe) && truncate(&text, max_chars).chars().count() <= max_chars);
            prop_assert_eq!(sanitize_line(&text).chars().count(), text.chars().count());
        }
    }
}
