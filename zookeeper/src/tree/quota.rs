//! Quotas: numbers of znodes and bytes at and below a path, and their limits. Part of [`Tree`].
//!
//! As in Apache ZooKeeper 3.8 a quota consists of two znodes, `/zookeeper/quota{path}/zookeeper_limits` with the
//! limits, and `…/zookeeper_stats` with the current values. If the limits exist, every change at or below the path
//! updates the stats, without a separate transaction; of nested quotas only the innermost counts. Exceeding a soft
//! limit is logged; exceeding a hard limit is refused if quotas are enforced.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::iter;
use std::sync::Arc;

use bytes::Bytes;

use super::{Change, Effect, Tree};
use crate::error::Code;
use crate::path;

const QUOTAS: &str = "/zookeeper/quota";
const LIMITS: &str = "/zookeeper_limits";
const STATS: &str = "/zookeeper_stats";

/// Paths that have limits.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    limited: HashSet<Arc<str>>,
    enforced: bool,
}

/// Values of one quota, limits or stats: `count=1,bytes=2`, optionally followed by more, `=;countHardLimit=3`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct QuotaValues(BTreeMap<String, i64>);

impl QuotaValues {
    /// Parses the values. Ignores a value that Apache ZooKeeper could not parse, and on which it would terminate.
    fn parse(data: Option<&Bytes>) -> Self {
        let text = String::from_utf8_lossy(data.map_or(&[], |data| &data[..]));
        let pairs = text.split([',', ';']).filter_map(|pair| {
            let mut parts = pair.split('=');
            let (name, value) = (parts.next()?, parts.next()?);
            Some((name.to_owned(), if value.is_empty() { -1 } else { value.parse().ok()? }))
        });
        Self(pairs.collect())
    }

    /// Returns a value; -1 if it is missing.
    fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(-1)
    }

    fn add(&mut self, count: i64, bytes: i64) {
        for (name, more) in [("count", count), ("bytes", bytes)] {
            let sum = self.get(name).wrapping_add(more);
            self.0.insert(name.to_owned(), sum);
        }
    }

    /// Formats the values. Clients from before hard limits stop after the bytes; the `=` after them exists for these
    /// clients.
    fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.get("count"), self.get("bytes"));
        let mut others = self.0.iter().filter(|(name, _)| !matches!(&***name, "count" | "bytes")).peekable();
        if others.peek().is_some() {
            text.push('=');
        }
        others.for_each(|(name, value)| text += &format!(";{name}={value}"));
        text
    }
}

/// Limits and current values of a quota.
#[derive(Clone, Debug)]
pub(super) struct Quota {
    limits: QuotaValues,
    stats: QuotaValues,
}

impl Quota {
    /// Returns true if the limits allow this increase. A hard limit takes precedence over the soft one.
    fn allows(&self, count: i64, bytes: i64) -> bool {
        [("count", "countHardLimit", count), ("bytes", "byteHardLimit", bytes)].iter().all(
            |(name, hard, more)| {
                let limit = self.limits.get(hard);
                *more == 0 || limit < 0 || self.stats.get(name).wrapping_add(*more) <= limit
            },
        )
    }

    /// Returns true if these last changes exceeded a soft limit that was not exceeded before.
    fn exceeded_by(&self, count: i64, bytes: i64) -> bool {
        [("count", count), ("bytes", bytes)].iter().any(|(name, more)| {
            let (limit, now) = (self.limits.get(name), self.stats.get(name));
            limit >= 0 && now > limit && now.wrapping_sub(*more) <= limit
        })
    }
}

/// State of the quotas at the beginning of a `multi`: its operations are not checked against each other.
pub(super) type QuotaSnapshot = HashMap<Arc<str>, Quota>;

/// Znode that stores a part of a quota.
enum QuotaNode<'a> {
    LimitsOf(&'a str),
    StatsOf(&'a str),
}

impl QuotaNode<'_> {
    fn of(path: &str) -> Option<QuotaNode<'_>> {
        let rest = path.strip_prefix(QUOTAS)?;
        // The root has no quota.
        let limited = rest.strip_suffix(LIMITS).filter(|path| path.starts_with('/'));
        limited.map(QuotaNode::LimitsOf).or_else(|| {
            rest.strip_suffix(STATS)
                .filter(|path| matches!(path.get(..1), None | Some("/")))
                .map(QuotaNode::StatsOf)
        })
    }
}

/// Returns the value for the path itself or its nearest ancestor that has one.
fn nearest<T>(path: &str, value: impl FnMut(&str) -> Option<T>) -> Option<T> {
    iter::once(path).chain(path::ancestors(path)).find_map(value)
}

fn length(data: Option<&Bytes>) -> i64 {
    data.map_or(0, |data| i64::try_from(data.len()).unwrap_or(i64::MAX))
}

impl Tree {
    /// Sets whether hard limits are enforced.
    pub(crate) fn enforce_quotas(&mut self, enforce: bool) {
        self.quotas.enforced = enforce;
    }

    /// Returns the state of the quotas before a `multi`, if quotas are enforced and exist.
    pub(super) fn quota_snapshot(&self) -> Option<QuotaSnapshot> {
        let limited = self.quotas.limited.iter().filter(|_| self.quotas.enforced);
        let snapshot: QuotaSnapshot =
            limited.filter_map(|path| Some((path.clone(), self.quota(path)?))).collect();
        (!snapshot.is_empty()).then_some(snapshot)
    }

    /// Checks whether the quota allows creating a znode or replacing its data.
    pub(super) fn check_quota(
        &self,
        snapshot: Option<&QuotaSnapshot>,
        path: &str,
        count: i64,
        (old, new): (Option<&Bytes>, Option<&Bytes>),
    ) -> Result<(), Code> {
        if !self.quotas.enforced {
            return Ok(());
        }
        let bytes = length(new) - length(old);
        let allowed = match snapshot {
            Some(snapshot) => {
                nearest(path, |path| snapshot.get(path)).is_none_or(|quota| quota.allows(count, bytes))
            }
            None => self
                .limited_path(path)
                .and_then(|path| self.quota(path))
                .is_none_or(|quota| quota.allows(count, bytes)),
        };
        if allowed { Ok(()) } else { Err(Code::QuotaExceeded) }
    }

    /// Updates the quotas after a znode was created.
    pub(super) fn count_created(&mut self, path: &Arc<str>, data: Option<&Bytes>, changes: &mut Vec<Change>) {
        match QuotaNode::of(path) {
            Some(QuotaNode::LimitsOf(limited)) => drop(self.quotas.limited.insert(limited.into())),
            Some(QuotaNode::StatsOf(counted)) => self.recount(counted),
            None => {}
        }
        self.count(path, 1, length(data), changes);
    }

    /// Updates the quotas after a znode was deleted.
    pub(super) fn count_deleted(&mut self, path: &str, data: Option<&Bytes>, changes: &mut Vec<Change>) {
        self.undo_created(path);
        self.count(path, -1, -length(data), changes);
    }

    /// Updates the quotas after a znode's data was replaced.
    pub(super) fn count_changed(
        &mut self,
        path: &str,
        old: Option<&Bytes>,
        new: Option<&Bytes>,
        changes: &mut Vec<Change>,
    ) {
        self.count(path, 0, length(new) - length(old), changes);
    }

    /// Undoes the creation of a znode. The stats are undone by their own change.
    pub(super) fn undo_created(&mut self, path: &str) {
        if let Some(QuotaNode::LimitsOf(limited)) = QuotaNode::of(path) {
            self.quotas.limited.remove(limited);
        }
    }

    /// Undoes the deletion of a znode.
    pub(super) fn undo_deleted(&mut self, path: &str) {
        if let Some(QuotaNode::LimitsOf(limited)) = QuotaNode::of(path) {
            self.quotas.limited.insert(limited.into());
        }
    }

    /// Adds a difference to the stats of the quota that applies to a path.
    fn count(&mut self, path: &str, count: i64, bytes: i64, changes: &mut Vec<Change>) {
        let Some(limited) = self.limited_path(path).cloned() else { return };
        let Some(mut quota) = self.quota(&limited) else { return };
        quota.stats.add(count, bytes);
        if quota.exceeded_by(count, bytes) {
            let Quota { limits, stats } = &quota;
            tracing::warn!("quota of {limited} exceeded: {} of {}", stats.text(), limits.text());
        }
        let path: Arc<str> = format!("{QUOTAS}{limited}{STATS}").into();
        if let Some(node) = self.nodes.get_mut(&path) {
            let data = node.data.replace(quota.stats.text().into());
            changes.push(Change { path, acl: node.acl.clone(), effect: Effect::QuotaStatsUpdated { data } });
        }
    }

    fn limited_path(&self, path: &str) -> Option<&Arc<str>> {
        if self.quotas.limited.is_empty() {
            return None;
        }
        nearest(path, |path| self.quotas.limited.get(path))
    }

    /// Returns limits and stats of a quota; `None` without stats: then nothing is counted and nothing refused.
    fn quota(&self, limited: &str) -> Option<Quota> {
        let data = |name: &str| self.get(&format!("{QUOTAS}{limited}{name}")).map(|node| node.data.as_ref());
        Some(Quota { limits: QuotaValues::parse(data(LIMITS)?), stats: QuotaValues::parse(data(STATS)?) })
    }

    /// Counts the znodes and bytes at and below a path, and writes them into its stats.
    fn recount(&mut self, counted: &str) {
        let mut stats = QuotaValues([("count".to_owned(), 0), ("bytes".to_owned(), 0)].into());
        let mut unvisited = vec![counted.to_owned()];
        while let Some(path) = unvisited.pop() {
            let Some(node) = self.get(&path) else { continue };
            stats.add(1, length(node.data.as_ref()));
            unvisited.extend(node.children.iter().map(|name| format!("{path}/{name}")));
        }
        if let Some(node) = self.nodes.get_mut(&*format!("{QUOTAS}{counted}{STATS}")) {
            node.data = Some(stats.text().into());
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Tree {
    /// Checks that the paths with limits are exactly those with a znode for them.
    pub(super) fn check_quotas(&self) {
        let limited = self.nodes.keys().filter_map(|path| match QuotaNode::of(path) {
            Some(QuotaNode::LimitsOf(limited)) => Some(limited.into()),
            _ => None,
        });
        assert_eq!(limited.collect::<HashSet<Arc<str>>>(), self.quotas.limited);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> QuotaValues {
        QuotaValues::parse(Some(&Bytes::copy_from_slice(text.as_bytes())))
    }

    #[test]
    fn quota_values_are_parsed_and_formatted() {
        for (text, written) in [
            ("count=3,bytes=4", "count=3,bytes=4"),
            ("", "count=-1,bytes=-1"),
            ("bytes=4", "count=-1,bytes=4"),
            (
                "count=1,bytes=2=;countHardLimit=3;byteHardLimit=4",
                "count=1,bytes=2=;byteHardLimit=4;countHardLimit=3",
            ),
            ("count==5;bytes=x,,z", "count=-1,bytes=-1"),
        ] {
            assert_eq!(values(text).text(), written, "{text}");
        }
    }

    #[test]
    fn exceeding_a_hard_limit_is_refused_and_a_soft_limit_is_reported_once() {
        let quota = |limits, stats| Quota { limits: values(limits), stats: values(stats) };
        let hard = quota("countHardLimit=2;byteHardLimit=10", "count=1,bytes=9");
        assert!(hard.allows(1, 1) && !hard.allows(2, 0) && !hard.allows(0, 2) && hard.allows(0, -5));
        assert!(quota("count=0,bytes=0", "count=1,bytes=9").allows(1, 1));
        // A value above the limit may still change without growing.
        assert!(quota("countHardLimit=1", "count=5,bytes=0").allows(0, 7));
        let soft = quota("count=2,bytes=-1", "count=3,bytes=9");
        assert!(soft.exceeded_by(1, 9) && !soft.exceeded_by(0, 9));
        assert!(!quota("count=3,bytes=-1", "count=3,bytes=9").exceeded_by(3, 9));
    }

    #[test]
    fn znodes_with_limits_and_stats_are_recognised_by_their_path() {
        let limits = |path| match QuotaNode::of(path) {
            Some(QuotaNode::LimitsOf(path)) => Some(path),
            _ => None,
        };
        let stats = |path| match QuotaNode::of(path) {
            Some(QuotaNode::StatsOf(path)) => Some(path),
            _ => None,
        };
        assert_eq!(limits("/zookeeper/quota/a/b/zookeeper_limits"), Some("/a/b"));
        assert_eq!(stats("/zookeeper/quota/a/zookeeper_stats"), Some("/a"));
        assert_eq!(stats("/zookeeper/quota/zookeeper_stats"), Some(""));
        for path in
            ["/zookeeper/quota/zookeeper_limits", "/zookeeper/quotas/zookeeper_limits", "/a/zookeeper_limits"]
        {
            assert_eq!(limits(path), None, "{path}");
        }
        assert_eq!(stats("/zookeeper/quotas/zookeeper_stats"), None);
    }
}
