//! Checks of a Redis server before it is used: acknowledged data must be on its disk and stay there.

use std::collections::HashMap;

use redis::cmd;
use tracing::warn;

use super::connection::{Connection, Failure, Result};

/// Durability of acknowledged data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Data is on the disk before Redis answers.
    Immediate,
    /// Redis does not permit reading its configuration.
    Unknown,
}

/// Returns the durability of acknowledged data. Changes settings that are missing, if permitted. A server that has
/// `lost` its data and has no append-only file is not changed: a new file would replace the old one, which may still
/// contain all data.
///
/// # Errors
/// Returns an error if acknowledged data is not durable; the message contains the required setting.
pub(super) async fn inspect(connection: &mut Connection, lost: bool) -> Result<Durability> {
    let info = info(connection).await?;
    let is = |name: &str, value: &str| info.get(name).is_some_and(|found| found == value);
    if is("redis_mode", "cluster") {
        return unusable("Redis is a cluster: one server is needed");
    }
    if is("role", "slave") {
        return unusable("Redis is a replica");
    }
    let evicts = info.get("maxmemory_policy").is_some_and(|policy| policy.starts_with("allkeys"));
    if evicts && !is("maxmemory", "0") {
        return unusable("Redis evicts reports when its memory is full: set maxmemory-policy noeviction");
    }
    match config(connection, "appendonly").await? {
        Some(appendonly) if appendonly == "yes" => {}
        Some(_) if lost => {
            return unusable(
                "Redis has started without its append-only file: set appendonly yes in its configuration, and start it again",
            );
        }
        Some(_) => enable_append_only(connection).await?,
        None if is("aof_enabled", "0") => {
            return unusable("Redis stores nothing on its disk: set appendonly yes");
        }
        None => return Ok(Durability::Unknown),
    }
    for (name, value) in [("appendfsync", "always"), ("no-appendfsync-on-rewrite", "no")] {
        if config(connection, name).await?.is_some_and(|set| set != value) {
            let set = connection.query::<()>(cmd("CONFIG").arg("SET").arg(name).arg(value)).await;
            if let Err(error) = set {
                return unusable(format!(
                    "Redis answers before its data is on the disk: set {name} {value} ({error})"
                ));
            }
            warn!("{name} is {value} now in Redis; set it in its configuration as well");
        }
    }
    if first_rewrite_is_running(&info) {
        return unusable("Redis is writing its append-only file");
    }
    Ok(Durability::Immediate)
}

/// Enables the append-only file permanently: otherwise Redis would ignore that file at its next start.
async fn enable_append_only(connection: &mut Connection) -> Result<()> {
    const NOT_DURABLE: &str = "Redis stores nothing on its disk: set appendonly yes in its configuration";
    // Tried first, because a server that was started without a configuration file cannot store the setting.
    let rewrite = || {
        let mut rewrite = cmd("CONFIG");
        rewrite.arg("REWRITE");
        rewrite
    };
    if let Err(error) = connection.query::<()>(&rewrite()).await {
        return unusable(format!("{NOT_DURABLE} ({error})"));
    }
    let set = connection.query::<()>(cmd("CONFIG").arg("SET").arg("appendonly").arg("yes")).await;
    if let Err(error) = set {
        return unusable(format!("{NOT_DURABLE} ({error})"));
    }
    if let Err(error) = connection.query::<()>(&rewrite()).await {
        // Otherwise the next check would take the setting for permanent.
        connection.query::<()>(cmd("CONFIG").arg("SET").arg("appendonly").arg("no")).await?;
        return unusable(format!("{NOT_DURABLE} ({error})"));
    }
    warn!("appendonly is yes now in Redis, and in its configuration");
    if first_rewrite_is_running(&info(connection).await?) {
        return unusable("Redis is writing its append-only file");
    }
    Ok(())
}

fn unusable<T>(why: impl Into<String>) -> Result<T> {
    Err(Failure::Unusable(why.into()))
}

/// Returns true while the first append-only file is incomplete, because until then nothing is on the disk. Redis
/// reports only whether it is the first one since its start. Waiting without need in other cases is acceptable.
fn first_rewrite_is_running(info: &HashMap<String, String>) -> bool {
    let is = |name: &str, value: &str| info.get(name).is_some_and(|found| found == value);
    (is("aof_rewrite_in_progress", "1") || is("aof_rewrite_scheduled", "1"))
        && is("aof_last_rewrite_time_sec", "-1")
}

async fn info(connection: &mut Connection) -> Result<HashMap<String, String>> {
    let text: String = connection.query(&cmd("INFO")).await?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    Ok(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

/// Returns a setting, or `None` if Redis does not permit reading it.
async fn config(connection: &mut Connection, name: &str) -> Result<Option<String>> {
    let found: Result<HashMap<String, String>> = connection.query(cmd("CONFIG").arg("GET").arg(name)).await;
    match found {
        Ok(mut found) => Ok(found.remove(name)),
        // The command is renamed or not permitted.
        Err(Failure::Redis(error)) if !error.is_io_error() => Ok(None),
        Err(error) => Err(error),
    }
}
