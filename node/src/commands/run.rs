//! `atalaya run`: one node, in a process of its own.

use anyhow::anyhow;
use atalaya_hal::duration;

use super::{board_name, stop_signal, surroundings};
use crate::cli::RunArgs;
use crate::exit::Failure;
use crate::node::Node;
use crate::settings::{Settings, load_boards};

pub(super) fn main(args: RunArgs) -> Result<(), Failure> {
    let boards = load_boards(args.board.boards.as_ref(), surroundings())?;
    let settings = Settings::assemble(&args.fleet, &boards, surroundings())?;
    let connect_timeout = match &args.connect_timeout {
        Some(text) => Some(
            duration::parse(text).map_err(|error| Failure::usage(anyhow!("--connect-timeout: {error}")))?,
        ),
        None => None,
    };
    let node = Node::build(args.id, board_name(&args.board), &boards, settings)?;
    // One thread is enough for what a node does, and on a Pi two would cost memory; buses have threads of their own.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
    runtime.block_on(async {
        let stop = stop_signal().map_err(Failure::software)?;
        node.run(connect_timeout, stop).await
    })
}
