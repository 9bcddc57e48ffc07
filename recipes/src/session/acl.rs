//! ACLs of the znodes that a session creates, decided in one place.

use std::fmt;
use std::sync::Arc;

use zookeeper_client as zk;
use zookeeper_client::Acl;

/// Decides the ACL of each znode that a session creates, by its path. Corresponds to Curator's `ACLProvider`.
///
/// The path is relative to the chroot of the session. For a sequential znode, it has no sequence number. The chroot
/// itself and its parents, if the session creates them, get the ACL of `/`.
///
/// The default is [`AclProvider::open`], as with Kazoo. The ACL of a znode that exists is not changed; use
/// [`Connection::set_acl`](super::Connection::set_acl) for that.
///
/// # Errors
/// ZooKeeper refuses to create a znode with an empty ACL, or with an ACL of scheme `auth` while the session has no
/// identity. The error contains [`zookeeper_client::Error::InvalidAcl`].
#[derive(Clone)]
pub struct AclProvider(Rule);

#[derive(Clone)]
enum Rule {
    Fixed(Arc<[Acl]>),
    ByPath(Arc<AclFunction>),
}

type AclFunction = dyn Fn(&str) -> Arc<[Acl]> + Send + Sync;

impl AclProvider {
    /// Returns a provider that calls `acl` with the path of each znode before it is created. The function must not
    /// block.
    pub fn by_path(acl: impl Fn(&str) -> Arc<[Acl]> + Send + Sync + 'static) -> AclProvider {
        AclProvider(Rule::ByPath(Arc::new(acl)))
    }

    /// Returns a provider that gives all znodes the same ACL.
    pub fn fixed(acl: &[Acl]) -> AclProvider {
        AclProvider(Rule::Fixed(acl.into()))
    }

    /// Returns a provider that gives all clients all permissions.
    pub fn open() -> AclProvider {
        AclProvider::fixed(&zk::Acls::anyone_all())
    }

    /// Returns a provider that gives all permissions to the identities of the session that creates the znode, and none
    /// to other clients.
    pub fn creator() -> AclProvider {
        AclProvider::fixed(&zk::Acls::creator_all())
    }

    /// Returns the ACL of the znode at `path`.
    pub fn acl(&self, path: &str) -> Arc<[Acl]> {
        match &self.0 {
            Rule::Fixed(acl) => Arc::clone(acl),
            Rule::ByPath(acl) => acl(path),
        }
    }
}

impl Default for AclProvider {
    fn default() -> AclProvider {
        AclProvider::open()
    }
}

impl fmt::Debug for AclProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Fixed(acl) => f.debug_tuple("Fixed").field(acl).finish(),
            Rule::ByPath(_) => f.write_str("ByPath"),
        }
    }
}

/// Creates `path` and its missing parents as empty znodes of type `mode`, each with the ACL that `acl` returns for its
/// path. Corresponds to `Client::mkdir`, which gives all of them the same ACL.
pub(super) async fn make_directories(
    client: &zk::Client,
    path: &str,
    mode: zk::CreateMode,
    acl: impl Fn(&str) -> Arc<[Acl]>,
) -> Result<(), zk::Error> {
    // The deepest znode first: a client may lack the permission to create children of the znodes above.
    let mut end = path.len();
    loop {
        let (current, rest) = path.split_at(end);
        let current_acl = acl(current);
        match client.create(current, b"", &mode.with_acls(zk::Acls::new(&current_acl))).await {
            Ok(_) | Err(zk::Error::NodeExists) if rest.is_empty() => return Ok(()),
            Ok(_) | Err(zk::Error::NodeExists) => {
                let next = rest.get(1..).and_then(|rest| rest.find('/'));
                end = next.map_or(path.len(), |length| end + 1 + length);
            }
            Err(zk::Error::NoNode) => match current.rfind('/') {
                // The chroot does not exist.
                None | Some(0) => return Err(zk::Error::NoNode),
                Some(parent) => end = parent,
            },
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
#[path = "acl_tests.rs"]
mod tests;
