//! Checks of ZooKeeper's transaction log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atalaya::model::task::paths;
use atalaya::model::task::record::Record;
use atalaya_testbed::{Change, Transaction};

/// The znodes of tasks of one fleet, as one transaction after the other changes them.
#[derive(Default)]
struct World {
    specs: BTreeSet<String>,
    ended: BTreeSet<String>,
    /// Assignments: task and node.
    runs: BTreeSet<(String, String)>,
    /// Outcomes and claims: task and node.
    done: BTreeSet<(String, String)>,
    claims: BTreeMap<(String, String), i64>,
    alive: BTreeMap<String, i64>,
    /// Znodes of the election.
    contenders: BTreeMap<String, i64>,
}

impl World {
    /// Returns true if a task waits for a worker, a worker is free, and there is a leader.
    fn is_idle(&self) -> bool {
        let is_waiting = |task: &&String| {
            let of_task = |entry: &&(String, String)| entry.0 == **task;
            let is_with_worker =
                self.runs.iter().filter(of_task).any(|(_, node)| self.alive.contains_key(node));
            let has_result = self.done.iter().any(|entry| of_task(&entry));
            let is_claimed = self.claims.keys().any(|entry| of_task(&entry));
            !self.ended.contains(*task) && !is_with_worker && !has_result && !is_claimed
        };
        let is_free = |node: &String| !self.runs.iter().chain(&self.done).any(|(_, other)| other == node);
        !self.contenders.is_empty()
            && self.specs.iter().any(|task| is_waiting(&task))
            && self.alive.keys().any(is_free)
    }

    fn apply(&mut self, session: i64, path: &str, data: Option<&[u8]>) {
        if path.starts_with("/election/") {
            match data {
                Some(_) => self.contenders.insert(path.to_owned(), session),
                None => self.contenders.remove(path),
            };
        }
        let Some(rest) = path.strip_prefix("/atalaya/tasks/") else { return };
        let words: Vec<&str> = rest.split('/').collect();
        let entry = |name: &str| name.split_once('.').map(|(task, node)| (task.to_owned(), node.to_owned()));
        match (&words[..], data) {
            (["spec", task], Some(_)) => drop(self.specs.insert((*task).to_owned())),
            (["run", node, task], Some(_)) => {
                self.runs.insert(((*task).to_owned(), (*node).to_owned()));
            }
            (["run", node, task], None) => {
                self.runs.remove(&((*task).to_owned(), (*node).to_owned()));
            }
            (["done", name], Some(_)) => self.done.extend(entry(name)),
            (["done", name], None) => {
                entry(name).map(|entry| self.done.remove(&entry));
            }
            (["claim", name], Some(_)) => self.claims.extend(entry(name).map(|entry| (entry, session))),
            (["claim", name], None) => {
                entry(name).map(|entry| self.claims.remove(&entry));
            }
            (["alive", node], Some(_)) => drop(self.alive.insert((*node).to_owned(), session)),
            (["alive", node], None) => drop(self.alive.remove(*node)),
            (["state", task], Some(data))
                if Record::parse(data).is_some_and(|record| record.state.is_final()) =>
            {
                self.ended.insert((*task).to_owned());
            }
            _ => {}
        }
    }

    fn close(&mut self, session: i64) {
        self.claims.retain(|_, owner| *owner != session);
        self.alive.retain(|_, owner| *owner != session);
        self.contenders.retain(|_, owner| *owner != session);
    }
}

/// Checks the fleet below `chroot`: one final record for each task, every record written by the leader, nothing written by
/// a deposed one, and no worker idle while a task waits.
pub(crate) fn check(journal: &[Transaction], chroot: &str, tasks: &[String], session_timeout: Duration) {
    let state = format!("{chroot}{}", paths::STATE);
    let mut finals: BTreeMap<String, usize> = BTreeMap::new();
    let (mut leaders, mut deposed_writes): (Vec<i64>, Vec<String>) = (Vec::new(), Vec::new());
    let mut unfenced: Vec<String> = Vec::new();
    let (mut longest_wait, mut parties) = (0, BTreeSet::new());
    let (mut world, mut idle_since) = (World::default(), None);
    let longest = i64::try_from((session_timeout + Duration::from_secs(1)).as_millis()).unwrap();
    for Transaction { zxid, session, time, changes } in journal {
        let own = |change: &&Change| match change {
            Change::Create { path, .. } | Change::Set { path, .. } | Change::Delete { path } => {
                path.strip_prefix(chroot).is_some_and(|rest| rest.starts_with('/'))
            }
            _ => false,
        };
        let is_leaders =
            changes.iter().any(|change| matches!(change, Change::Set { path, .. } if *path == state));
        if is_leaders && leaders.last() != Some(session) {
            assert!(!leaders.contains(session), "session {session:#x} leads again at {zxid:#x}");
            leaders.push(*session);
        }
        let is_deposed = leaders.contains(session) && leaders.last() != Some(session);
        let is_fenced = changes.iter().any(|change| {
            let check = format!("{chroot}/election/");
            matches!(change, Change::Check { path } if path.starts_with(&check))
        });
        // The end of a leader or worker of this fleet.
        let mut starts_again = changes.contains(&Change::Closed) && parties.contains(session);
        for change in changes.iter().filter(own) {
            let (path, data) = match change {
                Change::Create { path, data, .. } | Change::Set { path, data } => (path, Some(&data[..])),
                Change::Delete { path } => (path, None),
                _ => continue,
            };
            let path = &path[chroot.len()..];
            if path.starts_with(paths::ROOT) && is_deposed {
                deposed_writes.push(format!("{path} at {zxid:#x}"));
            }
            if let Some(task) = path.strip_prefix(&format!("{}/", paths::STATE)) {
                if !is_fenced {
                    unfenced.push(format!("{path} at {zxid:#x}"));
                }
                assert!(!world.ended.contains(task), "{path} is written at {zxid:#x} after its final state");
                if data.and_then(Record::parse).is_some_and(|record| record.state.is_final()) {
                    *finals.entry(task.to_owned()).or_default() += 1;
                }
            }
            starts_again |= path.starts_with("/election/") || path == "/atalaya/term";
            if !path.starts_with(paths::SPEC) {
                parties.insert(*session);
            }
            world.apply(*session, path, data);
        }
        if changes.contains(&Change::Closed) {
            world.close(*session);
        }
        if starts_again {
            idle_since = None;
        }
        if let Some(since) = idle_since {
            let idle: i64 = time - since;
            longest_wait = longest_wait.max(idle);
            assert!(idle <= longest, "a task waited for {idle} ms beside a free worker until {zxid:#x}");
        }
        idle_since = if world.is_idle() { idle_since.or(Some(*time)) } else { None };
    }
    assert!(deposed_writes.is_empty(), "{chroot}: deposed leaders wrote {deposed_writes:?}");
    assert!(unfenced.is_empty(), "{chroot}: written without a check of the election: {unfenced:?}");
    println!("{chroot}: {} leaders, a task waited for {longest_wait} ms beside a free worker", leaders.len());
    assert!(!leaders.is_empty(), "{chroot}: no leader wrote");
    let wanted: BTreeMap<String, usize> = tasks.iter().map(|task| (task.clone(), 1)).collect();
    assert_eq!(finals, wanted, "{chroot}: one final record for each task");
}
