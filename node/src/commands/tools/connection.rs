//! ZooKeeper session of a command, and the input of tools.

use std::io::Read as _;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_recipes::{Session, SessionOptions};

use crate::commands::args::ConnectionArgs;
use crate::commands::exit::Failure;
use crate::commands::{current_thread_runtime, load_settings};
use crate::settings::FleetArgs;

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
    let connect_timeout = args.connect_timeout;
    let fleet = FleetArgs::default()
        .with_optional("zookeeper", args.zookeeper.as_ref())
        .with_optional("session_timeout", args.session_timeout.as_ref());
    let (_, settings) = load_settings(args.boards.as_ref(), &fleet)?;
    current_thread_runtime()?.block_on(async {
        let session = Session::start(SessionOptions::new(settings.zookeeper.clone(), settings.session_timeout));
        if tokio::time::timeout(connect_timeout, session.connection()).await.is_err() {
            let servers = &settings.zookeeper;
            return Err(Failure::unavailable(anyhow!(
                "ZooKeeper at {servers} was not reached within {connect_timeout:?}; check --zookeeper and that the \
                 servers are running"
            )));
        }
        let outcome = work(session.clone()).await;
        session.close(CLOSE_TIMEOUT).await;
        outcome
    })
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
