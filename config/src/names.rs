//! Names of boards, sensors and groups.

use toml::Spanned;

use crate::diagnostic::{BoardsError, Source, printable};

const MAX_NAME: usize = 64;

/// Returns true for the name of a board, a sensor or a group.
pub fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && text.len() <= MAX_NAME && text.bytes().all(allowed)
}

/// Checks a name. Names appear in logs, JSON and SenML (RFC 8428, section 4.5.1, allows these characters).
pub(crate) fn check_name(what: &str, name: &Spanned<String>, source: &Source<'_>) -> Result<(), BoardsError> {
    let text = name.get_ref();
    if is_name(text) {
        return Ok(());
    }
    let problem = format!("`{}` is not a name for a {what}", printable(text));
    let remedy = "use 1 to 64 letters, digits, `-`, `_`, `.` and `:`, a letter or digit first";
    Err(source.error(name.span(), problem, remedy))
}
