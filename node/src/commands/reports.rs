//! `atalaya reports list|retry|drop`: what is not delivered.

use std::process::ExitCode;

use anyhow::anyhow;
use atalaya_recipes::session::{CreateMode, Write};
use atalaya_recipes::{Connection, Error};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::args::{ConnectionArgs, Output};
use super::stdout::{print, print_or_closed};
use super::tools::with_session_of;
use crate::commands::exit::Failure;
use crate::leader::delivery::outbox::{ASIDE, PATH};
use crate::leader::outbox_store::{self, Batch};
use crate::model::report::CycleReport;
use crate::model::text;

#[derive(Debug, Subcommand)]
pub(super) enum ReportsCommand {
    /// List the reports that are not delivered: those that wait for the API, and those that it rejected.
    #[command(after_help = "\
Examples:
  atalaya reports list
  atalaya reports list --output json | jq 'select(.reason)'

A report waits until the API accepts it (2xx or 409). What it answers with another 4xx is tried a few
times and then set aside, with the reason; so the others go on.")]
    List(ReportsListArgs),
    /// Put reports that the API rejected back: the leader sends them again at once.
    #[command(after_help = "\
Examples:
  atalaya reports retry 41 42
  atalaya reports retry --all            when the API is put right")]
    Retry(ReportsPickArgs),
    /// Delete reports for good: nobody will deliver them.
    #[command(after_help = "\
Examples:
  atalaya reports drop 41                waiting or rejected
  atalaya reports drop --all             all that were rejected; what waits has to be named")]
    Drop(ReportsPickArgs),
}

#[derive(Debug, Args)]
pub(super) struct ReportsListArgs {
    /// How to print; json is one object a line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// `atalaya reports retry` and `drop`.
#[derive(Debug, Args)]
pub(super) struct ReportsPickArgs {
    /// Their cycles.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    cycles: Vec<u64>,

    /// All that the API rejected.
    #[arg(long)]
    all: bool,

    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn main(command: &ReportsCommand) -> Result<ExitCode, Failure> {
    match command {
        ReportsCommand::List(args) => with_session_of(None, &args.connection, |session| async move {
            let connection = session.connection().await;
            connection.sync().await.map_err(Failure::temp_fail)?;
            list(&connection, args).await
        }),
        ReportsCommand::Retry(args) => each(args, "retried", Act::Retry),
        ReportsCommand::Drop(args) => each(args, "dropped", Act::Drop),
    }
}

/// A report that is not delivered, as it is shown.
#[derive(Serialize)]
struct Row<'a> {
    state: &'static str,
    #[serde(flatten)]
    report: &'a CycleReport,
}

async fn list(connection: &Connection, args: &ReportsListArgs) -> Result<ExitCode, Failure> {
    let mut shown = 0;
    for (state, parent) in [("waiting", PATH), ("rejected", ASIDE)] {
        let listed =
            outbox_store::list(connection, parent).await.map_err(Failure::temp_fail)?.unwrap_or_default();
        for name in &listed.others {
            let name = text::sanitize_for_log(name);
            warn!("{parent}/{name} is not a report: its name is not a cycle number");
        }
        let mut reader =
            Reader { connection, parent, cycles: listed.cycles.into_iter(), batch: Batch::default() };
        let mut read = Vec::new().into_iter();
        loop {
            let Some((cycle, data)) = read.next() else {
                read = reader.next().await?.into_iter();
                if read.len() == 0 {
                    break;
                }
                continue;
            };
            // Delivered meanwhile.
            let Some(data) = data else { continue };
            let line = match (parsed(&data, cycle), args.output) {
                (Ok(report), Output::Json) => {
                    serde_json::to_string(&Row { state, report: &report }).map_err(Failure::internal)?
                }
                (Ok(report), Output::Table) => row(state, &report),
                (Err(problem), Output::Json) => {
                    serde_json::json!({"state": state, "cycle": cycle, "problem": problem}).to_string()
                }
                (Err(problem), Output::Table) => {
                    text::sanitize_line(&format!("{cycle:>10}  {state:<8}  is no report: {problem}"))
                        .into_owned()
                }
            };
            if shown == 0 && args.output == Output::Table {
                let heads = ("cycle", "state", "epoch", "time", "average");
                let heads = format!(
                    "{:>10}  {:<8}  {:>10}  {:<20}  {}\n",
                    heads.0, heads.1, heads.2, heads.3, heads.4
                );
                print(heads.as_bytes())?;
            }
            shown += 1;
            if !print_or_closed(format!("{line}\n").as_bytes())? {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    if shown == 0 && args.output == Output::Table {
        print(b"everything is delivered\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads reports, a batch of bounded size at a time.
struct Reader<'a> {
    connection: &'a Connection,
    parent: &'a str,
    cycles: std::collections::btree_set::IntoIter<u64>,
    batch: Batch,
}

impl Reader<'_> {
    /// Returns the next reports; none at the end.
    async fn next(&mut self) -> Result<Vec<(u64, Option<Vec<u8>>)>, Failure> {
        let cycles: Vec<u64> = self.cycles.by_ref().take(self.batch.count()).collect();
        if cycles.is_empty() {
            return Ok(Vec::new());
        }
        let found =
            outbox_store::read(self.connection, self.parent, &cycles).await.map_err(Failure::temp_fail)?;
        self.batch.saw(found.iter().filter_map(|(_, data)| data.as_ref()).map(Vec::len).max().unwrap_or(0));
        Ok(found)
    }
}

/// Returns the report, or why it is none: what the leader wrote in its place, if it was too large to be kept.
fn parsed(data: &[u8], cycle: u64) -> Result<CycleReport, String> {
    #[derive(Deserialize)]
    struct Kept {
        reason: String,
    }
    CycleReport::parse(data, cycle).map_err(|problem| match serde_json::from_slice(data) {
        Ok(Kept { reason }) => reason,
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

#[derive(Clone, Copy)]
enum Act {
    Retry,
    Drop,
}

fn each(args: &ReportsPickArgs, done: &str, act: Act) -> Result<ExitCode, Failure> {
    with_session_of(None, &args.connection, |session| async move {
        let connection = session.connection().await;
        connection.sync().await.map_err(Failure::temp_fail)?;
        let cycles = match args.all {
            true => {
                let aside = outbox_store::cycles(&connection, ASIDE).await.map_err(Failure::temp_fail)?;
                aside.unwrap_or_default().into_iter().collect()
            }
            false => args.cycles.clone(),
        };
        let (mut count, mut missing) = (0, Vec::new());
        for cycle in cycles {
            let acted = match act {
                Act::Retry => retry(&connection, cycle).await,
                Act::Drop => drop_it(&connection, cycle).await,
            };
            match acted {
                Ok(()) => count += 1,
                // With --all, somebody else was faster.
                Err(error) if error.is_no_node() && args.all => {}
                Err(error) if error.is_no_node() => missing.push(cycle.to_string()),
                Err(error) => return Err(Failure::temp_fail(error)),
            }
        }
        print(format!("{count} {done}\n").as_bytes())?;
        if missing.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let which = match act {
            Act::Retry => "was rejected",
            Act::Drop => "waits or was rejected",
        };
        Err(Failure::io(anyhow!(
            "no report of cycle {} {which}: see atalaya reports list",
            missing.join(", ")
        )))
    })
}

/// The leader looks at its outbox whenever its parent is written.
const BELL: Write<'static> = Write::Set { path: PATH, data: b"", version: None };

async fn retry(connection: &Connection, cycle: u64) -> Result<(), Error> {
    let (from, to) = (format!("{ASIDE}/{cycle}"), format!("{PATH}/{cycle}"));
    let (data, stat) = connection.get(&from).await?;
    let data = match CycleReport::parse(&data, cycle) {
        Ok(report) => CycleReport { reason: None, ..report }.data(),
        Err(_) => data,
    };
    connection.ensure(PATH).await?;
    let delete = Write::Delete { path: &from, version: Some(stat.version) };
    let create = Write::Create { path: &to, data: &data, mode: CreateMode::Persistent };
    connection.multi(&[delete, create, BELL]).await?;
    Ok(())
}

async fn drop_it(connection: &Connection, cycle: u64) -> Result<(), Error> {
    let aside = format!("{ASIDE}/{cycle}");
    match connection.delete(&aside, None).await {
        Err(error) if error.is_no_node() => {}
        done => return done,
    }
    let waiting = format!("{PATH}/{cycle}");
    connection.multi(&[Write::Delete { path: &waiting, version: None }, BELL]).await?;
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
