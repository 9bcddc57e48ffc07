//! `atalaya task watch`, and waiting for the end of a submitted task.

use std::time::Duration;

use anyhow::anyhow;
use atalaya_config::duration;
use atalaya_recipes::Session;
use clap::Args;
use futures_util::future::OptionFuture;

use super::{end_of, json, task_id};
use crate::commands::args::{ConnectionArgs, Output};
use crate::commands::exit::Failure;
use crate::commands::signals::stop_signal;
use crate::commands::stdout::StdoutThread;
use crate::commands::tools::connection::with_session;
use crate::model::task::TaskId;
use crate::model::text::sanitize_line;
use crate::tasks::client::ClientError;
use crate::tasks::client::read::Reader;
use crate::tasks::client::view::TaskView;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya task watch 12
  atalaya task watch 12 --timeout 5m && echo done
  atalaya task watch 12 --output json          one object per change; the last one has all nodes

Lost connections are restored, and the command continues.

Exit codes: 0 done; 1 failed, timed out, lost, or not done on a node; 65 wrong id, or unknown task; 69 \
ZooKeeper unreachable; 75 cancelled, expired, or not ended within --timeout.")]
pub(in crate::commands) struct WatchArgs {
    /// Id of the task, such as 12 or t-0000000012.
    task: String,

    /// Maximum time to wait; exits with 75 after it. The task continues.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Output format; json prints one object per line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn main(args: &WatchArgs) -> Result<(), Failure> {
    let task = task_id(&args.task)?;
    with_session(&args.connection, async |session| follow(&session, &task, args.timeout, args.output).await)
}

/// Prints the progress of a task until it has ended, and returns the failure of a task that is not done.
pub(super) async fn follow(
    session: &Session,
    task: &TaskId,
    timeout: Option<Duration>,
    output: Output,
) -> Result<(), Failure> {
    let stop = stop_signal()?;
    let stdout = StdoutThread::start()?;
    let mut reader = Reader::default();
    let (mut last, mut printed) = (String::new(), Ok(true));
    let wait = reader.wait(session, task, async |view: &TaskView| {
        let text = match output {
            Output::Json if view.state().is_final() => json::task(view, &[]).to_string(),
            Output::Json => json::progress(view).to_string(),
            Output::Table => sanitize_line(&view.progress()).into_owned(),
        };
        if text == last {
            return true;
        }
        printed = stdout.print(format!("{text}\n")).await;
        last = text;
        matches!(printed, Ok(true))
    });
    let view = tokio::select! {
        biased;
        signal = stop => return Err(Failure::temp_fail(anyhow!("{signal}; {task} continues"))),
        view = wait => view?,
        Some(()) = OptionFuture::from(timeout.map(tokio::time::sleep)) => {
            let timeout = timeout.unwrap_or_default();
            return Err(Failure::temp_fail(anyhow!("{task} has not ended within {timeout:?}; it continues")));
        }
    };
    // A closed pipe (`| head -1`) is not an error.
    if !printed? {
        return Ok(());
    }
    end_of(&view.ok_or_else(|| ClientError::Unknown(task.clone()))?)
}
