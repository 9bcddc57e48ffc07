//! Groups of the nodes, which they publish in their node infos. The infos are read beside the cycles, so that a cycle
//! needs no more requests: every minute, or every ten seconds while a node has a group. Those of new members are read
//! within about a second.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use atalaya_recipes::Leadership;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::leader::config::LeaderHandles;
use crate::model::node_info::{self, NodeInfo};
use crate::settings::parse_name;
use crate::zk::bulk_read::{SizeCache, read_named_children};

/// Groups by node id. Nodes without a group are missing.
pub(super) type Groups = Arc<BTreeMap<String, String>>;

/// Time between two readings of all node infos while no node has a group, and while one has.
const INTERVAL_WITHOUT_GROUPS: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_secs(10);
/// Time between two readings of new members: a node publishes its info after its first measurement.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Number of readings of a new member's info. A program without one never publishes any.
const ATTEMPTS: u32 = 3;

pub(super) struct GroupReader<'a> {
    pub(super) handles: &'a LeaderHandles,
    pub(super) leadership: &'a Leadership,
    pub(super) member_names: watch::Receiver<Option<Vec<String>>>,
    pub(super) groups: watch::Sender<Groups>,
}

impl GroupReader<'_> {
    /// Keeps the groups current until it is dropped. While the infos cannot be read, the last groups stay.
    ///
    /// # Cancellation safety
    /// Reads only.
    pub(super) async fn run(mut self) {
        let mut sizes = SizeCache::default();
        let mut known = KnownGroups::default();
        let mut next_full = Instant::now();
        loop {
            let is_full = Instant::now() >= next_full;
            let ids = self.member_ids();
            let wanted = if is_full { ids.clone() } else { known.new_members(&ids) };
            if !wanted.is_empty() {
                let parse = |data: &[u8], _: &_| NodeInfo::parse(data).and_then(|info| info.group);
                let connection = self.leadership.connection();
                let names = wanted.iter().cloned().collect();
                match read_named_children(connection, node_info::PARENT_PATH, names, &mut sizes, parse).await
                {
                    Ok(found) => {
                        known.record(&ids, &wanted, found.into_iter().map(|(id, _, group)| (id, group)));
                        let groups = known.groups();
                        self.groups.send_if_modified(|old| {
                            let is_changed = **old != groups;
                            if is_changed {
                                *old = Arc::new(groups);
                            }
                            is_changed
                        });
                    }
                    Err(error) => debug!(%error, "cannot read the groups of the nodes"),
                }
            }
            if is_full {
                let has_groups = !self.groups.borrow().is_empty();
                next_full = Instant::now() + if has_groups { INTERVAL } else { INTERVAL_WITHOUT_GROUPS };
            }
            let pause = Instant::now() + MIN_INTERVAL;
            if known.new_members(&self.member_ids()).is_empty() {
                tokio::select! {
                    () = sleep_until(next_full) => {}
                    Ok(()) = self.member_names.changed() => {}
                }
            }
            sleep_until(pause).await;
        }
    }

    fn member_ids(&mut self) -> BTreeSet<String> {
        let id_of = |name: &String| parse_name(&self.handles.name_template, name).unwrap_or(name).to_owned();
        self.member_names.borrow_and_update().iter().flatten().map(id_of).collect()
    }
}

/// Groups of the members whose infos were read.
#[derive(Debug, Default)]
struct KnownGroups(BTreeMap<String, Known>);

#[derive(Debug, Default)]
struct Known {
    group: Option<String>,
    has_info: bool,
    attempts: u32,
}

impl KnownGroups {
    /// Returns the members whose infos are missing and may appear soon.
    fn new_members(&self, ids: &BTreeSet<String>) -> BTreeSet<String> {
        let is_new =
            |id: &&String| self.0.get(*id).is_none_or(|known| !known.has_info && known.attempts < ATTEMPTS);
        ids.iter().filter(is_new).cloned().collect()
    }

    /// Records the groups in the infos of the members `read`. Members that have left are forgotten.
    fn record(
        &mut self,
        ids: &BTreeSet<String>,
        read: &BTreeSet<String>,
        found: impl Iterator<Item = (String, Option<String>)>,
    ) {
        self.0.retain(|id, _| ids.contains(id));
        for id in read {
            let known = self.0.entry(id.clone()).or_default();
            known.attempts = known.attempts.saturating_add(1);
        }
        for (id, group) in found {
            let known = self.0.entry(id).or_default();
            (known.group, known.has_info) = (group, true);
        }
    }

    fn groups(&self) -> BTreeMap<String, String> {
        self.0.iter().filter_map(|(id, known)| Some((id.clone(), known.group.clone()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leader::test_support::{as_leader, config, handles};

    fn ids(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn info_of_a_new_member_is_read_until_it_exists_or_some_attempts_have_failed() {
        let mut known = KnownGroups::default();
        let all = ids(&["1", "2"]);
        assert_eq!(known.new_members(&all), all);
        let found = || [("1".to_owned(), Some("roof".to_owned()))].into_iter();
        for _ in 0..ATTEMPTS {
            assert!(known.new_members(&all).contains("2"));
            known.record(&all, &ids(&["2"]), [].into_iter());
        }
        known.record(&all, &ids(&["1"]), found());
        assert_eq!(known.new_members(&all), BTreeSet::new());
        assert_eq!(known.groups(), BTreeMap::from([("1".to_owned(), "roof".to_owned())]));
        known.record(&ids(&["2"]), &BTreeSet::new(), [].into_iter());
        assert_eq!(known.new_members(&all), ids(&["1"]), "it has left and joined again");
        assert_eq!(known.groups(), BTreeMap::new());
    }

    #[tokio::test]
    async fn group_reader_reads_the_groups_of_members_that_join_later() {
        as_leader(async |leadership| {
            let connection = leadership.connection();
            let write = async |id: &str, data: &[u8]| {
                let path = format!("{}/{id}", node_info::PARENT_PATH);
                connection.ensure(&path).await.unwrap();
                connection.set(&path, data, None).await.unwrap();
            };
            let info =
                |group: &str| NodeInfo { group: Some(group.to_owned()), ..NodeInfo::new("b") }.to_json();
            write("1", &info("roof")).await;
            write("2", b"an older version, or another program").await;
            let handles = handles(watch::channel(config()).1);
            let (names, member_names) = watch::channel(Some(vec!["1".to_owned(), "2".to_owned()]));
            let (groups, mut receiver) = watch::channel(Groups::default());
            let reader = GroupReader { handles: &handles, leadership: &leadership, member_names, groups };
            let test = async {
                let has = |count: usize| move |groups: &Groups| groups.len() == count;
                assert_eq!(receiver.wait_for(has(1)).await.unwrap().get("1").unwrap(), "roof");
                names.send_replace(Some(vec!["1".to_owned(), "3".to_owned()]));
                write("3", &info("cellar")).await;
                assert_eq!(receiver.wait_for(has(2)).await.unwrap().get("3").unwrap(), "cellar");
            };
            tokio::select! {
                () = reader.run() => panic!("the reader ended"),
                done = tokio::time::timeout(Duration::from_secs(60), test) => done.unwrap(),
            }
        })
        .await;
    }
}
