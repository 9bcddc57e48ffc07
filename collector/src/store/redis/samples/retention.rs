//! Deletion of measurements past the retention, by whole hours. A sample that another collector adds to such an hour in the
//! meantime is either deleted with it or stays with its index: each hour is deleted in one transaction.

use std::collections::{HashMap, HashSet};

use redis::{cmd, pipe};

use super::super::connection::{Failure, Result};
use super::super::writer::Writer;
use super::reading::Latest;
use crate::measurements::{HOUR, Pruned, Retention};

/// Maximum number of series per step.
const SERIES: usize = 100;
/// Maximum number of hours of a series per step.
const HOURS: usize = 100;

impl Writer {
    /// Deletes data past the retention, of series after number `after`.
    pub(crate) async fn prune_samples(&mut self, retention: Retention, after: i64) -> Result<Pruned> {
        let mut next = cmd("ZRANGEBYSCORE");
        next.arg(self.sample_key("m:all"))
            .arg(format!("({after}"))
            .arg("+inf")
            .arg("LIMIT")
            .arg(0)
            .arg(SERIES);
        let members: Vec<String> = self.opened().await?.connection.query(&next).await?;
        let mut pruned = Pruned::default();
        for member in &members {
            let (id, node) = member.split_once(':').ok_or_else(Failure::foreign_data)?;
            let mut get = cmd("HGET");
            get.arg(self.sample_key(&format!("m:latest:{node}"))).arg(id);
            let latest: Option<String> = self.opened().await?.connection.query(&get).await?;
            // A node that was deleted in the meantime has no latest sample.
            if let Some(Latest { time, clock, received, .. }) = latest.and_then(|text| Latest::parse(&text)) {
                let own = retention.of_series(time, clock, received);
                loop {
                    let (deleted, is_done) = self.prune_series(id, own).await?;
                    pruned.deleted += deleted;
                    if is_done {
                        break;
                    }
                }
            }
            pruned.next = id.parse().ok();
        }
        if members.len() < SERIES {
            pruned.next = None;
            if let Some(before) = retention.samples {
                self.prune_boots(before).await?;
            }
        }
        Ok(pruned)
    }

    /// Deletes some hours of a series. Returns their number, and true if none is left.
    async fn prune_series(&mut self, id: &str, own: Retention) -> Result<(usize, bool)> {
        let mut delete = pipe();
        delete.atomic();
        let (mut deleted, mut is_done) = (0, true);
        for (index, name, before) in [("raws", "raw", own.samples), ("minutes", "minutes", own.minutes)] {
            let Some(before) = before else { continue };
            let index = self.sample_key(&format!("m:{index}:{id}"));
            let mut past = cmd("ZRANGEBYSCORE");
            past.arg(&index).arg("-inf").arg(format!("({}", before.div_euclid(HOUR)));
            past.arg("LIMIT").arg(0).arg(HOURS);
            let hours: Vec<String> = self.opened().await?.connection.query(&past).await?;
            is_done &= hours.len() < HOURS;
            deleted += hours.len();
            for hour in hours {
                delete.cmd("UNLINK").arg(self.sample_key(&format!("m:{name}:{id}:{hour}"))).ignore();
                delete.cmd("ZREM").arg(&index).arg(hour).ignore();
            }
        }
        if let Some(before) = own.hours {
            let key = self.sample_key(&format!("m:hours:{id}"));
            let hours: Vec<i64> = self.opened().await?.connection.query(cmd("HKEYS").arg(&key)).await?;
            for hour in hours.into_iter().filter(|hour| *hour < before.div_euclid(HOUR)) {
                delete.cmd("HDEL").arg(&key).arg(hour).ignore();
                deleted += 1;
            }
        }
        if deleted > 0 {
            let () = self.opened().await?.connection.query_all(&delete).await?;
        }
        Ok((deleted, is_done))
    }

    /// Deletes boots that have sent nothing since a time, except those of the latest sample of a series.
    async fn prune_boots(&mut self, before: i64) -> Result<()> {
        let key = self.sample_key("m:nodes");
        let nodes: Vec<String> = self.opened().await?.connection.query(cmd("HVALS").arg(key)).await?;
        for node in nodes {
            let boots = self.sample_key(&format!("m:boots:{node}"));
            let all: HashMap<String, String> =
                self.opened().await?.connection.query(cmd("HGETALL").arg(&boots)).await?;
            let past = |text: &str| {
                let (id, received) = text.split_once(' ')?;
                (received.parse::<i64>().ok()? < before).then(|| id.parse::<i64>().ok())?
            };
            let past: Vec<_> = all.iter().filter_map(|(name, text)| Some((name, past(text)?))).collect();
            if past.is_empty() {
                continue;
            }
            let latest = self.sample_key(&format!("m:latest:{node}"));
            let latest: Vec<String> = self.opened().await?.connection.query(cmd("HVALS").arg(latest)).await?;
            let used: HashSet<i64> =
                latest.iter().filter_map(|text| Some(Latest::parse(text)?.boot)).collect();
            let mut delete = pipe();
            delete.atomic();
            for (name, id) in past.into_iter().filter(|(_, id)| !used.contains(id)) {
                delete.cmd("HDEL").arg(&boots).arg(name).ignore();
                delete.cmd("UNLINK").arg(self.sample_key(&format!("m:marks:{id}"))).ignore();
            }
            if !delete.is_empty() {
                let () = self.opened().await?.connection.query_all(&delete).await?;
            }
        }
        Ok(())
    }
}
