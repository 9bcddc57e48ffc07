//! ZooKeeper session of a command, and the input of tools.

use std::io::Read as _;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_recipes::Session;

use crate::commands::args::ConnectionArgs;
use crate::commands::exit::Failure;
use crate::commands::{current_thread_runtime, load_settings};
use crate::settings::zookeeper_access::ZooKeeperAccess;
use crate::settings::{Settings, SettingsError};

/// Maximum time for closing the session.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Maximum size of a value from standard input: ZooKeeper rejects requests of more than 1 MiB.
const MAX_INPUT: u64 = 1024 * 1024 - 1024;

/// Connects to ZooKeeper, calls `work` with the connected session, and closes the session, which deletes its
/// ephemeral znodes.
pub(in crate::commands) fn with_session<T>(
    args: &ConnectionArgs,
    work: impl AsyncFnOnce(Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (_, settings) = load_settings(args.boards.as_ref(), &args.flags.0)?;
    let access = ZooKeeperAccess::read(&settings).map_err(SettingsError::from)?;
    with_settings(&settings, &access, args.connect_timeout, work)
}

/// Like [`with_session`], with settings and identity that are known already.
pub(in crate::commands) fn with_settings<T>(
    settings: &Settings,
    access: &ZooKeeperAccess,
    connect_timeout: Duration,
    work: impl AsyncFnOnce(Session) -> Result<T, Failure>,
) -> Result<T, Failure> {
    current_thread_runtime()?.block_on(async {
        let options = access.options(settings.zookeeper.clone(), settings.session_timeout);
        let session = Session::start(options);
        connect(&session, settings, connect_timeout).await?;
        let outcome = work(session.clone()).await;
        session.close(CLOSE_TIMEOUT).await;
        outcome
    })
}

/// Waits until a session is connected, at most for `timeout`.
pub(in crate::commands) async fn connect(
    session: &Session,
    settings: &Settings,
    timeout: Duration,
) -> Result<(), Failure> {
    let reason = match tokio::time::timeout(timeout, session.try_connection()).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => Some(error),
        Err(_) => session.connect_error().borrow().clone(),
    };
    Err(Failure::not_connected(&settings.zookeeper, reason.as_ref(), timeout))
}

/// Returns the bytes of `value`, or for `-` those of standard input, without the newline at the end.
pub(super) fn value_or_stdin(value: &str) -> Result<Vec<u8>, Failure> {
    if value != "-" {
        return Ok(value.as_bytes().to_vec());
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_INPUT + 1).read_to_end(&mut bytes).map_err(Failure::io)?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(Failure::usage(anyhow!(
            "standard input is longer than {MAX_INPUT} bytes, the maximum for a znode"
        )));
    }
    bytes.pop_if(|last| *last == b'\n');
    Ok(bytes)
}
