//! Container znodes: parents that ZooKeeper removes some time after their last child has gone.

use zookeeper_client as zk;

use super::connection::Connection;
use crate::Error;

impl Connection {
    /// Makes `path` and what is missing above it as container znodes, or as persistent ones where the server is too old
    /// for that.
    pub async fn ensure_container(&self, path: &str) -> Result<(), Error> {
        let options = zk::CreateMode::Container.with_acls(zk::Acls::anyone_all());
        let client = self.client("mkdir", path)?;
        match self.confirmed("mkdir", path, client.mkdir(path, &options)).await {
            Err(error) if matches!(error.answer(), Some(zk::Error::Unimplemented)) => self.ensure(path).await,
            result => result,
        }
    }
}
