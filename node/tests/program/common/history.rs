//! What a fleet in lock-step did, by Apache ZooKeeper's own log.

use std::collections::BTreeSet;

use atalaya_testbed::{Change, Transaction};

use super::Fleet;
use super::server::Server;

/// Someone's measurement.
pub struct Published {
    pub id: String,
    pub zxid: i64,
    pub session: i64,
    /// What `/counter` was made in the same transaction.
    pub counted: Option<i64>,
    data: Vec<u8>,
}

/// What was committed, of one fleet.
#[derive(Default)]
pub struct History {
    /// The transactions that closed the barrier.
    pub closings: Vec<i64>,
    /// Those that touched the barrier without making sure that who wrote them led.
    pub unfenced: Vec<i64>,
    /// Those that opened it and did not close it.
    pub openings: Vec<i64>,
    pub published: Vec<Published>,
    /// Each value of the counter, and whose session made it so.
    pub counter: Vec<(i64, i64)>,
    /// Epochs and cycles, as they were written at the fence.
    terms: Vec<(i64, u64)>,
}

impl History {
    /// Of the fleet at the root.
    pub fn of(fleet: &Fleet) -> History {
        History::below(fleet, "")
    }

    /// Of a fleet below this znode.
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
                // Kazoo makes it empty.
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

    /// How often each of `ids` published from one closing to the next.
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

    /// That nobody published twice for one closing.
    #[track_caller]
    pub fn assert_never_twice(&self, ids: &[&str]) {
        let rounds = self.rounds(ids);
        assert!(rounds.iter().flatten().all(|times| *times <= 1), "{rounds:?}");
    }

    /// That, besides, the barrier was never open since it was first closed, and cycles have no gap.
    #[track_caller]
    pub fn assert_in_step(&self, ids: &[&str]) {
        self.assert_never_twice(ids);
        assert!(self.openings.is_empty(), "nobody opens it without closing it");
        assert!(self.unfenced.is_empty(), "who leads no more closes nothing: {:x?}", self.unfenced);
        for pair in self.terms.windows(2) {
            let ((before, cycle), (epoch, next)) = (pair[0], pair[1]);
            let goes_on = (epoch == before && next <= cycle + 1) || (epoch == before + 1 && next == cycle);
            assert!(goes_on && next >= cycle, "{:?}", self.terms);
        }
    }

    /// That each measurement of `ids` was counted as it was published, and nothing else was.
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

    /// How many leaders there were.
    pub fn epochs(&self) -> usize {
        self.terms.iter().map(|(epoch, _)| epoch).collect::<BTreeSet<_>>().len()
    }
}
