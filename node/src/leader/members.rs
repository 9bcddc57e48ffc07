//! Members of the fleet: the measurement znodes, with what their last reading found. No I/O except log lines.

use tracing::{info, warn};

use crate::model::measurement::Exclusion;
pub use crate::zk::bulk_read::MAX_BATCH;
use crate::zk::{bulk_read, listing_size};

#[derive(Clone, Debug)]
pub(super) struct Member {
    path: String,
    /// Size of the data at the last reading, in bytes.
    size: usize,
    /// Reason for which the last reading excluded it.
    excluded: Option<Exclusion>,
}

impl Member {
    pub(super) fn name(&self) -> &str {
        name_of(&self.path)
    }

    /// Records the result of a reading. Returns true if the member is now included and was excluded before, or the
    /// other way round, or is excluded for another reason.
    pub(super) fn record(&mut self, size: usize, excluded: Option<Exclusion>) -> bool {
        self.size = size;
        std::mem::replace(&mut self.excluded, excluded) != excluded
    }
}

/// The measurement znodes of a fleet, sorted by name.
#[derive(Clone, Debug, Default)]
pub struct Members(pub(super) Vec<Member>);

/// Changes of the member list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub(crate) joined: Vec<String>,
    pub(crate) left: Vec<String>,
    /// Set when the list becomes almost too large for a response.
    pub(crate) warning: Option<String>,
}

impl Members {
    /// Replaces the list of names. They are children of `parent`.
    pub fn update(&mut self, parent: &str, mut names: Vec<String>) -> Changes {
        let was_large = self.listing_warning().is_some();
        names.sort_unstable();
        names.dedup();
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        // Both are sorted, so that a fleet of 10,000 needs no search for each name.
        let mut before = std::mem::take(&mut self.0).into_iter().peekable();
        self.0.reserve(names.len());
        for name in names {
            while let Some(gone) = before.next_if(|known| known.name() < name.as_str()) {
                left.push(gone.name().to_owned());
            }
            self.0.push(before.next_if(|known| known.name() == name).unwrap_or_else(|| {
                let path = format!("{parent}/{name}");
                joined.push(name);
                Member { path, size: bulk_read::UNKNOWN_SIZE, excluded: None }
            }));
        }
        left.extend(before.map(|gone| gone.name().to_owned()));
        let warning = self.listing_warning().filter(|_| !was_large);
        Changes { joined, left, warning }
    }

    fn listing_warning(&self) -> Option<String> {
        listing_size::warning(listing_size::response_size(self.0.iter().map(Member::name)))
    }

    /// Returns the number of members.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there are no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the member whose measurement znode is at `path`.
    fn at_path(&self, path: &str) -> Option<&Member> {
        let found = self.0.binary_search_by(|member| member.name().cmp(name_of(path)));
        found.ok().map(|index| &self.0[index])
    }

    /// Returns true if `path` is the measurement znode of a member.
    pub(super) fn contains_path(&self, path: &str) -> bool {
        self.at_path(path).is_some()
    }

    /// Returns the paths of all members, ordered by name.
    pub(super) fn paths(&self) -> Vec<String> {
        self.0.iter().map(|member| member.path.clone()).collect()
    }

    /// Returns the paths of all members as one batch per request.
    pub(super) fn all_batches(&self) -> Vec<Vec<&str>> {
        split(self.0.iter().map(|member| (member.path.as_str(), member.size)))
    }

    /// Returns `paths` of measurement znodes as one batch per request.
    pub(super) fn batches<'a>(&self, paths: &'a [String]) -> Vec<Vec<&'a str>> {
        let size = |path| self.at_path(path).map_or(bulk_read::UNKNOWN_SIZE, |member| member.size);
        split(paths.iter().map(|path| (path.as_str(), size(path))))
    }

    /// Forgets the sizes, after a reading that failed: if the data has grown, the response may have been too long.
    pub(super) fn forget_sizes(&mut self) {
        self.0.iter_mut().for_each(|member| member.size = bulk_read::UNKNOWN_SIZE);
    }
}

/// Returns the name of the znode at `path`.
fn name_of(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Splits paths, with the expected sizes of their data, into one batch per request.
fn split<'a>(znodes: impl Iterator<Item = (&'a str, usize)> + Clone) -> Vec<Vec<&'a str>> {
    let batches = bulk_read::plan(znodes.clone().map(|(path, size)| (path.len(), size)));
    let mut paths = znodes.map(|(path, _)| path);
    batches.into_iter().map(|range| paths.by_ref().take(range.len()).collect()).collect()
}

impl Changes {
    /// Logs the changes. `total` is the number of members afterwards.
    pub(super) fn log(&self, total: usize) {
        if !self.joined.is_empty() {
            info!(now = total, "{} joined", list(&self.joined));
        }
        if !self.left.is_empty() {
            info!(now = total, "{} left", list(&self.left));
        }
        if let Some(warning) = &self.warning {
            warn!(nodes = total, "{warning}");
        }
    }
}

/// Returns a short list: "node 1", "nodes 1, 2", "nodes 1, 2, … and 7 more".
fn list(names: &[String]) -> String {
    const MAX_NAMES: usize = 10;
    let noun = if names.len() == 1 { "node" } else { "nodes" };
    let shown = names.iter().take(MAX_NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => format!("{noun} {shown}"),
        more => format!("{noun} {shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn members_update_returns_joined_and_left_names() {
        let mut members = Members::default();
        assert_eq!(members.update("/m", names(&["1", "2"])).joined, ["1", "2"]);
        let changes = members.update("/m", names(&["2", "3"]));
        assert_eq!(changes, Changes { joined: names(&["3"]), left: names(&["1"]), warning: None });
        assert_eq!(members.all_batches(), [["/m/2", "/m/3"]]);
        assert!(members.contains_path("/m/3") && !members.contains_path("/m/1"));
    }

    #[test]
    fn list_that_is_almost_too_large_is_reported_once() {
        let mut members = Members::default();
        let names = |count: usize| (0..count).map(|n| format!("{n:0>76}")).collect::<Vec<_>>();
        assert_eq!(members.update("/m", names(9_000)).warning, None);
        let warning = members.update("/m", names(10_000)).warning;
        assert!(warning.unwrap().contains("0.8 MiB"));
        assert_eq!(members.update("/m", names(10_001)).warning, None);
    }

    #[test]
    fn member_reports_each_change_of_its_exclusion_once() {
        let mut members = Members::default();
        members.update("/m", names(&["1"]));
        let record = |members: &mut Members, excluded| members.0[0].record(3, excluded);
        assert!(!record(&mut members, None));
        assert!(record(&mut members, Some(Exclusion::NotFinite)));
        assert!(!record(&mut members, Some(Exclusion::NotFinite)));
        members.update("/m", names(&["1", "2"]));
        assert!(
            !record(&mut members, Some(Exclusion::NotFinite)),
            "an update keeps the state of each member"
        );
        assert!(record(&mut members, None));
    }

    #[test]
    fn members_of_known_size_are_read_in_full_batches() {
        let mut members = Members::default();
        members.update("/mediciones", (0..10_000).map(|n| n.to_string()).collect());
        assert!(members.all_batches().len() > 100, "unknown sizes: small batches");
        for member in &mut members.0 {
            member.record(4, None);
        }
        assert_eq!(members.all_batches().len(), 10);
    }

    proptest! {
        #[test]
        fn members_are_those_of_the_newest_list(lists in prop::collection::vec(prop::collection::vec(0u8..40, 0..40), 1..6)) {
            let mut members = Members::default();
            let mut before = BTreeSet::new();
            for list in lists {
                let list: Vec<String> = list.iter().map(u8::to_string).collect();
                let now: BTreeSet<String> = list.iter().cloned().collect();
                let changes = members.update("/m", list);
                prop_assert_eq!(&changes.joined, &now.difference(&before).cloned().collect::<Vec<_>>());
                prop_assert_eq!(&changes.left, &before.difference(&now).cloned().collect::<Vec<_>>());
                prop_assert!(members.0.iter().map(Member::name).eq(&now));
                let is_right = |member: &Member| {
                    let name = member.name();
                    member.path == format!("/m/{name}") && (member.size == 1) == before.contains(name)
                };
                prop_assert!(members.0.iter().all(is_right));
                let paths = members.paths();
                prop_assert_eq!(members.all_batches(), members.batches(&paths));
                for member in &mut members.0 {
                    member.record(1, None);
                }
                before = now;
            }
        }
    }

    #[test]
    fn list_of_nodes_has_ten_names_at_most() {
        let names: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
        assert_eq!(list(&names[..1]), "node 1");
        assert_eq!(list(&names[..2]), "nodes 1, 2");
        assert_eq!(list(&names), "nodes 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more");
    }
}
