//! `atalaya task list`.

use clap::Args;

use super::{json, table};
use crate::commands::args::{ConnectionArgs, Output};
use crate::commands::exit::Failure;
use crate::commands::stdout::{json_lines, print};
use crate::commands::tools::connection::with_session;
use crate::model::task::record::State;
use crate::tasks::client::read;
use crate::tasks::client::view::Summary;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya task list
  atalaya task list --state failed --state lost
  atalaya task list --output json | jq 'select(.by == \"ana@lab\") | .task'

The history contains the last 500 tasks that have ended, for 7 days. A record that is not valid has the \
state unreadable.

Exit codes: 0 listed; 69 ZooKeeper unreachable.")]
pub(in crate::commands) struct ListArgs {
    /// Only tasks in this state; may be repeated.
    #[arg(long = "state", value_name = "STATE", value_parser = state_names())]
    states: Vec<String>,

    /// Maximum number of tasks.
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    limit: usize,

    /// Output format; json prints one object per line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Returns the names of all states in lists.
fn state_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = State::ALL.iter().map(|state| state.name()).collect();
    names.extend(["running", "unreadable"]);
    names
}

pub(super) fn main(args: &ListArgs) -> Result<(), Failure> {
    let is_wanted = |summary: &Summary| {
        args.states.is_empty() || args.states.iter().any(|state| state == summary.state_name())
    };
    with_session(&args.connection, async |session| {
        let (tasks, total) = read::list(&session, args.limit, is_wanted).await?;
        match args.output {
            Output::Json => print(json_lines(tasks.iter().map(json::summary)).as_bytes()),
            Output::Table if tasks.is_empty() && total == 0 => print(b"there are no tasks\n"),
            Output::Table if tasks.is_empty() => print(b"there are no such tasks\n"),
            Output::Table => print(rows(&tasks).as_bytes()),
        }
    })
}

fn rows(tasks: &[Summary]) -> String {
    let times = tasks.iter().flat_map(|task| [Some(task.submitted_at), task.ended_at]);
    let now = table::now(times.flatten().max().unwrap_or(0));
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let row = |task: &Summary| {
        let ended = task.ended_at.map_or_else(|| "-".to_owned(), |ended| table::age(ended, now));
        [
            task.task.to_string(),
            task.state_name().to_owned(),
            or_dash(&task.action),
            or_dash(&task.target),
            table::age(task.submitted_at, now),
            ended,
            or_dash(&task.by),
            task.reason.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = tasks.iter().map(row).collect();
    table::render(["task", "state", "action", "to", "submitted", "ended", "by", "reason"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::to_json;
    use crate::model::task::spec::tests::spec;

    #[test]
    fn list_is_a_table_with_one_line_per_task() {
        let hostile = "a\u{1b}[2J\nb";
        let spec = crate::model::task::spec::Spec { by: hostile.into(), ..spec("status") };
        let queued = Summary::of_spec("7".parse().unwrap(), &to_json(&spec), 0);
        let wrong = Summary::of_record("8".parse().unwrap(), b"x", 0);
        let text = rows(&[wrong, queued]);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.starts_with("task          state       action  to   submitted"), "{text}");
        assert!(text.contains("t-0000000008  unreadable  -       -"), "{text}");
        assert!(text.contains("t-0000000007  queued      status  any"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
