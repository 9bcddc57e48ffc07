//! Serde structs of `[boards.NAME.tasks]`, and their checks.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use toml::Spanned;

use super::arg_type::{ArgType, is_name};
use super::template::{self, Part};
use super::{
    BUILT_IN_ACTIONS, DEFAULT_RUN_FOR, MAX_RUN_FOR, MAX_SLOTS, MIN_RUN_FOR, Promise, TaskAction, Tasks,
};
use crate::diagnostic::{BoardsError, Source, did_you_mean, list, printable};
use crate::sensor::SensorConfig;
use crate::value::{Period, Table};

/// Maximum number of elements of `run`.
const MAX_ELEMENTS: usize = 100;

/// Keys of the table that are not actions.
const KEYS: [&str; 4] = ["allow_unauthenticated", "slots", "install_boards", "labels"];
const MAX_LABELS: usize = 32;

#[derive(Default)]
pub(crate) struct RawTasks {
    allow_unauthenticated: bool,
    slots: Option<Spanned<i64>>,
    install_boards: bool,
    labels: BTreeMap<Spanned<String>, Spanned<String>>,
    actions: Vec<(Spanned<String>, RawAction)>,
}

impl<'de> Deserialize<'de> for RawTasks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = RawTasks;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawTasks, A::Error> {
                let mut tasks = RawTasks::default();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    match key.get_ref().as_str() {
                        "allow_unauthenticated" => tasks.allow_unauthenticated = map.next_value()?,
                        "slots" => tasks.slots = Some(map.next_value()?),
                        "install_boards" => tasks.install_boards = map.next_value()?,
                        "labels" => tasks.labels = map.next_value()?,
                        _ => {
                            let Table(action) = map.next_value()?;
                            tasks.actions.push((key, action));
                        }
                    }
                }
                Ok(tasks)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAction {
    run: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    args: BTreeMap<Spanned<String>, ArgType>,
    #[serde(default)]
    needs: Vec<Spanned<String>>,
    run_for: Option<Spanned<Period>>,
    #[serde(default)]
    env: BTreeMap<Spanned<String>, Spanned<String>>,
    #[serde(default)]
    promise: Promise,
}

/// Checks the tasks of a board with these sensors.
pub(crate) fn tasks(
    raw: RawTasks,
    sensors: &[SensorConfig],
    source: &Source<'_>,
) -> Result<Tasks, BoardsError> {
    let slots = match raw.slots {
        None => 1,
        Some(slots) => match u8::try_from(*slots.get_ref()) {
            Ok(number @ 1..=MAX_SLOTS) => number,
            _ => {
                let problem = format!("{} tasks at a time", slots.get_ref());
                return Err(source.error(slots.span(), problem, format!("write 1 to {MAX_SLOTS}")));
            }
        },
    };
    let mut actions = BTreeMap::new();
    for (name, raw) in raw.actions {
        check_action_name(&name, source)?;
        let action = action(raw, sensors, source)?;
        actions.insert(name.into_inner(), action);
    }
    Ok(Tasks {
        allow_unauthenticated: raw.allow_unauthenticated,
        slots,
        install_boards: raw.install_boards,
        labels: labels(raw.labels, source)?,
        actions,
    })
}

fn labels(
    raw: BTreeMap<Spanned<String>, Spanned<String>>,
    source: &Source<'_>,
) -> Result<BTreeMap<String, String>, BoardsError> {
    let remedy = "labels are short names: letters, digits, `.`, `_` and `-`, a letter or digit first";
    let mut labels = BTreeMap::new();
    for (name, value) in raw {
        for text in [&name, &value] {
            if !is_name(text.get_ref()) {
                let problem = format!("`{}` is not a label or its value", printable(text.get_ref()));
                return Err(source.error(text.span(), problem, remedy));
            }
        }
        if labels.len() == MAX_LABELS {
            let problem = format!("more than {MAX_LABELS} labels");
            return Err(source.error(name.span(), problem, "remove some of them"));
        }
        labels.insert(name.into_inner(), value.into_inner());
    }
    Ok(labels)
}

fn check_action_name(name: &Spanned<String>, source: &Source<'_>) -> Result<(), BoardsError> {
    let text = name.get_ref();
    if BUILT_IN_ACTIONS.contains(&text.as_str()) {
        let problem = format!("`{text}` is a built-in action");
        return Err(source.error(name.span(), problem, "give this action another name"));
    }
    if is_name(text) && !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(());
    }
    let problem = format!("`{}` is not a name for an action", printable(text));
    let remedy = "use 1 to 64 lower-case letters, digits, `.`, `_` and `-`, a letter or digit first";
    Err(source.error(name.span(), problem, format!("{}{remedy}", did_you_mean(text, &KEYS))))
}

fn action(raw: RawAction, sensors: &[SensorConfig], source: &Source<'_>) -> Result<TaskAction, BoardsError> {
    let mut args = BTreeMap::new();
    for (name, kind) in &raw.args {
        check_arg_name(name, source)?;
        args.insert(name.get_ref().clone(), kind.clone());
    }
    let run = run(&raw.run, &raw.args, source)?;
    let run_for = match raw.run_for {
        None => DEFAULT_RUN_FOR,
        Some(limit) => {
            let Period(duration) = *limit.get_ref();
            if !(MIN_RUN_FOR..=MAX_RUN_FOR).contains(&duration) {
                let problem = format!("a time limit of {duration:?}");
                return Err(source.error(limit.span(), problem, "write a duration from \"1s\" to \"24h\""));
            }
            duration
        }
    };
    let mut env = BTreeMap::new();
    for (name, value) in raw.env {
        check_variable(&name, &value, source)?;
        env.insert(name.into_inner(), value.into_inner());
    }
    let needs = needs(raw.needs, sensors, source)?;
    Ok(TaskAction { run, args, needs, run_for, env, promise: raw.promise })
}

fn check_arg_name(name: &Spanned<String>, source: &Source<'_>) -> Result<(), BoardsError> {
    let text = name.get_ref();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if first && text.len() <= 64 && text.bytes().all(allowed) {
        return Ok(());
    }
    let problem = format!("`{}` is not a name for an argument", printable(text));
    let remedy = "use 1 to 64 lower-case letters, digits, `_` and `-`, a letter first";
    Err(source.error(name.span(), problem, remedy))
}

/// Checks the argument vector: an absolute path first, and each declared argument in one of its elements.
fn run(
    raw: &Spanned<Vec<Spanned<String>>>,
    args: &BTreeMap<Spanned<String>, ArgType>,
    source: &Source<'_>,
) -> Result<Vec<String>, BoardsError> {
    const PROGRAM: &str =
        "write the absolute path of a program first, such as [\"/usr/bin/logger\", \"{text}\"]";
    let elements = raw.get_ref();
    let Some(program) = elements.first() else {
        return Err(source.error(raw.span(), "no command", PROGRAM));
    };
    if elements.len() > MAX_ELEMENTS {
        let problem = format!("{} elements", elements.len());
        return Err(source.error(raw.span(), problem, format!("write at most {MAX_ELEMENTS}")));
    }
    let names: Vec<&str> = args.keys().map(|name| name.get_ref().as_str()).collect();
    let mut used = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        let text = element.get_ref();
        if text.contains('\0') {
            return Err(source.error(element.span(), "the element contains a NUL character", "remove it"));
        }
        let parts = template::parts(text).map_err(|problem| {
            let remedy = "write `{name}` for an argument, and `{{` or `}}` for a brace";
            source.error(element.span(), problem, remedy)
        })?;
        for part in parts {
            let Part::Placeholder(name) = part else { continue };
            if index == 0 {
                let problem = "the program contains a placeholder";
                return Err(source.error(element.span(), problem, PROGRAM));
            }
            if !names.contains(&name) {
                let problem = format!("`{}` is not an argument", printable(name));
                let remedy = match names[..] {
                    [] => "declare it: args = { name = \"text\" }; write `{{` for a brace".to_owned(),
                    _ => format!("{}The arguments are {}", did_you_mean(name, &names), list(&names)),
                };
                return Err(source.error(element.span(), problem, remedy));
            }
            used.push(name.to_owned());
        }
    }
    if !program.get_ref().starts_with('/') || program.get_ref().ends_with('/') {
        let problem = format!("`{}` is not an absolute path", printable(program.get_ref()));
        return Err(source.error(program.span(), problem, PROGRAM));
    }
    if let Some(unused) = args.keys().find(|name| !used.contains(name.get_ref())) {
        let name = unused.get_ref();
        let problem = format!("the argument `{name}` is not used");
        let remedy = format!("write `{{{name}}}` in `run`, or remove it");
        return Err(source.error(unused.span(), problem, remedy));
    }
    Ok(elements.iter().map(|element| element.get_ref().clone()).collect())
}

fn check_variable(
    name: &Spanned<String>,
    value: &Spanned<String>,
    source: &Source<'_>,
) -> Result<(), BoardsError> {
    let text = name.get_ref();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    if !first || !text.bytes().all(allowed) {
        let problem = format!("`{}` is not a name for a variable", printable(text));
        return Err(source.error(name.span(), problem, "use letters, digits and `_`, no digit first"));
    }
    if text.starts_with("ATALAYA_") {
        let problem = format!("the node sets the variables ATALAYA_* itself, and ignores `{text}`");
        return Err(source.error(name.span(), problem, "give the variable another name"));
    }
    if value.get_ref().contains('\0') {
        return Err(source.error(value.span(), "the value contains a NUL character", "remove it"));
    }
    Ok(())
}

fn needs(
    raw: Vec<Spanned<String>>,
    sensors: &[SensorConfig],
    source: &Source<'_>,
) -> Result<Vec<String>, BoardsError> {
    let mut buses: Vec<&str> = sensors.iter().filter_map(|sensor| sensor.spec().bus()).collect();
    buses.sort_unstable();
    buses.dedup();
    let mut needs: Vec<String> = Vec::new();
    for bus in raw {
        let name = bus.get_ref();
        if !buses.contains(&name.as_str()) {
            let problem = format!("`{}` is not a bus of this board", printable(name));
            let remedy = match buses[..] {
                [] => "remove it: the sensors of this board are on no bus".to_owned(),
                _ => format!("its buses are {}", list(&buses)),
            };
            return Err(source.error(bus.span(), problem, remedy));
        }
        if needs.contains(name) {
            return Err(source.error(bus.span(), format!("`{name}` occurs twice"), "remove one of them"));
        }
        needs.push(bus.into_inner());
    }
    Ok(needs)
}
