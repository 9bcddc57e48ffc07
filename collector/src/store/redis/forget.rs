//! Deletion of a fleet or zone, and of an epoch: the fence first, so that genuine reports are accepted at once, then its reports, a script at
//! a time.

use std::collections::HashMap;

use redis::cmd;

use super::connection::Result;
use super::keys::{self, VERSION};
use super::writer::Writer;
use crate::fleet_name::FleetName;
use crate::report::Record;
use crate::store::interface::Cursor;
use crate::store::recency::Recency;

/// Maximum number of reports per read and per script.
const CHUNK: usize = 500;

/// Number of keys that are inspected at once.
const SCANNED: usize = 1_000;

/// Latest report of a kind: its order and its member of `times`.
type Latest = (Recency, String);

impl Writer {
    /// Deletes `epoch` of a fleet from the fence and all of its reports, and returns the number of deleted reports.
    pub(super) async fn forget_epoch(&mut self, fleet: &FleetName, epoch: i64) -> Result<usize> {
        self.forget(fleet, epoch, &[]).await?;
        let (mut deleted, mut read) = (0, 0);
        let mut latest: HashMap<String, Latest> = HashMap::new();
        loop {
            let records = self.reader(fleet).await?.since(read, CHUNK).await?;
            let Some(last) = records.last() else { break };
            read = last.id;
            let mut ids = Vec::new();
            for Record { id, report } in records {
                if report.key().is_some_and(|key| key.epoch == epoch) {
                    ids.push(id.to_string());
                    continue;
                }
                let (own, at) = (Recency::of(&report), Cursor { time: report.time.as_microsecond(), id });
                let kind = keys::kind(&report);
                if latest.get(&kind).is_none_or(|(latest, _)| own.supersedes(latest)) {
                    latest.insert(kind, (own, keys::position(at)));
                }
            }
            if !ids.is_empty() {
                deleted += self.forget(fleet, epoch, &ids).await?;
            }
        }
        // Reports of the epoch may have arrived in the meantime.
        self.forget(fleet, epoch, &[]).await?;
        self.set_missing_latest(fleet, &latest).await?;
        Ok(deleted)
    }

    /// Deletes all keys of a fleet, and its name. They need not fit into one script, so the deletion is not atomic.
    pub(super) async fn forget_fleet(&mut self, fleet: &FleetName) -> Result<usize> {
        // The keys of the default fleet have no name of their own, and those of the others are below its prefix.
        if fleet.is_default() {
            return Ok(0);
        }
        let (pattern, fleets) =
            (literal(&self.key(fleet, "")) + "*", self.key(&FleetName::default(), "fleets"));
        let connection = &mut self.opened().await?.connection;
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCANNED);
            let (next, found): (String, Vec<String>) = connection.query(&scan).await?;
            if !found.is_empty() {
                let _: i64 = connection.query(cmd("DEL").arg(found)).await?;
            }
            if next == "0" {
                break;
            }
            cursor = next;
        }
        let _: i64 = connection.query(cmd("SREM").arg(fleets).arg(fleet.as_str())).await?;
        Ok(0)
    }

    async fn forget(&mut self, fleet: &FleetName, epoch: i64, ids: &[String]) -> Result<usize> {
        let mut arguments = vec![VERSION.to_owned(), keys::padded(epoch)];
        arguments.extend_from_slice(ids);
        self.eval(|opened| &opened.forget, fleet, &arguments).await
    }

    /// Sets the latest report of each kind that has none.
    async fn set_missing_latest(
        &mut self,
        fleet: &FleetName,
        latest: &HashMap<String, Latest>,
    ) -> Result<()> {
        let (kinds, key) = (self.key(fleet, "kinds"), self.key(fleet, "latest"));
        let connection = &mut self.opened().await?.connection;
        let numbers: HashMap<String, String> = connection.query(cmd("HGETALL").arg(kinds)).await?;
        for (kind, (_, member)) in latest {
            let Some(number) = numbers.get(kind) else { continue };
            let mut set = cmd("HSETNX");
            set.arg(&key).arg(number).arg(format!("{member}{number}"));
            let _: i64 = connection.query(&set).await?;
        }
        Ok(())
    }
}

/// Returns the pattern that matches only this text.
fn literal(text: &str) -> String {
    let mut pattern = String::new();
    for letter in text.chars() {
        if "*?[]^\\".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}
