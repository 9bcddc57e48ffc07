//! Types of the arguments of an action: the texts that they accept, and the text that the command receives.
//!
//! An argument comes from a client and is not trusted. [`ArgType::check`] returns the text that becomes one element of
//! the command's argument vector, or part of one; no shell reads it.

use std::fmt;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::diagnostic::{list, printable};
use crate::value::Interval;

/// Maximum length of a `text` and of a `path`, in bytes.
pub(super) const MAX_TEXT: usize = 1024;
/// Maximum length of a `name`, in bytes.
pub(super) const MAX_NAME: usize = 64;
/// Maximum length of a number, in bytes.
const MAX_NUMBER: usize = 40;
/// Maximum number of choices of `one_of`.
const MAX_CHOICES: usize = 100;

/// Type of an argument. In boards.toml and in JSON: `"sensor"`, `"name"`, `"text"`, `{ number = [low, high] }`,
/// `{ integer = [low, high] }`, `{ one_of = ["a", "b"] }` or `{ path = "/base" }`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgType {
    /// Name of a sensor of the board.
    Sensor,
    /// Letters, digits, `.`, `_` and `-`; a letter or digit first; at most 64 bytes.
    Name,
    /// Any text without control characters, of at most 1 KiB.
    Text,
    /// Number from the first to the second, both inclusive.
    Number([f64; 2]),
    /// Whole number from the first to the second, both inclusive.
    Integer([i64; 2]),
    /// One of these texts.
    OneOf(Vec<String>),
    /// Relative path without `..`; the command receives it below this folder. Symbolic links in the folder are not
    /// resolved.
    Path(String),
}

/// Names of the types without parameters.
const NAMES: &[&str] = &["sensor", "name", "text"];

impl ArgType {
    /// Checks an argument and returns the text that the command receives. `sensors` are the names of the board's
    /// sensors.
    ///
    /// # Errors
    /// The problem, with the accepted texts.
    pub fn check(&self, text: &str, sensors: &[&str]) -> Result<String, String> {
        let refuse = || Err(format!("`{}` is not {}", shown(text), self.describe(sensors)));
        match self {
            ArgType::Sensor if sensors.contains(&text) => Ok(text.to_owned()),
            ArgType::Name if is_name(text) => Ok(text.to_owned()),
            ArgType::Text if text.len() <= MAX_TEXT && !text.contains(char::is_control) => {
                Ok(text.to_owned())
            }
            ArgType::Number([low, high]) if text.len() <= MAX_NUMBER => match text.parse::<f64>() {
                // This also refuses NaN.
                Ok(number) if *low <= number && number <= *high => Ok(text.to_owned()),
                _ => refuse(),
            },
            ArgType::Integer([low, high]) if text.len() <= MAX_NUMBER => match text.parse::<i64>() {
                Ok(number) if (*low..=*high).contains(&number) => Ok(number.to_string()),
                _ => refuse(),
            },
            ArgType::OneOf(choices) if choices.iter().any(|choice| choice == text) => Ok(text.to_owned()),
            ArgType::Path(base) if is_relative_path(text) => {
                Ok(format!("{}/{text}", base.trim_end_matches('/')))
            }
            _ => refuse(),
        }
    }

    /// Returns a description of the accepted texts, such as `a number from -40 to 125`.
    pub fn describe(&self, sensors: &[&str]) -> String {
        match self {
            ArgType::Sensor if sensors.is_empty() => "the name of a sensor; the board has none".to_owned(),
            ArgType::Sensor => format!("the name of a sensor: {}", list(sensors)),
            ArgType::Name => {
                format!("a name: 1 to {MAX_NAME} letters, digits, `.`, `_` and `-`, a letter or digit first")
            }
            ArgType::Text => {
                format!("a text without control characters, of at most {MAX_TEXT} bytes")
            }
            ArgType::Number([low, high]) => format!("a number from {low} to {high}"),
            ArgType::Integer([low, high]) => format!("a whole number from {low} to {high}"),
            ArgType::OneOf(choices) => {
                let choices: Vec<&str> = choices.iter().map(String::as_str).collect();
                format!("one of {}", list(&choices))
            }
            ArgType::Path(base) => {
                format!("a path relative to {base}, without `..`, empty parts and control characters")
            }
        }
    }
}

/// Returns the start of an argument for a message.
fn shown(text: &str) -> String {
    const LENGTH: usize = 80;
    let start: String = text.chars().take(LENGTH).collect();
    let rest = if start.len() < text.len() { "..." } else { "" };
    format!("{}{rest}", printable(&start))
}

pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first && text.len() <= MAX_NAME && text.bytes().all(allowed)
}

fn is_relative_path(text: &str) -> bool {
    let is_plain = |part: &str| !matches!(part, "" | "." | "..");
    text.len() <= MAX_TEXT && !text.contains(char::is_control) && text.split('/').all(is_plain)
}

/// Checks the absolute path of a folder without `..`.
fn check_base(text: String) -> Result<String, String> {
    let trimmed = text.trim_end_matches('/');
    if trimmed.strip_prefix('/').is_some_and(is_relative_path) {
        return Ok(trimmed.to_owned());
    }
    let problem = format!("`{}` is not the absolute path of a folder", printable(&text));
    Err(format!("{problem}, expected one such as \"/var/lib/atalaya\", without `..`"))
}

fn check_choices(choices: Vec<String>) -> Result<Vec<String>, String> {
    let expected = format!("expected 1 to {MAX_CHOICES} different texts without control characters");
    let is_bad = |text: &String| text.len() > MAX_TEXT || text.contains(char::is_control);
    if let Some(bad) = choices.iter().find(|text| is_bad(text)) {
        return Err(format!("`{}` is not a choice, {expected}", printable(bad)));
    }
    let is_repeated = |(index, text): (usize, &String)| choices[..index].contains(text);
    if choices.is_empty() || choices.len() > MAX_CHOICES || choices.iter().enumerate().any(is_repeated) {
        return Err(format!("{} choices, {expected}", choices.len()));
    }
    Ok(choices)
}

/// Two whole numbers in ascending order.
#[derive(Deserialize)]
#[serde(try_from = "Vec<i64>")]
struct IntegerRange([i64; 2]);

impl TryFrom<Vec<i64>> for IntegerRange {
    type Error = String;

    fn try_from(list: Vec<i64>) -> Result<Self, String> {
        match list[..] {
            [low, high] if low <= high => Ok(IntegerRange([low, high])),
            [low, high] => Err(format!(
                "[{low}, {high}] is in descending order, expected [{high}, {low}]: the smaller number first"
            )),
            _ => Err(format!("{} in this list, expected two whole numbers", list.len())),
        }
    }
}

/// Key of a type with parameters.
#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Key {
    Number,
    Integer,
    OneOf,
    Path,
}

impl<'de> Deserialize<'de> for ArgType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;

        impl<'de> Visitor<'de> for NameOrTable {
            type Value = ArgType;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<ArgType, E> {
                match name {
                    "sensor" => Ok(ArgType::Sensor),
                    "name" => Ok(ArgType::Name),
                    "text" => Ok(ArgType::Text),
                    _ => Err(E::unknown_variant(name, NAMES)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ArgType, A::Error> {
                let Some(key) = map.next_key::<Key>()? else {
                    return Err(A::Error::custom(format!("a type without a key, expected {EXPECTED}")));
                };
                let kind = match key {
                    Key::Number => {
                        let Interval { low, high } = map.next_value()?;
                        ArgType::Number([low, high])
                    }
                    Key::Integer => {
                        let IntegerRange(range) = map.next_value()?;
                        ArgType::Integer(range)
                    }
                    Key::OneOf => ArgType::OneOf(check_choices(map.next_value()?).map_err(A::Error::custom)?),
                    Key::Path => ArgType::Path(check_base(map.next_value()?).map_err(A::Error::custom)?),
                };
                match map.next_key::<Key>()? {
                    None => Ok(kind),
                    Some(_) => {
                        map.next_value::<IgnoredAny>()?;
                        Err(A::Error::custom(format!("a type with two keys, expected {EXPECTED}")))
                    }
                }
            }
        }

        deserializer.deserialize_any(NameOrTable)
    }
}

const EXPECTED: &str = "a type: \"sensor\", \"name\", \"text\", { number = [low, high] }, { integer = [low, high] }, \
                        { one_of = [\"a\", \"b\"] } or { path = \"/base\" }";

#[cfg(test)]
#[path = "arg_type_tests.rs"]
mod tests;
