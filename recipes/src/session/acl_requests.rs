//! Requests about ACLs and identities.

use zookeeper_client::{Acl, AuthUser, Stat};

use super::connection::Connection;
use crate::error::Error;

impl Connection {
    /// Returns the ACL of a znode, and its stat, whose `aversion` is the version of the ACL.
    ///
    /// To a client without the permission ADMIN, the servers return the hash in an entry of scheme `digest` as `x`.
    pub async fn get_acl(&self, path: &str) -> Result<(Vec<Acl>, Stat), Error> {
        let client = self.client("getAcl", path)?;
        self.bounded("getAcl", path, client.get_acl(path)).await
    }

    /// Replaces the ACL of a znode whose ACL is at `version`, or at any version if `None`. Returns the new stat.
    ///
    /// ZooKeeper replaces an entry of scheme `auth` by the identities of this session.
    pub async fn set_acl(&self, path: &str, acl: &[Acl], version: Option<i32>) -> Result<Stat, Error> {
        let client = self.client("setAcl", path)?;
        self.confirmed("setAcl", path, client.set_acl(path, acl, version)).await
    }

    /// Returns the identities of this session as the servers see them: scheme and name. A name of scheme `digest` has
    /// no hash. Servers before 3.7 do not have this request and return [`zookeeper_client::Error::Unimplemented`].
    pub async fn identities(&self) -> Result<Vec<AuthUser>, Error> {
        let client = self.client("whoAmI", "/")?;
        self.bounded("whoAmI", "/", client.list_auth_users()).await
    }
}
