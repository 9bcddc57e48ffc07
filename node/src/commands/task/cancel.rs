//! `atalaya task cancel`.

use clap::Args;
use serde_json::json;

use super::{client_name, json, task_id};
use crate::commands::args::{ConnectionArgs, Output};
use crate::commands::exit::Failure;
use crate::commands::stdout::print;
use crate::commands::tools::connection::with_session;
use crate::model::task::record::Cancel;
use crate::tasks::client;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya task cancel 12
  atalaya task cancel 12 --reason 'wrong reference value'

The command returns when the request is stored. Nodes that execute the task stop the command; atalaya \
task watch waits until that is done. A task may still end in another state, if it ends first.

Exit codes: 0 requested, now or before; 65 wrong id, unknown task, or it has ended; 69 ZooKeeper \
unreachable.")]
pub(in crate::commands) struct CancelArgs {
    /// Id of the task, such as 12 or t-0000000012.
    task: String,

    /// Reason, which the record of the task keeps.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,

    /// Output format: a line for people, or one JSON object.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn main(args: &CancelArgs) -> Result<(), Failure> {
    let task = task_id(&args.task)?;
    // The limit of the record.
    let reason = args.reason.chars().take(500).collect();
    let request = Cancel { by: client_name(), reason };
    with_session(&args.connection, async |session| {
        let is_new = client::cancel(&session, &task, &request).await?;
        match args.output {
            Output::Json => json::print_line(&json!({"task": task, "requested": true, "new": is_new})),
            Output::Table => {
                let before = if is_new { "" } else { " before" };
                print(format!("cancellation of {task} requested{before}\n").as_bytes())
            }
        }
    })
}
