//! `[boards.NAME.tasks]`: the actions that a node executes for clients, and the way it runs their commands.
//!
//! Without the table a node executes nothing. A client passes only the values of declared arguments; each becomes part
//! of exactly one element of the argument vector, and no shell reads it.

mod arg_type;
mod raw;
mod template;

pub use arg_type::ArgType;
pub(crate) use raw::{RawTasks, tasks};

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::diagnostic::{list, printable};

/// Names of the built-in actions, which boards.toml cannot define.
pub const BUILT_IN_ACTIONS: [&str; 5] =
    ["sensors.read", "sensors.selftest", "sensors.scan", "status", INSTALL_BOARDS];
/// Name of the built-in action that replaces boards.toml.
pub const INSTALL_BOARDS: &str = "boards.install";
/// Time limit of an action without `run_for`.
pub const DEFAULT_RUN_FOR: Duration = Duration::from_secs(10 * 60);
/// Minimum time limit.
pub const MIN_RUN_FOR: Duration = Duration::from_secs(1);
/// Maximum time limit.
pub const MAX_RUN_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Maximum number of tasks at a time.
pub const MAX_SLOTS: u8 = 16;

/// `[boards.NAME.tasks]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tasks {
    /// True if actions are executed although ZooKeeper authenticates no client, so that any client can submit them.
    pub allow_unauthenticated: bool,
    /// Number of tasks at a time, from 1 to 16.
    pub slots: u8,
    /// True if the action `boards.install` is allowed.
    pub install_boards: bool,
    /// Labels that clients can select nodes by.
    pub labels: BTreeMap<String, String>,
    /// Actions by name, without the built-in ones.
    pub actions: BTreeMap<String, TaskAction>,
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks {
            allow_unauthenticated: false,
            slots: 1,
            install_boards: false,
            labels: BTreeMap::new(),
            actions: BTreeMap::new(),
        }
    }
}

/// `[boards.NAME.tasks.ACTION]`: a command that clients can have executed.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskAction {
    /// Argument vector with placeholders; never empty. The first element is the absolute path of the program.
    pub run: Vec<String>,
    /// Arguments by name. Each occurs in `run`.
    pub args: BTreeMap<String, ArgType>,
    /// Buses on which sampling pauses while the command runs. Buses of the board, each once.
    pub needs: Vec<String>,
    /// Time limit.
    pub run_for: Duration,
    /// Additional environment of the command.
    pub env: BTreeMap<String, String>,
    /// Promise of a task whose submission contains none.
    pub promise: Promise,
}

impl TaskAction {
    /// Returns the argument vector for these arguments. `sensors` are the names of the board's sensors.
    ///
    /// # Errors
    /// An argument is missing, unknown or wrong. The reason names the accepted ones.
    pub fn command_line(
        &self,
        args: &BTreeMap<String, String>,
        sensors: &[&str],
    ) -> Result<Vec<String>, String> {
        let values = check_args(&self.args, args, sensors)?;
        for element in &self.run {
            // The whole element: a program would read the text as an option.
            if let Some(name) = template::whole(element)
                && self.args.get(name) == Some(&ArgType::Text)
                && values.get(name).is_some_and(|value| value.starts_with('-'))
            {
                return Err(format!("argument `{name}`: the text must not start with `-`"));
            }
        }
        Ok(self.run.iter().map(|element| template::substitute(element, &values)).collect())
    }
}

/// Checks the arguments of an action. Returns the texts that the command receives.
///
/// # Errors
/// An argument is missing, unknown or wrong. The reason names the accepted ones.
pub fn check_args(
    types: &BTreeMap<String, ArgType>,
    args: &BTreeMap<String, String>,
    sensors: &[&str],
) -> Result<BTreeMap<String, String>, String> {
    let names: Vec<&str> = types.keys().map(String::as_str).collect();
    if let Some(unknown) = args.keys().find(|name| !types.contains_key(*name)) {
        let unknown = printable(unknown);
        return Err(match names[..] {
            [] => format!("unknown argument `{unknown}`: the action has no arguments"),
            _ => format!("unknown argument `{unknown}`: the arguments are {}", list(&names)),
        });
    }
    let mut values = BTreeMap::new();
    for (name, kind) in types {
        let Some(text) = args.get(name) else {
            return Err(format!("argument `{name}` is missing: {}", kind.describe(sensors)));
        };
        let value = kind.check(text, sensors).map_err(|problem| format!("argument `{name}`: {problem}"))?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

/// Promise about the number of executions of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    /// Executed again if the worker is lost before it has recorded a result.
    #[default]
    AtLeastOnce,
    /// Never started twice.
    AtMostOnce,
}

impl Promise {
    /// Returns the name in boards.toml and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Promise::AtLeastOnce => "at-least-once",
            Promise::AtMostOnce => "at-most-once",
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
