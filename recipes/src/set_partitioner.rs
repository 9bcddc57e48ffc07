//! A set of items divided among those who are there, each item with one of them at a time; Kazoo's on the wire.
//!
//! # What it promises
//! Who holds an item holds its lock: never two at once, as far as a [lock](crate::lock) promises it. When members come or
//! go, everybody lets go of its share and takes the new one, once the party has been the same for a while
//! ([`SetPartitioner::with_settle_time`]).
//!
//! # Znodes
//! `{path}/party`: a [shallow party](crate::party), which the identifier joins. `{path}/locks/{item}`: a Kazoo
//! [lock](crate::lock) for each item. Items are sorted, members are sorted, and the first member has the first item and
//! every `n`th after it, as in Kazoo. Identifiers must differ, and everybody must name the same items.
//!
//! # Errors
//! [`PartitionError`]: an item or an identifier that cannot be a name, or what ZooKeeper refuses for good.
//!
//! # Behaviour on disconnect and on expiry
//! The work is dropped as soon as a lock is not held for certain; the share is taken again when the connection is back.
//! Unlike Kazoo's, which fails for good.
//!
//! # Cancellation safety
//! Dropping [`SetPartitioner::run`] drops the work, gives the locks back and leaves the party.
//!
//! # Answers to
//! kazoo 257, 259, 298: changes of the party that are missed after a lost connection, or while a lock is waited for; and a
//! partitioner that is of no use after a lost session.
//!
//! Try it: `cargo run -p atalaya-recipes --example set_partitioner -- 127.0.0.1:2181`.
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) {
//! use atalaya_recipes::SetPartitioner;
//!
//! let items = ["bus 1", "bus 2", "bus 3"].map(String::from);
//! let partitioner = SetPartitioner::new(session, "/polling", items, "node 1");
//! let error = partitioner
//!     .run(|share| async move {
//!         println!("polling {share:?}");
//!         // Until this is dropped.
//!         std::future::pending::<()>().await
//!     })
//!     .await;
//! println!("{error}");
//! # }
//! ```

use std::time::Duration;

use tokio::sync::watch;

use crate::guard::{AcquireError, Guard};
use crate::party::{Party, PartyError};
use crate::{Lock, Session};

/// How long the party must have been the same, unless it is told otherwise; Kazoo's default.
const SETTLING: Duration = Duration::from_secs(30);

/// Why it cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// The party cannot be joined, or not be followed.
    #[error(transparent)]
    Party(#[from] PartyError),
    /// An item's lock cannot be acquired.
    #[error(transparent)]
    Lock(#[from] AcquireError),
    /// What is part of a name must not be empty, nor have a `/` in it.
    #[error("{0:?} cannot be the name of an item")]
    Item(String),
}

/// How it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Partition {
    /// The party is not settled yet, or a lock is still another's.
    #[default]
    Allocating,
    /// This is our share.
    Acquired(Vec<String>),
    /// The share is given back, for members came or went, or a lock was lost.
    Releasing,
}

/// Divides one set.
#[derive(Debug)]
pub struct SetPartitioner {
    session: Session,
    path: String,
    items: Vec<String>,
    identifier: String,
    settling: Duration,
    state: watch::Sender<Partition>,
}

/// The share of `identifier` among `members`; empty if it is not one of them. Pure.
pub fn share(identifier: &str, members: &[String], items: &[String]) -> Vec<String> {
    let mut members: Vec<&str> = members.iter().map(String::as_str).collect();
    members.sort_unstable();
    let mut items = items.to_vec();
    items.sort_unstable();
    items.dedup();
    match members.iter().position(|member| *member == identifier) {
        Some(first) => items.into_iter().skip(first).step_by(members.len()).collect(),
        None => Vec::new(),
    }
}

impl SetPartitioner {
    /// One for `items` at `path`; nothing happens before [`SetPartitioner::run`].
    pub fn new(
        session: Session,
        path: impl Into<String>,
        items: impl IntoIterator<Item = String>,
        identifier: impl Into<String>,
    ) -> SetPartitioner {
        SetPartitioner {
            session,
            path: path.into(),
            items: items.into_iter().collect(),
            identifier: identifier.into(),
            settling: SETTLING,
            state: watch::Sender::default(),
        }
    }

    /// How long the party must have been the same before it is divided among.
    #[must_use]
    pub fn with_settle_time(mut self, settling: Duration) -> SetPartitioner {
        self.settling = settling;
        self
    }

    /// To be told how it stands.
    pub fn state(&self) -> watch::Receiver<Partition> {
        self.state.subscribe()
    }

    /// Joins, and calls `work` with each share that is acquired. The work is dropped before the share is given back; when
    /// it ends by itself, the share is kept until it changes.
    pub async fn run<W: Future<Output = ()>>(self, mut work: impl FnMut(Vec<String>) -> W) -> PartitionError {
        if let Some(item) = self.items.iter().find(|item| item.is_empty() || item.contains('/')) {
            return PartitionError::Item(item.clone());
        }
        let party = Party::shallow(self.session.clone(), format!("{}/party", self.path), &*self.identifier);
        let _membership = match party.join().await {
            Ok(membership) => membership,
            Err(error) => return error.into(),
        };
        let (told, mut members) = watch::channel(Vec::new());
        let tell = |now: Vec<String>| {
            told.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
        };
        tokio::select! {
            error = party.follow(tell) => error.into(),
            error = self.divide(&mut members, &mut work) => error,
        }
    }

    async fn divide<W: Future<Output = ()>>(
        &self,
        members: &mut watch::Receiver<Vec<String>>,
        work: &mut impl FnMut(Vec<String>) -> W,
    ) -> PartitionError {
        loop {
            self.state.send_replace(Partition::Allocating);
            while tokio::time::timeout(self.settling, changed(members)).await.is_ok() {}
            let share = share(&self.identifier, &members.borrow_and_update(), &self.items);
            let locks = tokio::select! {
                biased;
                () = changed(members) => continue,
                locks = self.acquire(&share) => locks,
            };
            let guards = match locks {
                Ok(guards) => guards,
                Err(error) => return error.into(),
            };
            self.state.send_replace(Partition::Acquired(share.clone()));
            tokio::select! {
                biased;
                () = changed(members) => {}
                () = any_lost(&guards) => {}
                () = async { work(share).await; std::future::pending().await } => {}
            }
            self.state.send_replace(Partition::Releasing);
            for guard in guards {
                guard.release().await;
            }
        }
    }

    /// All locks of a share, one after the other; in order, so that two who wait do not wait for each other.
    async fn acquire(&self, share: &[String]) -> Result<Vec<Guard>, AcquireError> {
        let mut guards = Vec::new();
        while guards.len() < share.len() {
            let Some(item) = share.get(guards.len()) else { break };
            let path = format!("{}/locks/{item}", self.path);
            let lock = Lock::new(self.session.clone(), path, self.identifier.as_bytes());
            tokio::select! {
                biased;
                // What was acquired is lost while the rest is waited for: all anew.
                () = any_lost(&guards) => guards.clear(),
                guard = lock.acquire() => guards.push(guard?),
            }
        }
        Ok(guards)
    }
}

/// Waits for the next change; for ever if nobody tells.
async fn changed(members: &mut watch::Receiver<Vec<String>>) {
    if members.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Waits until one of them is lost; for ever if there is none.
async fn any_lost(guards: &[Guard]) {
    let mut all: Vec<_> = guards.iter().map(|guard| Box::pin(guard.lost())).collect();
    std::future::poll_fn(|context| {
        let lost = all.iter_mut().any(|lost| lost.as_mut().poll(context).is_ready());
        if lost { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "serves tests only")]

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_item_is_in_one_share_and_shares_are_even(
            members in prop::collection::btree_set("[a-z]{1,4}", 1..12),
            items in prop::collection::btree_set("[a-z]{1,4}", 0..40),
        ) {
            let members: Vec<String> = members.into_iter().collect();
            let all: Vec<String> = items.iter().rev().cloned().collect();
            let shares: Vec<_> = members.iter().map(|member| share(member, &members, &all)).collect();
            let together: BTreeSet<String> = shares.iter().flatten().cloned().collect();
            prop_assert_eq!(together, items);
            prop_assert_eq!(shares.iter().map(Vec::len).sum::<usize>(), all.len());
            let sizes: Vec<usize> = shares.iter().map(Vec::len).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn who_is_not_there_has_nothing() {
        assert!(share("me", &["you".into()], &["item".into()]).is_empty());
    }
}
