//! Several writes that take effect together or not at all, and what a znode can be created as.

use zookeeper_client as zk;
use zookeeper_client::Stat;

use super::connection::{Connection, refused};
use crate::Error;

/// What a znode is created as. Anyone may read and write it, as with Kazoo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMode {
    /// It stays until it is deleted.
    Persistent,
    /// It stays until it is deleted, or until some time after its last child was.
    Container,
    /// It goes with the session.
    Ephemeral,
}

impl CreateMode {
    pub(super) fn options(self) -> zk::CreateOptions<'static> {
        let mode = match self {
            CreateMode::Persistent => zk::CreateMode::Persistent,
            CreateMode::Container => zk::CreateMode::Container,
            CreateMode::Ephemeral => zk::CreateMode::Ephemeral,
        };
        mode.with_acls(zk::Acls::anyone_all())
    }
}

/// One of several writes made at once, see [`Connection::multi`].
#[derive(Clone, Copy, Debug)]
pub enum Write<'a> {
    /// Nothing is written, but all fails unless this znode is at this version.
    Check {
        /// Which znode.
        path: &'a str,
        /// Its version.
        version: i32,
    },
    /// Creates a znode.
    Create {
        /// Where.
        path: &'a str,
        /// What is in it.
        data: &'a [u8],
        /// What it is.
        mode: CreateMode,
    },
    /// Creates a persistent znode whose name is a prefix and a number.
    CreateSequential {
        /// Its path up to the number.
        prefix: &'a str,
        /// What is in it.
        data: &'a [u8],
    },
    /// Writes a znode.
    Set {
        /// Which znode.
        path: &'a str,
        /// What is to be in it.
        data: &'a [u8],
        /// The version that it must be at; `None`: any.
        version: Option<i32>,
    },
    /// Deletes a znode.
    Delete {
        /// Which znode.
        path: &'a str,
        /// The version that it must be at; `None`: any.
        version: Option<i32>,
    },
}

impl Write<'_> {
    fn path(&self) -> &str {
        match self {
            Write::CreateSequential { prefix, .. } => prefix,
            Write::Check { path, .. }
            | Write::Create { path, .. }
            | Write::Set { path, .. }
            | Write::Delete { path, .. } => path,
        }
    }

    fn operation(&self) -> &'static str {
        match self {
            Write::Check { .. } => "check",
            Write::Create { .. } | Write::CreateSequential { .. } => "create",
            Write::Set { .. } => "set",
            Write::Delete { .. } => "delete",
        }
    }

    fn add_to(&self, writer: &mut zk::MultiWriter<'_>) -> Result<(), zk::Error> {
        match *self {
            Write::Check { path, version } => writer.add_check_version(path, version),
            Write::Create { path, data, mode } => writer.add_create(path, data, &mode.options()),
            Write::CreateSequential { prefix, data } => {
                let options = zk::CreateMode::PersistentSequential.with_acls(zk::Acls::anyone_all());
                writer.add_create(prefix, data, &options)
            }
            Write::Set { path, data, version } => writer.add_set_data(path, data, version),
            Write::Delete { path, version } => writer.add_delete(path, version),
        }
    }
}

/// What came of one of several writes.
#[derive(Clone, Debug)]
pub enum Written {
    /// The version was right.
    Checked,
    /// Created, at this path.
    Created(String),
    /// Written; the znode's stat afterwards.
    Set(Stat),
    /// Deleted.
    Deleted,
}

/// Why several writes had no effect, or may have had none.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct MultiError {
    /// Which of the writes ZooKeeper refused, counted from 0; `None` if all of them failed together.
    pub at: Option<usize>,
    /// How.
    #[source]
    pub error: Error,
}

impl From<MultiError> for Error {
    fn from(refusal: MultiError) -> Error {
        refusal.error
    }
}

impl Connection {
    /// Makes several writes, all or none. One that ZooKeeper refuses is named, and the error carries its path.
    pub async fn multi(&self, writes: &[Write<'_>]) -> Result<Vec<Written>, MultiError> {
        let path_of = |index: usize| writes.get(index).map_or("", Write::path);
        let at_all = |error| MultiError { at: None, error };
        let operation_of = |index: usize| writes.get(index).map_or("multi", Write::operation);
        let at_one =
            |at, source| MultiError { at: Some(at), error: refused(operation_of(at), path_of(at), source) };
        let client = self.client("multi", path_of(0)).map_err(at_all)?;
        let mut writer = client.new_multi_writer();
        for (at, write) in writes.iter().enumerate() {
            write.add_to(&mut writer).map_err(|source| at_one(at, source))?;
        }
        let call = async {
            match writer.commit().await {
                Ok(written) => Ok(Ok(written)),
                Err(zk::MultiWriteError::OperationFailed { index, source }) => Ok(Err((index, source))),
                Err(zk::MultiWriteError::RequestFailed { source }) => Err(source),
            }
        };
        let answer = self.confirmed("multi", path_of(0), call).await.map_err(at_all)?;
        let written = answer.map_err(|(at, source)| at_one(at, source))?;
        let unexpected = || at_all(refused("multi", path_of(0), zk::Error::UnexpectedError("multi".into())));
        written
            .into_iter()
            .map(|written| match written {
                zk::MultiWriteResult::Check => Ok(Written::Checked),
                zk::MultiWriteResult::Create { path, .. } => Ok(Written::Created(path)),
                zk::MultiWriteResult::SetData { stat } => Ok(Written::Set(stat)),
                zk::MultiWriteResult::Delete => Ok(Written::Deleted),
                _ => Err(unexpected()),
            })
            .collect()
    }

    /// Creates a znode.
    pub async fn create(&self, path: &str, data: &[u8], mode: CreateMode) -> Result<Stat, Error> {
        let options = mode.options();
        let client = self.client("create", path)?;
        let (stat, _) = self.confirmed("create", path, client.create(path, data, &options)).await?;
        Ok(stat)
    }

    /// Creates a persistent znode whose name is `prefix` and a number, and returns its whole path.
    pub async fn create_persistent_sequential(&self, prefix: &str, data: &[u8]) -> Result<String, Error> {
        let options = zk::CreateMode::PersistentSequential.with_acls(zk::Acls::anyone_all());
        let client = self.client("create", prefix)?;
        let (_, sequence) = self.confirmed("create", prefix, client.create(prefix, data, &options)).await?;
        Ok(format!("{prefix}{sequence}"))
    }
}
