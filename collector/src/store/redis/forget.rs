//! Deletion of an epoch: the fence first, so that genuine reports are accepted at once, then its reports, a script at
//! a time.

use std::collections::HashMap;

use redis::cmd;

use super::link::Failure;
use super::names::{self, VERSION};
use super::writer::Writer;
use crate::store::Cursor;
use crate::store::recency::Recency;

/// Maximum number of reports per read and per script.
const CHUNK: usize = 500;

type Entries = Vec<(String, HashMap<String, String>)>;

/// Latest report of a kind: its order and its member of `times`.
type Latest = (Recency, String);

impl Writer {
    /// Deletes `epoch` from the fence and all of its reports, and returns the number of deleted reports.
    pub(super) async fn forget_epoch(&mut self, epoch: i64) -> Result<usize, Failure> {
        self.forget(epoch, &[]).await?;
        let (mut deleted, mut next) = (0, 1_i64);
        let mut latest: HashMap<String, Latest> = HashMap::new();
        loop {
            let entries = self.entries(next).await?;
            let Some((last, _)) = entries.last() else { break };
            next = id_of(last)?.saturating_add(1);
            let mut ids = Vec::new();
            for (id, fields) in &entries {
                let report = names::record(id, fields).ok_or_else(Failure::foreign)?.report;
                let id = id_of(id)?;
                if report.key().is_some_and(|key| key.epoch == epoch) {
                    ids.push(id.to_string());
                    continue;
                }
                let (own, at) = (Recency::of(&report), Cursor { time: report.time.as_microsecond(), id });
                let kind = names::kind(&report);
                if latest.get(&kind).is_none_or(|(latest, _)| own.supersedes(latest)) {
                    latest.insert(kind, (own, names::place(at)));
                }
            }
            if !ids.is_empty() {
                deleted += self.forget(epoch, &ids).await?;
            }
        }
        // Reports of the epoch may have arrived in the meantime.
        self.forget(epoch, &[]).await?;
        self.set_missing_latest(&latest).await?;
        Ok(deleted)
    }

    async fn forget(&mut self, epoch: i64, ids: &[String]) -> Result<usize, Failure> {
        let mut arguments = vec![VERSION.to_owned(), names::whole(epoch)];
        arguments.extend_from_slice(ids);
        self.eval(|opened| &opened.forget, &arguments).await
    }

    /// Reads the next reports, starting at id `first`.
    async fn entries(&mut self, first: i64) -> Result<Entries, Failure> {
        let key = self.key("reports");
        let mut asked = cmd("XRANGE");
        asked.arg(key).arg(format!("{first}-0")).arg("+").arg("COUNT").arg(CHUNK);
        self.opened().await?.link.ask(&asked).await
    }

    /// Sets the latest report of each kind that has none.
    async fn set_missing_latest(&mut self, latest: &HashMap<String, Latest>) -> Result<(), Failure> {
        let (kinds, key) = (self.key("kinds"), self.key("latest"));
        let link = &mut self.opened().await?.link;
        let numbers: HashMap<String, String> = link.ask(cmd("HGETALL").arg(kinds)).await?;
        for (kind, (_, member)) in latest {
            let Some(number) = numbers.get(kind) else { continue };
            let mut set = cmd("HSETNX");
            set.arg(&key).arg(number).arg(format!("{member}{number}"));
            let _: i64 = link.ask(&set).await?;
        }
        Ok(())
    }
}

/// Returns the id of an entry of the stream.
fn id_of(entry: &str) -> Result<i64, Failure> {
    entry.strip_suffix("-0").and_then(|id| id.parse().ok()).ok_or_else(Failure::foreign)
}
