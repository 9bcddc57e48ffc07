//! Checks of single values that several tables have.

use toml::Spanned;

use crate::diagnostic::{Located, Source, printable};

/// Result of a check: the problem and the remedy, if the value is refused.
pub(crate) type Checked = Result<(), (String, &'static str)>;

/// Returns a value with its location in the file.
pub(crate) fn locate<T>(value: Spanned<T>, source: &Source<'_>) -> Located<T> {
    let at = source.location(value.span());
    Located { value: value.into_inner(), at }
}

pub(crate) fn check_text(text: &str) -> Checked {
    if text.trim().is_empty() {
        return Err(("the value is empty".to_owned(), "write a value, or remove the key"));
    }
    Ok(())
}

pub(crate) fn check_file(text: &str) -> Checked {
    if text.trim().is_empty() || text.contains('\0') {
        let problem = format!("`{}` is not a path of a file", printable(text));
        return Err((problem, "write the path of a file, such as \"/etc/atalaya/api-token\""));
    }
    Ok(())
}
