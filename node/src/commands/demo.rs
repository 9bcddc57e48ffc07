//! `atalaya demo`: reads what is asked for, and shows it.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_hal::duration;
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
  atalaya demo                               three nodes; ? explains the keys
  atalaya demo --nodes 50 --board laptop     fifty, with the sensors of that board
  atalaya demo --listen 127.0.0.1:8000       its page is at http://127.0.0.1:8000/
  atalaya demo --plain --for 20s             lines instead of a screen, and an end
  atalaya demo --script show.txt             what goes wrong, and when, by a file

A script has one fault a line, when and what; # begins a comment:
  5s   kill leader          kill, hang, revive or expire: a node's number, leader, all
  10s  revive all
  12s  api away             api away, back, hang (never answers) or fail (503)
  20s  api back
  22s  zookeeper stop       zookeeper stop or start
  25s  zookeeper start
  30s  end

Nothing outside this machine is touched, and nothing is kept.")]
pub(super) struct DemoArgs {
    /// How many nodes.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    nodes: u32,

    /// How often they measure, and the leader averages.
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    sampling_period: String,

    /// When ZooKeeper takes a silent node for dead [default: 5s, and 20s for 200 nodes and more].
    #[arg(long, value_name = "DURATION")]
    session_timeout: Option<String>,

    /// Where the REST API listens; its page is there, too [default: a free port, which the screen shows].
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0", hide_default_value = true)]
    listen: ListenAddr,

    /// One line for each event, instead of a screen. Without a terminal it is always so.
    #[arg(long)]
    plain: bool,

    /// When to end [default: when you do].
    #[arg(long = "for", value_name = "DURATION")]
    length: Option<String>,

    /// What goes wrong, and when: see below.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,

    /// Which board.
    #[command(flatten)]
    board: BoardArgs,
}

/// From so many nodes on they get more time to be heard: all of them share this machine's processor.
const MANY: u32 = 200;
const SESSION_TIMEOUT: Duration = Duration::from_secs(5);
const SESSION_TIMEOUT_OF_MANY: Duration = Duration::from_secs(20);
/// Maximum time for the end after a signal.
const END: Duration = Duration::from_secs(3);
/// Exit code of a demo whose output is not read any more.
const UNREAD: i32 = 74;
/// Largest script that is read, in bytes.
const LARGEST_SCRIPT: u64 = 1024 * 1024;

pub(super) fn main(args: DemoArgs, filter: Option<&str>) -> Result<(), Failure> {
    let filter = logging::filter(filter).map_err(|problem| Failure::usage(anyhow!(problem)))?;
    let boards = load_boards(args.board.boards.as_ref(), process_environment())?;
    let period = duration::parse(&args.sampling_period)
        .and_then(duration::period)
        .map_err(|error| Failure::usage(anyhow!("--sampling-period: {error}")))?;
    let length = args.length.as_deref().map(|text| parse("for", text)).transpose()?;
    let session_timeout = match &args.session_timeout {
        Some(text) => parse("session-timeout", text)?,
        None if args.nodes >= MANY => SESSION_TIMEOUT_OF_MANY,
        None => SESSION_TIMEOUT,
    };
    let script = match &args.script {
        Some(path) => {
            let text = read(path).map_err(|error| Failure::usage(anyhow!("{}: {error}", path.display())))?;
            Script::parse(&text, args.nodes)
                .map_err(|error| Failure::usage(anyhow!("{}: {error}", path.display())))?
        }
        None => Script::default(),
    };
    let plain = args.plain || !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal();
    let options = Options {
        nodes: args.nodes,
        boards,
        board: args.board.board_name(),
        sampling_period: period,
        session_timeout,
        listen: args.listen.resolve().map_err(|error| {
            Failure::unavailable(anyhow!("cannot listen at {} for --listen: {error}", args.listen))
        })?,
        plain,
        length,
        script,
        filter,
    };
    // A thread beside this one: the nodes' reports go on when a terminal or a pipe that nobody reads holds this one up.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(Failure::internal)?;
    runtime.block_on(async {
        let stop = stop_signal().map_err(Failure::internal)?;
        tokio::spawn(insist(stop_signal().map_err(Failure::internal)?));
        demo::run(options, stop).await.map_err(Failure::from)
    })
}

/// Ends the process if a stdout that takes nothing keeps it from ending itself after a signal.
async fn insist(signal: impl Future<Output = &'static str>) {
    signal.await;
    tokio::time::sleep(END).await;
    std::process::exit(UNREAD);
}

fn parse(flag: &str, text: &str) -> Result<Duration, Failure> {
    duration::parse(text).map_err(|error| Failure::usage(anyhow!("--{flag}: {error}")))
}

fn read(path: &std::path::Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let mut file = std::fs::File::open(path)?.take(LARGEST_SCRIPT + 1);
    file.read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST_SCRIPT {
        return Err(std::io::Error::other("a script of more than 1 MiB is none"));
    }
    Ok(text)
}
