//! Checks of a Redis server before it is used: acknowledged data must be on its disk and stay there.

use std::collections::HashMap;

use redis::cmd;
use tracing::warn;

use super::link::{Failure, Link};

/// Durability of acknowledged data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeps {
    /// Data is on the disk before Redis answers.
    AtOnce,
    /// Redis does not permit reading its configuration.
    Untold,
}

/// Returns the durability of acknowledged data. Changes settings that are missing, if permitted. A server that has
/// `lost` its data and has no append-only file is not changed: a new file would replace the old one, which may still
/// contain all data.
///
/// # Errors
/// Returns an error if acknowledged data is not durable; the message contains the required setting.
pub(super) async fn inspect(link: &mut Link, lost: bool) -> Result<Keeps, Failure> {
    let info = info(link).await?;
    let is = |name: &str, value: &str| info.get(name).is_some_and(|told| told == value);
    if is("redis_mode", "cluster") {
        return unfit("Redis is a cluster: one server is needed");
    }
    if is("role", "slave") {
        return unfit("Redis is a replica");
    }
    let evicts = info.get("maxmemory_policy").is_some_and(|policy| policy.starts_with("allkeys"));
    if evicts && !is("maxmemory", "0") {
        return unfit("Redis forgets reports when its memory is full: set maxmemory-policy noeviction");
    }
    match config(link, "appendonly").await? {
        Some(appendonly) if appendonly == "yes" => {}
        Some(_) if lost => {
            return unfit(
                "Redis has started without its append-only file: set appendonly yes in its configuration, and start it again",
            );
        }
        Some(_) => switch_on(link).await?,
        None if is("aof_enabled", "0") => {
            return unfit("Redis keeps nothing on its disk: set appendonly yes");
        }
        None => return Ok(Keeps::Untold),
    }
    for (name, value) in [("appendfsync", "always"), ("no-appendfsync-on-rewrite", "no")] {
        if config(link, name).await?.is_some_and(|set| set != value) {
            let set: Result<(), Failure> = link.ask(cmd("CONFIG").arg("SET").arg(name).arg(value)).await;
            if let Err(error) = set {
                return unfit(format!(
                    "Redis does not write at once what it is told: set {name} {value} ({error})"
                ));
            }
            warn!("{name} is {value} now in Redis; set it in its configuration as well");
        }
    }
    if being_written(&info) {
        return unfit("Redis is writing its append-only file");
    }
    Ok(Keeps::AtOnce)
}

/// Enables the append-only file permanently: otherwise Redis would ignore that file at its next start.
async fn switch_on(link: &mut Link) -> Result<(), Failure> {
    const WRONG: &str = "Redis keeps nothing on its disk: set appendonly yes in its configuration";
    // Tried first, because a server that was started without a configuration file cannot store the setting.
    let rewrite = || {
        let mut rewrite = cmd("CONFIG");
        rewrite.arg("REWRITE");
        rewrite
    };
    if let Err(error) = link.ask::<()>(&rewrite()).await {
        return unfit(format!("{WRONG} ({error})"));
    }
    let set = link.ask::<()>(cmd("CONFIG").arg("SET").arg("appendonly").arg("yes")).await;
    if let Err(error) = set {
        return unfit(format!("{WRONG} ({error})"));
    }
    if let Err(error) = link.ask::<()>(&rewrite()).await {
        // Otherwise the next check would take the setting for permanent.
        link.ask::<()>(cmd("CONFIG").arg("SET").arg("appendonly").arg("no")).await?;
        return unfit(format!("{WRONG} ({error})"));
    }
    warn!("appendonly is yes now in Redis, and in its configuration");
    if being_written(&info(link).await?) {
        return unfit("Redis is writing its append-only file");
    }
    Ok(())
}

fn unfit<T>(why: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Unfit(why.into()))
}

/// Returns true while the first append-only file is incomplete, because until then nothing is on the disk. Redis
/// reports only whether it is the first one since its start. Waiting without need in other cases is acceptable.
fn being_written(info: &HashMap<String, String>) -> bool {
    let is = |name: &str, value: &str| info.get(name).is_some_and(|told| told == value);
    (is("aof_rewrite_in_progress", "1") || is("aof_rewrite_scheduled", "1"))
        && is("aof_last_rewrite_time_sec", "-1")
}

async fn info(link: &mut Link) -> Result<HashMap<String, String>, Failure> {
    let text: String = link.ask(&cmd("INFO")).await?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    Ok(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

/// Returns a setting, or `None` if Redis does not permit reading it.
async fn config(link: &mut Link, name: &str) -> Result<Option<String>, Failure> {
    let told: Result<HashMap<String, String>, Failure> = link.ask(cmd("CONFIG").arg("GET").arg(name)).await;
    match told {
        Ok(mut told) => Ok(told.remove(name)),
        // The command is renamed or not permitted.
        Err(Failure::Redis(error)) if !error.is_io_error() => Ok(None),
        Err(error) => Err(error),
    }
}
