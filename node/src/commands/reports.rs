//! `atalaya reports list|retry|drop`: reports that are not delivered to the API, or to an output.

use anyhow::anyhow;
use atalaya_recipes::session::{CreateMode, Write};
use atalaya_recipes::{Connection, Error};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::args::{ConnectionArgs, Output};
use super::stdout::print;
use super::tools::connection::with_session;
use crate::commands::exit::Failure;
use crate::leader::outbox_store::{self, FIRST_BATCH, OutboxPaths};
use crate::model::report::CycleReport;
use crate::model::text;
use crate::process::stdout;

#[derive(Debug, Subcommand)]
pub(super) enum ReportsCommand {
    /// List undelivered reports: those in the outbox, and those that the API rejected.
    #[command(after_help = "\
Examples:
  atalaya reports list
  atalaya reports list --output json | jq 'select(.reason)'      rejected reports only
  atalaya reports list --receiver influxdb                       reports for an output

A report stays in the outbox (state waiting) until the API accepts it with 2xx or 409. After any other \
4xx it is retried a few times and then moved to the rejected reports, with the reason, so that later \
reports are delivered. Each output of boards.toml has reports of its own.")]
    List {
        /// Output format; json prints one object per line.
        #[arg(long, value_enum, default_value_t)]
        output: Output,

        #[command(flatten)]
        receiver: ReceiverArgs,

        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Move rejected reports back to the outbox. The leader sends them again at once.
    #[command(after_help = "\
Examples:
  atalaya reports retry 41 42
  atalaya reports retry --all            after the API was repaired

Exit codes: 0 done; 74 a cycle has no rejected report.")]
    Retry(ReportsSelectArgs),
    /// Delete reports without delivering them. This cannot be undone.
    #[command(after_help = "\
Examples:
  atalaya reports drop 41                delete the report of cycle 41, in the outbox or rejected
  atalaya reports drop --all             delete all rejected reports

Reports in the outbox are deleted only if their cycle is named. The leader learns of it a moment later; \
a report that it sends until then arrives.

Exit codes: 0 done; 74 a cycle has no undelivered report.")]
    Drop(ReportsSelectArgs),
}

#[derive(Debug, Args)]
pub(super) struct ReportsSelectArgs {
    /// Cycles of the reports, as `atalaya reports list` shows them.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    cycles: Vec<u64>,

    /// Select all rejected reports.
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    receiver: ReceiverArgs,

    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(super) struct ReceiverArgs {
    /// Name of an output of boards.toml, also of one that was removed [default: the API].
    #[arg(long, value_name = "NAME", value_parser = output_name)]
    receiver: Option<String>,
}

impl ReceiverArgs {
    fn paths(&self) -> OutboxPaths {
        self.receiver.as_deref().map_or_else(OutboxPaths::api, OutboxPaths::of_output)
    }
}

fn output_name(name: &str) -> Result<String, &'static str> {
    match name.is_empty() || name.contains(|c: char| c == '/' || c.is_whitespace() || text::is_unsafe(c)) {
        false if !matches!(name, "." | "..") => Ok(name.to_owned()),
        _ => Err("it is not the name of an output"),
    }
}

pub(super) fn main(command: &ReportsCommand) -> Result<(), Failure> {
    match command {
        ReportsCommand::List { output, receiver, connection } => with_session(connection, async |session| {
            let connection = session.connection().await;
            connection.sync().await?;
            list(&connection, &receiver.paths(), *output).await
        }),
        ReportsCommand::Retry(args) => apply(args, retry, "retried", "rejected"),
        ReportsCommand::Drop(args) => apply(args, delete, "dropped", "undelivered"),
    }
}

async fn list(connection: &Connection, paths: &OutboxPaths, output: Output) -> Result<(), Failure> {
    let mut count = 0;
    for (state, parent) in [("waiting", &paths.reports), ("rejected", &paths.rejected)] {
        let listed = outbox_store::list(connection, parent).await?.unwrap_or_default();
        for name in &listed.others {
            let name = text::sanitize_for_log(name);
            warn!("{parent}/{name} is not a report: its name is not a cycle number");
        }
        let mut cycles = listed.cycles.into_iter();
        // Bounds the size of the responses.
        let mut batch = FIRST_BATCH;
        loop {
            let cycles: Vec<u64> = cycles.by_ref().take(batch).collect();
            if cycles.is_empty() {
                break;
            }
            let found = outbox_store::read(connection, parent, &cycles).await?;
            // Without those that were delivered since they were listed.
            let found: Vec<_> = found.into_iter().filter_map(|(cycle, data)| Some((cycle, data?))).collect();
            batch = outbox_store::next_batch(batch, found.iter().map(|(_, data)| data.len()));
            for (cycle, data) in found {
                if count == 0 && output == Output::Table {
                    print(b"     cycle  state          epoch  time                  average\n")?;
                }
                count += 1;
                let line = line(state, cycle, &data, output);
                if !stdout::write(format!("{line}\n").as_bytes()).map_err(Failure::io)? {
                    return Ok(());
                }
            }
        }
    }
    if count == 0 && output == Output::Table {
        print(b"everything is delivered\n")?;
    }
    Ok(())
}
/// Formats one report, or the reason why the data is not one.
#[expect(clippy::expect_used, reason = "a report has only string keys")]
fn line(state: &'static str, cycle: u64, data: &[u8], output: Output) -> String {
    #[derive(Serialize)]
    struct JsonLine<'a> {
        state: &'static str,
        #[serde(flatten)]
        report: &'a CycleReport,
    }
    match (parse(data, cycle), output) {
        (Ok(report), Output::Json) => {
            serde_json::to_string(&JsonLine { state, report: &report }).expect("a report is valid JSON")
        }
        (Ok(report), Output::Table) => row(state, &report),
        (Err(problem), Output::Json) => {
            serde_json::json!({"state": state, "cycle": cycle, "problem": problem}).to_string()
        }
        (Err(problem), Output::Table) => {
            text::sanitize_line(&format!("{cycle:>10}  {state:<8}  not a report: {problem}")).into_owned()
        }
    }
}

/// Parses a report. If it was too large to be stored, the leader has stored only a reason, which is returned as the
/// error.
fn parse(data: &[u8], cycle: u64) -> Result<CycleReport, String> {
    #[derive(Deserialize)]
    struct Placeholder {
        reason: String,
    }
    CycleReport::parse(data, cycle).map_err(|problem| match serde_json::from_slice(data) {
        Ok(Placeholder { reason }) => reason,
        Err(_) => problem,
    })
}

fn row(state: &str, report: &CycleReport) -> String {
    let averages: Vec<String> = report
        .averages
        .iter()
        .map(|average| {
            let unit = average.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
            format!("{:.2}{unit} of {}", average.mean, average.count)
        })
        .collect();
    let reason = report.reason.as_deref().map(|reason| format!("  ({reason})")).unwrap_or_default();
    let CycleReport { cycle, epoch, time, .. } = report;
    let time = time.strftime("%Y-%m-%d %H:%M:%SZ");
    let row = format!("{cycle:>10}  {state:<8}  {epoch:>10}  {time:<20}  {}{reason}", averages.join(", "));
    // Units and reasons come from other programs.
    text::sanitize_line(&row).into_owned()
}

/// Retries or drops the selected reports, and prints their number.
fn apply(
    args: &ReportsSelectArgs,
    action: impl AsyncFn(&Connection, &OutboxPaths, u64) -> Result<(), Error>,
    done: &str,
    kind: &str,
) -> Result<(), Failure> {
    with_session(&args.connection, async |session| {
        let connection = session.connection().await;
        connection.sync().await?;
        let (mut cycles, paths) = (args.cycles.clone(), args.receiver.paths());
        if args.all {
            cycles.extend(outbox_store::cycles(&connection, &paths.rejected).await?.unwrap_or_default());
        }
        let (mut count, mut missing) = (0, Vec::new());
        for cycle in cycles {
            match action(&connection, &paths, cycle).await {
                Ok(()) => count += 1,
                // With --all, another client was faster.
                Err(error) if error.is_no_node() && args.all => {}
                Err(error) if error.is_no_node() => missing.push(cycle.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        print(format!("{count} {done}\n").as_bytes())?;
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(", ");
        Err(Failure::io(anyhow!("no {kind} report of cycle {missing}; see atalaya reports list")))
    })
}

/// Returns the write that makes the leader list an outbox: it watches the data of the parent.
fn notify_leader(paths: &OutboxPaths) -> Write<'_> {
    Write::Set { path: &paths.reports, data: b"", version: None }
}

async fn retry(connection: &Connection, paths: &OutboxPaths, cycle: u64) -> Result<(), Error> {
    let (from, to) = (paths.rejected_report(cycle), paths.report(cycle));
    let (data, stat) = connection.get(&from).await?;
    let data = match CycleReport::parse(&data, cycle) {
        Ok(report) => CycleReport { reason: None, ..report }.data(),
        Err(_) => data,
    };
    connection.ensure(&paths.reports).await?;
    let delete = Write::Delete { path: &from, version: Some(stat.version) };
    let create = Write::Create { path: &to, data: &data, mode: CreateMode::Persistent };
    connection.multi(&[delete, create, notify_leader(paths)]).await?;
    Ok(())
}

async fn delete(connection: &Connection, paths: &OutboxPaths, cycle: u64) -> Result<(), Error> {
    if connection.delete_if_exists(&paths.rejected_report(cycle), None).await? {
        return Ok(());
    }
    let waiting = paths.report(cycle);
    connection.multi(&[Write::Delete { path: &waiting, version: None }, notify_leader(paths)]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_list_shows_no_control_characters_of_units_and_reasons() {
        let report = serde_json::json!({"epoch": 1, "cycle": 7, "time": "2026-01-01T00:00:00Z", "excluded": 0,
            "averages": [{"unit": "\u{1b}[2J\u{9b}31m\u{202e}Cel", "mean": 1.0, "min": 1.0, "max": 1.0, "count": 1}],
            "reason": "no\r\n\u{1b}]0;title\u{7}"});
        let row = row("rejected", &serde_json::from_value(report).unwrap());
        assert!(!row.contains(text::is_unsafe), "{row:?}");
        assert!(
            row.ends_with(
                "1.00 \u{fffd}[2J\u{fffd}31m\u{fffd}Cel of 1  (no\u{fffd}\u{fffd}\u{fffd}]0;title\u{fffd})"
            ),
            "{row}"
        );
    }
}
