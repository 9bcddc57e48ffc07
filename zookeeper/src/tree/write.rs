//! Writes to the tree: single ones, or several of which all or none take effect.

use std::sync::Arc;

use bytes::Bytes;

use super::node::{Lifetime, MAX_CREATED};
use super::quota::QuotaSnapshot;
use super::{Caller, Node, SPECIAL, Transaction, Tree};
use crate::acl::{self, Acl, perms};
use crate::error::Code;
use crate::path;
use crate::protocol::{Create, CreateKind, Stat, Write};

/// Result of a write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Created(Arc<str>, Stat),
    Deleted,
    DataSet(Stat),
    AclSet(Stat),
    Checked,
}

/// A change, with the data to undo it. Most changes fire watches.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) path: Arc<str>,
    /// ACL of the znode, to check if a watcher may read it and so may receive the event.
    pub(crate) acl: Arc<[Acl]>,
    pub(crate) effect: Effect,
}

#[derive(Debug)]
pub(crate) enum Effect {
    Created {
        parent_acl: Arc<[Acl]>,
        parent_pzxid: i64,
    },
    Deleted {
        node: Box<Node>,
        parent_acl: Arc<[Acl]>,
        parent_pzxid: i64,
    },
    DataChanged {
        data: Option<Bytes>,
        version: i32,
        mzxid: i64,
        mtime: i64,
    },
    /// Update of a quota's stats: fires no watch.
    QuotaStatsUpdated {
        data: Option<Bytes>,
    },
}

/// Lifetime of a znode, and whether its name is sequential.
struct CreateMode {
    lifetime: Lifetime,
    sequential: bool,
}

impl CreateMode {
    fn of(create: &Create, session: i64) -> Result<Self, Code> {
        let (ephemeral, sequential, timed) = match create.flags {
            0 | 4 => (false, false, false),
            1 => (true, false, false),
            2 => (false, true, false),
            3 => (true, true, false),
            5 => (false, false, true),
            6 => (false, true, true),
            _ => return Err(Code::BadArguments),
        };
        let lifetime = match create.kind {
            CreateKind::Ttl(milliseconds) if timed => {
                Lifetime::ttl(milliseconds).ok_or(Code::BadArguments)?
            }
            CreateKind::Ttl(_) => return Err(Code::BadArguments),
            _ if timed => return Err(Code::BadArguments),
            CreateKind::Container => Lifetime::Container,
            _ if ephemeral => Lifetime::Ephemeral(session),
            _ => Lifetime::Persistent,
        };
        Ok(Self { lifetime, sequential })
    }
}

/// Checks the expected version and returns the next version, which is never -1, because that means any.
fn next_version(version: i32, expected: i32) -> Result<i32, Code> {
    if expected != -1 && expected != version {
        return Err(Code::BadVersion);
    }
    Ok(if version == -2 { 0 } else { version.wrapping_add(1) })
}

fn check_path(path: &str) -> Result<(), Code> {
    if path::is_valid(path) { Ok(()) } else { Err(Code::BadArguments) }
}

impl Tree {
    /// Makes one change, and appends it to `changes`; has no effect if it is refused.
    pub(crate) fn apply(
        &mut self,
        write: &Write,
        caller: Caller<'_>,
        transaction: Transaction,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, Code> {
        let outcome = self.apply_within(None, write, caller, transaction, changes);
        self.limit_counts();
        outcome
    }

    /// Ends a transaction: resets counts of children that exceeded their limit in it to the limit.
    fn limit_counts(&mut self) {
        for path in std::mem::take(&mut self.overflowed) {
            if let Some(node) = self.nodes.get_mut(&path) {
                node.created = node.created.min(MAX_CREATED);
            }
        }
    }

    fn apply_within(
        &mut self,
        quotas: Option<&QuotaSnapshot>,
        write: &Write,
        caller: Caller<'_>,
        transaction: Transaction,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, Code> {
        match write {
            Write::Create(create) => self.create(quotas, create, caller, transaction, changes),
            Write::Delete { path, version } => {
                let parent =
                    path::parent(path).filter(|_| !path.contains('\0') && !SPECIAL.contains(&&**path));
                let parent = self.get(parent.ok_or(Code::BadArguments)?).ok_or(Code::NoNode)?;
                acl::check(&parent.acl, perms::DELETE, caller.ids)?;
                let node = self.get(path).ok_or(Code::NoNode)?;
                next_version(node.version, *version)?;
                if !node.children.is_empty() {
                    return Err(Code::NotEmpty);
                }
                self.remove(path, transaction, changes);
                Ok(Outcome::Deleted)
            }
            Write::SetData { path, data, version } => {
                let old = self.permitted(path, perms::WRITE, caller)?.data.clone();
                self.check_quota(quotas, path, 0, (old.as_ref(), data.as_ref()))?;
                let node = self.permitted(path, perms::WRITE, caller)?;
                let version = next_version(node.version, *version)?;
                let effect = Effect::DataChanged {
                    data: std::mem::replace(&mut node.data, copy(data.as_ref())),
                    version: std::mem::replace(&mut node.version, version),
                    mzxid: std::mem::replace(&mut node.mzxid, transaction.zxid),
                    mtime: std::mem::replace(&mut node.mtime, transaction.time),
                };
                let (stat, acl) = (node.stat(), node.acl.clone());
                changes.push(Change { path: path.as_str().into(), acl, effect });
                self.count_changed(path, old.as_ref(), data.as_ref(), changes);
                Ok(Outcome::DataSet(stat))
            }
            Write::SetAcl { path, acl, version } => {
                check_path(path)?;
                let acl = self.shared_acl(acl::resolve(acl, caller.ids, self.allow_sasl)?);
                let node = self.permitted(path, perms::ADMIN, caller)?;
                node.aversion = next_version(node.aversion, *version)?;
                node.acl = acl;
                Ok(Outcome::AclSet(node.stat()))
            }
            Write::Check { path, version } => {
                let node = self.permitted(path, perms::READ, caller)?;
                next_version(node.version, *version)?;
                Ok(Outcome::Checked)
            }
        }
    }

    /// Makes all changes or none. The error contains the index (from 0) and the reason of the refused change.
    pub(crate) fn multi(
        &mut self,
        writes: &[Write],
        caller: Caller<'_>,
        transaction: Transaction,
        changes: &mut Vec<Change>,
    ) -> Result<Vec<Outcome>, (usize, Code)> {
        let mut outcomes = Vec::with_capacity(writes.len());
        let mut made = Vec::new();
        let quotas = self.quota_snapshot();
        for (at, write) in writes.iter().enumerate() {
            match self.apply_within(quotas.as_ref(), write, caller, transaction, &mut made) {
                Ok(outcome) => outcomes.push(outcome),
                Err(code) => {
                    made.into_iter().rev().for_each(|change| self.undo(change));
                    self.limit_counts();
                    return Err((at, code));
                }
            }
        }
        self.limit_counts();
        changes.append(&mut made);
        Ok(outcomes)
    }

    /// Deletes a session's ephemerals.
    pub(crate) fn end_session(&mut self, session: i64, transaction: Transaction, changes: &mut Vec<Change>) {
        for path in self.ephemerals.get(&session).cloned().unwrap_or_default() {
            self.remove(&path, transaction, changes);
        }
    }

    /// Deletes a znode that [`expired`](Self::expired) returned, if it is still expired.
    pub(crate) fn delete_expired(&mut self, path: &str, transaction: Transaction, changes: &mut Vec<Change>) {
        if self.get(path).is_some_and(|node| node.is_expired(transaction.time)) {
            self.remove(path, transaction, changes);
        }
    }

    /// Returns a znode if the caller has the wanted permission.
    fn permitted(&mut self, path: &str, wanted: i32, caller: Caller<'_>) -> Result<&mut Node, Code> {
        check_path(path)?;
        let node = self.nodes.get_mut(path).ok_or(Code::NoNode)?;
        acl::check(&node.acl, wanted, caller.ids)?;
        Ok(node)
    }

    fn create(
        &mut self,
        quotas: Option<&QuotaSnapshot>,
        create: &Create,
        caller: Caller<'_>,
        transaction: Transaction,
        changes: &mut Vec<Change>,
    ) -> Result<Outcome, Code> {
        let mode = CreateMode::of(create, caller.session)?;
        let requested = create.path.as_deref().ok_or(Code::Marshalling)?;
        let parent_path =
            path::parent(requested).filter(|_| !requested.contains('\0')).ok_or(Code::BadArguments)?;
        let acl = self.shared_acl(acl::resolve(&create.acl, caller.ids, self.allow_sasl)?);
        let parent = self.nodes.get_mut(parent_path).ok_or(Code::NoNode)?;
        acl::check(&parent.acl, perms::CREATE, caller.ids)?;
        let path: Arc<str> = match mode.sequential {
            true => format!("{requested}{:010}", parent.next_sequence()).into(),
            false => requested.into(),
        };
        check_path(&path)?;
        let name = path::name(&path);
        if path.len() == 1 || parent.children.contains(name) {
            return Err(Code::NodeExists);
        }
        if matches!(parent.lifetime, Lifetime::Ephemeral(_)) {
            return Err(Code::NoChildrenForEphemerals);
        }
        self.check_quota(quotas, &path, 1, (None, create.data.as_ref()))?;
        let parent = self.nodes.get_mut(parent_path).ok_or(Code::NoNode)?;
        let parent_pzxid = parent.count_child(transaction.zxid);
        if parent.created > MAX_CREATED {
            self.overflowed.push(parent_path.into());
        }
        let parent = self.nodes.get_mut(parent_path).ok_or(Code::NoNode)?;
        parent.children.insert(name.into());
        let effect = Effect::Created { parent_acl: parent.acl.clone(), parent_pzxid };
        let node = Node::new(copy(create.data.as_ref()), acl.clone(), transaction, mode.lifetime);
        let stat = node.stat();
        self.insert(path.clone(), node);
        changes.push(Change { path: path.clone(), acl, effect });
        self.count_created(&path, create.data.as_ref(), changes);
        Ok(Outcome::Created(path, stat))
    }

    /// Inserts a znode into the tables, but not into its parent's children.
    fn insert(&mut self, path: Arc<str>, node: Node) {
        match node.lifetime {
            Lifetime::Persistent => {}
            Lifetime::Ephemeral(session) => {
                self.ephemerals.entry(session).or_default().insert(path.clone());
            }
            Lifetime::Container | Lifetime::Ttl(_) => {
                self.expiring.insert(path.clone());
            }
        }
        self.nodes.insert(path, node);
    }

    /// Removes a znode from the tables.
    fn remove_from_tables(&mut self, path: &str) -> Option<(Arc<str>, Node)> {
        let (path, node) = self.nodes.remove_entry(path)?;
        match node.lifetime {
            Lifetime::Persistent => {}
            Lifetime::Ephemeral(session) => {
                if let Some(paths) = self.ephemerals.get_mut(&session) {
                    paths.remove(&path);
                    if paths.is_empty() {
                        self.ephemerals.remove(&session);
                    }
                }
            }
            Lifetime::Container | Lifetime::Ttl(_) => {
                self.expiring.remove(&path);
            }
        }
        Some((path, node))
    }

    fn remove(&mut self, path: &str, transaction: Transaction, changes: &mut Vec<Change>) {
        let Some((path, node)) = self.remove_from_tables(path) else { return };
        let Some(parent) = path::parent(&path).and_then(|parent| self.nodes.get_mut(parent)) else { return };
        parent.children.remove(path::name(&path));
        let parent_pzxid = std::mem::replace(&mut parent.pzxid, transaction.zxid);
        let (acl, parent_acl) = (node.acl.clone(), parent.acl.clone());
        let data = node.data.clone();
        let effect = Effect::Deleted { node: Box::new(node), parent_acl, parent_pzxid };
        changes.push(Change { path: path.clone(), acl, effect });
        self.count_deleted(&path, data.as_ref(), changes);
    }

    fn undo(&mut self, Change { path, effect, .. }: Change) {
        match effect {
            Effect::Created { parent_pzxid, .. } => {
                self.undo_created(&path);
                self.remove_from_tables(&path);
                if let Some(parent) = path::parent(&path).and_then(|parent| self.nodes.get_mut(parent)) {
                    parent.children.remove(path::name(&path));
                    parent.created -= 1;
                    parent.pzxid = parent_pzxid;
                }
            }
            Effect::Deleted { node, parent_pzxid, .. } => {
                self.undo_deleted(&path);
                if let Some(parent) = path::parent(&path).and_then(|parent| self.nodes.get_mut(parent)) {
                    parent.children.insert(path::name(&path).into());
                    parent.pzxid = parent_pzxid;
                }
                self.insert(path, *node);
            }
            Effect::QuotaStatsUpdated { data } => {
                if let Some(node) = self.nodes.get_mut(&path) {
                    node.data = data;
                }
            }
            Effect::DataChanged { data, version, mzxid, mtime } => {
                if let Some(node) = self.nodes.get_mut(&path) {
                    (node.data, node.version, node.mzxid, node.mtime) = (data, version, mzxid, mtime);
                }
            }
        }
    }

    /// Returns a shared list for znodes with the open ACL, to save memory.
    fn shared_acl(&self, acl: Vec<Acl>) -> Arc<[Acl]> {
        if acl[..] == self.open[..] { self.open.clone() } else { acl.into() }
    }
}

/// Copies the data to store, so that it does not keep the frame in which it was received in memory.
fn copy(data: Option<&Bytes>) -> Option<Bytes> {
    data.map(|data| Bytes::copy_from_slice(data))
}
