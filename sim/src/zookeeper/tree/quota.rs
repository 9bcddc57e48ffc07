//! Quotas: how many znodes and bytes are at and below a path, and how many may be. A part of [`Tree`].
//!
//! As in Apache ZooKeeper 3.8 a quota is two znodes, `/zookeeper/quota{path}/zookeeper_limits`, which says what may be,
//! and `…/zookeeper_stats`, which says what is. With limits there, every change at or below the path is written into the
//! stats, without a transaction of its own; of quotas inside each other the innermost counts. A limit is soft, and
//! passing it is logged, or hard, and then passing it is refused, if quotas are enforced at all.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::iter;
use std::sync::Arc;

use bytes::Bytes;

use super::{Change, Effect, Tree};
use crate::zookeeper::error::Code;
use crate::zookeeper::path;

const QUOTAS: &str = "/zookeeper/quota";
const LIMITS: &str = "/zookeeper_limits";
const STATS: &str = "/zookeeper_stats";

/// Which paths have limits.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    limited: HashSet<Arc<str>>,
    enforced: bool,
}

/// The figures of one quota, limits or stats: `count=1,bytes=2`, with more behind that, `=;countHardLimit=3`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Track(BTreeMap<String, i64>);

impl Track {
    /// Where Apache ZooKeeper could not read a figure, and would end, it is passed over.
    fn parse(data: Option<&Bytes>) -> Self {
        let text = String::from_utf8_lossy(data.map_or(&[], |data| &data[..]));
        let pairs = text.split([',', ';']).filter_map(|pair| {
            let mut parts = pair.split('=');
            let (name, figure) = (parts.next()?, parts.next()?);
            Some((name.to_owned(), if figure.is_empty() { -1 } else { figure.parse().ok()? }))
        });
        Self(pairs.collect())
    }

    /// A figure; -1 where there is none.
    fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(-1)
    }

    fn add(&mut self, count: i64, bytes: i64) {
        for (name, more) in [("count", count), ("bytes", bytes)] {
            let sum = self.get(name).wrapping_add(more);
            self.0.insert(name.to_owned(), sum);
        }
    }

    /// Clients from before hard limits read as far as the bytes; the `=` behind them is for their sake.
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

/// What a quota allows and what there is, at a moment.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    limits: Track,
    stats: Track,
}

impl Standing {
    /// Whether so much more may come. A hard limit stands for the soft one.
    fn allows(&self, count: i64, bytes: i64) -> bool {
        [("count", "countHardLimit", count), ("bytes", "byteHardLimit", bytes)].iter().all(
            |(figure, hard, more)| {
                let limit = self.limits.get(hard);
                *more == 0 || limit < 0 || self.stats.get(figure).wrapping_add(*more) <= limit
            },
        )
    }

    /// Whether a soft limit has been passed by these last changes, and not before.
    fn passed(&self, count: i64, bytes: i64) -> bool {
        [("count", count), ("bytes", bytes)].iter().any(|(figure, more)| {
            let (limit, now) = (self.limits.get(figure), self.stats.get(figure));
            limit >= 0 && now > limit && now.wrapping_sub(*more) <= limit
        })
    }
}

/// How the quotas stood when a `multi` began: its operations are not held against each other.
pub(super) type Before = HashMap<Arc<str>, Standing>;

/// What a znode is to a quota.
enum Role<'a> {
    LimitsOf(&'a str),
    StatsOf(&'a str),
}

impl Role<'_> {
    fn of(path: &str) -> Option<Role<'_>> {
        let rest = path.strip_prefix(QUOTAS)?;
        // There is no quota on the root.
        let limited = rest.strip_suffix(LIMITS).filter(|path| path.starts_with('/'));
        limited.map(Role::LimitsOf).or_else(|| {
            rest.strip_suffix(STATS)
                .filter(|path| matches!(path.get(..1), None | Some("/")))
                .map(Role::StatsOf)
        })
    }
}

/// The value for the path itself or its nearest ancestor that has one.
fn nearest<T>(path: &str, value: impl FnMut(&str) -> Option<T>) -> Option<T> {
    iter::once(path).chain(path::ancestors(path)).find_map(value)
}

fn length(data: Option<&Bytes>) -> i64 {
    data.map_or(0, |data| i64::try_from(data.len()).unwrap_or(i64::MAX))
}

impl Tree {
    /// Whether hard limits are more than figures.
    pub(crate) fn enforce_quotas(&mut self, enforce: bool) {
        self.quotas.enforced = enforce;
    }

    /// How quotas stand before a `multi`, if it matters.
    pub(super) fn before(&self) -> Option<Before> {
        let limited = self.quotas.limited.iter().filter(|_| self.quotas.enforced);
        let before: Before = limited.filter_map(|path| Some((path.clone(), self.standing(path)?))).collect();
        (!before.is_empty()).then_some(before)
    }

    /// Whether a znode may come, or its data be another.
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

    /// A znode was created.
    pub(super) fn count_created(&mut self, path: &Arc<str>, data: Option<&Bytes>, changes: &mut Vec<Change>) {
        match Role::of(path) {
            Some(Role::LimitsOf(limited)) => drop(self.quotas.limited.insert(limited.into())),
            Some(Role::StatsOf(counted)) => self.recount_at(counted),
            None => {}
        }
        self.count(path, 1, length(data), changes);
    }

    /// A znode was deleted.
    pub(super) fn count_deleted(&mut self, path: &str, data: Option<&Bytes>, changes: &mut Vec<Change>) {
        self.undo_created(path);
        self.count(path, -1, -length(data), changes);
    }

    /// A znode's data was replaced.
    pub(super) fn count_changed(
        &mut self,
        path: &str,
        old: Option<&Bytes>,
        new: Option<&Bytes>,
        changes: &mut Vec<Change>,
    ) {
        self.count(path, 0, length(new) - length(old), changes);
    }

    /// A znode is gone again. The stats are undone by themselves.
    pub(super) fn undo_created(&mut self, path: &str) {
        if let Some(Role::LimitsOf(limited)) = Role::of(path) {
            self.quotas.limited.remove(limited);
        }
    }

    /// A znode is there again.
    pub(super) fn undo_deleted(&mut self, path: &str) {
        if let Some(Role::LimitsOf(limited)) = Role::of(path) {
            self.quotas.limited.insert(limited.into());
        }
    }

    /// Writes a difference into the stats of the quota that a path counts for.
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

    /// `None` without stats: then nothing is counted and nothing refused.
    fn standing(&self, limited: &str) -> Option<Standing> {
        let data = |name: &str| self.get(&format!("{QUOTAS}{limited}{name}")).map(|node| node.data.as_ref());
        Some(Standing { limits: Track::parse(data(LIMITS)?), stats: Track::parse(data(STATS)?) })
    }

    /// What is at and below a path.
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
    /// Those paths have limits that have a znode for them.
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
        // What is beyond the limit already may still change where that does not grow.
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
