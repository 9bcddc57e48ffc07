//! Selectors: conditions on what workers publish, such as `chip=bme280 & board=pi`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::worker_info::WorkerInfo;

/// Maximum number of conditions.
const MAX_CONDITIONS: usize = 16;
/// Maximum length of a selector, in bytes.
const MAX_LENGTH: usize = 1024;

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector(Vec<Condition>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    key: Key,
    is_negated: bool,
    /// Value; a `*` at its end matches any rest.
    value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Node,
    Chip,
    Board,
    Version,
    Health,
    Label(String),
}

/// Reason why a text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSelector {
    /// A condition has no `=`, no key or no value.
    #[error("\"{0}\" is not a condition; write KEY=VALUE or KEY!=VALUE, separated by &")]
    Condition(String),
    /// A condition has an unknown key.
    #[error("unknown key \"{0}\"; the keys are node, chip, board, version, health and label.NAME")]
    Key(String),
    /// The selector is too long.
    #[error("a selector has at most {MAX_CONDITIONS} conditions and {MAX_LENGTH} bytes")]
    TooLong,
}

impl Selector {
    /// Returns true if the worker called `node` meets all conditions. A condition on a key with several values (`chip`)
    /// is met if one of them is equal, and a negated one if none is.
    pub fn matches(&self, node: &str, worker: &WorkerInfo) -> bool {
        self.first_unmet(node, worker).is_none()
    }

    /// Returns the first condition that the worker does not meet, as text.
    pub fn first_unmet(&self, node: &str, worker: &WorkerInfo) -> Option<String> {
        self.0.iter().find(|condition| !condition.is_met(node, worker)).map(Condition::to_string)
    }

    /// Returns true if there are no conditions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Condition {
    fn is_met(&self, node: &str, worker: &WorkerInfo) -> bool {
        let equals = |found: &str| match self.value.strip_suffix('*') {
            Some(prefix) => found.starts_with(prefix),
            None => found == self.value,
        };
        let is_equal = match &self.key {
            Key::Node => equals(node),
            Key::Chip => worker.chips.iter().any(|chip| equals(chip)),
            Key::Board => equals(&worker.board),
            Key::Version => equals(&worker.version),
            Key::Health => equals(worker.health.name()),
            Key::Label(name) => worker.labels.get(name).is_some_and(|found| equals(found)),
        };
        is_equal != self.is_negated
    }
}

impl FromStr for Selector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Selector, BadSelector> {
        if text.len() > MAX_LENGTH {
            return Err(BadSelector::TooLong);
        }
        if text.trim().is_empty() {
            return Ok(Selector::default());
        }
        let conditions = text.split('&').map(|part| part.trim().parse()).collect::<Result<Vec<_>, _>>()?;
        if conditions.len() > MAX_CONDITIONS {
            return Err(BadSelector::TooLong);
        }
        Ok(Selector(conditions))
    }
}

impl FromStr for Condition {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Condition, BadSelector> {
        let wrong = || BadSelector::Condition(text.to_owned());
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let (key, is_negated) = match key.strip_suffix('!') {
            Some(key) => (key.trim(), true),
            None => (key.trim(), false),
        };
        let value = value.trim();
        if key.is_empty() || value.is_empty() || value.contains(char::is_control) {
            return Err(wrong());
        }
        let key = match key {
            "node" => Key::Node,
            "chip" => Key::Chip,
            "board" => Key::Board,
            "version" => Key::Version,
            "health" => Key::Health,
            _ => match key.strip_prefix("label.") {
                Some(name) if !name.is_empty() => Key::Label(name.to_owned()),
                _ => return Err(BadSelector::Key(key.to_owned())),
            },
        };
        Ok(Condition { key, is_negated, value: value.to_owned() })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match &self.key {
            Key::Node => "node",
            Key::Chip => "chip",
            Key::Board => "board",
            Key::Version => "version",
            Key::Health => "health",
            Key::Label(name) => return write!(f, "label.{name}{}={}", self.negation(), self.value),
        };
        write!(f, "{key}{}={}", self.negation(), self.value)
    }
}

impl Condition {
    fn negation(&self) -> &'static str {
        if self.is_negated { "!" } else { "" }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, condition) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " & " };
            write!(f, "{separator}{condition}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Selector {
    type Error = BadSelector;

    fn try_from(text: String) -> Result<Selector, BadSelector> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> String {
        selector.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::task::worker_info::tests::worker;

    #[test]
    fn selector_matches_what_a_worker_publishes() {
        let worker = worker();
        let table = [
            ("", true),
            ("chip=bme280", true),
            ("chip = bme280 & board = pi", true),
            ("chip=bme280&board=laptop", false),
            ("chip!=lm75", true),
            ("chip!=bme280", false),
            ("node=gh-*", true),
            ("node=gh-2", false),
            ("version=0.1*", true),
            ("health=ok", true),
            ("label.room=lab", true),
            ("label.floor=1", false),
            ("label.floor!=1", true),
        ];
        for (text, wanted) in table {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.matches("gh-1", &worker), wanted, "{text}");
            assert_eq!(selector.to_string().parse(), Ok(selector));
        }
        let unmet = "board=pi & chip!=bme280".parse::<Selector>().unwrap().first_unmet("gh-1", &worker);
        assert_eq!(unmet.as_deref(), Some("chip!=bme280"));
    }

    #[test]
    fn wrong_selector_is_refused_with_the_reason() {
        for (text, reason) in [
            ("chip", "not a condition"),
            ("chip=", "not a condition"),
            ("=x", "not a condition"),
            ("chip=a & ", "not a condition"),
            ("color=red", "the keys are node, chip"),
            ("label.=x", "unknown key"),
        ] {
            let message = text.parse::<Selector>().unwrap_err().to_string();
            assert!(message.contains(reason), "{text}: {message}");
        }
        assert_eq!("a=b".repeat(1_000).parse::<Selector>(), Err(BadSelector::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_round_trips(text in ".{0,60}") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(selector.to_string().parse(), Ok(selector));
            }
        }
    }
}
