//! `atalaya classic master|worker|submit|status`: the roles of the classic master/worker layout.

mod status;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_config::duration;
use atalaya_recipes::node_names::ContenderId;
use atalaya_recipes::{CacheError, Session};
use clap::{Args, Subcommand, ValueEnum};
use futures_util::future::OptionFuture;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::args::{ConnectionArgs, Output, znode_path};
use super::exit::Failure;
use super::signals::stop_signal;
use super::stdout::print;
use super::tools::connection::with_session;
use super::tools::guarded_command;
use crate::model::{node_info, text};
use crate::tasks::classic::client::{Client, SubmitError};
use crate::tasks::classic::layout::{FREE, Layout, MAX_RESULT, check_id, input_text, sleep_duration};
use crate::tasks::classic::master::Master;
use crate::tasks::classic::worker::Worker;

/// Environment variable of a worker's command with the id of the task.
const TASK: &str = "ATALAYA_TASK";
/// Exit code of a shell for a command that SIGINT has ended.
const INTERRUPTED: u8 = 130;
/// Maximum length of an input in bytes.
const MAX_INPUT: usize = 64 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum ClassicCommand {
    /// Take part in the election of masters and, while leading, assign tasks to free workers, until Ctrl-C.
    #[command(after_help = "\
Examples:
  atalaya classic master                           a master; start a second one as a backup
  atalaya classic master --root /course --zookeeper zk1:2181,zk2:2181

Znodes: /master/{10 digits}, the lowest number leads, and /master/master_current/{10 digits} of the leader. \
An assignment is one transaction, which fails if this process does not lead any more.")]
    Master {
        /// Name of this master in its znode [default: host name and process id].
        id: Option<String>,

        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Execute tasks, one at a time, until Ctrl-C.
    #[command(after_help = "\
Examples:
  atalaya classic worker w1                        sleep for the number of seconds in /data/{task}
  atalaya classic worker w1 -- ./calculate --fast  run a command with the input as its last argument

The result is the first line of the command's output, at most 1 KiB, with : for each =. The command finds the \
id of the task in ATALAYA_TASK. It is stopped (SIGTERM, then SIGKILL) when the task is deleted and when this \
worker loses its session.

Exit codes: 0 stopped by a signal; 73 another worker uses the id.")]
    Worker(WorkerArgs),
    /// Submit a task, wait for its result and print it.
    #[command(after_help = "\
Examples:
  atalaya classic submit 5                         let a worker sleep for 5 seconds
  atalaya classic submit 0.5 --id job-7 --timeout 1m

Exit codes: 0 done; 73 the id is in use; 75 no result within --timeout, the task was deleted, or the session \
with ZooKeeper was lost; 130 interrupted. The task is deleted in all cases.")]
    Submit(SubmitArgs),
    /// Show masters, workers and tasks.
    Status {
        #[command(flatten)]
        place: PlaceArgs,

        /// Output format.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    /// Parent of /master, /workers, /tasks and /data.
    #[arg(long, value_name = "PATH", value_parser = znode_path, default_value = "/")]
    root: String,

    #[command(flatten)]
    connection: ConnectionArgs,
}

impl PlaceArgs {
    fn layout(&self) -> Layout {
        Layout::new(&self.root)
    }
}

#[derive(Debug, Args)]
pub(super) struct WorkerArgs {
    /// Id of the worker: the name of its znode.
    #[arg(value_parser = check_id)]
    id: String,

    /// Data of the worker's znode while it is free. Python masters expect different data.
    #[arg(long, value_enum, default_value_t)]
    free: FreeData,

    #[command(flatten)]
    place: PlaceArgs,

    /// Command to run for each task, with the input as an additional last argument [default: sleep].
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    /// Input of the task: seconds to sleep, or the last argument of the worker's command.
    input: String,

    /// Id of the task [default: random].
    #[arg(long, value_parser = check_id)]
    id: Option<String>,

    /// Maximum time to wait for the result [default: no limit].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// Data of the task before it is assigned. Python masters expect different data.
    #[arg(long, value_enum, default_value_t)]
    unassigned: Unassigned,

    #[command(flatten)]
    place: PlaceArgs,
}

/// Data of a free worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum FreeData {
    /// The word non.
    #[default]
    Non,
    /// The word idle.
    Idle,
    /// No data.
    Empty,
}

/// Data of a task that is not assigned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Unassigned {
    /// The id of the task.
    #[default]
    Id,
    /// No data.
    Empty,
    /// The digit 0.
    Zero,
}

impl ClassicCommand {
    /// Returns true for the commands that run until a signal.
    pub(super) fn is_long_running(&self) -> bool {
        matches!(self, ClassicCommand::Master { .. } | ClassicCommand::Worker(_))
    }
}

pub(super) fn main(command: &ClassicCommand) -> Result<ExitCode, Failure> {
    match command {
        ClassicCommand::Master { id, place } => master(id.as_deref(), place),
        ClassicCommand::Worker(args) => worker(args),
        ClassicCommand::Submit(args) => submit(args),
        ClassicCommand::Status { place, output } => status::main(place, *output),
    }
}

fn master(id: Option<&str>, place: &PlaceArgs) -> Result<ExitCode, Failure> {
    let id = id.map_or_else(|| format!("{}:{}", node_info::host_name(), std::process::id()), str::to_owned);
    with_session(&place.connection, async |session| {
        let stop = stop_signal()?;
        let master = Master::new(session, place.layout(), &id);
        tokio::select! {
            biased;
            signal = stop => {
                info!(signal, "stopping");
                Ok(ExitCode::SUCCESS)
            }
            error = master.run() => Err(match error {
                CacheError::Failed(error) => error.into(),
                error => Failure::temp_fail(error),
            }),
        }
    })
}

fn worker(args: &WorkerArgs) -> Result<ExitCode, Failure> {
    let WorkerArgs { id, free, place, command } = args;
    let free = match free {
        FreeData::Non => FREE,
        FreeData::Idle => "idle",
        FreeData::Empty => "",
    };
    with_session(&place.connection, async |session| {
        let signal = stop_signal()?;
        let stop = CancellationToken::new();
        let execute = async |task: &str, input: Vec<u8>, stop: CancellationToken| {
            execute(&session, command, task, &input, stop).await
        };
        let worker = Worker::new(session.clone(), place.layout(), id.clone(), free, execute);
        let mut run = std::pin::pin!(worker.run(&stop));
        let ended = tokio::select! {
            biased;
            signal = signal => {
                info!(signal, "stopping");
                stop.cancel();
                run.await
            }
            ended = &mut run => ended,
        };
        match ended {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(conflict) => Err(Failure::id_in_use(anyhow!("worker id {id} is in use: {conflict}"))),
        }
    })
}

/// Executes a task. Returns its result, or `None` if it was stopped.
async fn execute(
    session: &Session,
    command: &[OsString],
    task: &str,
    input: &[u8],
    stop: CancellationToken,
) -> Option<String> {
    if command.is_empty() {
        return tokio::select! {
            biased;
            () = stop.cancelled() => None,
            result = sleep(input) => Some(result),
        };
    }
    if input.len() > MAX_INPUT || input.contains(&0) {
        return Some("error: the input is too long or contains NUL".to_owned());
    }
    let mut command = command.to_vec();
    command.push(input_text(input).into());
    // As for `atalaya lock`: the local lease has ended, but not the session.
    let grace = session.state().timeout / 4;
    let stopped = async {
        stop.cancelled().await;
        "SIGTERM"
    };
    let variable = (TASK, task.to_owned());
    let limit = MAX_RESULT as u64;
    let done = guarded_command::run_captured(&command, variable, grace, limit, stopped).await;
    if stop.is_cancelled() {
        return None;
    }
    Some(match done {
        Ok((0, output)) => String::from_utf8_lossy(&output).into_owned(),
        Ok((code, _)) => {
            warn!(task, code, "the command failed");
            format!("error: exit code {code}")
        }
        Err(error) => {
            warn!(task, %error, "the command was not run");
            "error: the command was not run".to_owned()
        }
    })
}

/// Sleeps for the number of seconds in the input. Returns this number as the result.
async fn sleep(input: &[u8]) -> String {
    match sleep_duration(input) {
        Ok(duration) => {
            tokio::time::sleep(duration).await;
            input_text(input)
        }
        Err(problem) => problem,
    }
}

fn submit(args: &SubmitArgs) -> Result<ExitCode, Failure> {
    let SubmitArgs { input, id, timeout, unassigned, place } = args;
    if input.len() > MAX_INPUT {
        return Err(Failure::usage(anyhow!("the input is longer than {MAX_INPUT} bytes")));
    }
    let id = id.clone().unwrap_or_else(|| ContenderId::random().to_hex());
    let data = match unassigned {
        Unassigned::Id => &*id,
        Unassigned::Empty => "",
        Unassigned::Zero => "0",
    };
    with_session(&place.connection, async |session| {
        let stop = stop_signal()?;
        let client = Client::new(session, place.layout());
        // The end of the session, which follows, deletes the task.
        tokio::select! {
            biased;
            _ = stop => Ok(ExitCode::from(INTERRUPTED)),
            result = client.submit(&id, input.as_bytes(), data) => {
                let result = result.map_err(failure)?;
                print(format!("{}\n", text::sanitize_line(&result)).as_bytes())?;
                Ok(ExitCode::SUCCESS)
            }
            Some(()) = OptionFuture::from(timeout.map(tokio::time::sleep)) => {
                let timeout = timeout.unwrap_or_default();
                Err(Failure::temp_fail(anyhow!("task {id} has no result within {timeout:?}")))
            }
        }
    })
}

fn failure(error: SubmitError) -> Failure {
    match error {
        SubmitError::IdInUse(_) => Failure::id_in_use(error),
        SubmitError::Refused(error) => error.into(),
        error => Failure::temp_fail(error),
    }
}
