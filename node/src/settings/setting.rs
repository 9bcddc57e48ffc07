//! One row of the [table of settings](super::table).

use atalaya_config::{Boards, Located};

use super::values::InvalidValue;
use super::{Settings, Source, api_token};

pub(crate) struct Setting {
    /// Key in `[fleet]` of boards.toml and, for dynamic settings, below `/config` in ZooKeeper.
    pub(crate) name: &'static str,
    /// Placeholder of the value in the help. `None`: the flag is a switch and means `false`.
    pub(crate) value_name: Option<&'static str>,
    /// Help, also for the documentation.
    pub(crate) help: &'static str,
    /// Value if no source has one.
    pub(crate) default: DefaultValue,
    /// When a change takes effect.
    pub(crate) change: ChangeMode,
    /// Reads the value from boards.toml. `None`: the setting does not belong to the fleet; its flag is defined
    /// elsewhere and read before the settings are.
    pub(crate) in_file: Option<ReadFile>,
    /// Returns the value as text, without secrets. `None`: not set.
    pub(crate) show: fn(&Settings) -> Option<String>,
    /// Access to the field of [`Settings`].
    pub(crate) field: Field,
}

/// Environment variables of settings besides the one with the name of the setting, in order of precedence: those of
/// existing compose files, and the token itself.
const OTHER_VARIABLES: [(&str, &str); 6] = [
    ("zookeeper", "ZOOKEEPER_HOSTS"),
    ("zookeeper", "ZOOKEEPER_HOST"),
    ("zookeeper", "ZK_HOST"),
    ("sampling_period", "SAMPLING_PERIOD"),
    ("api_url", "API_URL"),
    ("api_token_file", api_token::VARIABLE),
];

impl Setting {
    /// Returns the environment variables, in order of precedence.
    pub(crate) fn variables(&self) -> Vec<String> {
        let others = OTHER_VARIABLES.iter().filter(|(setting, _)| *setting == self.name);
        let own = format!("ATALAYA_{}", self.name.to_uppercase());
        std::iter::once(own).chain(others.map(|(_, variable)| (*variable).to_owned())).collect()
    }

    /// Returns the flag without its first dashes.
    pub(crate) fn flag(&self) -> String {
        let prefix = if self.value_name.is_some() { "" } else { "no-" };
        format!("{prefix}{}", self.name.replace('_', "-"))
    }
}

/// Reads the text of a value from boards.toml.
type ReadFile = fn(&Boards) -> Option<Located<String>>;

/// Value of a setting that no source sets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DefaultValue {
    /// Parsed as any other value.
    Value(&'static str),
    /// No value. The text describes what a node does without one.
    Unset(&'static str),
}

impl DefaultValue {
    /// Returns the text for the help and the documentation.
    pub(crate) fn text(self) -> &'static str {
        match self {
            DefaultValue::Value(text) | DefaultValue::Unset(text) => text,
        }
    }
}

/// When a changed setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChangeMode {
    /// When the node starts.
    Fixed,
    /// Also at SIGHUP.
    Reloadable,
    /// Also at SIGHUP, and when ZooKeeper has the key below `/config`.
    Dynamic,
}

/// Access to one field of [`Settings`].
pub(crate) struct Field {
    /// Parses a value and stores it. Values of defaults and of ZooKeeper have no source.
    pub(crate) parse: fn(&mut Settings, &str, Option<&Source>) -> Result<(), InvalidValue>,
    /// Copies the value from the first to the second.
    pub(crate) copy: fn(&Settings, &mut Settings),
    pub(crate) is_same: fn(&Settings, &Settings) -> bool,
}
