//! `atalaya task actions`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::anyhow;
use atalaya_config::Promise;
use clap::Args;
use serde_json::json;

use super::table;
use crate::commands::args::{ConnectionArgs, Output};
use crate::commands::exit::Failure;
use crate::commands::stdout::{json_lines, print};
use crate::commands::tools::connection::with_session;
use crate::model::task::worker_info::ActionInfo;
use crate::model::text::{format_age, sanitize_for_log};
use crate::tasks::client::read;
use crate::tasks::client::view::Workers;
use crate::tasks::explain::describe_type;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya task actions
  atalaya task actions --node greenhouse-2
  atalaya task actions --output json | jq 'select(.present | not) | .node'      absent nodes

Nodes that have published their actions once stay in the list, also while they are absent.

Exit codes: 0 listed; 65 unknown node; 69 ZooKeeper unreachable.")]
pub(in crate::commands) struct ActionsArgs {
    /// Only the actions of this node.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,

    /// Output format; json prints one object per node.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn main(args: &ActionsArgs) -> Result<(), Failure> {
    with_session(&args.connection, async |session| {
        let mut workers = read::workers(&session).await?;
        if let Some(node) = &args.node {
            workers.retain(|name, _| name == node);
            if workers.is_empty() {
                let node = sanitize_for_log(node);
                return Err(Failure::data(anyhow!("node {node} is unknown: it has never been a worker")));
            }
        }
        match args.output {
            Output::Json => print(lines(&workers).as_bytes()),
            Output::Table if workers.is_empty() => print(b"no node has published its actions\n"),
            Output::Table => print(render(&workers).as_bytes()),
        }
    })
}

fn lines(workers: &Workers) -> String {
    json_lines(workers.iter().map(|(node, worker)| {
        json!({
            "node": node,
            "present": worker.is_alive,
            "readable": worker.info.is_some(),
            "assigned": worker.assigned,
            "worker": worker.info,
        })
    }))
}

/// Returns a table of the nodes and one of the actions. Actions of the same name with different arguments have a line
/// each.
fn render(workers: &Workers) -> String {
    let mut nodes = Vec::new();
    let mut actions: BTreeMap<(&String, String), (&ActionInfo, BTreeSet<&str>)> = BTreeMap::new();
    for (node, worker) in workers {
        let presence = if worker.is_alive { "present" } else { "absent" };
        let Some(info) = &worker.info else {
            nodes.push([node.clone(), presence.into(), "-".into(), "-".into(), "unreadable".into()]);
            continue;
        };
        let busy = format!("{} of {}", worker.assigned, info.slots);
        let board = if info.board.is_empty() { "-".to_owned() } else { info.board.clone() };
        let count = info.actions.len().to_string();
        nodes.push([node.clone(), presence.into(), board, busy, count]);
        for (name, action) in &info.actions {
            let row = (name, format!("{action:?}"));
            actions.entry(row).or_insert_with(|| (action, BTreeSet::new())).1.insert(node);
        }
    }
    let mut text = table::render(["node", "presence", "board", "assigned", "actions"], &nodes);
    if actions.is_empty() {
        return text;
    }
    let row = |((name, _), (action, nodes)): (&(&String, String), &(&ActionInfo, BTreeSet<&str>))| {
        let limit = if action.run_for_ms == 0 {
            "-".to_owned()
        } else {
            format_age(action.run_for_ms as f64 / 1_000.0)
        };
        let promise = match action.promise {
            _ if action.read_only => "read-only",
            Promise::AtLeastOnce => "at-least-once",
            Promise::AtMostOnce => "at-most-once",
        };
        let nodes = if nodes.len() == workers.len() {
            "all".to_owned()
        } else {
            nodes.iter().copied().collect::<Vec<_>>().join(",")
        };
        let args: Vec<String> =
            action.args.iter().map(|(name, kind)| format!("{name}: {}", describe_type(kind))).collect();
        [(*name).clone(), nodes, limit, promise.to_owned(), args.join("; ")]
    };
    let rows: Vec<_> = actions.iter().map(row).collect();
    text.push('\n');
    text += &table::render(["action", "nodes", "limit", "promise", "arguments"], &rows);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::worker_info::tests::worker;
    use crate::tasks::client::view::WorkerView;

    #[test]
    fn actions_are_listed_with_nodes_and_unreadable_descriptions_are_named() {
        let present = WorkerView { info: Some(worker()), is_alive: true, assigned: 1 };
        let mut other = worker();
        other.actions.remove("calibrate");
        let other = WorkerView { info: Some(other), ..WorkerView::default() };
        let workers = Workers::from([
            ("1".to_owned(), present),
            ("2".to_owned(), other),
            ("3".to_owned(), WorkerView::default()),
        ]);
        let text = render(&workers);
        for wanted in [
            "node  presence  board  assigned  actions\n1     present   pi     1 of 1    2\n",
            "3     absent    -      -         unreadable\n",
            "calibrate  1      1m 0s  read-only",
            "status     1,2    1m 0s  read-only",
        ] {
            assert!(text.contains(wanted), "{wanted:?} in\n{text}");
        }
        let lines = lines(&workers);
        assert_eq!(
            lines.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count(),
            3
        );
    }
}
