//! The tasks in the fleet status: at most 20, with the progress that their workers publish.

use std::time::Duration;

use atalaya_recipes::{Connection, Error};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use crate::leader::status_text::line;
use crate::model::task::overview::{Overview, TaskSummary};
use crate::model::task::paths;
use crate::model::task::record::{Progress, State};

/// Number of reads at the same time.
const CONCURRENT_READS: usize = 8;

/// The tasks on the wire; see `docs/protocol.md`.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct TasksStatus {
    live: usize,
    list: Vec<TaskStatus>,
}

#[derive(Debug, PartialEq, Serialize)]
struct TaskStatus {
    id: String,
    action: String,
    state: &'static str,
    node: Option<String>,
    progress: Option<String>,
    done: usize,
    failed: usize,
    all: usize,
    age: f64,
    ended: Option<f64>,
    reason: Option<String>,
}

/// Returns the seconds from `earlier` to `now`, both in milliseconds.
fn seconds(now: i64, earlier: i64) -> f64 {
    Duration::from_millis(u64::try_from(now.saturating_sub(earlier)).unwrap_or(0)).as_secs_f64()
}

impl TasksStatus {
    /// Returns the status of the tasks at `now`, by ZooKeeper's clock; `None` if there are none. The texts of clients and
    /// workers become single lines of limited length.
    pub(super) fn new(overview: &Overview, progress: &[Option<String>], now: i64) -> Option<TasksStatus> {
        if overview.tasks.is_empty() {
            return None;
        }
        let list = overview.tasks.iter().enumerate().map(|(index, task)| {
            let TaskSummary { done, failed, all, submitted_at, .. } = *task;
            let progress = progress.get(index).and_then(Option::as_deref).filter(|text| !text.is_empty());
            TaskStatus {
                id: task.id.as_ref().map(ToString::to_string).unwrap_or_default(),
                action: line(&task.action),
                state: task.state.name(),
                node: task.node.as_deref().map(line),
                progress: progress.map(line),
                done,
                failed,
                all,
                age: seconds(now, submitted_at),
                ended: task.ended_at.map(|ended| seconds(now, ended)),
                reason: task.reason.as_deref().map(line),
            }
        });
        Some(TasksStatus { live: overview.live, list: list.collect() })
    }
}

/// Reads the progress of the tasks that one node executes, in the order of the overview.
pub(super) async fn read_progress(
    connection: &Connection,
    overview: &Overview,
) -> Result<Vec<Option<String>>, Error> {
    stream::iter(&overview.tasks)
        .map(|task| async move {
            let executing = task.id.as_ref().zip(task.node.as_deref());
            let Some((id, node)) = executing.filter(|_| task.state == State::Assigned) else {
                return Ok(None);
            };
            let claim = connection.get_opt(&paths::claim(id, node)).await?;
            Ok(claim.map(|(data, _)| Progress::parse(&data).text))
        })
        .buffered(CONCURRENT_READS)
        .try_collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: u32) -> TaskSummary {
        TaskSummary {
            id: Some(number.to_string().parse().unwrap()),
            action: "calibrate".to_owned(),
            state: State::Assigned,
            node: Some("3".to_owned()),
            all: 1,
            submitted_at: 4_000,
            ..TaskSummary::default()
        }
    }

    #[test]
    fn tasks_have_the_json_that_collectors_understand() {
        let ended = TaskSummary {
            state: State::Failed,
            node: None,
            done: 7,
            failed: 2,
            all: 10,
            ended_at: Some(9_000),
            reason: Some("of 10 nodes: 7 done\nand\u{1b}[2J more".to_owned()),
            ..task(4)
        };
        let overview = Overview { live: 1, tasks: vec![task(3), ended] };
        let status = TasksStatus::new(&overview, &[Some("step 2".to_owned()), None], 10_000);
        assert_eq!(
            serde_json::to_value(status).unwrap(),
            serde_json::json!({"live": 1, "list": [
                {"id": "t-0000000003", "action": "calibrate", "state": "assigned", "node": "3", "progress": "step 2",
                 "done": 0, "failed": 0, "all": 1, "age": 6.0, "ended": null, "reason": null},
                {"id": "t-0000000004", "action": "calibrate", "state": "failed", "node": null, "progress": null,
                 "done": 7, "failed": 2, "all": 10, "age": 6.0, "ended": 1.0,
                 "reason": "of 10 nodes: 7 done\u{fffd}and\u{fffd}[2J more"}]})
        );
        assert_eq!(
            TasksStatus::new(&Overview::default(), &[], 0),
            None,
            "a fleet without tasks has no field"
        );
    }

    #[test]
    fn hostile_texts_are_shortened() {
        let long = "x".repeat(10_000);
        let hostile = TaskSummary { action: long.clone(), reason: Some(long.clone()), ..task(1) };
        let overview = Overview { live: 20, tasks: vec![hostile; 20] };
        let status = TasksStatus::new(&overview, &vec![Some(long); 20], 0).unwrap();
        assert!(serde_json::to_vec(&status).unwrap().len() < 20_000);
    }
}
