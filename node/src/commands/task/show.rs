//! `atalaya task show`.

use clap::Args;

use super::{json, table, with_task};
use crate::commands::args::{ConnectionArgs, Output};
use crate::commands::exit::Failure;
use crate::commands::load_settings;
use crate::commands::stdout::print;
use crate::model::task::record::Outcome;
use crate::model::task::spec::Spec;
use crate::model::text::{format_age, sanitize_line, sanitize_lines};
use crate::tasks::client::read;
use crate::tasks::client::view::{PartView, TaskView, describe_target};
use crate::tasks::explain;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya task show 12
  atalaya task show t-0000000012 --output json | jq '.nodes[] | select(.state != \"done\")'

Exit codes: 0 shown, in any state; 65 wrong id, or unknown task; 69 ZooKeeper unreachable.")]
pub(in crate::commands) struct ShowArgs {
    /// Id of the task, such as 12 or t-0000000012.
    task: String,

    /// Output format: lines for people, or one JSON object.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,

    /// Parent znode of the contenders of the election [default: boards.toml, or /election] [env: ATALAYA_ELECTION].
    #[arg(long, value_name = "PATH", help_heading = "Fleet")]
    election: Option<String>,
}

pub(super) fn main(args: &ShowArgs) -> Result<(), Failure> {
    let flags = args.connection.flags.0.clone().with_optional("election", args.election.as_ref());
    let (_, settings) = load_settings(None, &flags)?;
    with_task(&args.connection, &args.task, async |session, view| {
        let mut reasons = Vec::new();
        let now = table::now(view.newest_write);
        if !view.state().is_final() {
            let workers = read::workers(&session).await?;
            let has_leader = read::has_leader(&session, &settings.election).await?;
            reasons = explain::reasons(&view, &workers, has_leader, now);
        }
        match args.output {
            Output::Json => json::print_line(&json::task(&view, &reasons)),
            Output::Table => print(render(&view, &reasons, now).as_bytes()),
        }
    })
}

fn render(view: &TaskView, reasons: &[String], now: i64) -> String {
    let mut text = table::line("task", view.task.as_str());
    text += &table::line("state", view.state_name());
    if let Some(reason) = view.reason() {
        text += &table::line("", reason);
    }
    for (index, reason) in reasons.iter().enumerate() {
        text += &table::line(if index == 0 { "waits" } else { "" }, reason);
    }
    match &view.spec {
        Ok(spec) => text += &specification(spec),
        Err(problem) => text += &table::line("problem", problem),
    }
    text += &table::line("submitted", &format!("{} ago", table::age(view.submitted_at, now)));
    if let Some(ended) = view.record.as_ref().and_then(|record| record.ended_at) {
        text += &table::line("ended", &format!("{} ago", table::age(ended, now)));
    }
    if let Some(cancel) = &view.cancel {
        let reason = if cancel.reason.is_empty() { "no reason given" } else { &cancel.reason };
        text += &table::line("cancelled", &format!("by {}: {reason}", cancel.by));
    }
    if view.is_broadcast() {
        let counts = view.counts();
        let counts: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
        text += &table::line("nodes", &format!("{}: {}", view.parts.len(), counts.join(", ")));
    }
    if !view.parts.is_empty() {
        text.push('\n');
        text += &parts(view);
    }
    for (node, outcome) in view.outcomes().filter(|(_, outcome)| !outcome.output.is_empty()) {
        text += &format!("\noutput of node {}:\n", sanitize_line(node));
        text += &output(outcome);
    }
    text
}

fn specification(spec: &Spec) -> String {
    let args: Vec<String> = spec.args.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut text = table::line("action", &format!("{} {}", spec.action, args.join(" ")));
    text += &table::line("to", &describe_target(spec));
    let attempts = format!("{}, {} attempts", spec.promise.name(), spec.allowed_failures());
    text += &table::line("promise", &attempts);
    if !spec.by.is_empty() {
        text += &table::line("by", &spec.by);
    }
    if let Some(task) = &spec.retry_of {
        text += &table::line("retry of", task.as_str());
    }
    text
}

fn parts(view: &TaskView) -> String {
    let row = |(node, view): (&String, &PartView)| {
        let part = &view.part;
        let outcome = part.outcome.as_ref();
        let duration = outcome.map(|outcome| format_age(outcome.duration_ms as f64 / 1_000.0));
        let exit = outcome.and_then(|outcome| match (outcome.exit_code, outcome.signal) {
            (Some(code), _) => Some(code.to_string()),
            (None, Some(signal)) => Some(format!("signal {signal}")),
            (None, None) => None,
        });
        let reason = part.reason.clone().or_else(|| outcome.and_then(|outcome| outcome.reason.clone()));
        let progress = view.progress.clone().filter(|_| !part.state.is_final());
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        [
            node.clone(),
            view.state_name().to_owned(),
            part.attempt.to_string(),
            or_dash(exit),
            or_dash(duration),
            progress.or(reason).unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = view.parts.iter().map(row).collect();
    table::render(["node", "state", "attempt", "exit", "duration", "detail"], &rows)
}

/// Returns the output of a command for a terminal, with the number of bytes that were not kept.
pub(super) fn output(outcome: &Outcome) -> String {
    let mut text = String::new();
    if outcome.omitted > 0 {
        text += &format!("({} bytes before this are not kept)\n", outcome.omitted);
    }
    text += &sanitize_lines(&outcome.output);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::record::{Part, Record, State};
    use crate::model::task::spec::tests::spec;
    use crate::tasks::client::view::tests::view;

    #[test]
    fn show_names_state_reason_node_and_output_without_unsafe_characters() {
        let outcome = Outcome {
            exit_code: Some(3),
            duration_ms: 1_500,
            output: "one\n\u{1b}[2Jtwo".into(),
            omitted: 7,
            ..Outcome::default()
        };
        let part = Part {
            state: State::Failed,
            node: Some("1".into()),
            attempt: 2,
            outcome: Some(outcome),
            reason: Some("exit\ncode 3".into()),
            ..Part::default()
        };
        let record = Record {
            state: State::Failed,
            spec: Some(spec("calibrate")),
            ended_at: Some(2_000),
            part: Some(part.clone()),
            ..Record::default()
        };
        let mut view = view(spec("calibrate"), Some(record));
        view.parts.insert("1".into(), PartView { part, ..PartView::default() });
        let text = render(&view, &[], 5_000);
        for wanted in [
            "task      t-0000000007\n",
            "state     failed\n",
            "action    calibrate",
            "promise   at-least-once, 3 attempts\n",
            "submitted 5.0s ago\n",
            "ended     3.0s ago\n",
            "1     failed  2        3     1.5s      exit\u{fffd}code 3\n",
            "output of node 1:\n(7 bytes before this are not kept)\none\n\u{fffd}[2Jtwo\n",
        ] {
            assert!(text.contains(wanted), "{wanted:?} in\n{text}");
        }
    }
}
