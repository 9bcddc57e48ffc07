//! `atalaya classic status`.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use super::PlaceArgs;
use crate::commands::args::Output;
use crate::commands::exit::Failure;
use crate::commands::stdout::print;
use crate::commands::tools::connection::with_session;
use crate::model::text;
use crate::tasks::classic::election::contenders;
use crate::tasks::classic::layout::{Layout, TaskState, WorkerState};
use crate::tasks::classic::master::read_children;

/// Maximum number of characters of a column.
const MAX_CELL: usize = 60;

/// Masters, workers and tasks.
#[derive(Debug, Serialize)]
struct Status {
    masters: Vec<Entry>,
    workers: Vec<Entry>,
    tasks: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    id: String,
    /// `leading` or `waiting`; `free` or `busy`; `waiting`, `assigned` or `finished`.
    state: &'static str,
    /// Data of a master, task of a worker, assignment or result of a task.
    text: String,
}

pub(super) fn main(place: &PlaceArgs, output: Output) -> Result<ExitCode, Failure> {
    let layout = place.layout();
    let status = with_session(&place.connection, async |session| {
        let connection = session.connection().await;
        connection.sync().await?;
        let masters = read_children(&connection, &layout.masters()).await?;
        let names: Vec<String> = masters.keys().cloned().collect();
        let master = |(at, name): (usize, &str)| Entry {
            id: name.to_owned(),
            state: if at == 0 { "leading" } else { "waiting" },
            text: masters.get(name).map(|(data, _)| String::from_utf8_lossy(data).into()).unwrap_or_default(),
        };
        let (workers, tasks) = read_workers_and_tasks(&connection, &layout).await?;
        let masters = contenders(&names).into_iter().enumerate().map(master).collect();
        Ok(Status { masters, workers, tasks })
    })?;
    let text = match output {
        Output::Json => serde_json::to_string(&status).map_err(Failure::internal)? + "\n",
        Output::Table => table(&status),
    };
    print(text.as_bytes()).map(|()| ExitCode::SUCCESS)
}

async fn read_workers_and_tasks(
    connection: &atalaya_recipes::Connection,
    layout: &Layout,
) -> Result<(Vec<Entry>, Vec<Entry>), Failure> {
    let workers = read_children(connection, &layout.workers()).await?;
    let worker = |(id, data): (&String, &[u8])| {
        let (state, text) = match WorkerState::parse(data) {
            WorkerState::Free => ("free", String::new()),
            WorkerState::Busy(task) => ("busy", task),
        };
        Entry { id: id.clone(), state, text }
    };
    let workers = workers.iter().map(|(id, (data, _))| worker((id, data))).collect();
    let tasks = read_children(connection, &layout.tasks()).await?;
    let task = |(id, data): (&String, &[u8])| {
        let (state, text) = match TaskState::parse(id, data) {
            TaskState::Unassigned => ("waiting", String::new()),
            TaskState::Assigned(text) => ("assigned", text),
            TaskState::Finished(result) => ("finished", result),
        };
        Entry { id: id.clone(), state, text }
    };
    let tasks = tasks.iter().map(|(id, (data, _))| task((id, data))).collect();
    Ok((workers, tasks))
}

/// Returns a table for each kind of znode.
fn table(status: &Status) -> String {
    let mut output = String::new();
    let kinds = [("master", &status.masters), ("worker", &status.workers), ("task", &status.tasks)];
    for (kind, entries) in kinds {
        let cell = |text: &str| text::truncate(text, MAX_CELL);
        let width = entries.iter().map(|entry| cell(&entry.id).chars().count()).max().unwrap_or(0).max(10);
        // Writing to a String cannot fail.
        let _ = writeln!(output, "{kind:width$}  state");
        for Entry { id, state, text } in entries {
            let line = format!("{:width$}  {state:8}  {}", cell(id), cell(text));
            let _ = writeln!(output, "{}", line.trim_end());
        }
        if entries.is_empty() {
            let _ = writeln!(output, "none");
        }
        let _ = writeln!(output);
    }
    output.truncate(output.trim_end().len());
    output + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_section_for_each_kind_and_safe_cells() {
        let entry = |id: &str, state, text: &str| Entry { id: id.to_owned(), state, text: text.to_owned() };
        let status = Status {
            masters: vec![entry("0000000001", "leading", "pi:7")],
            workers: vec![entry("w1", "busy", "t1"), entry("w2\x1b[2J", "free", "")],
            tasks: Vec::new(),
        };
        let wanted = "\
master      state
0000000001  leading   pi:7

worker      state
w1          busy      t1
w2\u{fffd}[2J      free

task        state
none
";
        assert_eq!(table(&status), wanted);
    }
}
