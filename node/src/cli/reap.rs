//! What is remembered of a node, and clearing up after it.

use std::path::PathBuf;

use clap::Args;

use crate::model::node_id::NodeId;

/// Where nodes of this machine are remembered.
#[derive(Clone, Debug, Default, Args)]
pub struct StateArgs {
    /// Where a node writes down what it makes in ZooKeeper, so that it can be reaped if it is killed; off: nowhere
    /// [default: $XDG_STATE_HOME/atalaya, else ~/.local/state/atalaya]. Also ATALAYA_STATE_DIR, STATE_DIRECTORY.
    #[arg(long, value_name = "FOLDER", help_heading = "State")]
    pub state_dir: Option<PathBuf>,
}

/// `atalaya reap`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya reap 1                       after kill -9 of node 1: its znodes are gone now, not later
  atalaya reap --all                   every node of this machine that is dead
  ExecStopPost=-/usr/bin/atalaya reap 1        in a systemd unit

A node that was killed leaves its znodes until its session times out; if it led, nobody leads
until then. This deletes them, as far as they still belong to a session that the dead process
wrote down, and the next in line leads at once. That it is dead is proved by a lock that dies
with it: a node that runs, or merely hangs, is left alone.

Exit codes: 0 done, or nothing to do; 65 what is written down makes no sense; 69 ZooKeeper
unreachable; 74 it cannot be read; 75 the node is running (with --all: it is left alone).")]
pub struct ReapArgs {
    /// The node's id: in every fleet that it was in.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub id: Option<NodeId>,

    /// All nodes that are remembered here.
    #[arg(long)]
    pub all: bool,

    /// Where nodes are remembered.
    #[command(flatten)]
    pub state: StateArgs,

    /// Give up (exit 69) when it has taken so long for one node.
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub timeout: String,
}
