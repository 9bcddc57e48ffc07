//! Sanitises text of unknown origin, such as paths of znodes and connect strings, for terminals and logs.

/// Returns true if a terminal may do more with this character than show it: control characters (C0, DEL and C1), line
/// separators, and invisible characters that change the order of others or hide among them.
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Bidirectional marks, embeddings, overrides and isolates.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            // Line and paragraph separators.
            | '\u{2028}' | '\u{2029}'
            // Zero width space, word joiner and invisible operators, byte order mark, annotations, tags.
            | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Returns the first `max_chars` characters as one line, with U+FFFD instead of each unsafe character.
pub fn truncate(text: &str, max_chars: usize) -> String {
    text.chars().take(max_chars).map(|c| if is_unsafe(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConnectString, WrongZnode, ZnodeProblem};

    #[test]
    fn messages_about_paths_and_connect_strings_contain_no_bidirectional_overrides_or_line_separators() {
        let marks = ['\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}'];
        for character in marks.into_iter().chain('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            assert_eq!(truncate(&format!("a{character}b"), 2), "a\u{fffd}", "{character:?}");
            let wrong = WrongZnode::new(format!("/a{character}b"), ZnodeProblem::NotEphemeral);
            let error = format!("zk1{character}!").parse::<ConnectString>().unwrap_err();
            for message in [wrong.to_string(), wrong.remedy(), error.to_string()] {
                assert!(message.contains('\u{fffd}') && !message.contains(is_unsafe), "{message:?}");
            }
        }
    }
}
