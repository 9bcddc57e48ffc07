//! `atalaya task submit`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use atalaya_config::INSTALL_BOARDS;
use atalaya_config::{Boards, duration};
use atalaya_recipes::Session;
use atalaya_recipes::node_names::ContenderId;
use clap::{Args, ValueEnum};
use serde_json::json;
use tracing::warn;

use super::watch::follow;
use super::{client_name, json, table};
use crate::commands::args::{ConnectionArgs, Output};
use crate::commands::exit::Failure;
use crate::commands::stdout::print;
use crate::commands::tools::connection::with_session;
use crate::model::task::TaskId;
use crate::model::task::selector::Selector;
use crate::model::task::spec::{
    BatchSize, DEFAULT_ATTEMPTS, DEFAULT_PRIORITY, MAX_PRIORITY, Promise, Rollout, Spec, Target,
};
use crate::model::text::sanitize_for_log;
use crate::tasks::client::submit::submit;
use crate::tasks::client::view::{Workers, describe_target};
use crate::tasks::client::{ClientError, read};
use crate::tasks::explain::{self, Fit};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya task submit sensors.selftest --to all --wait
  atalaya task submit calibrate sensor=air reference=21.5 --to greenhouse-2 --promise at-most-once
  atalaya task submit sensors.read --where 'chip=bme280 & board=pi' --explain
  atalaya task submit tune --to all --batches 1,10%,100% --pause 5m --stop-after 2
  atalaya task submit boards.install --file boards.toml --to all --batches 1,10%,100% --wait
  task=$(atalaya task submit status --to 1) && atalaya task watch \"$task\"

The command prints the id of the task. It never submits a task twice, also if the connection is lost.
Arguments are checked with the types that the nodes publish; atalaya task actions lists them. The keys of \
--where are node, chip, board, version, health and label.NAME.

Exit codes: 0 submitted, or with --wait done; 1 with --wait: failed, timed out, lost, or not done on a \
node; 64 wrong usage; 65 task refused: unknown action, wrong arguments, or too large; 69 ZooKeeper \
unreachable; 75 too many live tasks, or with --wait: cancelled, expired, or not ended within --timeout.")]
pub(in crate::commands) struct SubmitArgs {
    /// Action to execute; atalaya task actions lists them.
    action: String,

    /// Arguments of the action.
    #[arg(value_name = "KEY=VALUE", value_parser = parse_arg)]
    args: Vec<(String, String)>,

    /// Nodes that execute it: any (one of them), all, or ids separated by commas.
    #[arg(long, value_name = "NODES", default_value = "any", value_parser = parse_target)]
    to: Target,

    /// Condition that nodes must meet, such as 'chip=bme280 & board!=laptop'.
    #[arg(long = "where", value_name = "CONDITION")]
    selector: Option<Selector>,

    /// Number of executions, of which all but the last may fail.
    #[arg(long, value_name = "COUNT", default_value_t = DEFAULT_ATTEMPTS)]
    attempts: u32,

    /// Priority; tasks with a higher one are assigned first.
    #[arg(long, value_name = "0-9", default_value_t = DEFAULT_PRIORITY)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=i64::from(MAX_PRIORITY)))]
    priority: u8,

    /// Time limit of an execution, if it is below the limit of the action.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    run_for: Option<Duration>,

    /// Time from now to the start; a task that has not started expires [default: none; 1m with --to all].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    start_by: Option<Duration>,

    /// Promise about the number of executions [default: that of the action].
    #[arg(long, value_enum)]
    promise: Option<PromiseArg>,

    /// File to distribute, at most 1 MiB: the new boards.toml, for the action boards.install. It is checked first.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Execute it in batches of these sizes, as a number of nodes or a percentage of all. The next batch starts when the
    /// nodes of the last one are healthy.
    #[arg(long, value_name = "SIZES", value_parser = parse_batches, help_heading = "Roll-out")]
    batches: Option<Batches>,

    /// Pause between two batches.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, requires = "batches")]
    #[arg(help_heading = "Roll-out")]
    pause: Option<Duration>,

    /// Number of failed nodes at which no further batch starts.
    #[arg(long, value_name = "COUNT", default_value_t = 1, requires = "batches", help_heading = "Roll-out")]
    stop_after: u32,

    /// Show which nodes could execute the task, and submit nothing.
    #[arg(long, conflicts_with = "wait")]
    explain: bool,

    /// Submit the task also if no known node offers the action, or accepts the arguments.
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Arguments of commands that submit a task.
#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// Print the progress until the task has ended.
    #[arg(long)]
    pub(super) wait: bool,

    /// Maximum time to wait; exits with 75 after it. The task continues.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, requires = "wait")]
    pub(super) timeout: Option<Duration>,

    /// Output format; json prints one object per line.
    #[arg(long, value_enum, default_value_t)]
    pub(super) output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PromiseArg {
    /// Executed again if the node is lost before it has recorded a result.
    AtLeastOnce,
    /// Never started twice.
    AtMostOnce,
}

/// Sizes of the batches, as one value of a flag.
#[derive(Clone, Debug)]
struct Batches(Vec<BatchSize>);

fn parse_arg(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("an argument is KEY=VALUE".to_owned()),
    }
}

fn parse_target(text: &str) -> Result<Target, String> {
    Ok(match text {
        "any" => Target::Any,
        "all" => Target::All,
        _ => Target::Nodes(text.split(',').map(|node| node.trim().to_owned()).collect()),
    })
}

fn parse_batches(text: &str) -> Result<Batches, String> {
    Rollout::parse_batches(text).map(Batches)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn main(args: &SubmitArgs) -> Result<(), Failure> {
    let mut spec = specification(args)?;
    let file = args.file.as_deref().map(read_boards).transpose()?;
    if file.is_some() != (spec.action == INSTALL_BOARDS) {
        return Err(Failure::usage(anyhow!(
            "the action {INSTALL_BOARDS} needs --file FILE, and no other action has one"
        )));
    }
    spec.file = file.is_some().then(|| spec.id.clone());
    with_session(&args.connection, async |session| {
        let workers = read::workers(&session).await?;
        if args.promise.is_none() {
            spec.promise = promise_of_action(&spec, &workers);
        }
        let mut refusal = spec.check().err();
        if !args.force {
            refusal = refusal.or_else(|| refusal_of_workers(&spec, &workers));
        }
        if args.explain {
            return show_explanation(&spec, &workers, refusal, args.wait.output);
        }
        if let Some(reason) = refusal {
            return Err(ClientError::Spec(reason).into());
        }
        warn_of_nodes(&spec, &workers);
        submit_and_wait(&session, &spec, file.as_deref(), &args.wait).await
    })
}

/// Submits a task, prints its id, and waits for its end if `args` say so.
pub(super) async fn submit_and_wait(
    session: &Session,
    spec: &Spec,
    file: Option<&[u8]>,
    args: &WaitArgs,
) -> Result<(), Failure> {
    let task: TaskId = submit(session, spec, file).await?;
    match args.output {
        Output::Json => json::print_line(&json!({"task": task, "state": "queued"}))?,
        Output::Table => print(format!("{task}\n").as_bytes())?,
    }
    if !args.wait {
        return Ok(());
    }
    follow(session, &task, args.timeout, args.output).await
}

/// Reads a boards.toml, and checks it.
fn read_boards(path: &Path) -> Result<Vec<u8>, Failure> {
    Boards::load(path).map_err(Failure::config)?;
    std::fs::read(path).map_err(|error| Failure::io(anyhow!("{}: {error}", path.display())))
}

fn specification(args: &SubmitArgs) -> Result<Spec, Failure> {
    let mut named = BTreeMap::new();
    for (name, value) in &args.args {
        if named.insert(name.clone(), value.clone()).is_some() {
            return Err(Failure::usage(anyhow!("the argument {} is given twice", sanitize_for_log(name))));
        }
    }
    let rollout = args.batches.as_ref().map(|Batches(batches)| Rollout {
        batches: batches.clone(),
        pause_ms: args.pause.map_or(0, millis),
        stop_after: args.stop_after,
    });
    let promise = match args.promise {
        Some(PromiseArg::AtMostOnce) => Promise::AtMostOnce,
        Some(PromiseArg::AtLeastOnce) | None => Promise::AtLeastOnce,
    };
    Ok(Spec {
        id: submission_id(),
        action: args.action.clone(),
        args: named,
        to: args.to.clone(),
        selector: args.selector.clone().unwrap_or_default(),
        priority: args.priority,
        attempts: args.attempts,
        start_by_ms: args.start_by.map(millis),
        run_for_ms: args.run_for.map(millis),
        promise,
        rollout,
        by: client_name(),
        ..Spec::default()
    })
}

/// Returns a random id of a submission.
pub(super) fn submission_id() -> String {
    ContenderId::random().to_hex()
}

/// Returns the promise of the action: the stricter one, if nodes have different ones.
fn promise_of_action(spec: &Spec, workers: &Workers) -> Promise {
    let targets = explain::fits(spec, workers);
    let infos = targets.keys().filter_map(|node| workers.get(node)?.info.as_ref());
    let mut promises = infos.filter_map(|info| info.actions.get(&spec.action)).map(|action| action.promise);
    let is_strict = promises.any(|promise| promise == Promise::AtMostOnce);
    if is_strict { Promise::AtMostOnce } else { Promise::AtLeastOnce }
}

/// Returns the reason why no known worker can ever execute the task; `None` if one can, or may be unknown.
pub(super) fn refusal_of_workers(spec: &Spec, workers: &Workers) -> Option<String> {
    const FORCE: &str = "--force submits it nevertheless";
    let known = explain::known_actions(workers);
    if !known.contains(&spec.action) {
        let action = sanitize_for_log(&spec.action);
        let known = match known.as_slice() {
            [] => "no node has published its actions yet".to_owned(),
            known => format!("the known actions are {}", known.join(", ")),
        };
        return Some(format!("no known node offers the action {action}: {known}; {FORCE}"));
    }
    let fits = explain::fits(spec, workers);
    if let Target::Nodes(nodes) = &spec.to
        && nodes.iter().any(|node| !fits.contains_key(node))
    {
        return None;
    }
    let is_never = |fit: &Fit| matches!(fit, Fit::NoAction | Fit::WrongArgs(_));
    let offers = || fits.iter().filter(|(_, fit)| **fit != Fit::NoAction);
    let first = offers().next().or_else(|| fits.iter().next());
    let (node, fit) = first.filter(|_| fits.values().all(is_never))?;
    let node = sanitize_for_log(node);
    match fit {
        Fit::WrongArgs(problem) => Some(format!("{problem} (node {node}); {FORCE}")),
        fit => Some(format!("node {node} {}; {FORCE}", fit.describe())),
    }
}

/// Logs the nodes that are unknown, and those of a task for several nodes that will refuse its arguments.
fn warn_of_nodes(spec: &Spec, workers: &Workers) {
    if let Target::Nodes(nodes) = &spec.to {
        for node in nodes.iter().filter(|node| !workers.contains_key(*node)).take(5) {
            warn!("node {} is unknown: it has never been a worker", sanitize_for_log(node));
        }
    }
    if !spec.is_broadcast() {
        return;
    }
    let fits = explain::fits(spec, workers);
    let wrong = fits.iter().filter(|(_, fit)| matches!(fit, Fit::WrongArgs(_)));
    for (node, fit) in wrong.take(5) {
        warn!("node {} will refuse the task: {}", sanitize_for_log(node), fit.describe());
    }
}

fn show_explanation(
    spec: &Spec,
    workers: &Workers,
    refusal: Option<String>,
    output: Output,
) -> Result<(), Failure> {
    let fits = explain::fits(spec, workers);
    let is_for_any = spec.to == Target::Any;
    let reasons = if is_for_any { explain::no_worker(spec, workers) } else { Vec::new() };
    if output == Output::Json {
        let nodes: BTreeMap<&String, _> = fits
            .iter()
            .map(|(node, fit)| (node, json!({"suitable": fit.is_suitable(), "reason": fit.describe()})))
            .collect();
        json::print_line(&json!({
            "accepted": refusal.is_none(),
            "refusal": refusal,
            "spec": spec,
            "nodes": nodes,
            "reasons": reasons,
        }))?;
    } else {
        let mut text = table::line("action", &spec.action);
        text += &table::line("to", &describe_target(spec));
        text += &table::line("promise", spec.promise.name());
        if let Target::Nodes(nodes) = &spec.to {
            for node in nodes.iter().filter(|node| !fits.contains_key(*node)) {
                text += &table::line("unknown", &format!("node {node} has never been a worker"));
            }
        }
        for (index, reason) in reasons.iter().enumerate() {
            text += &table::line(if index == 0 { "expected" } else { "" }, reason);
        }
        if !fits.is_empty() {
            let rows: Vec<_> = fits.iter().map(|(node, fit)| [node.clone(), fit.describe()]).collect();
            text += &format!("\n{}", table::render(["node", "fit"], &rows));
        }
        text += "\nnothing was submitted\n";
        print(text.as_bytes())?;
    }
    match refusal {
        None => Ok(()),
        Some(reason) => Err(Failure::data(anyhow!("the task would be refused: {reason}"))),
    }
}

#[cfg(test)]
mod tests;
