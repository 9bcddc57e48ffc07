//! `atalaya inspect`: describes a znode and its children.

use std::time::SystemTime;

use anyhow::anyhow;
use atalaya_recipes::{Connection, Error};
use clap::Args;
use serde_json::json;

use super::connection::with_session;
use crate::commands::args::{ConnectionArgs, Output, znode_path};
use crate::commands::exit::Failure;
use crate::commands::stdout::{json_lines, print};
use crate::inspect::{Entry, Inspection, Znode, table, tree};
use crate::zk::bulk_read::{SizeCache, read_named_children};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya inspect /election                  the leader and the contenders, with their ages
  atalaya inspect / --recursive              all znodes, as a tree
  atalaya inspect /mediciones --output json | jq .entries[].data")]
pub(in crate::commands) struct InspectArgs {
    /// Path of the znode.
    #[arg(value_parser = znode_path, default_value = "/")]
    path: String,

    /// Show all descendants, as a tree.
    #[arg(long, short)]
    recursive: bool,

    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Maximum number of znodes in a tree.
const MAX_ZNODES: usize = 100_000;
/// Maximum size of the data that is kept per znode, in bytes: more than the output contains.
const MAX_DATA: usize = 1024;

pub(in crate::commands) fn main(args: &InspectArgs) -> Result<(), Failure> {
    let path = &args.path;
    with_session(&args.connection, async |session| {
        let connection = session.connection().await;
        // Without a sync, the server that this session is connected to may be behind the others.
        connection.sync().await?;
        let Some((data, stat)) = connection.get_opt(path).await? else {
            return Err(Failure::io(anyhow!("znode {path} does not exist")));
        };
        let znode = Znode { name: path.clone(), data, stat };
        let text = if args.recursive {
            let znodes = read_tree(&connection, znode).await?;
            match args.output {
                Output::Table => tree(&znodes),
                Output::Json => {
                    json_lines(znodes.iter().map(|(depth, entry)| json!({"depth": depth, "znode": entry})))
                }
            }
        } else {
            let children = read_children(&connection, path).await?;
            let inspection = Inspection::new(&znode, &children, SystemTime::now());
            match args.output {
                Output::Table => table(&inspection),
                Output::Json => format!("{}\n", json!(inspection)),
            }
        };
        print(text.as_bytes())
    })
}

/// Returns the children of the znode at `path`, sorted by name. Children that were deleted since they were listed, or
/// that cannot be read, are left out.
async fn read_children(connection: &Connection, path: &str) -> Result<Vec<Znode>, Error> {
    let names = connection.children_or_empty(path).await?;
    let parent = path.trim_end_matches('/');
    let parse = |data: &[u8], _: &_| data[..data.len().min(MAX_DATA)].to_vec();
    let found = read_named_children(connection, parent, names, &mut SizeCache::default(), parse).await?;
    Ok(found.into_iter().map(|(name, stat, data)| Znode { name, data, stat }).collect())
}

/// Returns `root` and all descendants with their depths, parents before children.
async fn read_tree(connection: &Connection, root: Znode) -> Result<Vec<(usize, Entry)>, Error> {
    let now = SystemTime::now();
    let mut entries = Vec::new();
    let mut pending = vec![(0, root.name.clone(), root)];
    while let Some((depth, path, znode)) = pending.pop() {
        entries.push((depth, Entry::new(&znode, now)));
        if entries.len() == MAX_ZNODES {
            tracing::warn!("the tree is cut after {MAX_ZNODES} znodes");
            break;
        }
        if znode.stat.num_children > 0 {
            let children = read_children(connection, &path).await?;
            // In reverse, because the last znode of the stack is the next one in the tree.
            let parent = path.trim_end_matches('/');
            let children = children.into_iter().rev();
            pending.extend(children.map(|child| (depth + 1, format!("{parent}/{}", child.name), child)));
        }
    }
    Ok(entries)
}
