//! Decides whether a schedule went well, from history that no program gives about itself. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use derive_more::AddAssign;
use serde_json::Value;

use super::schedule::Programs;
use crate::chaos::tree::Tree;
use crate::journal::{Change, Transaction};

const SPEC: &str = "/atalaya/tasks/spec";
const RUN: &str = "/atalaya/tasks/run";
/// Parents of znodes that must be gone at the end, with the depth of those znodes.
const NATIVE_REST: [(&str, usize); 6] = [
    (SPEC, 1),
    ("/atalaya/tasks/cancel", 1),
    (RUN, 2),
    ("/atalaya/tasks/claim", 1),
    ("/atalaya/tasks/done", 1),
    ("/atalaya/tasks/alive", 1),
];
const CLASSIC_REST: [(&str, usize); 4] = [("/tasks", 1), ("/data", 1), ("/workers", 1), ("/master", 2)];
/// States of a native task that are not final.
const LIVE: [&str; 3] = ["queued", "waiting", "assigned"];

/// Maximum delay of the machine up to which lateness and overlaps are checked, in milliseconds: a quarter of a session.
const SLOW: u64 = 500;

/// A line that an execution wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionEvent {
    /// `start`, `end`, or `overlap` if another execution of the task held its lock.
    pub what: String,
    pub task: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientResult {
    /// Id of the task, if the client received it.
    pub task: Option<String>,
    /// True if the schedule killed the client.
    pub killed: bool,
    /// Exit code; `None` if the client still waited at the end.
    pub exit: Option<i32>,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub programs: Programs,
    /// Committed transactions, with paths below the chroot.
    pub transactions: Vec<Transaction>,
    pub executions: Vec<ExecutionEvent>,
    pub clients: Vec<ClientResult>,
    /// Leaders and workers of Atalaya that ended by themselves, with their last lines.
    pub ended: Vec<String>,
    /// Longest delay with which a sleeping thread woke up, in milliseconds.
    pub stall: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Violation {
    /// A task has no result, or a client does not end.
    NoResult,
    /// A task has more than one result.
    TwoResults,
    /// Two executions of a task at the same time.
    Overlap,
    /// A task that must not be started twice was started twice.
    StartedTwice,
    /// A process that is not the leader wrote as a leader.
    Deposed,
    Left,
    Ended,
}

impl Violation {
    /// Returns true if a slow machine can be the cause: a missed time limit, or a guard that did not run in time.
    fn can_be_slowness(self) -> bool {
        matches!(self, Violation::NoResult | Violation::Overlap | Violation::Left)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Violation::NoResult => "no result",
            Violation::TwoResults => "two results",
            Violation::Overlap => "two executions at once",
            Violation::StartedTwice => "started twice",
            Violation::Deposed => "a write of a deposed leader",
            Violation::Left => "znodes left",
            Violation::Ended => "a process ended by itself",
        })
    }
}

#[derive(AddAssign, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub tasks: u64,
    pub results: u64,
    pub starts: u64,
    /// Tasks that ended with the session of their client.
    pub abandoned: u64,
    /// Sessions that wrote as leaders.
    pub leaders: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Violations, with the task or the znode.
    pub violations: Vec<(Violation, String)>,
    /// Violations that cannot be decided because the machine was too slow.
    pub undecided: Vec<(Violation, String)>,
    pub counts: Counts,
}

/// A task, from the log.
#[derive(Debug, Default)]
struct Task {
    results: Vec<String>,
    once: bool,
    /// True if the client's session ended while the task existed. Classic tasks only.
    lost: bool,
}

pub fn check(history: &History) -> CheckReport {
    let mut found = Vec::new();
    let native = history.programs == Programs::Native;
    let (mut tree, mut tasks) = (Tree::default(), BTreeMap::<String, Task>::new());
    let mut leaders = BTreeSet::new();
    for transaction in &history.transactions {
        let session = transaction.session;
        let leader = tree.first_contender(if native { "/election" } else { "/master" });
        let is_leading =
            |change: &Change| if native { leads(change) } else { classic_leads(change, &tree, session) };
        if let Some(change) = transaction.changes.iter().find(|change| is_leading(change)) {
            leaders.insert(session);
            if leader != Some(session) {
                found.push((
                    Violation::Deposed,
                    format!("session {session:#x} wrote {}", path(change).unwrap_or("")),
                ));
            }
        }
        for change in &transaction.changes {
            if native {
                read_native(change, &mut tasks);
            } else {
                read_classic(change, &mut tasks);
            }
        }
        if !native && transaction.changes.contains(&Change::Closed) {
            for path in tree.below("/tasks", 1).filter(|path| tree.owner(path) == Some(Some(session))) {
                tasks.entry(path["/tasks/".len()..].to_owned()).or_default().lost = true;
            }
        }
        tree.apply(transaction);
    }
    let mut counts = Counts {
        tasks: tasks.len() as u64,
        starts: history.executions.iter().filter(|line| line.what == "start").count() as u64,
        leaders: leaders.len() as u64,
        ..Counts::default()
    };
    for (name, task) in &tasks {
        // Clients delete finished classic tasks themselves; abandoned ones have no result.
        match task.results.len() {
            0 if task.lost => counts.abandoned += 1,
            0 => found.push((Violation::NoResult, name.clone())),
            1 => counts.results += 1,
            _ => found.push((Violation::TwoResults, format!("{name}: {:?}", task.results))),
        }
        let starts =
            history.executions.iter().filter(|line| line.what == "start" && line.task == *name).count();
        if task.once && starts > 1 {
            found.push((Violation::StartedTwice, format!("{name}: {starts} starts")));
        }
    }
    let overlaps = history.executions.iter().filter(|line| line.what == "overlap");
    found.extend(overlaps.map(|line| (Violation::Overlap, line.task.clone())));
    for (number, client) in history.clients.iter().enumerate() {
        let gave_up = client.task.as_ref().and_then(|task| tasks.get(task)).is_none_or(|task| task.lost);
        let wrong = match client.exit {
            _ if client.killed => None,
            None => Some("waits for ever".to_owned()),
            Some(0) => None,
            // The client reported that it gave up, and nothing of the task is left.
            Some(_) if !native && gave_up => None,
            Some(code) => Some(format!("ended with exit code {code}")),
        };
        found.extend(wrong.map(|wrong| (Violation::NoResult, format!("client {number} {wrong}"))));
    }
    found.extend(rest(&tree, native).into_iter().map(|path| (Violation::Left, path)));
    found.extend(history.ended.iter().map(|text| (Violation::Ended, text.clone())));
    let is_slow = history.stall > SLOW;
    let (undecided, violations) = found.into_iter().partition(|(kind, _)| is_slow && kind.can_be_slowness());
    CheckReport { violations, undecided, counts }
}

/// Returns the znodes that must be gone when no process runs.
pub(super) fn rest(tree: &Tree, native: bool) -> Vec<String> {
    let parents = if native { &NATIVE_REST[..] } else { &CLASSIC_REST[..] };
    let below = |(parent, depth): &(&'static str, usize)| tree.below(parent, *depth).map(str::to_owned);
    parents.iter().flat_map(below).collect()
}

fn path(change: &Change) -> Option<&str> {
    match change {
        Change::Create { path, .. } | Change::Set { path, .. } | Change::Delete { path } => Some(path),
        _ => None,
    }
}

/// Returns true for writes that only the leader makes: records, and new assignments.
fn leads(change: &Change) -> bool {
    match change {
        Change::Create { path, .. } => {
            path.starts_with("/atalaya/tasks/state/")
                || path.strip_prefix("/atalaya/tasks/run/").is_some_and(|rest| rest.contains('/'))
        }
        Change::Set { path, .. } => path.starts_with("/atalaya/tasks/state/"),
        _ => false,
    }
}

/// Returns true for writes of a master: assignments of tasks, and of workers of other sessions.
fn classic_leads(change: &Change, tree: &Tree, session: i64) -> bool {
    let Change::Set { path, data } = change else { return false };
    let is_assignment = path.starts_with("/tasks/") && !data.contains(&b'=');
    is_assignment
        || (path.starts_with("/workers/") && tree.owner(path).flatten().is_some_and(|owner| owner != session))
}

fn read_native(change: &Change, tasks: &mut BTreeMap<String, Task>) {
    let (Change::Create { path, data, .. } | Change::Set { path, data }) = change else { return };
    let json: Value = serde_json::from_slice(data).unwrap_or_default();
    if let (Some(task), Change::Create { .. }) = (path.strip_prefix("/atalaya/tasks/spec/"), change) {
        tasks.entry(task.to_owned()).or_default().once = json["promise"] == "at-most-once";
    }
    let state = json["state"].as_str();
    if let Some(task) = path.strip_prefix("/atalaya/tasks/state/").filter(|rest| !rest.contains('/'))
        && state.is_some_and(|state| !LIVE.contains(&state))
    {
        let text = format!("{} {}", json["state"], json["part"]["outcome"]);
        tasks.entry(task.to_owned()).or_default().results.push(text);
    }
}

fn read_classic(change: &Change, tasks: &mut BTreeMap<String, Task>) {
    match change {
        Change::Create { path, .. } => {
            if let Some(task) = path.strip_prefix("/tasks/") {
                tasks.entry(task.to_owned()).or_default();
            }
        }
        Change::Set { path, data } if data.contains(&b'=') => {
            if let Some(task) = path.strip_prefix("/tasks/") {
                let text = String::from_utf8_lossy(data).into_owned();
                tasks.entry(task.to_owned()).or_default().results.push(text);
            }
        }
        _ => {}
    }
}
