//! Who measures, as the leader knows it: names, what was wrong with their data, and how to read all of them in few
//! requests of bounded size. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::measurement::Exclusion;

/// Most znodes that are read in one request.
pub const LARGEST_BATCH: usize = 1024;
/// Most data that one answer is expected to hold, in bytes: what bounds the leader's memory, whatever others store.
const LARGEST_ANSWER: usize = 1024 * 1024;
/// Most bytes of paths in one request. ZooKeeper closes the connection at 1 MiB (`jute.maxbuffer`).
const LARGEST_REQUEST: usize = 512 * 1024;
/// What an operation of a `MultiRead` takes besides its path, and a result besides its data.
const OVERHEAD: usize = 16;
const STAT: usize = 80;
/// What a znode is taken to hold before it was first read.
const UNKNOWN_SIZE: usize = 16 * 1024;

/// One measuring znode.
#[derive(Clone, Debug)]
struct Member {
    /// Its whole path.
    path: String,
    /// Bytes of data when it was last read.
    size: usize,
    /// What was wrong with it when it was last read.
    unusable: Option<Exclusion>,
}

/// The measuring znodes of a fleet, by name.
#[derive(Clone, Debug, Default)]
pub struct Members {
    members: BTreeMap<String, Member>,
}

/// Who came and who went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New names.
    pub joined: Vec<String>,
    /// Names that are gone.
    pub left: Vec<String>,
}

impl Members {
    /// Takes a new list of names over, children of `parent`.
    pub fn update(&mut self, parent: &str, names: Vec<String>) -> Changes {
        let mut before = std::mem::take(&mut self.members);
        let mut joined = Vec::new();
        for name in names {
            let member = before.remove(&name).unwrap_or_else(|| {
                joined.push(name.clone());
                Member { path: format!("{parent}/{name}"), size: UNKNOWN_SIZE, unusable: None }
            });
            self.members.insert(name, member);
        }
        Changes { joined, left: before.into_keys().collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether somebody's measurement is at this path.
    pub fn has(&self, path: &str) -> bool {
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        self.members.contains_key(name)
    }

    /// The paths of all of them.
    pub fn paths(&self) -> Vec<String> {
        self.members.values().map(|member| member.path.clone()).collect()
    }

    /// The paths to read, a batch a request; their order is that of [`Members::notes`]'s positions.
    pub fn batches(&self) -> Vec<Vec<String>> {
        let members: Vec<&Member> = self.members.values().collect();
        plan(members.iter().map(|member| (member.path.len(), member.size)))
            .into_iter()
            .map(|range| members[range].iter().map(|member| member.path.clone()).collect())
            .collect()
    }

    /// Starts to note what a reading of all of them has found, in the order of [`Members::batches`].
    pub fn notes(&mut self) -> impl Iterator<Item = Note<'_>> {
        self.members.iter_mut().map(|(name, member)| Note { name, member })
    }
}

/// Where to note what was found at one znode.
#[derive(Debug)]
pub struct Note<'a> {
    name: &'a str,
    member: &'a mut Member,
}

impl Note<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        self.name
    }

    /// It held so many bytes, which were usable or not. True if that is another verdict than the last.
    pub fn found(&mut self, size: usize, unusable: Option<Exclusion>) -> bool {
        self.member.size = size;
        std::mem::replace(&mut self.member.unusable, unusable) != unusable
    }
}

/// Cuts a sequence of znodes, each with the length of its path and the size of its data, into batches within all three
/// bounds. A znode beyond a bound on its own gets a batch of its own.
fn plan(znodes: impl Iterator<Item = (usize, usize)>) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut request, mut answer) = (0, 0, 0);
    let mut count = 0;
    for (index, (path, size)) in znodes.enumerate() {
        let (asked, answered) = (path + OVERHEAD, size + STAT);
        let full = index - start >= LARGEST_BATCH
            || request + asked > LARGEST_REQUEST
            || answer + answered > LARGEST_ANSWER;
        if full && index > start {
            batches.push(start..index);
            (start, request, answer) = (index, 0, 0);
        }
        request += asked;
        answer += answered;
        count = index + 1;
    }
    if count > start {
        batches.push(start..count);
    }
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn who_came_and_who_went() {
        let mut roster = Members::default();
        assert_eq!(roster.update("/m", names(&["1", "2"])).joined, ["1", "2"]);
        let changes = roster.update("/m", names(&["2", "3"]));
        assert_eq!(changes, Changes { joined: names(&["3"]), left: names(&["1"]) });
        assert_eq!(roster.batches(), [names(&["/m/2", "/m/3"])]);
    }

    #[test]
    fn a_verdict_is_news_once() {
        let mut roster = Members::default();
        roster.update("/m", names(&["1"]));
        let news = |roster: &mut Members, unusable| roster.notes().next().unwrap().found(3, unusable);
        assert!(!news(&mut roster, None));
        assert!(news(&mut roster, Some(Exclusion::NotFinite)));
        assert!(!news(&mut roster, Some(Exclusion::NotFinite)));
        roster.update("/m", names(&["1", "2"]));
        assert!(!news(&mut roster, Some(Exclusion::NotFinite)), "a new list forgets nothing");
        assert!(news(&mut roster, None));
    }

    #[test]
    fn a_fleet_of_thousands_is_read_in_full_batches_once_its_sizes_are_known() {
        let mut roster = Members::default();
        roster.update("/mediciones", (0..10_000).map(|n| n.to_string()).collect());
        assert!(roster.batches().len() > 100, "sizes unknown: small batches");
        for mut note in roster.notes() {
            note.found(4, None);
        }
        assert_eq!(roster.batches().len(), 10);
    }

    proptest! {
        #[test]
        fn batches_cover_all_in_order_and_stay_within_bounds(znodes in prop::collection::vec((1usize..20_000, 0usize..2_000_000), 0..3000)) {
            let batches = plan(znodes.iter().copied());
            let mut next = 0;
            for range in batches {
                prop_assert_eq!(range.start, next);
                prop_assert!(range.end > range.start);
                next = range.end;
                prop_assert!(range.len() <= LARGEST_BATCH);
                let request: usize = znodes[range.clone()].iter().map(|(path, _)| path + OVERHEAD).sum();
                let answer: usize = znodes[range.clone()].iter().map(|(_, size)| size + STAT).sum();
                prop_assert!(range.len() == 1 || (request <= LARGEST_REQUEST && answer <= LARGEST_ANSWER));
            }
            prop_assert_eq!(next, znodes.len());
        }
    }
}
