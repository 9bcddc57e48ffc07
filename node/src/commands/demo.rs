//! `atalaya demo`: arguments of the demo.

use std::fs::File;
use std::io::{IsTerminal, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{anyhow, ensure};
use atalaya_config::duration::{self, NotADuration};
use clap::Args;

use super::args::BoardArgs;
use super::process_environment;
use super::signals::stop_signal;
use crate::commands::exit::Failure;
use crate::demo::{self, Options, Script};
use crate::logging;
use crate::settings::listen_addr::ListenAddr;
use crate::settings::load_boards;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya demo                               run three nodes; ? explains the keys
  atalaya demo --nodes 50 --board laptop     run 50 nodes with the sensors of the board laptop
  atalaya demo --listen 127.0.0.1:8000       serve the page at http://127.0.0.1:8000/
  atalaya demo --plain --for 20s             print lines instead of a screen; stop after 20 s
  atalaya demo --script show.txt             inject the faults of a file

A script has one fault per line, a time after the start and an action; # starts a comment:
  5s   kill leader          kill, hang, revive or expire a node: its number, leader, or all
  10s  revive all
  12s  api away             api away, back, hang (no response) or fail (503)
  20s  api back
  22s  zookeeper stop       zookeeper stop or start
  25s  zookeeper start
  30s  end

The demo connects to no other machine, and its data is lost when it ends.")]
pub(super) struct DemoArgs {
    /// Number of nodes, from 1 to 20000.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    nodes: u32,

    /// Sampling period: interval between measurements, and between averages of the leader.
    #[arg(long, value_name = "DURATION", value_parser = parse_period, default_value = "1s")]
    sampling_period: Duration,

    /// Session timeout of the nodes [default: 5s; 20s from 200 nodes].
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    session_timeout: Option<Duration>,

    /// Address for the REST API and its page [default: a free port on 127.0.0.1, which the screen shows].
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0", hide_default_value = true)]
    listen: ListenAddr,

    /// Print one line per event instead of a screen; always on without a terminal.
    #[arg(long)]
    plain: bool,

    /// Stop after this time [default: run until q or Ctrl-C].
    #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
    length: Option<Duration>,

    /// File with faults to inject; its format is below.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,

    #[command(flatten)]
    board: BoardArgs,
}

/// Number of nodes from which the session timeout is longer, because all nodes share the processor of this machine.
const LARGE_FLEET: u32 = 200;
const SESSION_TIMEOUT: Duration = Duration::from_secs(5);
const LARGE_FLEET_SESSION_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum time from a signal to the end of the process.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);
/// Exit code if stdout blocks the shutdown.
const OUTPUT_BLOCKED: i32 = 74;
/// Maximum size of a script, in bytes.
const MAX_SCRIPT_SIZE: u64 = 1024 * 1024;

pub(super) fn main(args: DemoArgs, filter: Option<&str>) -> Result<(), Failure> {
    let filter = logging::filter(filter).map_err(|problem| Failure::usage(anyhow!(problem)))?;
    let boards = load_boards(args.board.boards.as_ref(), process_environment())?;
    let is_large = args.nodes >= LARGE_FLEET;
    let default_timeout = if is_large { LARGE_FLEET_SESSION_TIMEOUT } else { SESSION_TIMEOUT };
    let parse = |path: &PathBuf| {
        let script = read(path).and_then(|text| Script::parse(&text, args.nodes).map_err(anyhow::Error::msg));
        script.map_err(|error| Failure::usage(anyhow!("{}: {error}", path.display())))
    };
    let script = args.script.as_ref().map(parse).transpose()?.unwrap_or_default();
    let plain = args.plain || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal();
    let options = Options {
        nodes: args.nodes,
        boards,
        board: args.board.board_name(),
        sampling_period: args.sampling_period,
        session_timeout: args.session_timeout.unwrap_or(default_timeout),
        listen: args.listen.resolve().map_err(|error| {
            Failure::unavailable(anyhow!("cannot listen on {} (--listen): {error}", args.listen))
        })?,
        plain,
        length: args.length,
        script,
        filter,
    };
    // A worker thread runs the nodes, so that they continue while this thread is blocked by a terminal or pipe.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(Failure::internal)?.block_on(async {
        let stop = stop_signal()?;
        tokio::spawn(exit_after(stop_signal()?));
        demo::run(options, stop).await.map_err(Failure::from)
    })
}

/// Ends the process [`SHUTDOWN_TIMEOUT`] after the signal, in case a blocked stdout delays the regular shutdown.
async fn exit_after(signal: impl Future<Output = &'static str>) {
    signal.await;
    tokio::time::sleep(SHUTDOWN_TIMEOUT).await;
    std::process::exit(OUTPUT_BLOCKED);
}

fn parse_period(text: &str) -> Result<Duration, NotADuration> {
    duration::parse(text).and_then(duration::period)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_SCRIPT_SIZE + 1).read_to_string(&mut text)?;
    ensure!(text.len() as u64 <= MAX_SCRIPT_SIZE, "the script is larger than 1 MiB");
    Ok(text)
}
