//! `atalaya inspect`: reads znodes, and says what they are.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::anyhow;
use atalaya_recipes::session::BulkRead;
use atalaya_recipes::{Connection, Error};
use clap::Args;
use serde_json::json;

use super::connection::{path, with_session};
use crate::commands::args::{ConnectionArgs, Output};
use crate::commands::exit::Failure;
use crate::commands::stdout::print;
use crate::inspect::{Entry, Inspection, Znode, table, tree};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya inspect /election                  who leads, who waits, since when
  atalaya inspect / --recursive              everything, as a tree
  atalaya inspect /mediciones --output json | jq .entries[].data")]
pub(in crate::commands) struct InspectArgs {
    /// Which znode.
    #[arg(default_value = "/")]
    path: String,

    /// Everything below it, as a tree.
    #[arg(long, short)]
    recursive: bool,

    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Most znodes that are shown of a tree.
const MOST: usize = 100_000;
/// Read in one request: each may have a mebibyte.
const BATCH: usize = 64;
/// As much of the data of each is kept: more than is ever shown.
const KEPT: usize = 1024;

pub(in crate::commands) fn main(args: &InspectArgs) -> Result<ExitCode, Failure> {
    let at = path(&args.path)?;
    with_session(&args.connection, |session| async move {
        let connection = session.connection().await;
        // What others have written just now is to be seen.
        connection.sync().await.map_err(Failure::temp_fail)?;
        let own = match connection.get(&at).await {
            Ok((data, stat)) => Znode { name: at.clone(), data, stat },
            Err(error) if error.is_no_node() => return Err(Failure::io(anyhow!("there is no znode {at}"))),
            Err(error) => return Err(Failure::temp_fail(error)),
        };
        let text = if args.recursive {
            let nodes = below(&connection, own).await.map_err(Failure::temp_fail)?;
            match args.output {
                Output::Table => tree(&nodes),
                Output::Json => lines(&nodes),
            }
        } else {
            let children = children(&connection, &at).await.map_err(Failure::temp_fail)?;
            let inspection = Inspection::of(&own, &children, SystemTime::now());
            match args.output {
                Output::Table => table(&inspection),
                Output::Json => format!("{}\n", json!(inspection)),
            }
        };
        print(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The children of the znode at `path`, by name. Those that have gone meanwhile, or may not be read, are left out.
async fn children(connection: &Connection, path: &str) -> Result<Vec<Znode>, Error> {
    let mut names = match connection.children(path).await {
        Ok(names) => names,
        Err(error) if error.is_no_node() => Vec::new(),
        Err(error) => return Err(error),
    };
    names.sort_unstable();
    let mut znodes = Vec::new();
    for names in names.chunks(BATCH) {
        let paths: Vec<String> = names.iter().map(|name| join(path, name)).collect();
        let answers = connection.get_many(&paths).await?;
        znodes.extend(names.iter().zip(answers).filter_map(|(name, answer)| match answer {
            BulkRead::Data(data, stat) => {
                let data = data[..data.len().min(KEPT)].to_vec();
                Some(Znode { name: name.clone(), data, stat })
            }
            BulkRead::Missing(_) => None,
        }));
    }
    Ok(znodes)
}

/// `root` and everything below it, parents before their children, with how deep each stands.
async fn below(connection: &Connection, root: Znode) -> Result<Vec<(usize, Entry)>, Error> {
    let now = SystemTime::now();
    let mut shown = Vec::new();
    let mut waiting = vec![(0, root.name.clone(), root)];
    while let Some((depth, path, znode)) = waiting.pop() {
        shown.push((depth, Entry::of(&znode, now)));
        if shown.len() == MOST {
            tracing::warn!("there is more: only {MOST} znodes are shown");
            break;
        }
        if znode.stat.num_children > 0 {
            let children = children(connection, &path).await?;
            // The last to be pushed is the next to be shown.
            waiting
                .extend(children.into_iter().rev().map(|child| (depth + 1, join(&path, &child.name), child)));
        }
    }
    Ok(shown)
}

/// A JSON object a line.
fn lines(nodes: &[(usize, Entry)]) -> String {
    nodes.iter().map(|(depth, entry)| format!("{}\n", json!({"depth": depth, "znode": entry}))).collect()
}

fn join(parent: &str, name: &str) -> String {
    format!("{}/{name}", parent.trim_end_matches('/'))
}
