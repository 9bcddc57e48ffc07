//! Records of tasks, which the leader writes, and the messages between leader and worker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::{Promise, Spec};
use crate::model::health_status::is_zero;
use crate::model::text::sanitize_lines;

/// Maximum size of a record that is read, in bytes: one of a task for 10,000 nodes has half of it.
const MAX_RECORD: usize = 1 << 20;
/// Maximum size of an assignment, an outcome or a progress that is read, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;
/// Maximum length of the output in an outcome, in bytes.
pub const MAX_OUTPUT: usize = 8 * 1024;
/// Maximum length of a reason, in characters.
const MAX_REASON: usize = 500;
/// Number of workers that may end while they execute a task, after which it is not assigned again.
pub const MAX_LOSSES: u32 = 3;

/// State of a task, or of a node's part in it. A final state never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Waits for a node.
    #[default]
    Queued,
    /// Waits until the next attempt, after a failed one.
    Waiting,
    /// Assigned to a node, which may execute it already.
    Assigned,
    /// Executed with success.
    Done,
    /// Failed at the last attempt, or cannot be executed.
    Failed,
    /// Exceeded the time limit at the last attempt.
    TimedOut,
    /// Cancelled by a client.
    Cancelled,
    /// The worker ended without a result, and the task must not be executed twice.
    Lost,
    /// Not started in time.
    Expired,
    /// Not started, because the roll-out was stopped.
    Skipped,
}

impl State {
    /// All states, in the order of a task's life.
    pub const ALL: [State; 10] = [
        State::Queued,
        State::Waiting,
        State::Assigned,
        State::Done,
        State::Failed,
        State::TimedOut,
        State::Cancelled,
        State::Lost,
        State::Expired,
        State::Skipped,
    ];

    /// Returns true if the state never changes.
    pub fn is_final(self) -> bool {
        !matches!(self, State::Queued | State::Waiting | State::Assigned)
    }

    /// Returns the name in output and metrics.
    pub fn name(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Waiting => "waiting",
            State::Assigned => "assigned",
            State::Done => "done",
            State::Failed => "failed",
            State::TimedOut => "timed-out",
            State::Cancelled => "cancelled",
            State::Lost => "lost",
            State::Expired => "expired",
            State::Skipped => "skipped",
        }
    }
}

/// Result of one execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Result {
    /// The action succeeded.
    Done,
    /// The action failed.
    #[default]
    Failed,
    /// The action exceeded its time limit.
    TimedOut,
    /// The worker stopped the action, because it shut down.
    Interrupted,
    /// The worker does not offer the action, or not with these arguments.
    Refused,
}

/// Outcome of one execution, which the worker writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Result.
    pub result: Result,
    /// Exit code of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Signal that ended the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Duration, in milliseconds.
    #[serde(default)]
    pub duration_ms: u64,
    /// Last part of the output.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Number of bytes of output before that part.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u64,
    /// Reason of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Part of a node in a task. A task for one node has one part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// State.
    #[serde(default)]
    pub state: State,
    /// Node to which it is, or was last, assigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Number of assignments.
    #[serde(default)]
    pub attempt: u32,
    /// Number of failed executions.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// Number of workers that ended while they executed it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub losses: u32,
    /// Start of the next attempt, in milliseconds since 1970 by ZooKeeper's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    /// Time of the last assignment, by ZooKeeper's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_at: Option<i64>,
    /// Time at which the state became final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<i64>,
    /// Outcome of the last execution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Reason of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Record of a task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// State.
    pub state: State,
    /// Specification; `None` if it could not be parsed.
    pub spec: Option<Spec>,
    /// Time of the submission, by ZooKeeper's clock.
    pub submitted_at: i64,
    /// Time at which the state became final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<i64>,
    /// The part of a task for one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
    /// States of the nodes of a task for several nodes. They are current when the state is final; before, the znodes of
    /// the parts and of the assignments are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roster: Option<BTreeMap<String, State>>,
    /// Request to cancel it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    /// Reason of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Request to cancel a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cancel {
    /// Client, for people.
    pub by: String,
    /// Reason, for people.
    pub reason: String,
}

/// Assignment of a task to a node, which the leader writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Action.
    pub action: String,
    /// Arguments.
    #[serde(default)]
    pub args: BTreeMap<String, String>,
    /// Time limit, in milliseconds.
    #[serde(default)]
    pub run_for_ms: Option<u64>,
    /// Promise of the task.
    #[serde(default)]
    pub promise: Promise,
    /// Id of the file that the action distributes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Progress of an execution, in the claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Text of the action.
    #[serde(default)]
    pub text: String,
}

/// Parses JSON of limited size.
fn parse<T: for<'de> Deserialize<'de>>(data: &[u8], max: usize) -> Option<T> {
    let data = if data.len() > max { &[] } else { data };
    serde_json::from_slice(data).ok()
}

fn shorten(text: &str, max_chars: usize) -> String {
    sanitize_lines(text).chars().take(max_chars).collect()
}

impl Outcome {
    /// Parses an outcome, and limits its texts. `None` if it is not one.
    pub fn parse(data: &[u8]) -> Option<Outcome> {
        let mut outcome: Outcome = parse(data, MAX_MESSAGE)?;
        outcome.limit();
        Some(outcome)
    }

    /// Shortens the texts: the end of the output stays.
    pub fn limit(&mut self) {
        let output = sanitize_lines(&self.output).into_owned();
        let mut start = output.len().saturating_sub(MAX_OUTPUT);
        while !output.is_char_boundary(start) {
            start += 1;
        }
        self.omitted = self.omitted.saturating_add(start as u64);
        self.output = output.get(start..).unwrap_or_default().to_owned();
        self.reason = self.reason.take().map(|reason| shorten(&reason, MAX_REASON));
    }
}

impl Cancel {
    /// Parses a request, and limits its texts. Any data is a request.
    pub fn parse(data: &[u8]) -> Cancel {
        let cancel: Cancel = parse(data, MAX_MESSAGE).unwrap_or_default();
        Cancel { by: shorten(&cancel.by, 100), reason: shorten(&cancel.reason, MAX_REASON) }
    }
}

impl Part {
    /// Parses the record of a part.
    pub fn parse(data: &[u8]) -> Option<Part> {
        parse(data, MAX_MESSAGE)
    }
}

impl Record {
    /// Parses the record of a task.
    pub fn parse(data: &[u8]) -> Option<Record> {
        parse(data, MAX_RECORD)
    }
}

impl Assignment {
    /// Parses an assignment.
    pub fn parse(data: &[u8]) -> Option<Assignment> {
        parse(data, MAX_MESSAGE)
    }
}

impl Progress {
    /// Parses the data of a claim.
    pub fn parse(data: &[u8]) -> Progress {
        let progress: Progress = parse(data, MAX_MESSAGE).unwrap_or_default();
        Progress { text: shorten(&progress.text, 200) }
    }
}

/// Returns the state of a task from those of its parts, and the reason: done if all are done; cancelled, skipped or
/// expired if that is the worst; failed otherwise.
pub fn combined<'a>(parts: impl IntoIterator<Item = &'a State>) -> (State, Option<String>) {
    let mut counts: BTreeMap<State, usize> = BTreeMap::new();
    for state in parts {
        *counts.entry(*state).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    let count = |state: State| counts.get(&state).copied().unwrap_or(0);
    if count(State::Done) == total {
        return (State::Done, None);
    }
    let listed: Vec<String> =
        counts.iter().map(|(state, count)| format!("{count} {}", state.name())).collect();
    let reason = Some(format!("of {total} nodes: {}", listed.join(", ")));
    let failed = [State::Failed, State::TimedOut, State::Lost];
    if failed.iter().any(|state| count(*state) > 0) {
        return (State::Failed, reason);
    }
    let state =
        [State::Cancelled, State::Skipped, State::Expired].into_iter().find(|state| count(*state) > 0);
    (state.unwrap_or(State::Failed), reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::json::to_json;

    #[test]
    fn outcome_keeps_the_end_of_its_output() {
        let output = format!("{}\u{1b}[2Jend", "é".repeat(MAX_OUTPUT));
        let data = to_json(&Outcome { output, omitted: 1, ..Outcome::default() });
        let outcome = Outcome::parse(&data).unwrap();
        assert!(outcome.output.len() <= MAX_OUTPUT && outcome.output.ends_with("[2Jend"));
        assert!(!outcome.output.contains('\u{1b}') && outcome.omitted > MAX_OUTPUT as u64 / 2);
        assert_eq!(Outcome::parse(&vec![b' '; MAX_MESSAGE + 1]), None);
    }

    #[test]
    fn combined_state_names_the_worst_and_counts_all() {
        let table = [
            (vec![State::Done, State::Done], State::Done),
            (vec![State::Done, State::Failed, State::Expired], State::Failed),
            (vec![State::Done, State::Lost], State::Failed),
            (vec![State::Done, State::Expired], State::Expired),
            (vec![State::Cancelled, State::Done], State::Cancelled),
        ];
        for (parts, wanted) in table {
            assert_eq!(combined(&parts).0, wanted, "{parts:?}");
        }
        let reason = combined(&[State::Done, State::Failed, State::Done]).1.unwrap();
        assert_eq!(reason, "of 3 nodes: 2 done, 1 failed");
        assert_eq!(combined([]).0, State::Done, "no node was selected");
    }

    proptest! {
        #[test]
        fn messages_parse_any_bytes_in_linear_time_to_bounded_results(data in crate::model::foreign_input::bytes()) {
            let (outcome, cancel, progress) = crate::model::foreign_input::in_time(data.len(), || {
                let (_, _, _) = (Record::parse(&data), Part::parse(&data), Assignment::parse(&data));
                (Outcome::parse(&data), Cancel::parse(&data), Progress::parse(&data))
            });
            prop_assert!(cancel.reason.chars().count() <= MAX_REASON && progress.text.chars().count() <= 200);
            prop_assert!(outcome.is_none_or(|outcome| outcome.output.len() <= MAX_OUTPUT));
        }
    }
}
