//! Description that a worker publishes: its actions, and the properties that selectors use.

use std::collections::BTreeMap;

use atalaya_config::{ArgType, Promise};
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::text::{sanitize_for_log, truncate};

/// Maximum size of a description that is read, in bytes.
const MAX_SIZE: usize = 256 * 1024;
/// Maximum number of actions, chips and labels that are read.
const MAX_ENTRIES: usize = 256;
/// Maximum number of tasks that a worker executes at the same time.
pub const MAX_SLOTS: u32 = 64;

/// Health of a worker's sensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerHealth {
    /// All sensors can be read.
    Ok,
    /// At least one sensor cannot be read.
    Failing,
    /// It has no sensors, or none was read yet.
    #[default]
    Unknown,
}

impl WorkerHealth {
    /// Returns the name in selectors and output.
    pub fn name(self) -> &'static str {
        match self {
            WorkerHealth::Ok => "ok",
            WorkerHealth::Failing => "failing",
            WorkerHealth::Unknown => "unknown",
        }
    }
}

/// Description of an action, for clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActionInfo {
    /// Arguments by name; all are required.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "arg_types")]
    pub args: BTreeMap<String, ArgType>,
    /// Time limit in milliseconds.
    pub run_for_ms: u64,
    /// Promise of a task whose submission names none.
    pub promise: Promise,
    /// True for an action that changes nothing.
    pub read_only: bool,
}

/// Reads the types of arguments. A type that only a later version knows accepts any text here: the worker checks it.
fn arg_types<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, ArgType>, D::Error> {
    let types = BTreeMap::<String, serde_json::Value>::deserialize(deserializer)?;
    let known = |value| serde_json::from_value(value).unwrap_or(ArgType::Text);
    Ok(types.into_iter().take(MAX_ENTRIES).map(|(name, value)| (name, known(value))).collect())
}

/// Description of a worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerInfo {
    /// Version of Atalaya.
    pub version: String,
    /// Host name of its machine.
    pub host: String,
    /// Name of its board.
    pub board: String,
    /// Chips of its sensors.
    pub chips: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Health of its sensors.
    pub health: WorkerHealth,
    /// True if it is a node that publishes measurements.
    pub measures: bool,
    /// Number of tasks that it executes at the same time.
    #[serde(default = "one")]
    pub slots: u32,
    /// Actions by name.
    pub actions: BTreeMap<String, ActionInfo>,
}

fn one() -> u32 {
    1
}

impl WorkerInfo {
    /// Parses the data of a worker's znode, and limits it. Returns `None` if it is not a description.
    pub fn parse(data: &[u8]) -> Option<WorkerInfo> {
        let data = if data.len() > MAX_SIZE { &[] } else { data };
        let mut info: WorkerInfo = serde_json::from_slice(data).ok()?;
        for text in [&mut info.version, &mut info.host, &mut info.board] {
            *text = sanitize_for_log(text);
        }
        info.slots = info.slots.clamp(1, MAX_SLOTS);
        info.chips.truncate(MAX_ENTRIES);
        let chips = std::mem::take(&mut info.chips);
        info.chips = chips.iter().map(|chip| truncate(chip, 64)).collect();
        let labels = std::mem::take(&mut info.labels).into_iter().take(MAX_ENTRIES);
        info.labels = labels.map(|(name, value)| (truncate(&name, 64), truncate(&value, 64))).collect();
        let actions = std::mem::take(&mut info.actions).into_iter().take(MAX_ENTRIES);
        info.actions = actions.map(|(name, action)| (truncate(&name, 64), action)).collect();
        Some(info)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::json::to_json;

    /// Returns a worker with a BME280 on board `pi`, in the lab, which executes `status` and `calibrate`.
    pub(crate) fn worker() -> WorkerInfo {
        let action = ActionInfo { run_for_ms: 60_000, read_only: true, ..ActionInfo::default() };
        let actions = ["status", "calibrate"].map(|name| (name.to_owned(), action.clone()));
        WorkerInfo {
            version: "0.1.0".into(),
            host: "h".into(),
            board: "pi".into(),
            chips: vec!["bme280".into()],
            labels: BTreeMap::from([("room".into(), "lab".into())]),
            health: WorkerHealth::Ok,
            measures: true,
            slots: 1,
            actions: actions.into(),
        }
    }

    #[test]
    fn description_round_trips_and_tolerates_other_versions() {
        assert_eq!(WorkerInfo::parse(&to_json(&worker())), Some(worker()));
        let later =
            r#"{"board":"b","slots":9999,"later":[1],"actions":{"a":{"args":{"x":"name","y":{"color":1}}}}}"#;
        let later = WorkerInfo::parse(later.as_bytes()).unwrap();
        assert_eq!((later.board.as_str(), later.slots), ("b", MAX_SLOTS));
        assert_eq!(
            (&later.actions["a"].args["x"], &later.actions["a"].args["y"]),
            (&ArgType::Name, &ArgType::Text)
        );
        assert_eq!(WorkerInfo::parse(b""), None);
        assert_eq!(WorkerInfo::parse(&vec![b' '; MAX_SIZE + 1]), None);
    }

    proptest! {
        #[test]
        fn description_parses_any_bytes_in_linear_time(data in crate::model::foreign_input::bytes()) {
            let parsed = crate::model::foreign_input::in_time(data.len(), || WorkerInfo::parse(&data));
            if let Some(info) = parsed {
                prop_assert!(info.slots >= 1 && info.actions.len() <= MAX_ENTRIES && info.chips.len() <= MAX_ENTRIES);
            }
        }
    }
}
