//! How tools get to ZooKeeper, and leave it.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_hal::duration;
use atalaya_recipes::connect_string::check_path;
use atalaya_recipes::{Session, SessionOptions};

use crate::commands::args::ConnectionArgs;
use crate::commands::exit::Failure;
use crate::commands::process_environment;
use crate::settings::{FleetArgs, Settings, load_boards};

/// How long the end may take.
const FAREWELL: Duration = Duration::from_millis(1_500);

/// Runs a tool: connects, calls `work` with the session once it is connected, and closes the session, so that nothing
/// ephemeral stays.
pub(super) fn with_session<Fut>(
    args: &ConnectionArgs,
    work: impl FnOnce(Session) -> Fut,
) -> Result<ExitCode, Failure>
where
    Fut: Future<Output = Result<ExitCode, Failure>>,
{
    with_session_of(None, args, work)
}

/// The same; `boards` is the file that may say where ZooKeeper is, if it is not the one here.
pub(in crate::commands) fn with_session_of<Fut, T>(
    boards: Option<&PathBuf>,
    args: &ConnectionArgs,
    work: impl FnOnce(Session) -> Fut,
) -> Result<T, Failure>
where
    Fut: Future<Output = Result<T, Failure>>,
{
    let patience = parse("connect-timeout", &args.connect_timeout)?;
    let fleet = FleetArgs::default()
        .with_optional("zookeeper", args.zookeeper.as_ref())
        .with_optional("session_timeout", args.session_timeout.as_ref());
    let settings =
        Settings::assemble(&fleet, &load_boards(boards, process_environment())?, process_environment())?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
    runtime.block_on(async {
        let session = Session::start(SessionOptions {
            servers: settings.zookeeper.clone(),
            timeout: settings.session_timeout,
        });
        if tokio::time::timeout(patience, session.connection()).await.is_err() {
            let servers = &settings.zookeeper;
            return Err(Failure::unavailable(anyhow!(
                "ZooKeeper at {servers} was not reached within {patience:?}"
            )));
        }
        let outcome = work(session.clone()).await;
        session.close(FAREWELL).await;
        outcome
    })
}

/// A duration that a flag gives.
pub(super) fn parse(flag: &str, text: &str) -> Result<Duration, Failure> {
    duration::parse(text).map_err(|error| Failure::usage(anyhow!("--{flag}: {error}")))
}

/// A path that is given.
pub(super) fn path(text: &str) -> Result<String, Failure> {
    match check_path(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(problem) => Err(Failure::usage(anyhow!("bad znode path \"{text}\": {problem}"))),
    }
}

/// Largest value that is read from standard input: ZooKeeper takes no more than a mebibyte in one request.
const LARGEST: u64 = 1024 * 1024 - 1024;

/// A value that is given, or what standard input brings, for `-`; without the newline at its end.
pub(super) fn input(value: &str) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    if value != "-" {
        return Ok(value.as_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes).map_err(Failure::io)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::usage(anyhow!(
            "more than a mebibyte on standard input: ZooKeeper does not take it"
        )));
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(bytes)
}
