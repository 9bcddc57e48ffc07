//! Names of boards and sensors.

use toml::Spanned;

use crate::diagnostic::{BoardsError, Source, printable};

/// Maximum length of the name of a sensor or board.
const MAX_NAME: usize = 64;

/// Checks a name. Names appear in logs, JSON and SenML (RFC 8428, section 4.5.1, allows these characters).
pub(crate) fn check_name(what: &str, name: &Spanned<String>, source: &Source<'_>) -> Result<(), BoardsError> {
    let text = name.get_ref();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && text.len() <= MAX_NAME && text.bytes().all(allowed) {
        return Ok(());
    }
    let problem = format!("`{}` is not a name for a {what}", printable(text));
    let remedy = "use 1 to 64 letters, digits, `-`, `_`, `.` and `:`, a letter or digit first";
    Err(source.error(name.span(), problem, remedy))
}
