//! Tasks and workers as a client sees them. No I/O.

use std::collections::BTreeMap;

use crate::model::task::TaskId;
use crate::model::task::record::{Cancel, Outcome, Part, Record, State};
use crate::model::task::spec::{Spec, Target};
use crate::model::task::worker_info::WorkerInfo;
use crate::model::text::{sanitize_for_log, truncate};

/// Maximum length of a reason in a list, in characters.
const MAX_REASON: usize = 200;

/// A task in a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) task: TaskId,
    /// Time of the submission, by ZooKeeper's clock.
    pub(crate) submitted_at: i64,
    pub(crate) ended_at: Option<i64>,
    /// State; `None` if the record or the specification is unreadable.
    pub(crate) state: Option<State>,
    /// False for a task that only has a specification.
    pub(crate) is_accepted: bool,
    pub(crate) action: String,
    pub(crate) target: String,
    pub(crate) by: String,
    pub(crate) reason: Option<String>,
    /// Number of nodes that execute it now.
    pub(crate) running: usize,
}

impl Summary {
    /// Returns the name of the state: `running` if a worker executes the task, `unreadable` without a state.
    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            None => "unreadable",
            Some(State::Assigned | State::Queued | State::Waiting) if self.running > 0 => "running",
            Some(state) => state.name(),
        }
    }

    pub(crate) fn of_record(task: TaskId, data: &[u8], created: i64) -> Summary {
        let Some(record) = Record::parse(data) else {
            return Summary::unreadable(task, created, "the record is not one of this version");
        };
        let single = record.part.as_ref().and_then(|part| part.reason.as_deref());
        let reason = record.reason.as_deref().or(single).map(|reason| truncate(reason, MAX_REASON));
        let summary = Summary {
            submitted_at: record.submitted_at,
            ended_at: record.ended_at,
            state: Some(record.state),
            reason,
            ..Summary::unreadable(task, created, "")
        };
        summary.with_spec(record.spec.as_ref(), true)
    }

    /// Returns the summary of a task that the leader has not accepted.
    pub(crate) fn of_spec(task: TaskId, data: &[u8], created: i64) -> Summary {
        match Spec::parse(data) {
            Ok(spec) => {
                let summary =
                    Summary { state: Some(State::Queued), ..Summary::unreadable(task, created, "") };
                Summary { reason: Some(NOT_ACCEPTED.to_owned()), ..summary }.with_spec(Some(&spec), false)
            }
            Err(reason) => Summary { is_accepted: false, ..Summary::unreadable(task, created, &reason) },
        }
    }

    fn unreadable(task: TaskId, submitted_at: i64, reason: &str) -> Summary {
        Summary {
            task,
            submitted_at,
            ended_at: None,
            state: None,
            is_accepted: true,
            action: String::new(),
            target: String::new(),
            by: String::new(),
            reason: (!reason.is_empty()).then(|| truncate(reason, MAX_REASON)),
            running: 0,
        }
    }

    fn with_spec(self, spec: Option<&Spec>, is_accepted: bool) -> Summary {
        let Some(spec) = spec else { return Summary { is_accepted, ..self } };
        Summary {
            action: sanitize_for_log(&spec.action),
            target: describe_target(spec),
            by: sanitize_for_log(&spec.by),
            is_accepted,
            ..self
        }
    }
}

/// Reason of a task that only has a specification.
pub(crate) const NOT_ACCEPTED: &str = "not accepted by a leader yet";

/// Returns the nodes of a task for people: `any`, `all`, a node, or the number of nodes.
pub(crate) fn describe_target(spec: &Spec) -> String {
    let nodes = match &spec.to {
        Target::Any => "any".to_owned(),
        Target::All => "all".to_owned(),
        Target::Nodes(nodes) if nodes.len() <= 3 => sanitize_for_log(&nodes.join(",")),
        Target::Nodes(nodes) => format!("{} nodes", nodes.len()),
    };
    if spec.selector.is_empty() {
        return nodes;
    }
    format!("{nodes} where {}", sanitize_for_log(&spec.selector.to_string()))
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WorkerView {
    /// Description; `None` if it is unreadable.
    pub(crate) info: Option<WorkerInfo>,
    pub(crate) is_alive: bool,
    /// Number of tasks that are assigned to it.
    pub(crate) assigned: u32,
}

pub(crate) type Workers = BTreeMap<String, WorkerView>;

/// Part of a node in a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PartView {
    /// Record. Its state is that of the assignment if the leader has not written a record yet.
    pub(crate) part: Part,
    pub(crate) is_unreadable: bool,
    /// Text of the progress, while the worker executes the task.
    pub(crate) progress: Option<String>,
}

impl PartView {
    pub(crate) fn state_name(&self) -> &'static str {
        match (self.is_unreadable, &self.progress) {
            (true, _) => "unreadable",
            (false, Some(_)) if !self.part.state.is_final() => "running",
            _ => self.part.state.name(),
        }
    }
}

/// Everything about one task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskView {
    pub(crate) task: TaskId,
    /// Specification, or the reason why it is unreadable.
    pub(crate) spec: Result<Spec, String>,
    /// Record; `None` if the leader has not accepted the task, or the record is unreadable.
    pub(crate) record: Option<Record>,
    /// True if there is a record that is unreadable.
    pub(crate) is_unreadable: bool,
    pub(crate) submitted_at: i64,
    pub(crate) cancel: Option<Cancel>,
    pub(crate) parts: BTreeMap<String, PartView>,
    /// Newest time in the znodes that were read, by ZooKeeper's clock.
    pub(crate) newest_write: i64,
}

impl TaskView {
    /// Returns the state; queued if the leader has not accepted the task.
    pub(crate) fn state(&self) -> State {
        self.record.as_ref().map_or(State::Queued, |record| record.state)
    }

    pub(crate) fn state_name(&self) -> &'static str {
        if self.is_unreadable {
            return "unreadable";
        }
        let is_running = self.parts.values().any(|part| part.state_name() == "running");
        if is_running && !self.state().is_final() { "running" } else { self.state().name() }
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        let part = self.record.as_ref().and_then(|record| record.part.as_ref());
        let of_outcome = part.and_then(|part| part.outcome.as_ref()?.reason.as_deref());
        let of_part = part.and_then(|part| part.reason.as_deref()).or(of_outcome);
        self.record.as_ref().and_then(|record| record.reason.as_deref()).or(of_part)
    }

    /// Returns true if the task is for several nodes.
    pub(crate) fn is_broadcast(&self) -> bool {
        self.spec.as_ref().is_ok_and(Spec::is_broadcast)
            || self.record.as_ref().is_some_and(|record| record.roster.is_some())
    }

    /// Returns the number of parts by the name of their state.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for part in self.parts.values() {
            *counts.entry(part.state_name()).or_default() += 1;
        }
        counts
    }

    /// Returns one line about the progress: the state, and the nodes or the text of the worker.
    pub(crate) fn progress(&self) -> String {
        let state = self.state_name();
        if self.is_broadcast() {
            let counts: Vec<String> =
                self.counts().iter().map(|(state, count)| format!("{count} {state}")).collect();
            if counts.is_empty() {
                return state.to_owned();
            }
            return format!("{state}: of {} nodes: {}", self.parts.len(), counts.join(", "));
        }
        let single = self.parts.iter().next();
        let node = single.map(|(node, _)| format!(" on {}", sanitize_for_log(node))).unwrap_or_default();
        let text = single.and_then(|(_, part)| part.progress.as_deref()).filter(|text| !text.is_empty());
        let reason = self.reason().map(|reason| truncate(reason, MAX_REASON));
        match text.map(str::to_owned).or(reason) {
            Some(text) => format!("{state}{node}: {text}"),
            None => format!("{state}{node}"),
        }
    }

    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&String, &Outcome)> {
        self.parts.iter().filter_map(|(node, part)| Some((node, part.part.outcome.as_ref()?)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::json::to_json;
    use crate::model::task::spec::tests::spec;

    fn task() -> TaskId {
        "7".parse().unwrap()
    }

    /// Returns task 7, without parts.
    pub(crate) fn view(spec: Spec, record: Option<Record>) -> TaskView {
        TaskView {
            task: task(),
            spec: Ok(spec),
            record,
            is_unreadable: false,
            submitted_at: 0,
            cancel: None,
            parts: BTreeMap::new(),
            newest_write: 0,
        }
    }

    #[test]
    fn summary_of_data_that_is_not_a_task_is_unreadable() {
        for data in [&b""[..], b"[]", b"{\"state\":\"flying\"}", &vec![b' '; 2 << 20]] {
            assert_eq!(Summary::of_record(task(), data, 1).state_name(), "unreadable");
            let summary = Summary::of_spec(task(), data, 1);
            assert_eq!((summary.state_name(), summary.is_accepted), ("unreadable", false));
            assert!(summary.reason.unwrap().chars().count() <= MAX_REASON);
        }
    }

    #[test]
    fn specification_without_a_record_is_queued_and_not_accepted() {
        let summary = Summary::of_spec(task(), &to_json(&spec("status")), 5);
        assert_eq!((summary.state_name(), summary.submitted_at), ("queued", 5));
        assert_eq!(summary.reason.as_deref(), Some(NOT_ACCEPTED));
        assert_eq!((summary.action.as_str(), summary.target.as_str()), ("status", "any"));
    }

    #[test]
    fn progress_of_a_broadcast_counts_nodes_and_that_of_one_node_is_its_text() {
        let roster = Some(BTreeMap::new());
        let record = Record { state: State::Assigned, submitted_at: 1, roster, ..Record::default() };
        let running = PartView {
            part: Part { state: State::Assigned, ..Part::default() },
            progress: Some("half".into()),
            is_unreadable: false,
        };
        let mut view = view(Spec { to: Target::All, ..spec("status") }, Some(record));
        view.parts = BTreeMap::from([("1".into(), running.clone()), ("2".into(), PartView::default())]);
        assert_eq!(view.progress(), "running: of 2 nodes: 1 queued, 1 running");
        view.spec = Ok(spec("status"));
        view.record.as_mut().unwrap().roster = None;
        view.parts = BTreeMap::from([("1".into(), running)]);
        assert_eq!(view.progress(), "running on 1: half");
    }
}
