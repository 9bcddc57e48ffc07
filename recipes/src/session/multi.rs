//! Transactions: several writes of which all take effect, or none.

use zookeeper_client as zk;
use zookeeper_client::Stat;

use super::AclProvider;
use super::connection::{Connection, refused};
use crate::Error;

/// Type of a znode to create. Its ACL is decided by the [`AclProvider`](super::AclProvider) of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMode {
    /// Remains until it is deleted.
    Persistent,
    /// Remains until it is deleted. ZooKeeper deletes it some time after its last child.
    Container,
    /// Is deleted when the session ends.
    Ephemeral,
}

impl CreateMode {
    pub(super) fn client_mode(self) -> zk::CreateMode {
        match self {
            CreateMode::Persistent => zk::CreateMode::Persistent,
            CreateMode::Container => zk::CreateMode::Container,
            CreateMode::Ephemeral => zk::CreateMode::Ephemeral,
        }
    }
}

/// One operation of a transaction, see [`Connection::multi`].
#[derive(Clone, Copy, Debug)]
pub enum Write<'a> {
    /// Fails the transaction unless the znode exists and is at `version` (-1: any).
    Check {
        /// Path of the znode.
        path: &'a str,
        /// Expected version.
        version: i32,
    },
    /// Creates a znode.
    Create {
        /// Path of the znode.
        path: &'a str,
        /// Data of the znode.
        data: &'a [u8],
        /// Type of the znode.
        mode: CreateMode,
    },
    /// Creates a persistent znode whose name is `prefix` followed by a sequence number.
    CreateSequential {
        /// Path of the znode without the sequence number.
        prefix: &'a str,
        /// Data of the znode.
        data: &'a [u8],
    },
    /// Replaces the data of a znode.
    Set {
        /// Path of the znode.
        path: &'a str,
        /// New data.
        data: &'a [u8],
        /// Expected version; `None` for any.
        version: Option<i32>,
    },
    /// Deletes a znode.
    Delete {
        /// Path of the znode.
        path: &'a str,
        /// Expected version; `None` for any.
        version: Option<i32>,
    },
}

impl Write<'_> {
    /// Returns the operation and the path, for error messages.
    fn target(&self) -> (&'static str, &str) {
        match self {
            Write::Check { path, .. } => ("check", path),
            Write::Create { path, .. } | Write::CreateSequential { prefix: path, .. } => ("create", path),
            Write::Set { path, .. } => ("set", path),
            Write::Delete { path, .. } => ("delete", path),
        }
    }

    fn add_to(&self, writer: &mut zk::MultiWriter<'_>, acl: &AclProvider) -> Result<(), zk::Error> {
        let mut create = |path: &str, data: &[u8], mode: zk::CreateMode| {
            writer.add_create(path, data, &mode.with_acls(zk::Acls::new(&acl.acl(path))))
        };
        match *self {
            Write::Create { path, data, mode } => create(path, data, mode.client_mode()),
            Write::CreateSequential { prefix, data } => {
                create(prefix, data, zk::CreateMode::PersistentSequential)
            }
            Write::Check { path, version } => writer.add_check_version(path, version),
            Write::Set { path, data, version } => writer.add_set_data(path, data, version),
            Write::Delete { path, version } => writer.add_delete(path, version),
        }
    }
}

/// Result of one operation of a transaction.
#[derive(Clone, Debug)]
pub enum Written {
    /// Result of [`Write::Check`].
    Checked,
    /// Path of the created znode.
    Created(String),
    /// Stat of the znode after [`Write::Set`].
    Set(Stat),
    /// Result of [`Write::Delete`].
    Deleted,
}

/// Failure of a transaction.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct MultiError {
    /// Index of the operation that ZooKeeper refused; `None` if the request failed as a whole.
    pub at: Option<usize>,
    /// Cause. It contains the path of the refused operation.
    #[source]
    pub error: Error,
}

impl From<MultiError> for Error {
    fn from(failure: MultiError) -> Error {
        failure.error
    }
}

impl Connection {
    /// Makes several writes in one transaction: all take effect, or none. The results are in the order of `writes`.
    pub async fn multi(&self, writes: &[Write<'_>]) -> Result<Vec<Written>, MultiError> {
        let path = writes.first().map_or("", |write| write.target().1);
        let whole = |error| MultiError { at: None, error };
        let single = |at: usize, source| {
            let (operation, path) = writes.get(at).map_or(("multi", ""), Write::target);
            MultiError { at: Some(at), error: refused(operation, path, source) }
        };
        let client = self.client("multi", path).map_err(whole)?;
        let mut writer = client.new_multi_writer();
        for (at, write) in writes.iter().enumerate() {
            write.add_to(&mut writer, self.acl_provider()).map_err(|source| single(at, source))?;
        }
        // A refused operation is a response of ZooKeeper's leader too, and renews the local lease.
        let request = async {
            match writer.commit().await {
                Ok(written) => Ok(Ok(written)),
                Err(zk::MultiWriteError::OperationFailed { index, source }) => Ok(Err((index, source))),
                Err(zk::MultiWriteError::RequestFailed { source }) => Err(source),
            }
        };
        let response = self.confirmed("multi", path, request).await.map_err(whole)?;
        let results = response.map_err(|(at, source)| single(at, source))?;
        let written = |result| match result {
            zk::MultiWriteResult::Check => Ok(Written::Checked),
            zk::MultiWriteResult::Create { path, .. } => Ok(Written::Created(path)),
            zk::MultiWriteResult::SetData { stat } => Ok(Written::Set(stat)),
            zk::MultiWriteResult::Delete => Ok(Written::Deleted),
            _ => Err(whole(refused("multi", path, zk::Error::UnexpectedError("multi".into())))),
        };
        results.into_iter().map(written).collect()
    }
}
