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
pub(super) struct Track(BTreeMap<String, i64>);

impl Track {
    /// Parses the values. Ignores a value that Apache ZooKeeper could not parse, and on which it would terminate.
    fn parse(data: Option<&Bytes>) -> Self {
        let text = String::from_utf8_lossy(data.map_or(&[], |data| &data[..]));
        let pairs = text.split([',', ';']).filter_map(|pair| {
            let mut parts = pair.split('=');
            let (name, figure) = (parts.next()?, parts.next()?);
            Some((name.to_owned(), if figure.is_empty() { -1 } else { figure.parse().ok()? }))
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
        others.for_each(|(name, figure)| text += &format!(";{name}={figure}"));
        text
    }
}

/// Limits and current values of a quota.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    limits: Track,
    stats: Track,
}

impl Standing {
    /// Returns true if the limits allow this increase. A hard limit takes precedence over the soft one.
    fn allows(&self, count: i64, bytes: i64) -> bool {
        [("count", "countHardLimit", count), ("bytes", "byteHardLimit", bytes)].iter().all(
            |(figure, hard, more)| {
                let limit = self.limits.get(hard);
                *more == 0 || limit < 0 || self.stats.get(figure).wrapping_add(*more) <= limit
            },
        )
    }

    /// Returns true if these last changes exceeded a soft limit that was not exceeded before.
    fn passed(&self, count: i64, bytes: i64) -> bool {
        [("count", count), ("bytes", bytes)].iter().any(|(figure, more)| {
            let (limit, now) = (self.limits.get(figure), self.stats.get(figure));
            limit >= 0 && now > limit && now.wrapping_sub(*more) <= limit
        })
    }
}

/// State of the quotas at the beginning of a `multi`: its operations are not checked against each other.
pub(super) type Before = HashMap<Arc<str>, Standing>;

/// Role of a znode in a quota.
enum Role<'a> {
    LimitsOf(&'a str),
    StatsOf(&'a str),
}

impl Role<'_> {
    fn of(path: &str) -> Option<Role<'_>> {
        let rest = path.strip_prefix(QUOTAS)?;
        // The root has no quota.
        let limited = rest.strip_suffix(LIMITS).filter(|path| path.starts_with('/'));
        limited.map(Role::LimitsOf).or_else(|| {
            rest.strip_suffix(STATS)
                .filter(|path| matches!(path.get(..1), None | Some("/")))
                .map(Role::StatsOf)
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
    pub(super) fn before(&self) -> Option<Before> {
        let limited = self.quotas.limited.iter().filter(|_| self.quotas.enforced);
        let before: Before = limited.filter_map(|path| Some((path.clone(), self.standing(path)?))).collect();
        (!before.is_empty()).then_some(before)
    }

    /// Checks whether the quota allows creating a znode or replacing its data.
    pub(super) fn allow(
        &self,
        before: Option<&Before>,
        path: &str,
        count: i64,
        (old, new): (Option<&Bytes>, Option<&Bytes>),
    ) -> Result<(), Code> {
        if !self.quotas.enforced {
            return Ok(());
        }
        let bytes = length(new) - length(old);
        let allowed = match before {
            Some(before) => nearest(path, |path| before.get(path)).is_none_or(|now| now.allows(count, bytes)),
            None => self
                .quota_of(path)
                .and_then(|path| self.standing(path))
                .is_none_or(|now| now.allows(count, bytes)),
        };
        if allowed { Ok(()) } else { Err(Code::QuotaExceeded) }
    }

    /// Updates the quotas after a znode was created.
    pub(super) fn count_created(&mut self, path: &Arc<str>, data: Option<&Bytes>, changes: &mut Vec<Change>) {
        match Role::of(path) {
            Some(Role::LimitsOf(limited)) => drop(self.quotas.limited.insert(limited.into())),
            Some(Role::StatsOf(counted)) => self.recount_at(counted),
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
        if let Some(Role::LimitsOf(limited)) = Role::of(path) {
            self.quotas.limited.remove(limited);
        }
    }

    /// Undoes the deletion of a znode.
    pub(super) fn undo_deleted(&mut self, path: &str) {
        if let Some(Role::LimitsOf(limited)) = Role::of(path) {
            self.quotas.limited.insert(limited.into());
        }
    }

    /// Adds a difference to the stats of the quota that applies to a path.
    fn count(&mut self, path: &str, count: i64, bytes: i64, changes: &mut Vec<Change>) {
        let Some(limited) = self.quota_of(path).cloned() else { return };
        let Some(mut standing) = self.standing(&limited) else { return };
        standing.stats.add(count, bytes);
        if standing.passed(count, bytes) {
            let Standing { limits, stats } = &standing;
            tracing::warn!("quota of {limited} exceeded: {} of {}", stats.text(), limits.text());
        }
        let path: Arc<str> = format!("{QUOTAS}{limited}{STATS}").into();
        if let Some(node) = self.nodes.get_mut(&path) {
            let data = node.data.replace(standing.stats.text().into());
            changes.push(Change { path, acl: node.acl.clone(), effect: Effect::Counted { data } });
        }
    }

    fn quota_of(&self, path: &str) -> Option<&Arc<str>> {
        if self.quotas.limited.is_empty() {
            return None;
        }
        nearest(path, |path| self.quotas.limited.get(path))
    }

    /// Returns limits and stats of a quota; `None` without stats: then nothing is counted and nothing refused.
    fn standing(&self, limited: &str) -> Option<Standing> {
        let data = |name: &str| self.get(&format!("{QUOTAS}{limited}{name}")).map(|node| node.data.as_ref());
        Some(Standing { limits: Track::parse(data(LIMITS)?), stats: Track::parse(data(STATS)?) })
    }

    /// Counts the znodes and bytes at and below a path, and writes them into its stats.
    fn recount_at(&mut self, counted: &str) {
        let mut stats = Track([("count".to_owned(), 0), ("bytes".to_owned(), 0)].into());
        let mut open = vec![counted.to_owned()];
        while let Some(path) = open.pop() {
            let Some(node) = self.get(&path) else { continue };
            stats.add(1, length(node.data.as_ref()));
            open.extend(node.children.iter().map(|name| format!("{path}/{name}")));
        }
        if let Some(node) = self.nodes.get_mut(&*format!("{QUOTAS}{counted}{STATS}")) {
            node.data = Some(stats.text().into());
        }
    }
}

#[cfg(any(test, feature = "fuzz"))]
impl Tree {
    /// Checks that the paths with limits are exactly those with a znode for them.
    pub(super) fn check_quotas(&self) {
        let limited = self.nodes.keys().filter_map(|path| match Role::of(path) {
            Some(Role::LimitsOf(limited)) => Some(limited.into()),
            _ => None,
        });
        assert_eq!(limited.collect::<HashSet<Arc<str>>>(), self.quotas.limited);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(text: &str) -> Track {
        Track::parse(Some(&Bytes::copy_from_slice(text.as_bytes())))
    }

    #[test]
    fn figures_are_read_and_written() {
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
            assert_eq!(track(text).text(), written, "{text}");
        }
    }

    #[test]
    fn hard_limits_refuse_and_soft_ones_are_passed_once() {
        let standing = |limits, stats| Standing { limits: track(limits), stats: track(stats) };
        let hard = standing("countHardLimit=2;byteHardLimit=10", "count=1,bytes=9");
        assert!(hard.allows(1, 1) && !hard.allows(2, 0) && !hard.allows(0, 2) && hard.allows(0, -5));
        assert!(standing("count=0,bytes=0", "count=1,bytes=9").allows(1, 1));
        // A value above the limit may still change without growing.
        assert!(standing("countHardLimit=1", "count=5,bytes=0").allows(0, 7));
        let soft = standing("count=2,bytes=-1", "count=3,bytes=9");
        assert!(soft.passed(1, 9) && !soft.passed(0, 9));
        assert!(!standing("count=3,bytes=-1", "count=3,bytes=9").passed(3, 9));
    }

    #[test]
    fn what_a_znode_is_to_a_quota() {
        let limits = |path| match Role::of(path) {
            Some(Role::LimitsOf(path)) => Some(path),
            _ => None,
        };
        let stats = |path| match Role::of(path) {
            Some(Role::StatsOf(path)) => Some(path),
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
