//! Reasons why a task waits, and what would happen to a task that is not submitted yet. No I/O.

use std::collections::BTreeMap;

use atalaya_config::ArgType;

use super::client::view::{NOT_ACCEPTED, PartView, TaskView, WorkerView, Workers};
use crate::model::task::record::State;
use crate::model::task::spec::{Spec, Target};
use crate::model::task::worker_info::ActionInfo;
use crate::model::text::{format_age, sanitize_for_log};

/// Maximum number of workers or nodes that an explanation names.
const MAX_NAMED: usize = 5;

/// Relation of a worker to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It can execute the task now.
    Free,
    /// It can execute the task when one of its other tasks has ended.
    Busy {
        /// Number of tasks that it executes at the same time.
        slots: u32,
    },
    /// It is not present.
    Absent,
    /// It does not offer the action.
    NoAction,
    /// It does not meet this condition.
    Unmet(String),
    /// It does not accept the arguments.
    WrongArgs(String),
    /// Its description is unreadable.
    Unreadable,
}

impl Fit {
    /// Returns true if the worker offers the action with these arguments and meets the conditions.
    pub(crate) fn is_suitable(&self) -> bool {
        matches!(self, Fit::Free | Fit::Busy { .. } | Fit::Absent)
    }

    /// Returns a description for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Fit::Free => "can execute it now".to_owned(),
            Fit::Busy { slots: 1 } => "is busy with another task".to_owned(),
            Fit::Busy { slots } => format!("is busy with {slots} other tasks"),
            Fit::Absent => "is absent".to_owned(),
            Fit::NoAction => "does not offer the action".to_owned(),
            Fit::Unmet(condition) => format!("does not meet {}", sanitize_for_log(condition)),
            Fit::WrongArgs(problem) => problem.clone(),
            Fit::Unreadable => "has an unreadable description".to_owned(),
        }
    }
}

/// Returns the relation of each worker that the target includes.
pub(crate) fn fits(spec: &Spec, workers: &Workers) -> BTreeMap<String, Fit> {
    let is_target = |node: &String| match &spec.to {
        Target::Any | Target::All => true,
        Target::Nodes(nodes) => nodes.contains(node),
    };
    let targets = workers.iter().filter(|(node, _)| is_target(node));
    targets.map(|(node, worker)| (node.clone(), fit(spec, node, worker))).collect()
}

fn fit(spec: &Spec, node: &str, worker: &WorkerView) -> Fit {
    let Some(info) = &worker.info else { return Fit::Unreadable };
    let Some(action) = info.actions.get(&spec.action) else { return Fit::NoAction };
    if let Some(condition) = spec.selector.first_unmet(node, info) {
        return Fit::Unmet(condition);
    }
    if let Err(problem) = check_args(action, &spec.args) {
        return Fit::WrongArgs(problem);
    }
    match worker {
        WorkerView { is_alive: false, .. } => Fit::Absent,
        WorkerView { assigned, .. } if *assigned >= info.slots => Fit::Busy { slots: info.slots },
        _ => Fit::Free,
    }
}

/// Checks arguments as far as that is possible without the sensors of the worker.
///
/// # Errors
/// An argument is missing, unknown or not of its type; the text is the reason.
pub(crate) fn check_args(action: &ActionInfo, args: &BTreeMap<String, String>) -> Result<(), String> {
    if let Some(unknown) = args.keys().find(|name| !action.args.contains_key(*name)) {
        let known: Vec<&str> = action.args.keys().map(String::as_str).collect();
        let known =
            if known.is_empty() { "it has none".to_owned() } else { format!("it has {}", known.join(", ")) };
        return Err(format!("the action has no argument {}; {known}", sanitize_for_log(unknown)));
    }
    for (name, kind) in &action.args {
        let Some(value) = args.get(name) else {
            let wanted = describe_type(kind);
            return Err(format!("the argument {} is missing: {wanted}", sanitize_for_log(name)));
        };
        // The names of the sensors are known to the worker only.
        let kind = if *kind == ArgType::Sensor { &ArgType::Text } else { kind };
        kind.check(value, &[]).map_err(|problem| format!("{}: {problem}", sanitize_for_log(name)))?;
    }
    Ok(())
}

/// Returns a description of the texts that an argument accepts.
pub(crate) fn describe_type(kind: &ArgType) -> String {
    match kind {
        ArgType::Sensor => "the name of a sensor of the node".to_owned(),
        kind => kind.describe(&[]),
    }
}

/// Returns the reasons why a task has not ended; empty if it has ended, or is being executed. `now` is the time of
/// ZooKeeper's clock.
pub(crate) fn reasons(view: &TaskView, workers: &Workers, has_leader: bool, now: i64) -> Vec<String> {
    let Ok(spec) = &view.spec else { return Vec::new() };
    if view.state().is_final() || view.is_unreadable {
        return Vec::new();
    }
    let Some(record) = &view.record else {
        let leader = if has_leader { "" } else { ": no node leads the fleet" };
        return vec![format!("{NOT_ACCEPTED}{leader}")];
    };
    let mut reasons = Vec::new();
    if !has_leader {
        reasons.push("no node leads the fleet".to_owned());
    }
    if record.cancel.is_some() || view.cancel.is_some() {
        reasons.push("its cancellation was requested".to_owned());
    }
    match (&record.part, spec.is_broadcast()) {
        (_, true) => reasons.extend(broadcast(spec, view, workers, now)),
        (Some(part), false) if part.state == State::Waiting => {
            reasons.extend(next_attempt(part.not_before, now));
        }
        (Some(part), false) if part.state == State::Assigned => {
            if let Some((node, part)) = view.parts.iter().next() {
                reasons.extend(assigned(node, part, workers));
            }
        }
        (_, false) => reasons.extend(queued(spec, workers)),
    }
    reasons
}

fn next_attempt(not_before: Option<i64>, now: i64) -> Option<String> {
    let seconds = not_before?.saturating_sub(now).max(0) as f64 / 1_000.0;
    Some(format!("waits {} for its next attempt", format_age(seconds)))
}

/// Returns the reason why an assigned part is not executed; `None` if it is.
fn assigned(node: &str, part: &PartView, workers: &Workers) -> Option<String> {
    if part.progress.is_some() {
        return None;
    }
    let node_text = sanitize_for_log(node);
    match workers.get(node) {
        Some(worker) if worker.is_alive => Some(format!("node {node_text} has not started it yet")),
        _ => Some(format!("node {node_text} is absent")),
    }
}

/// Returns the reason why a queued task for one node is not assigned.
fn queued(spec: &Spec, workers: &Workers) -> Vec<String> {
    if let Some(node) = spec.only_node() {
        let node_text = sanitize_for_log(node);
        return match workers.get(node).map(|worker| fit(spec, node, worker)) {
            None => vec![format!("node {node_text} is unknown: it has never been a worker")],
            Some(Fit::Free) => vec![format!("node {node_text} is free; the leader will assign it")],
            Some(fit) => vec![format!("node {node_text} {}", fit.describe())],
        };
    }
    no_worker(spec, workers)
}

/// Returns the reasons why no worker executes a task for any node: the most useful ones, with at most [`MAX_NAMED`]
/// workers.
pub(crate) fn no_worker(spec: &Spec, workers: &Workers) -> Vec<String> {
    if workers.is_empty() {
        return vec!["there are no workers: no node has published its actions".to_owned()];
    }
    let fits = fits(spec, workers);
    let all = |wanted: fn(&Fit) -> bool| fits.iter().filter(move |(_, fit)| wanted(fit));
    let named = |wanted: fn(&Fit) -> bool, heading: &str| {
        let names: Vec<&str> = all(wanted).map(|(node, _)| node.as_str()).collect();
        (!names.is_empty()).then(|| vec![format!("{heading}: {}", name_list(&names))])
    };
    let described = |wanted: fn(&Fit) -> bool, heading: &str| {
        let line = |(node, fit): (&String, &Fit)| format!("{} {}", sanitize_for_log(node), fit.describe());
        let lines = all(wanted).take(MAX_NAMED).map(line);
        let count = all(wanted).count();
        let more = (count > MAX_NAMED).then(|| format!("and {} more", count - MAX_NAMED));
        (count > 0).then(|| std::iter::once(heading.to_owned()).chain(lines).chain(more).collect())
    };
    let unmet = format!("no worker meets the condition {}", spec.selector);
    let reasons = named(|fit| *fit == Fit::Free, "the leader will assign it to one of")
        .or_else(|| described(|fit| matches!(fit, Fit::Busy { .. }), "all suitable workers are busy"))
        .or_else(|| named(|fit| *fit == Fit::Absent, "all suitable workers are absent"))
        .or_else(|| described(|fit| matches!(fit, Fit::WrongArgs(_)), "no worker accepts the arguments"))
        .or_else(|| described(|fit| matches!(fit, Fit::Unmet(_)), &unmet));
    if let Some(reasons) = reasons {
        return reasons;
    }
    let mut reasons = vec![format!("no worker offers the action {}", sanitize_for_log(&spec.action))];
    let similar = similar_actions(&spec.action, workers);
    if !similar.is_empty() {
        reasons.push(format!("similar actions: {}", similar.join(", ")));
    }
    reasons
}

/// Returns the reasons why nodes of a task for several nodes have not ended.
fn broadcast(spec: &Spec, view: &TaskView, workers: &Workers, now: i64) -> Vec<String> {
    if view.parts.is_empty() {
        return vec!["the leader has not chosen its nodes yet".to_owned()];
    }
    let mut reasons = Vec::new();
    let open: Vec<(&String, &PartView)> =
        view.parts.iter().filter(|(_, part)| !part.part.state.is_final()).collect();
    if let Some(rollout) = &spec.rollout {
        let sizes = rollout.sizes(view.parts.len());
        let ended = view.parts.len() - open.len();
        let (mut started, mut batch) = (0, 0);
        for size in &sizes {
            batch += 1;
            started += size;
            if started > ended {
                break;
            }
        }
        let active: Vec<&str> = open
            .iter()
            .filter(|(_, part)| part.part.state != State::Queued)
            .map(|(node, _)| node.as_str())
            .collect();
        let waits = match active.as_slice() {
            [] => "waits until the nodes of the last batch are healthy, and for the pause".to_owned(),
            active => format!("waits for nodes {}", name_list(active)),
        };
        reasons.push(format!("roll-out: batch {batch} of {}; {waits}", sizes.len()));
    }
    let is_queued = |part: &PartView| spec.rollout.is_some() && part.part.state == State::Queued;
    let mut lines: Vec<String> = Vec::new();
    for (node, part) in open.iter().filter(|(_, part)| !is_queued(part)) {
        let reason = match part.part.state {
            State::Waiting => next_attempt(part.part.not_before, now),
            State::Assigned => assigned(node, part, workers),
            _ => match workers.get(*node).map(|worker| fit(spec, node, worker)) {
                None => Some("is unknown: it has never been a worker".to_owned()),
                Some(fit) => (fit != Fit::Free).then(|| fit.describe()),
            },
        };
        lines.extend(reason.map(|reason| match reason.starts_with("node ") {
            true => reason,
            false => format!("node {} {reason}", sanitize_for_log(node)),
        }));
    }
    let more = lines.len().saturating_sub(MAX_NAMED);
    lines.truncate(MAX_NAMED);
    if more > 0 {
        lines.push(format!("and {more} more nodes"));
    }
    reasons.extend(lines);
    reasons
}

/// Returns the names of all actions that workers offer.
pub(crate) fn known_actions(workers: &Workers) -> Vec<String> {
    let infos = workers.values().filter_map(|worker| worker.info.as_ref());
    let mut names: Vec<String> =
        infos.flat_map(|info| info.actions.keys()).map(|name| sanitize_for_log(name)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Returns the known actions whose names are similar to `action`: they contain each other, or have at most two
/// different characters. At most [`MAX_NAMED`].
pub(crate) fn similar_actions(action: &str, workers: &Workers) -> Vec<String> {
    let is_similar = |name: &String| {
        let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
        // The time is quadratic in the length.
        let start = |text: &str| text.chars().take(80).collect::<String>();
        name.contains(action)
            || action.contains(name.as_str())
            || last(name) == last(action)
            || strsim::levenshtein(&start(name), &start(action)) <= 2
    };
    known_actions(workers).into_iter().filter(is_similar).take(MAX_NAMED).collect()
}

/// Returns the first names, separated by commas, and the number of the others.
fn name_list(names: &[&str]) -> String {
    let first: Vec<String> = names.iter().take(MAX_NAMED).map(|name| sanitize_for_log(name)).collect();
    let more = names.len().saturating_sub(MAX_NAMED);
    if more > 0 { format!("{} and {more} more", first.join(", ")) } else { first.join(", ") }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
