//! The tasks of a fleet at a glance, for the fleet status. No I/O.

use super::TaskId;
use super::record::{Part, Record, State};

/// Maximum number of tasks in an overview.
pub const MAX_TASKS: usize = 20;

/// The newest tasks: live ones first, then those that ended last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overview {
    /// Number of live tasks.
    pub live: usize,
    /// At most [`MAX_TASKS`] tasks.
    pub tasks: Vec<TaskSummary>,
}

/// A task in an [`Overview`]. Its texts are as clients and workers wrote them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskSummary {
    /// Id; `None` for a record that cannot be read.
    pub id: Option<TaskId>,
    /// Action.
    pub action: String,
    /// State.
    pub state: State,
    /// Node of a task for one node.
    pub node: Option<String>,
    /// Number of nodes that are done.
    pub done: usize,
    /// Number of nodes that failed, or that executed or started nothing in time.
    pub failed: usize,
    /// Number of nodes.
    pub all: usize,
    /// Time of the submission, in milliseconds since 1970 by ZooKeeper's clock.
    pub submitted_at: i64,
    /// Time at which it ended.
    pub ended_at: Option<i64>,
    /// Reason of the state.
    pub reason: Option<String>,
}

impl TaskSummary {
    /// Returns the summary of a record that has its parts.
    pub fn of_record(id: &TaskId, record: &Record) -> TaskSummary {
        let of_part = record.part.as_ref().map(|part| part.state);
        let states = record.roster.iter().flat_map(|roster| roster.values().copied()).chain(of_part);
        let summary = TaskSummary::new(id, record, states);
        TaskSummary { node: record.part.as_ref().and_then(|part| part.node.clone()), ..summary }
    }

    /// Returns the summary of a live task with these parts.
    pub fn of_parts<'a>(
        id: &TaskId,
        record: &Record,
        is_broadcast: bool,
        parts: impl Iterator<Item = &'a Part> + Clone,
    ) -> TaskSummary {
        let summary = TaskSummary::new(id, record, parts.clone().map(|part| part.state));
        if is_broadcast {
            return summary;
        }
        let part = parts.last();
        let reason = summary.reason.or_else(|| part.and_then(|part| part.reason.clone()));
        TaskSummary { node: part.and_then(|part| part.node.clone()), reason, ..summary }
    }

    fn new(id: &TaskId, record: &Record, states: impl Iterator<Item = State>) -> TaskSummary {
        let (mut done, mut failed, mut all) = (0, 0, 0);
        for state in states {
            all += 1;
            match state {
                State::Done => done += 1,
                State::Failed | State::TimedOut | State::Lost | State::Expired => failed += 1,
                _ => {}
            }
        }
        let action = record.spec.as_ref().map(|spec| spec.action.clone());
        TaskSummary {
            id: Some(id.clone()),
            action: action.unwrap_or_default(),
            state: record.state,
            node: None,
            done,
            failed,
            all,
            submitted_at: record.submitted_at,
            ended_at: record.ended_at,
            reason: record.reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::task::spec::tests::spec;

    fn record(part: Option<Part>, roster: &[(&str, State)]) -> Record {
        let roster: BTreeMap<String, State> =
            roster.iter().map(|(node, state)| ((*node).to_owned(), *state)).collect();
        Record {
            state: State::Failed,
            spec: Some(spec("calibrate")),
            submitted_at: 5,
            ended_at: Some(9),
            part,
            roster: (!roster.is_empty()).then_some(roster),
            reason: Some("why".into()),
            ..Record::default()
        }
    }

    /// The collector depends on no other crate, so it has its own type for the states in a fleet status.
    #[cfg(feature = "collector")]
    #[test]
    fn collector_and_node_agree_on_the_names_of_task_states() {
        use atalaya_collector::tasks::TaskState;

        for state in State::ALL {
            let name = serde_json::to_string(&state).unwrap();
            let parsed: TaskState = serde_json::from_str(&name).unwrap();
            // Exhaustive, so that a new state of the collector is noticed as well.
            let same = match parsed {
                TaskState::Queued => State::Queued,
                TaskState::Waiting => State::Waiting,
                TaskState::Assigned => State::Assigned,
                TaskState::Done => State::Done,
                TaskState::Failed => State::Failed,
                TaskState::TimedOut => State::TimedOut,
                TaskState::Cancelled => State::Cancelled,
                TaskState::Lost => State::Lost,
                TaskState::Expired => State::Expired,
                TaskState::Skipped => State::Skipped,
                TaskState::Unknown => panic!("the collector does not know {name}"),
            };
            assert_eq!((same, serde_json::to_string(&parsed).unwrap()), (state, name));
        }
    }

    #[test]
    fn summary_counts_nodes_that_are_done_and_those_that_failed() {
        let id: TaskId = "3".parse().unwrap();
        let roster = [
            ("1", State::Done),
            ("2", State::Failed),
            ("3", State::Expired),
            ("4", State::Skipped),
            ("5", State::Assigned),
        ];
        let summary = TaskSummary::of_record(&id, &record(None, &roster));
        assert_eq!((summary.done, summary.failed, summary.all, summary.node), (1, 2, 5, None));
        let part = Part { state: State::Done, node: Some("7".into()), ..Part::default() };
        let summary = TaskSummary::of_record(&id, &record(Some(part), &[]));
        assert_eq!(
            (summary.done, summary.failed, summary.all, summary.node.as_deref()),
            (1, 0, 1, Some("7"))
        );
        assert_eq!((&*summary.action, summary.reason.as_deref()), ("calibrate", Some("why")));
    }
}
