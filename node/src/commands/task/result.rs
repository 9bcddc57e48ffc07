//! `atalaya task result`.

use std::io::IsTerminal as _;

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use super::show::output;
use super::{end, end_of, json, with_task};
use crate::commands::args::{ConnectionArgs, Output};
use crate::commands::exit::Failure;
use crate::commands::stdout::print;
use crate::model::task::record::Outcome;
use crate::model::text::{sanitize_for_log, sanitize_line};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya task result 12
  atalaya task result 12 --node greenhouse-2
  atalaya task result 12 --output json | jq -r .output

Without --node, the output of several nodes is printed with a line \"node ID:\" before each. The last \
8 KiB of each output are kept.

Exit codes: 0 done; 1 failed, timed out, lost, or not done on a node; 65 wrong id, unknown task, or not \
a node of the task; 69 ZooKeeper unreachable; 75 cancelled, expired, or not ended yet.")]
pub(in crate::commands) struct ResultArgs {
    /// Id of the task, such as 12 or t-0000000012.
    task: String,

    /// Node whose output is printed.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,

    /// Output format; json prints one object per node.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn main(args: &ResultArgs) -> Result<(), Failure> {
    with_task(&args.connection, &args.task, async |_, view| {
        if let Some(node) = &args.node {
            let Some(part) = view.parts.get(node) else {
                let node = sanitize_for_log(node);
                return Err(Failure::data(anyhow!("{} was not assigned to node {node}", view.task)));
            };
            if let Some(outcome) = &part.part.outcome {
                print_outcome(node, outcome, false, args.output)?;
            }
            let name = format!("{} on node {}", view.task, sanitize_for_log(node));
            let reason =
                part.part.reason.as_deref().or_else(|| part.part.outcome.as_ref()?.reason.as_deref());
            return end(&name, part.part.state, false, reason);
        }
        for (node, outcome) in view.outcomes() {
            print_outcome(node, outcome, view.is_broadcast(), args.output)?;
        }
        end_of(&view)
    })
}

fn print_outcome(node: &str, outcome: &Outcome, has_heading: bool, format: Output) -> Result<(), Failure> {
    if format == Output::Json {
        let mut value = json!(outcome);
        value["node"] = json!(node);
        value["output"] = json!(outcome.output);
        return json::print_line(&value);
    }
    if has_heading {
        print(format!("node {}:\n", sanitize_line(node)).as_bytes())?;
    }
    if has_heading || std::io::stdout().is_terminal() {
        return print(output(outcome).as_bytes());
    }
    // A pipe gets the exact output.
    print(outcome.output.as_bytes())
}
