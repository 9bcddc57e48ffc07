//! One znode: its data, its metadata, the names of its children.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::Transaction;
use crate::acl::Acl;
use crate::protocol::Stat;

/// Maximum TTL, in milliseconds: about 34 years, the maximum of five bytes.
const MAX_TTL: i64 = (1 << 40) - 1;

/// Maximum of the count of created children. From then on all sequential children have the same number, as with Apache
/// ZooKeeper.
pub(crate) const MAX_CREATED: i64 = i32::MAX as i64;

/// Lifetime of a znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    Persistent,
    Ephemeral(i64),
    Container,
    /// Milliseconds.
    Ttl(i64),
}

impl Lifetime {
    /// Creates a TTL, unless it is out of range.
    pub(crate) fn ttl(milliseconds: i64) -> Option<Self> {
        (1..=MAX_TTL).contains(&milliseconds).then_some(Self::Ttl(milliseconds))
    }

    /// Returns the value in a `Stat`: for clients, containers and znodes with a TTL look like persistent znodes.
    fn number(self) -> i64 {
        match self {
            Self::Ephemeral(session) => session,
            Self::Persistent | Self::Container | Self::Ttl(_) => 0,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// `None` if a client stored null, which differs from empty data.
    pub(crate) data: Option<Bytes>,
    pub(crate) acl: Arc<[Acl]>,
    pub(crate) children: BTreeSet<Box<str>>,
    /// Number of children created so far, of which the sequence number is the lower half. `cversion` also counts
    /// the deleted ones. It stops at [`MAX_CREATED`], except within a `multi`.
    pub(crate) created: i64,
    pub(crate) version: i32,
    pub(crate) aversion: i32,
    pub(crate) czxid: i64,
    pub(crate) mzxid: i64,
    pub(crate) pzxid: i64,
    pub(crate) ctime: i64,
    pub(crate) mtime: i64,
    pub(crate) lifetime: Lifetime,
}

impl Node {
    pub(crate) fn new(
        data: Option<Bytes>,
        acl: Arc<[Acl]>,
        transaction: Transaction,
        lifetime: Lifetime,
    ) -> Self {
        Self {
            data,
            acl,
            children: BTreeSet::new(),
            created: 0,
            version: 0,
            aversion: 0,
            czxid: transaction.zxid,
            mzxid: transaction.zxid,
            pzxid: transaction.zxid,
            ctime: transaction.time,
            mtime: transaction.time,
            lifetime,
        }
    }

    pub(crate) fn stat(&self) -> Stat {
        let children = i32::try_from(self.children.len()).unwrap_or(i32::MAX);
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            // Every child was created once, and those that no longer exist were deleted once.
            cversion: (self.created as i32).wrapping_mul(2).wrapping_sub(children),
            aversion: self.aversion,
            ephemeral_owner: self.lifetime.number(),
            data_length: self.data.as_ref().map_or(0, |data| i32::try_from(data.len()).unwrap_or(i32::MAX)),
            num_children: children,
            pzxid: self.pzxid,
        }
    }

    /// Returns the number that a sequential child gets. Beyond the largest `i32` it continues with the smallest.
    pub(super) fn next_sequence(&self) -> i32 {
        self.created as i32
    }

    /// Counts a child that is created. Returns the transaction of the latest change before.
    pub(super) fn count_child(&mut self, zxid: i64) -> i64 {
        let before = self.pzxid;
        self.created += 1;
        // Apache ZooKeeper updates both together, and only to a larger count.
        if self.created <= MAX_CREATED {
            self.pzxid = zxid;
        }
        before
    }

    /// Returns true if the server should delete the znode. A container must have had a child first.
    pub(super) fn is_expired(&self, time: i64) -> bool {
        self.children.is_empty()
            && match self.lifetime {
                Lifetime::Container => self.created > 0,
                Lifetime::Ttl(milliseconds) => time - self.mtime > milliseconds,
                _ => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_fits_in_five_bytes() {
        assert_eq!((Lifetime::ttl(0), Lifetime::ttl(-1), Lifetime::ttl(MAX_TTL + 1)), (None, None, None));
        assert_eq!(Lifetime::ttl(MAX_TTL), Some(Lifetime::Ttl(MAX_TTL)));
    }
}
