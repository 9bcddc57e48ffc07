//! What is asked of a Redis before anything is entrusted to it: that what it acknowledged is on its disk, and stays.

use std::collections::HashMap;

use redis::cmd;
use tracing::warn;

use super::link::{Failure, Link};

/// What is known of how it keeps what it acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeps {
    /// On its disk, before it answers.
    AtOnce,
    /// It does not tell its configuration.
    Untold,
}

/// How it keeps what it acknowledges. Sets what is missing, where that is allowed. One that has `lost` what it had, and has no
/// append-only file, is left as it is: a new file would take the place of the old one, in which all may stand.
///
/// # Errors
/// It does not keep it; the message says what is to be set.
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

/// From now on, and after its next start as well: it would else begin without what stands in the append-only file.
async fn switch_on(link: &mut Link) -> Result<(), Failure> {
    const WRONG: &str = "Redis keeps nothing on its disk: set appendonly yes in its configuration";
    // Tried first: one that was started without a file cannot remember it.
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
        // Else the next one who asks would take it for lasting.
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

/// Until the first append-only file is complete, nothing is on the disk. Which one it is, only the first since the start can
/// be told; that some wait for no reason is right.
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

/// `None`: it is not told.
async fn config(link: &mut Link, name: &str) -> Result<Option<String>, Failure> {
    let told: Result<HashMap<String, String>, Failure> = link.ask(cmd("CONFIG").arg("GET").arg(name)).await;
    match told {
        Ok(mut told) => Ok(told.remove(name)),
        // Renamed or not allowed.
        Err(Failure::Redis(error)) if !error.is_io_error() => Ok(None),
        Err(error) => Err(error),
    }
}
