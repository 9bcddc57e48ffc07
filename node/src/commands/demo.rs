//! `atalaya demo`: reads what is asked for, and shows it.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_hal::duration;

use super::{board_name, stop_signal, surroundings};
use crate::cli::DemoArgs;
use crate::commands::exit::Failure;
use crate::demo::{self, Options, Script};
use crate::logging;
use crate::settings::load_boards;

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
    let boards = load_boards(args.board.boards.as_ref(), surroundings())?;
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
        board: board_name(&args.board),
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
