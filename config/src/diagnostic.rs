//! Errors in boards.toml, shown with their location: file, line, column, the text with a caret, and the remedy. Used by
//! all parsers of this crate, and by callers for values that only they can check (a connect string, a URL).

use std::fmt::{self, Write as _};
use std::io;
use std::ops::Range;
use std::string::FromUtf8Error;

/// Value of boards.toml with its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// Value.
    pub value: T,
    /// Location of the value.
    pub at: Location,
}

/// Location in boards.toml.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// Name of the file, as it was passed.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1, in characters.
    pub column: usize,
    /// Part of the line around the value, so that a message can show it long after the file was read.
    text: String,
    /// Characters of the line before `text`.
    skipped: usize,
    /// True if the line continues after `text`.
    cut: bool,
    /// Number of characters of the value.
    width: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Error for a boards.toml that is refused. Displays as several lines, with the offending line of the file if there is
/// one:
///
/// ```text
/// boards.toml:12:1: unknown key `adress`
///    |
/// 12 | adress = 0x48
///    | ^^^^^^
///    = help: did you mean `address`? The keys here are `name`, `chip`, `bus`, `address`, `filters` and `sim`
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BoardsError(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    file: String,
    location: Option<Location>,
    problem: String,
    remedy: String,
}

impl BoardsError {
    /// Creates an error for the value at `location`: `problem` describes the mistake, `remedy` the accepted values.
    pub fn at(location: &Location, problem: impl Into<String>, remedy: impl Into<String>) -> BoardsError {
        let file = location.file.clone();
        BoardsError(Box::new(Inner {
            file,
            location: Some(location.clone()).filter(|at| at.line > 0),
            problem: problem.into(),
            remedy: remedy.into(),
        }))
    }

    /// Creates an error that has no single location in the file.
    pub(crate) fn of_file(file: &str, problem: impl Into<String>, remedy: impl Into<String>) -> BoardsError {
        let (file, problem, remedy) = (file.to_owned(), problem.into(), remedy.into());
        BoardsError(Box::new(Inner { file, location: None, problem, remedy }))
    }

    pub(crate) fn unreadable(file: &str, error: &io::Error) -> BoardsError {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "check the path; without any file a node is one random sensor",
            io::ErrorKind::PermissionDenied => "let the user of this process read it",
            _ => "name a file that can be read",
        };
        BoardsError::of_file(file, format!("cannot read it: {error}"), remedy)
    }

    pub(crate) fn too_large(file: &str, max_size: usize) -> BoardsError {
        let problem = format!("larger than {} KiB", max_size / 1024);
        BoardsError::of_file(file, problem, "is this really a boards.toml? Its text describes boards only")
    }

    pub(crate) fn not_utf8(file: &str, error: &FromUtf8Error) -> BoardsError {
        let start = error.utf8_error().valid_up_to();
        // The conversion does not change valid text, so the location of the first mistake stays the same.
        let text = String::from_utf8_lossy(error.as_bytes());
        let at = Source::new(file, &text).location(start..start + char::REPLACEMENT_CHARACTER.len_utf8());
        let byte = error.as_bytes().get(start).copied().unwrap_or_default();
        BoardsError::at(&at, format!("the byte {byte:#04x} is not UTF-8"), "save the file as UTF-8")
    }

    /// Returns the problem, without its location.
    pub fn problem(&self) -> &str {
        &self.0.problem
    }

    /// Returns the remedy.
    pub fn remedy(&self) -> &str {
        &self.0.remedy
    }

    /// Returns the location, unless the error is about the whole file.
    pub fn location(&self) -> Option<&Location> {
        self.0.location.as_ref()
    }
}

impl fmt::Display for BoardsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { file, location, problem, remedy } = &*self.0;
        let Some(at) = location else {
            return write!(f, "{file}: {problem}\n  = help: {remedy}");
        };
        let number = at.line.to_string();
        let margin = " ".repeat(number.len());
        let (text, caret) = excerpt(at);
        write!(
            f,
            "{at}: {problem}\n{margin} |\n{number} | {text}\n{margin} | {caret}\n{margin} = help: {remedy}"
        )
    }
}

/// Maximum number of characters of a line in a message: before the value, and in total.
const BEFORE: usize = 50;
const LENGTH: usize = 100;

/// Returns the offending line, shortened to about 100 characters, and the line of carets below.
fn excerpt(at: &Location) -> (String, String) {
    let mut text = String::new();
    let mut caret = String::new();
    if at.skipped > 0 {
        text.push_str("...");
        caret.push_str("   ");
    }
    for (column, shown) in (at.skipped + 1..).zip(at.text.chars()) {
        // A tab is kept in both lines, so that they stay aligned; any other control character is replaced.
        let shown = if shown.is_control() && shown != '\t' { char::REPLACEMENT_CHARACTER } else { shown };
        text.push(shown);
        if column < at.column {
            caret.push(if shown == '\t' { '\t' } else { ' ' });
        }
    }
    if at.cut {
        text.push_str("...");
    }
    let room = (at.skipped + LENGTH + 1).saturating_sub(at.column).max(1);
    caret.push_str(&"^".repeat(at.width.clamp(1, room)));
    (text.trim_end().to_owned(), caret)
}

/// Distance in bytes between the entries of the index of characters.
const CHUNK: usize = 1024;

/// Text that is being checked, with an index of its lines and characters. Every sensor records its location; counting
/// from the beginning for each would take time quadratic in the size of the file.
pub(crate) struct Source<'a> {
    origin: &'a str,
    text: &'a str,
    /// First byte of each line.
    lines: Vec<usize>,
    /// Number of characters before each multiple of [`CHUNK`] bytes.
    characters: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(origin: &'a str, text: &'a str) -> Source<'a> {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(index, _)| index + 1)).collect();
        let counts = text.as_bytes().chunks(CHUNK).scan(0, |before, chunk| {
            *before += characters(chunk);
            Some(*before)
        });
        let characters = std::iter::once(0).chain(counts).collect();
        Source { origin, text, lines, characters }
    }

    pub(crate) fn origin(&self) -> &str {
        self.origin
    }

    /// Returns the location of the bytes of `span`; for several lines, that of the first.
    pub(crate) fn location(&self, span: Range<usize>) -> Location {
        let start = boundary(self.text, span.start);
        let line = self.lines.partition_point(|first| *first <= start);
        let line_start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let line_end = match self.lines.get(line) {
            Some(next) => {
                let ended = &self.text[line_start..next - 1];
                line_start + ended.strip_suffix('\r').unwrap_or(ended).len()
            }
            None => self.text.len(),
        };
        let end = boundary(self.text, span.end.min(line_end)).max(start);
        let column = self.characters_before(start) - self.characters_before(line_start) + 1;
        let skipped = if column > BEFORE + 10 { column - BEFORE } else { 0 };
        let before = self.text[line_start..start].char_indices().rev().take(column - 1 - skipped).last();
        let shown_from = before.map_or(start, |(index, _)| line_start + index);
        let mut shown = self.text[shown_from..line_end.max(shown_from)].chars();
        Location {
            file: self.origin.to_owned(),
            line,
            column,
            text: shown.by_ref().take(LENGTH).collect(),
            skipped,
            cut: shown.next().is_some(),
            width: self.characters_before(end) - self.characters_before(start),
        }
    }

    /// Returns the number of characters that begin before the byte at `index`.
    fn characters_before(&self, index: usize) -> usize {
        let chunk = index / CHUNK;
        let known = self.characters.get(chunk).copied().unwrap_or_default();
        known + characters(&self.text.as_bytes()[chunk * CHUNK..index])
    }

    pub(crate) fn error(
        &self,
        span: Range<usize>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> BoardsError {
        BoardsError::at(&self.location(span), problem, remedy)
    }

    /// Converts an error of the TOML parser or serde. Their messages have the form "problem, expected remedy".
    pub(crate) fn toml_error(&self, error: &toml::de::Error) -> BoardsError {
        let (problem, remedy) = reword(error.message());
        let Some(span) = error.span() else {
            return BoardsError::of_file(self.origin, problem, remedy);
        };
        self.error(span, problem, remedy)
    }
}

/// Returns the number of characters that begin in `bytes`.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte).cast_signed() >= -0x40).count()
}

/// Returns the last start of a character that is not after `index`.
fn boundary(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|&index| text.is_char_boundary(index)).unwrap_or_default()
}

/// Splits a message of toml or serde into a problem and a remedy, in terms that users of boards.toml know.
fn reword(message: &str) -> (String, String) {
    const FILTER: &str = "expected tables with one key each, such as [{ offset = -0.5 }, { median = 5 }]";
    let message = message.trim().replace('\n', ", ");
    let (problem, expected) = match message.rsplit_once(", expected ") {
        Some((problem, expected)) => (problem, Some(expected)),
        None => (message.as_str(), None),
    };
    let quoted = |prefix: &str| problem.strip_prefix(prefix).map(|rest| printable(rest.trim_matches('`')));
    let known = backquoted(expected.unwrap_or_default());
    if let Some(key) = quoted("unknown field ") {
        let remedy = format!("{}The keys here are {}", did_you_mean(&key, &known), list(&known));
        return (format!("unknown key `{key}`"), remedy);
    }
    if let Some(name) = quoted("unknown variant ") {
        let remedy = format!("{}The choices are {}", did_you_mean(&name, &known), list(&known));
        return (format!("unknown name `{name}`"), remedy);
    }
    if let Some(key) = quoted("missing field ") {
        return (format!("the key `{key}` is missing"), format!("add `{key} = ...`"));
    }
    let problem = printable(problem);
    let remedy = match expected {
        // Message of serde for the enum of filters, which is the only one with values.
        _ if problem.starts_with("wanted exactly 1 element") => {
            return ("a filter has exactly one key".to_owned(), FILTER.to_owned());
        }
        _ if problem.ends_with("unit variant") => {
            return ("a filter needs a value".to_owned(), FILTER.to_owned());
        }
        _ if problem == "wanted string or table" => {
            let remedy = "expected a name in quotes, or in a list of filters { offset = 1.5 }".to_owned();
            return ("wrong type".to_owned(), remedy);
        }
        _ if problem.contains("must be quoted") => "put \"quotes\" around it".to_owned(),
        Some("i64") => "expected a whole number".to_owned(),
        Some("a map") => "expected a table".to_owned(),
        Some("a sequence") => "expected a list, [in, brackets], or headers in [[double brackets]]".to_owned(),
        Some(expected) => format!("expected {expected}"),
        None if problem == "duplicate key" => "keep one of the two".to_owned(),
        None => "correct the TOML here: texts need \"quotes\", tables [headers], and lists commas".to_owned(),
    };
    (problem, remedy)
}

/// Returns the words in `backquotes`.
fn backquoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Returns "did you mean `x`? " if one of `known` is similar to `word`.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    // Accepts one mistake in three letters.
    let close = |name: &&&str| strsim::damerau_levenshtein(word, name) <= name.len().div_ceil(3);
    let nearest = known.iter().filter(close).min_by_key(|name| strsim::damerau_levenshtein(word, name));
    nearest.map(|name| format!("did you mean `{name}`? ")).unwrap_or_default()
}

/// Formats words as "`a`, `b` and `c`".
pub(crate) fn list(words: &[&str]) -> String {
    let mut text = String::new();
    for (index, word) in words.iter().enumerate() {
        let before = match index {
            0 => "",
            _ if index + 1 == words.len() => " and ",
            _ => ", ",
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "{before}`{}`", printable(word));
    }
    text
}

/// Makes a text of unknown origin short and safe for a terminal.
pub(crate) fn printable(text: &str) -> String {
    const LENGTH: usize = 300;
    let mut short: String = text
        .chars()
        .take(LENGTH)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(LENGTH).is_some() {
        short.push_str("...");
    }
    short
}
