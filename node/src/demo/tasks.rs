//! The task of the demo: a client submits a self-test of the sensors of all nodes, and follows it. It has a session of
//! its own, which ends with the task.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use atalaya_config::Boards;
use atalaya_config::Tasks;
use atalaya_recipes::session::SessionOptions;
use atalaya_recipes::{ConnectString, Connection, Error, Session};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Event;
use crate::model::json::to_json;
use crate::model::task::record::{Record, State};
use crate::model::task::spec::{DEFAULT_ATTEMPTS, DEFAULT_PRIORITY, Spec, Target};
use crate::model::task::{PREFIX, TaskId, paths};

/// Action that the nodes execute.
const ACTION: &str = "sensors.selftest";
/// Interval at which the progress is read.
const INTERVAL: Duration = Duration::from_millis(200);
/// Time after which the client follows the task no longer. Tasks for absent nodes expire after a minute.
const TIMEOUT: Duration = Duration::from_secs(180);
/// Maximum time for closing the session.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of nodes that offer actions: more nodes need the machine for their sessions.
pub(super) const MAX_NODES: u32 = 1_000;

/// Returns the boards with the built-in read-only actions. The ZooKeeper server of the demo has no authentication, so
/// no commands of boards.toml are executed.
pub(super) fn read_only(mut boards: Boards, nodes: u32) -> Boards {
    for board in boards.boards.values_mut() {
        board.tasks = (nodes <= MAX_NODES).then(Tasks::default);
    }
    boards
}

/// Submits the task, and sends its progress as events until it ends.
pub(super) fn submit(servers: ConnectString, events: mpsc::UnboundedSender<Event>) {
    tokio::spawn(async move {
        let session = Session::start(SessionOptions::new(servers, SESSION_TIMEOUT));
        // The receiver has ended if the demo has.
        let send = |text, is_problem| drop(events.send(Event::Task { text, is_problem }));
        if tokio::time::timeout(TIMEOUT, follow(&session, &send)).await.is_err() {
            send(format!("{ACTION} is not followed any longer"), true);
        }
        session.close(CLOSE_TIMEOUT).await;
    });
}

async fn follow(session: &Session, send: &impl Fn(String, bool)) {
    let id = submission_id();
    let mut task = None;
    let mut shown = String::new();
    loop {
        let connection = session.connection().await;
        match step(&connection, &id, &mut task).await {
            Ok(None) => {}
            Ok(Some(Progress { text, is_final, is_problem })) => {
                if text != shown {
                    send(text.clone(), is_problem);
                    shown = text;
                }
                if is_final {
                    return;
                }
            }
            Err(error) => tracing::debug!(%error, "cannot read the progress of the task"),
        }
        sleep(INTERVAL).await;
    }
}

/// Returns an id that no other submission to this server has: with it a client finds its task after a lost reply.
fn submission_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("demo-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

struct Progress {
    text: String,
    is_final: bool,
    is_problem: bool,
}

/// Submits the task if that has not been done, and reads its progress.
async fn step(
    connection: &Connection,
    submission: &str,
    task: &mut Option<TaskId>,
) -> Result<Option<Progress>, Error> {
    let id = match task {
        Some(id) => id.clone(),
        None => {
            let Some(id) = create(connection, submission).await? else { return Ok(None) };
            task.insert(id).clone()
        }
    };
    let Some((data, stat)) = connection.get_opt(&paths::state(&id)).await? else { return Ok(None) };
    Ok(Record::parse(&data).map(|record| progress(&id, &record, stat.num_children)))
}

/// Creates the task, unless an earlier attempt has done so.
async fn create(connection: &Connection, submission: &str) -> Result<Option<TaskId>, Error> {
    connection.ensure(paths::SPEC).await?;
    for name in connection.children_or_empty(paths::SPEC).await? {
        let Some(id) = TaskId::of_znode(&name) else { continue };
        let found = connection.get_opt(&paths::spec(&id)).await?;
        let spec = found.and_then(|(data, _)| Spec::parse(&data).ok());
        if spec.is_some_and(|spec| spec.id == submission) {
            return Ok(Some(id));
        }
    }
    let prefix = format!("{}/{PREFIX}", paths::SPEC);
    let path = connection.create_sequential(&prefix, &to_json(&spec(submission))).await?;
    Ok(path.rsplit('/').next().and_then(TaskId::of_znode))
}

fn spec(submission: &str) -> Spec {
    Spec {
        id: submission.to_owned(),
        action: ACTION.to_owned(),
        to: Target::All,
        priority: DEFAULT_PRIORITY,
        attempts: DEFAULT_ATTEMPTS,
        by: "demo".to_owned(),
        ..Spec::default()
    }
}

/// Returns the progress of a task for all nodes. `parts` is the number of its nodes that have ended an execution, while
/// it is live.
fn progress(id: &TaskId, record: &Record, parts: i32) -> Progress {
    let roster = record.roster.as_ref();
    let all = roster.map_or(0, BTreeMap::len);
    let is_final = record.state.is_final();
    let ended = match roster.filter(|_| is_final) {
        Some(roster) => roster.values().filter(|state| **state == State::Done).count(),
        None => usize::try_from(parts).unwrap_or(0),
    };
    let mut text = format!("{id} {ACTION}: {ended} of {all} done");
    let is_problem = is_final && record.state != State::Done;
    if is_problem {
        text = format!("{id} {ACTION} {}", record.state.name());
        if let Some(reason) = &record.reason {
            text.push_str(&format!(": {}", crate::model::text::sanitize_line(reason)));
        }
    }
    Progress { text, is_final, is_problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_the_nodes_that_are_done() {
        let id: TaskId = "3".parse().unwrap();
        let roster = |states: &[State]| {
            let names = (1..).map(|number: u32| number.to_string());
            Some(names.zip(states.iter().copied()).collect::<BTreeMap<_, _>>())
        };
        let record = |state, states: &[State], reason: Option<&str>| Record {
            state,
            spec: Some(spec("s")),
            roster: roster(states),
            reason: reason.map(str::to_owned),
            ..Record::default()
        };
        let live = progress(&id, &record(State::Assigned, &[State::Queued; 10], None), 7);
        assert_eq!(live.text, "t-0000000003 sensors.selftest: 7 of 10 done");
        assert!(!live.is_final);
        let done = progress(&id, &record(State::Done, &[State::Done; 3], None), 3);
        assert_eq!(done.text, "t-0000000003 sensors.selftest: 3 of 3 done");
        assert!(done.is_final && !done.is_problem);
        let reason = "of 2 nodes: 1 done, 1 expired";
        let failed = progress(&id, &record(State::Expired, &[State::Done, State::Expired], Some(reason)), 2);
        assert_eq!(failed.text, format!("t-0000000003 sensors.selftest expired: {reason}"));
        assert!(failed.is_final && failed.is_problem);
    }

    #[test]
    fn specification_is_valid_and_no_board_of_the_demo_executes_commands() {
        spec(&submission_id()).check().unwrap();
        let text = "[boards.b]\nbackend = \"sim\"\n[[boards.b.sensors]]\nname = \"s\"\nchip = \"random\"\n\
                    [boards.b.tasks]\nallow_unauthenticated = true\n[boards.b.tasks.a]\nrun = [\"/bin/true\"]\n";
        let boards = Boards::parse(text, "boards.toml").unwrap();
        assert_eq!(read_only(boards.clone(), MAX_NODES).boards["b"].tasks, Some(Tasks::default()));
        assert_eq!(read_only(boards, MAX_NODES + 1).boards["b"].tasks, None);
    }
}
