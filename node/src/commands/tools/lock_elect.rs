//! `atalaya lock` and `atalaya elect`: a command that runs while this process holds a lock, or leads.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Guard, Lock, Session};
use clap::{Args, ValueEnum};
use tracing::{info, warn};

use super::child::{self, Ended};
use super::connection::{parse, path, with_session};
use crate::commands::args::ConnectionArgs;
use crate::commands::exit::Failure;
use crate::commands::signals::stop_signal;
use crate::model::node_info;

/// Whose znodes stand in the same line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::commands) enum NamingArg {
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
  atalaya lock /locks/backup -- ./backup.sh           runs when nobody else has the lock
  atalaya lock /locks/backup --wait 30s -- ./backup.sh
  atalaya lock /locks/backup                          holds it until Ctrl-C

The command finds the fencing token in ATALAYA_FENCE: a number that is higher for every later
holder. If the lock is lost, the command is ended, by SIGTERM, then by SIGKILL; if that is because
ZooKeeper cannot be reached, before anybody else can have the lock.

Exit codes: the command's own; 75 if the lock was not to be had in time, or was lost.")]
pub(in crate::commands) struct LockArgs {
    /// The znode below which contenders stand in line.
    path: String,

    /// How long to wait for the lock; 0s: only try [default: for ever].
    #[arg(long, value_name = "DURATION")]
    wait: Option<String>,

    /// What this contender calls itself, for those who look [default: this host and process].
    #[arg(long)]
    id: Option<String>,

    /// Whose programs stand in the same line.
    #[arg(long, value_enum, default_value_t)]
    naming: NamingArg,

    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,

    /// What to run while the lock is held.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya elect /service/leader -- ./serve            runs wherever it leads, on one machine at a time
  atalaya elect /service/leader --id blue             says when it leads, until Ctrl-C

As atalaya lock, but it goes on: if leading is lost, the command is ended, and run again when it
leads again. It ends when the command ends by itself, with the command's exit code.")]
pub(in crate::commands) struct ElectArgs {
    /// The znode at which the election is held.
    path: String,

    /// What this contender calls itself [default: this host and process].
    #[arg(long)]
    id: Option<String>,

    /// Whose programs stand in the same line.
    #[arg(long, value_enum, default_value_t)]
    naming: NamingArg,

    /// How to get to ZooKeeper.
    #[command(flatten)]
    connection: ConnectionArgs,

    /// What to run while it leads.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What the command finds the fencing token in.
const FENCE: &str = "ATALAYA_FENCE";
/// "Do not wait", as people write it.
const NO_WAIT: [&str; 2] = ["0", "0s"];

/// `atalaya lock`.
pub(in crate::commands) fn lock(args: &LockArgs) -> Result<ExitCode, Failure> {
    let at = path(&args.path)?;
    let patience = match args.wait.as_deref() {
        None => None,
        Some(text) if NO_WAIT.contains(&text.trim()) => Some(Duration::ZERO),
        Some(text) => Some(parse("wait", text)?),
    };
    with_session(&args.connection, |session| async move {
        let stop = stop_signal().map_err(Failure::internal)?;
        tokio::pin!(stop);
        let lock = contender(session, &at, args.id.as_deref(), args.naming);
        let acquired = tokio::select! {
            biased;
            _ = &mut stop => return Ok(ExitCode::from(INTERRUPTED)),
            acquired = acquire(&lock, patience) => acquired?,
        };
        let Some(guard) = acquired else {
            let time = patience.unwrap_or_default();
            return Err(Failure::temp_fail(anyhow!("the lock {at} was not to be had within {time:?}")));
        };
        info!(path = at, fence = guard.fencing_token(), "holding the lock");
        let held = under(&guard, &args.command, &mut stop).await?;
        guard.release().await;
        match held {
            Held::Done(code) => Ok(code),
            Held::Lost => Err(Failure::temp_fail(anyhow!("the lock {at} was lost"))),
        }
    })
}

/// `atalaya elect`.
pub(in crate::commands) fn elect(args: &ElectArgs) -> Result<ExitCode, Failure> {
    let at = path(&args.path)?;
    with_session(&args.connection, |session| async move {
        let stop = stop_signal().map_err(Failure::internal)?;
        tokio::pin!(stop);
        let lock = contender(session, &at, args.id.as_deref(), args.naming);
        loop {
            let guard = tokio::select! {
                biased;
                _ = &mut stop => return Ok(ExitCode::SUCCESS),
                guard = lock.acquire() => guard.map_err(Failure::temp_fail)?,
            };
            info!(path = at, fence = guard.fencing_token(), "leading");
            let held = under(&guard, &args.command, &mut stop).await?;
            guard.release().await;
            match held {
                Held::Done(code) => return Ok(code),
                Held::Lost => warn!("not leading any more; standing in line again"),
            }
        }
    })
}

/// As a shell says that it was interrupted.
const INTERRUPTED: u8 = 130;

fn contender(session: Session, path: &str, id: Option<&str>, naming: NamingArg) -> Lock {
    let id = id.map_or_else(|| format!("{}:{}", node_info::host_name(), std::process::id()), str::to_owned);
    let naming = match naming {
        NamingArg::Kazoo => Naming::Kazoo,
        NamingArg::CuratorLatch => Naming::CuratorLatch,
        NamingArg::CuratorLock => Naming::CuratorLock,
    };
    Lock::with_naming(session, path, id, naming)
}

async fn acquire(lock: &Lock, patience: Option<Duration>) -> Result<Option<Guard>, Failure> {
    let acquired = match patience {
        None => lock.acquire().await.map(Some),
        Some(Duration::ZERO) => lock.try_acquire().await,
        Some(patience) => lock.acquire_within(patience).await,
    };
    acquired.map_err(Failure::temp_fail)
}

/// How it came to an end.
enum Held {
    Done(ExitCode),
    Lost,
}

/// Runs the command, or waits for the signal to stop, while `guard` holds.
async fn under(
    guard: &Guard,
    command: &[OsString],
    stop: impl Future<Output = &'static str>,
) -> Result<Held, Failure> {
    if command.is_empty() {
        return Ok(tokio::select! {
            biased;
            () = guard.lost() => Held::Lost,
            _ = stop => Held::Done(ExitCode::SUCCESS),
        });
    }
    let fence = [(FENCE, guard.fencing_token().to_string())];
    // Without ZooKeeper the lease is over at half of the session timeout: at three quarters of it the command is dead, and
    // only after the whole of it can anybody else hold this.
    let grace = guard.connection().timeout() / 4;
    let Ended { code, lost } = child::run(command, &fence, grace, guard.lost(), stop).await?;
    Ok(if lost { Held::Lost } else { Held::Done(ExitCode::from(code)) })
}
