//! JSON output of tasks.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::table::timestamp;
use crate::commands::exit::Failure;
use crate::commands::stdout::print;
use crate::tasks::client::view::{PartView, Summary, TaskView};

pub(super) fn print_line(value: &Value) -> Result<(), Failure> {
    print(format!("{value}\n").as_bytes())
}

/// Returns a task with everything that is known.
pub(super) fn task(view: &TaskView, reasons: &[String]) -> Value {
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
        "spec": view.spec.as_ref().ok(),
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
        "outcome": part.outcome,
    })
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
    if let Some(ended) = summary.ended_at {
        value["ended"] = json!(timestamp(ended));
    }
    if let Some(reason) = &summary.reason {
        value["reason"] = json!(reason);
    }
    value
}
