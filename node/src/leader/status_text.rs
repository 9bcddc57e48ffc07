//! Texts in the fleet status. No I/O.

use crate::model::text;

/// Maximum length of a text, in characters.
const MAX_TEXT: usize = 120;

/// Returns a text as one line of limited length.
pub(super) fn line(text: &str) -> String {
    text::truncate(text, MAX_TEXT)
}
