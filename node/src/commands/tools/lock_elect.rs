//! `atalaya lock` and `atalaya elect`: run a command while this process holds a lock or leads.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_config::duration::{self, NotADuration};
use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Guard, Lock, Session};
use clap::{Args, ValueEnum};
use tracing::{info, warn};

use super::connection::with_session;
use super::guarded_command;
use crate::commands::args::{ConnectionArgs, znode_path};
use crate::commands::exit::Failure;
use crate::commands::signals::stop_signal;
use crate::model::node_info;

/// Names of the contenders' znodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum NamingArg {
    /// Kazoo's Lock and Election.
    #[default]
    Kazoo,
    /// Curator's LeaderLatch.
    CuratorLatch,
    /// Curator's LeaderSelector and InterProcessMutex.
    CuratorLock,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya lock /locks/backup -- ./backup.sh           run a command on one machine at a time
  atalaya lock /locks/backup --wait 30s -- ./backup.sh
  atalaya lock /locks/backup                          hold the lock until Ctrl-C

The command finds the fencing token in the environment variable ATALAYA_FENCE. It is a number that \
increases with every holder. If the lock is lost, all processes of the command get SIGTERM, then \
SIGKILL. If ZooKeeper is not reachable, they end before another client can hold the lock.

Exit codes: that of the command; 75 the lock was not acquired within --wait, or was lost; 126 or 127 the \
command cannot be run; 130 interrupted while waiting for the lock.")]
pub(in crate::commands) struct LockArgs {
    /// Znode of the lock, the parent of the contenders' znodes; created if missing.
    #[arg(value_parser = znode_path)]
    path: String,

    /// Maximum time to wait for the lock; 0s tries once [default: no limit].
    #[arg(long, value_name = "DURATION", value_parser = parse_wait)]
    wait: Option<Duration>,

    /// Name of this contender, shown by atalaya inspect [default: host name and process id].
    #[arg(long)]
    id: Option<String>,

    /// Library whose programs contend for the same lock.
    #[arg(long, value_enum, default_value_t)]
    naming: NamingArg,

    #[command(flatten)]
    connection: ConnectionArgs,

    /// Command to run while the lock is held.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya elect /service/leader -- ./serve            run ./serve on one machine at a time
  atalaya elect /service/leader --id blue             log when this process leads, until Ctrl-C

As atalaya lock, but a lost leadership is not the end: the command is stopped, and started again when \
this process leads again. When the command ends by itself, atalaya ends with its exit code.")]
pub(in crate::commands) struct ElectArgs {
    /// Znode of the election, the parent of the contenders' znodes; created if missing.
    #[arg(value_parser = znode_path)]
    path: String,

    /// Name of this contender, shown by atalaya inspect [default: host name and process id].
    #[arg(long)]
    id: Option<String>,

    /// Library whose programs take part in the same election.
    #[arg(long, value_enum, default_value_t)]
    naming: NamingArg,

    #[command(flatten)]
    connection: ConnectionArgs,

    /// Command to run while this process leads.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Environment variable of the command with the fencing token.
const FENCE: &str = "ATALAYA_FENCE";
/// Values of `--wait` that mean one attempt. The parser of durations rejects zero.
const NO_WAIT: [&str; 2] = ["0", "0s"];
/// Exit code of a shell for a command that SIGINT has ended.
const INTERRUPTED: u8 = 130;

fn parse_wait(text: &str) -> Result<Duration, NotADuration> {
    if NO_WAIT.contains(&text.trim()) { Ok(Duration::ZERO) } else { duration::parse(text) }
}

pub(in crate::commands) fn lock(args: &LockArgs) -> Result<ExitCode, Failure> {
    let path = &args.path;
    with_session(&args.connection, async |session| {
        let stop = stop_signal()?;
        tokio::pin!(stop);
        let lock = contender(session, path, args.id.as_deref(), args.naming);
        let acquired = tokio::select! {
            biased;
            _ = &mut stop => return Ok(ExitCode::from(INTERRUPTED)),
            acquired = acquire(&lock, args.wait) => acquired?,
        };
        let Some(guard) = acquired else {
            let timeout = args.wait.unwrap_or_default();
            return Err(Failure::temp_fail(anyhow!("the lock {path} was not acquired within {timeout:?}")));
        };
        info!(path, fence = guard.fencing_token(), "holding the lock");
        let code = run_while_held(&guard, &args.command, &mut stop).await?;
        guard.release().await;
        code.ok_or_else(|| Failure::temp_fail(anyhow!("the lock {path} was lost")))
    })
}

pub(in crate::commands) fn elect(args: &ElectArgs) -> Result<ExitCode, Failure> {
    let path = &args.path;
    with_session(&args.connection, async |session| {
        let stop = stop_signal()?;
        tokio::pin!(stop);
        let lock = contender(session, path, args.id.as_deref(), args.naming);
        loop {
            let guard = tokio::select! {
                biased;
                _ = &mut stop => return Ok(ExitCode::SUCCESS),
                guard = lock.acquire() => guard.map_err(Failure::temp_fail)?,
            };
            info!(path, fence = guard.fencing_token(), "leading");
            let code = run_while_held(&guard, &args.command, &mut stop).await?;
            guard.release().await;
            if let Some(code) = code {
                return Ok(code);
            }
            warn!("lost the leadership; waiting to lead again");
        }
    })
}

fn contender(session: Session, path: &str, id: Option<&str>, naming: NamingArg) -> Lock {
    let id = id.map_or_else(|| format!("{}:{}", node_info::host_name(), std::process::id()), str::to_owned);
    let naming = match naming {
        NamingArg::Kazoo => Naming::Kazoo,
        NamingArg::CuratorLatch => Naming::CuratorLatch,
        NamingArg::CuratorLock => Naming::CuratorLock,
    };
    Lock::with_naming(session, path, id, naming)
}

/// Acquires the lock. Returns `None` after the timeout.
async fn acquire(lock: &Lock, timeout: Option<Duration>) -> Result<Option<Guard>, Failure> {
    let acquired = match timeout {
        None => lock.acquire().await.map(Some),
        Some(Duration::ZERO) => lock.try_acquire().await,
        Some(timeout) => lock.acquire_within(timeout).await,
    };
    acquired.map_err(Failure::temp_fail)
}

/// Runs the command while `guard` is held. Without a command, waits for the signal to stop. Returns the exit code, or
/// `None` if the lock or the leadership was lost.
async fn run_while_held(
    guard: &Guard,
    command: &[OsString],
    stop: impl Future<Output = &'static str>,
) -> Result<Option<ExitCode>, Failure> {
    if command.is_empty() {
        return Ok(tokio::select! {
            biased;
            () = guard.lost() => None,
            _ = stop => Some(ExitCode::SUCCESS),
        });
    }
    let fence = (FENCE, guard.fencing_token().to_string());
    // Without ZooKeeper, the local lease ends after half of the session timeout, and the command is killed a quarter
    // later. Another client can hold the lock only after the whole session timeout.
    let grace = guard.connection().timeout() / 4;
    let code = guarded_command::run(command, fence, grace, guard.lost(), stop).await?;
    Ok(code.map(ExitCode::from))
}
