//! Compares the ACLs of a fleet's znodes with the policy, and sets them.

use std::sync::Arc;

use anyhow::anyhow;
use atalaya_recipes::{Acl, Connection, Error};
use futures_util::{StreamExt as _, stream};

use crate::commands::exit::Failure;
use crate::model::acl_policy::{AclPolicy, PathClass};
use crate::model::fleet_paths::FleetPaths;

/// Maximum number of znodes whose requests are in flight at the same time.
const MAX_IN_FLIGHT: usize = 64;

/// A znode that was compared with the policy.
#[derive(Debug)]
pub(in crate::commands) struct Visit {
    /// Path, relative to the chroot.
    pub(in crate::commands) path: String,
    pub(in crate::commands) state: AclState,
}

/// ACL of a znode, compared with the policy.
#[derive(Debug)]
pub(in crate::commands) enum AclState {
    /// The ACL is that of the policy.
    Correct,
    /// The ACL, which differs from that of the policy.
    Different(Vec<Acl>),
    /// The ACL differed, and was set.
    Changed,
    /// ZooKeeper did not allow the client to set the ACL, which is contained.
    NotChangeable(Vec<Acl>),
    /// ZooKeeper did not allow the client to read the ACL.
    Unreadable,
    /// The ACL is that of the policy, but ZooKeeper did not allow the client to list the children.
    NotListable,
}

impl Visit {
    pub(in crate::commands) fn class(&self) -> PathClass {
        PathClass::of(&self.path)
    }
}

/// Visits all znodes of a fleet.
pub(in crate::commands) struct AclWalk<'a> {
    pub(in crate::commands) connection: &'a Connection,
    pub(in crate::commands) policy: &'a AclPolicy,
    /// True: sets the ACLs that differ.
    pub(in crate::commands) apply: bool,
}

impl AclWalk<'_> {
    /// Visits the znodes and calls `visited` for each. Znodes that do not exist, or are deleted during the walk, are left out.
    ///
    /// The children of a znode are listed after its ACL was set: a child that is created later is created by a client
    /// that the new ACL allows to do so. Keeps the names of the children of one znode in memory, and the paths of those
    /// that have children themselves.
    ///
    /// # Errors
    /// The connection is lost, ZooKeeper refuses an ACL as invalid, or `visited` returns an error.
    ///
    /// # Cancellation safety
    /// If the future is dropped, ACLs that were set remain; another walk sets the others.
    pub(in crate::commands) async fn run(
        &self,
        paths: &FleetPaths,
        mut visited: impl FnMut(Visit) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut with_children = Vec::new();
        self.visit_all(paths.parents.clone(), &mut with_children, &mut visited).await?;
        for tree in &paths.trees {
            with_children.clear();
            self.visit_all(vec![tree.clone()], &mut with_children, &mut visited).await?;
            while let Some(parent) = with_children.pop() {
                let names = match self.connection.children_or_empty(&parent).await {
                    Err(error) if error.is_no_auth() => {
                        visited(Visit { path: parent, state: AclState::NotListable })?;
                        continue;
                    }
                    result => result.map_err(interrupted)?,
                };
                let mut children: Vec<String> =
                    names.into_iter().map(|name| format!("{parent}/{name}")).collect();
                children.sort_unstable();
                self.visit_all(children, &mut with_children, &mut visited).await?;
            }
        }
        Ok(())
    }

    async fn visit_all(
        &self,
        paths: Vec<String>,
        with_children: &mut Vec<String>,
        visited: &mut impl FnMut(Visit) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let visits = stream::iter(paths).map(|path| self.visit(path)).buffered(MAX_IN_FLIGHT);
        tokio::pin!(visits);
        while let Some(visit) = visits.next().await {
            let Some((visit, has_children)) = visit? else { continue };
            if has_children {
                with_children.push(visit.path.clone());
            }
            visited(visit)?;
        }
        Ok(())
    }

    /// Compares the ACL of a znode, and sets it if it differs. Returns also whether the znode has children that can be
    /// listed; `None` if the znode does not exist.
    async fn visit(&self, path: String) -> Result<Option<(Visit, bool)>, Failure> {
        let wanted: Arc<[Acl]> = self.policy.acl(&path);
        let visited = |state, has_children| Ok(Some((Visit { path: path.clone(), state }, has_children)));
        loop {
            let (acl, stat) = match self.connection.get_acl(&path).await {
                Ok(found) => found,
                Err(error) if error.is_no_node() => return Ok(None),
                Err(error) if error.is_no_auth() => return visited(AclState::Unreadable, false),
                Err(error) => return Err(interrupted(error)),
            };
            let has_children = stat.num_children > 0;
            let is_correct = self.policy.matches(&path, &acl);
            // A hidden hash may differ. Setting the ACL shows whether the client has the permission to do that.
            if is_correct && !(self.apply && has_hidden_hash(&acl)) {
                return visited(AclState::Correct, has_children);
            }
            if !self.apply {
                return visited(AclState::Different(acl), has_children);
            }
            match self.connection.set_acl(&path, &wanted, Some(stat.aversion)).await {
                Ok(stat) => return visited(AclState::Changed, stat.num_children > 0),
                Err(error) if error.is_no_node() => return Ok(None),
                // Another client has set the ACL: compare it again.
                Err(error) if error.is_bad_version() => {}
                Err(error) if error.is_no_auth() => {
                    return visited(AclState::NotChangeable(acl), has_children);
                }
                Err(error) => return Err(interrupted(error)),
            }
        }
    }
}

fn has_hidden_hash(acl: &[Acl]) -> bool {
    acl.iter().any(|entry| entry.scheme() == "digest" && entry.id().ends_with(":x"))
}

/// Returns the failure for an error that ends the walk.
fn interrupted(error: Error) -> Failure {
    if error.is_invalid_acl() {
        return Failure::config(anyhow!(
            "{error}; the servers must know the schemes of acl_fleet and acl_admin (for sasl: \
             authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider in zoo.cfg)"
        ));
    }
    Failure::temp_fail(anyhow!("{error}; run the command again to continue"))
}
