//! History of a fleet in lock-step mode, from Apache ZooKeeper's transaction log.

use std::collections::BTreeSet;

use atalaya_testbed::{Change, Transaction};

use super::Fleet;
use super::server::Server;

/// A published measurement.
pub struct Published {
    pub id: String,
    pub zxid: i64,
    pub session: i64,
    /// The value of `/counter` that the same transaction wrote.
    pub counted: Option<i64>,
    data: Vec<u8>,
}

/// The committed transactions of one fleet.
#[derive(Default)]
pub struct History {
    /// Transactions that closed the barrier.
    pub closings: Vec<i64>,
    /// Transactions that changed the barrier without a check of the election znode.
    pub unfenced: Vec<i64>,
    /// Transactions that opened the barrier without closing it again.
    pub openings: Vec<i64>,
    pub published: Vec<Published>,
    /// Each value of the counter, and the session that wrote it.
    pub counter: Vec<(i64, i64)>,
    /// Epochs and cycles written to the fence.
    terms: Vec<(i64, u64)>,
}

impl History {
    /// Reads the history of the fleet at the root.
    pub fn of(fleet: &Fleet) -> History {
        History::below(fleet, "")
    }

    /// Reads the history of a fleet below this znode.
    pub fn below(fleet: &Fleet, chroot: &str) -> History {
        let Server::Apache(server) = &fleet.server else { panic!("only Apache ZooKeeper keeps a log") };
        let mut history = History::default();
        server.journal(0).iter().for_each(|transaction| history.take(chroot, transaction));
        history
    }

    fn take(&mut self, chroot: &str, transaction: &Transaction) {
        let Transaction { zxid, session, .. } = *transaction;
        let (mut closed, mut opened, mut fenced) = (false, false, false);
        let (mut counted, mut published) = (None, None);
        for change in &transaction.changes {
            if let Change::Check { path } = change {
                fenced |= path.strip_prefix(chroot).is_some_and(|path| path.starts_with("/election/"));
            }
            let (path, data) = match change {
                Change::Create { path, data, .. } | Change::Set { path, data } => (path, Some(data)),
                Change::Delete { path } => (path, None),
                _ => continue,
            };
            let Some(path) = path.strip_prefix(chroot) else { continue };
            let text = || String::from_utf8_lossy(data.map_or(&[][..], Vec::as_slice)).into_owned();
            match (path, data) {
                ("/barrier", Some(_)) => closed = true,
                ("/barrier", None) => opened = true,
                // Kazoo creates it empty.
                ("/counter", Some(_)) => counted = text().trim().parse().ok(),
                ("/atalaya/term", Some(data)) => {
                    let term: serde_json::Value = serde_json::from_slice(data).unwrap();
                    self.terms.push((term["epoch"].as_i64().unwrap(), term["cycle"].as_u64().unwrap()));
                }
                (path, Some(data)) if path.starts_with("/mediciones/") => {
                    published = Some((path["/mediciones/".len()..].to_owned(), data.clone()));
                }
                _ => {}
            }
        }
        if (closed || opened) && !fenced {
            self.unfenced.push(zxid);
        }
        if closed {
            self.closings.push(zxid);
        } else if opened {
            self.openings.push(zxid);
        }
        self.counter.extend(counted.map(|value| (value, session)));
        if let Some((id, data)) = published {
            self.published.push(Published { id, zxid, session, counted, data });
        }
    }

    /// Returns for each of `ids` the number of measurements in each generation.
    pub fn rounds(&self, ids: &[&str]) -> Vec<Vec<usize>> {
        let round = |begin: i64, end: i64| {
            let times = |id: &&str| {
                let within = |one: &&Published| one.id == *id && one.zxid > begin && one.zxid < end;
                self.published.iter().filter(within).count()
            };
            ids.iter().map(times).collect()
        };
        self.closings.windows(2).map(|pair| round(pair[0], pair[1])).collect()
    }

    /// Asserts that no node published twice in one generation.
    #[track_caller]
    pub fn assert_never_twice(&self, ids: &[&str]) {
        let rounds = self.rounds(ids);
        assert!(rounds.iter().flatten().all(|times| *times <= 1), "{rounds:?}");
    }

    /// Asserts in addition that the barrier was never open after it was first closed, and that cycles have no gap.
    #[track_caller]
    pub fn assert_in_step(&self, ids: &[&str]) {
        self.assert_never_twice(ids);
        assert!(self.openings.is_empty(), "a transaction opens the barrier without closing it");
        assert!(self.unfenced.is_empty(), "a deposed leader closed the barrier: {:x?}", self.unfenced);
        for pair in self.terms.windows(2) {
            let ((before, cycle), (epoch, next)) = (pair[0], pair[1]);
            let goes_on = (epoch == before && next <= cycle + 1) || (epoch == before + 1 && next == cycle);
            assert!(goes_on && next >= cycle, "{:?}", self.terms);
        }
    }

    /// Asserts that each measurement of `ids` was counted in its transaction, and that no other write counted.
    #[track_caller]
    pub fn assert_counted(&self, ids: &[&str]) {
        let mut values = BTreeSet::new();
        for Published { id, zxid, counted, data, .. } in
            self.published.iter().filter(|one| ids.contains(&&*one.id))
        {
            let text = String::from_utf8_lossy(data);
            assert!(
                counted.is_some_and(|value| values.insert(value)),
                "{text} of {id} at {zxid:#x}: {counted:?}"
            );
        }
        let last = i64::try_from(values.len()).unwrap();
        assert!(values.into_iter().eq(1..=last));
        assert_eq!(self.counter.last().map(|(value, _)| *value), Some(last));
    }

    pub fn epochs(&self) -> usize {
        self.terms.iter().map(|(epoch, _)| epoch).collect::<BTreeSet<_>>().len()
    }
}
