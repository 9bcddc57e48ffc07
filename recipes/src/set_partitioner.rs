//! Set of items that is divided among the members of a party, each item held by one member; compatible with Kazoo on
//! the wire.
//!
//! # Guarantees
//! The holder of an item holds its lock, so two members never hold it at the same time, with the guarantees of a
//! [lock](crate::lock). When members join or leave, all members release their shares and acquire new ones, after the
//! party has not changed for a while ([`SetPartitioner::with_settle_time`]).
//!
//! # Znodes
//! `{path}/party`: a [shallow party](crate::party), which the member joins with its identifier. `{path}/locks/{item}`:
//! a Kazoo [lock](crate::lock) for each item. Items and members are sorted; the first of `n` members holds the first
//! item and every `n`th after it, as in Kazoo. Identifiers must be unique, and all members must name the same items.
//!
//! # Errors
//! [`PartitionError`]: an invalid item or identifier, or an error that ZooKeeper would return again.
//!
//! # Disconnect and session expiry
//! The work is dropped as soon as a lock is not certainly held, and the share is acquired again when the connection is
//! back. Kazoo's partitioner fails permanently instead.
//!
//! # Cancel safety
//! Dropping [`SetPartitioner::run`] drops the work, releases the locks and leaves the party.
//!
//! # Bugs of other implementations
//! kazoo 257, 259, 298: changes of the party are missed after a disconnect or while the partitioner waits for a lock,
//! and a partitioner is unusable after its session has ended.
//!
//! # Example
//! `cargo run -p atalaya-recipes --example set_partitioner -- 127.0.0.1:2181`
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
//!         // Until this future is dropped.
//!         std::future::pending::<()>().await
//!     })
//!     .await;
//! println!("{error}");
//! # }
//! ```

use std::time::Duration;

use futures_util::future::select_all;
use tokio::sync::watch;

use crate::guard::{AcquireError, Guard};
use crate::party::{Party, PartyError};
use crate::{Lock, Session};

/// Default time without a change of the party before its members acquire their shares. The same as in Kazoo.
const DEFAULT_SETTLE_TIME: Duration = Duration::from_secs(30);

/// Reason why a partitioner has ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// The party could not be joined or watched.
    #[error(transparent)]
    Party(#[from] PartyError),
    /// The lock of an item could not be acquired.
    #[error(transparent)]
    Lock(#[from] AcquireError),
    /// An item is empty or contains a `/`, and so cannot be part of a znode's name.
    #[error("{0:?} is not a valid item: items must not be empty or contain a '/'")]
    Item(String),
}

/// State of a partitioner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Partition {
    /// The party has changed recently, or another member still holds a lock.
    #[default]
    Allocating,
    /// The share was acquired.
    Acquired(Vec<String>),
    /// The share is being released, because the party has changed or a lock was lost.
    Releasing,
}

/// Member that acquires its share of a set of items.
#[derive(Debug)]
pub struct SetPartitioner {
    session: Session,
    path: String,
    items: Vec<String>,
    identifier: String,
    settle_time: Duration,
    state: watch::Sender<Partition>,
}

/// Returns the share of `identifier` among `members`, or an empty share if it is not a member. Does no I/O.
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
    /// Creates a partitioner for `items` at `path`. Does no I/O before [`SetPartitioner::run`].
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
            settle_time: DEFAULT_SETTLE_TIME,
            state: watch::Sender::default(),
        }
    }

    /// Sets the time without a change of the party before shares are acquired. Default: 30 s.
    #[must_use]
    pub fn with_settle_time(mut self, settle_time: Duration) -> SetPartitioner {
        self.settle_time = settle_time;
        self
    }

    /// Returns a receiver of the state.
    pub fn state(&self) -> watch::Receiver<Partition> {
        self.state.subscribe()
    }

    /// Joins the party, and calls `work` with each acquired share. The work is dropped before the share is released. If
    /// it returns, the share is kept until the party changes.
    pub async fn run<W: Future<Output = ()>>(self, mut work: impl FnMut(Vec<String>) -> W) -> PartitionError {
        if let Some(item) = self.items.iter().find(|item| item.is_empty() || item.contains('/')) {
            return PartitionError::Item(item.clone());
        }
        let party = Party::shallow(self.session.clone(), format!("{}/party", self.path), &*self.identifier);
        let _membership = match party.join().await {
            Ok(membership) => membership,
            Err(error) => return error.into(),
        };
        let (sender, mut members) = watch::channel(Vec::new());
        let send = |current: Vec<String>| {
            sender.send_if_modified(|previous| std::mem::replace(previous, current.clone()) != current);
        };
        tokio::select! {
            error = party.follow(send) => error.into(),
            error = self.acquire_shares(&mut members, &mut work) => error,
        }
    }

    async fn acquire_shares<W: Future<Output = ()>>(
        &self,
        members: &mut watch::Receiver<Vec<String>>,
        work: &mut impl FnMut(Vec<String>) -> W,
    ) -> PartitionError {
        loop {
            self.state.send_replace(Partition::Allocating);
            // Each change of the party restarts the settle time.
            while tokio::time::timeout(self.settle_time, changed(members)).await.is_ok() {}
            let share = share(&self.identifier, &members.borrow_and_update(), &self.items);
            let locks = tokio::select! {
                biased;
                () = changed(members) => continue,
                locks = self.acquire_locks(&share) => locks,
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

    /// Acquires the locks of a share one after the other, in order, so that two members do not wait for each other.
    async fn acquire_locks(&self, share: &[String]) -> Result<Vec<Guard>, AcquireError> {
        let mut guards = Vec::new();
        while let Some(item) = share.get(guards.len()) {
            let path = format!("{}/locks/{item}", self.path);
            let lock = Lock::new(self.session.clone(), path, self.identifier.as_bytes());
            tokio::select! {
                biased;
                // A lock was lost while waiting for the next one: start again.
                () = any_lost(&guards) => guards.clear(),
                guard = lock.acquire() => guards.push(guard?),
            }
        }
        Ok(guards)
    }
}

/// Waits for the next change. Never returns if the sender is dropped.
async fn changed(members: &mut watch::Receiver<Vec<String>>) {
    if members.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Waits until one of the guards is lost. Never returns if there is none.
async fn any_lost(guards: &[Guard]) {
    if guards.is_empty() {
        std::future::pending().await
    }
    // Polls all of them each time, so each lease is checked before the work is polled.
    select_all(guards.iter().map(|guard| Box::pin(guard.lost()))).await;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "serves tests only")]

    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_item_is_in_one_share_and_share_sizes_differ_by_at_most_one(
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
    fn share_of_a_non_member_is_empty() {
        assert!(share("me", &["you".into()], &["item".into()]).is_empty());
    }
}
