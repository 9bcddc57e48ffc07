//! JSON output of tasks.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::table::timestamp;
use crate::commands::exit::Failure;
use crate::commands::stdout::print;
use crate::model::task::record::Outcome;
use crate::tasks::client::view::{PartView, Summary, TaskView};

/// Prints one line.
pub(super) fn print_line(value: &Value) -> Result<(), Failure> {
    print(format!("{value}\n").as_bytes())
}

/// Returns a task with everything that is known.
pub(super) fn task(view: &TaskView, reasons: &[String]) -> Value {
    let spec = match &view.spec {
        Ok(spec) => json!(spec),
        Err(_) => Value::Null,
    };
    let nodes: BTreeMap<&String, Value> =
        view.parts.iter().map(|(node, part)| (node, self::part(part))).collect();
    let ended = view.record.as_ref().and_then(|record| record.ended_at).map(timestamp);
    json!({
        "task": view.task,
        "state": view.state_name(),
        "accepted": view.record.is_some() || view.is_unreadable,
        "reason": view.reason(),
        "problem": view.spec.as_ref().err(),
        "waits": reasons,
        "submitted": timestamp(view.submitted_at),
        "ended": ended,
        "cancel": view.cancel,
        "spec": spec,
        "nodes": nodes,
    })
}

fn part(view: &PartView) -> Value {
    let part = &view.part;
    json!({
        "state": view.state_name(),
        "attempt": part.attempt,
        "failures": part.failures,
        "reason": part.reason,
        "progress": view.progress,
        "outcome": part.outcome.as_ref().map(outcome),
    })
}

/// Returns an outcome.
pub(super) fn outcome(outcome: &Outcome) -> Value {
    json!(outcome)
}

/// Returns the progress of a task: its state and the number of nodes by state.
pub(super) fn progress(view: &TaskView) -> Value {
    json!({
        "task": view.task,
        "state": view.state_name(),
        "nodes": view.counts(),
        "progress": view.progress(),
    })
}

/// Returns a task of a list.
pub(super) fn summary(summary: &Summary) -> Value {
    let mut value = json!({
        "task": summary.task,
        "state": summary.state_name(),
        "accepted": summary.is_accepted,
        "action": summary.action,
        "to": summary.target,
        "by": summary.by,
        "submitted": timestamp(summary.submitted_at),
    });
    let optional = [
        ("ended", summary.ended_at.map(|time| json!(timestamp(time)))),
        ("reason", summary.reason.as_ref().map(|reason| json!(reason))),
    ];
    if let Some(fields) = value.as_object_mut() {
        fields.extend(present(optional));
    }
    value
}

fn present<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
