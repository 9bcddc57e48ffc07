//! Requests to ZooKeeper over one connection of a [`Session`], each bounded in time.

use std::future::Future;
use std::time::Duration;

use zookeeper_client as zk;
use zookeeper_client::{OneshotWatcher, Stat};

use super::acl::{AclProvider, make_directories};
use super::{CreateMode, Phase, Session, SessionState, lock};
use crate::Error;
use crate::clock::BootInstant;

/// One connection of a session. What was read over it and is watched is valid while the connection is
/// [current](Connection::is_current).
///
/// # Errors
/// All requests return [`Error::NotConnected`] at once, without sending anything, if the connection is lost or the
/// session has been replaced; [`Error::Timeout`] if no response came within the session timeout; and [`Error::Refused`]
/// if ZooKeeper returned an error. After an error with [`Error::outcome_unknown`], a write may have taken effect.
///
/// # Order
/// Requests take effect in the order in which one session makes them, even if the outcome of an earlier one is unknown.
/// A read after [`Connection::sync`] thus shows whether an earlier write took effect.
///
/// # Cancel safety
/// Dropping the future of a request does not undo the request.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(super) session: Session,
    pub(super) state: SessionState,
}

/// Result of one read of [`Connection::get_many`].
#[derive(Debug)]
pub enum BulkRead {
    /// Data and stat of the znode.
    Data(Vec<u8>, Stat),
    /// The znode does not exist, or may not be read.
    Missing(zk::Error),
}

impl BulkRead {
    /// Returns data and stat of the znode at `path`, or `None` if it does not exist.
    pub(crate) fn found(self, path: &str) -> Result<Option<(Vec<u8>, Stat)>, Error> {
        match self {
            BulkRead::Data(data, stat) => Ok(Some((data, stat))),
            BulkRead::Missing(zk::Error::NoNode) => Ok(None),
            BulkRead::Missing(source) => Err(refused("get", path, source)),
        }
    }

    /// Returns the stat of the znode, if it was read.
    pub fn stat(&self) -> Option<&Stat> {
        match self {
            BulkRead::Data(_, stat) => Some(stat),
            BulkRead::Missing(_) => None,
        }
    }
}

impl Connection {
    /// Returns the session of this connection.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Returns the id of the session, which is the `ephemeral_owner` of the ephemeral znodes that it creates.
    pub fn session_id(&self) -> i64 {
        self.state.session
    }

    /// Returns the number of the connection, see [`SessionState::connection`].
    pub fn number(&self) -> u64 {
        self.state.connection
    }

    /// Returns the session timeout that the servers granted.
    pub fn timeout(&self) -> Duration {
        self.state.timeout
    }

    /// Returns true while this connection is established.
    pub fn is_current(&self) -> bool {
        self.is_in(&self.session.state())
    }

    fn is_in(&self, state: &SessionState) -> bool {
        state.phase == Phase::Connected && state.connection == self.state.connection
    }

    /// Waits until this connection is lost or replaced. Cancel safe.
    pub async fn lost(&self) {
        // An error means that the session task has ended, so the connection is lost as well.
        let _ = self.session.watch().wait_for(|state| !self.is_in(state)).await;
    }

    /// Waits until a watch that was set over this connection fires, and returns the type of its event. Returns `None`
    /// if the connection is lost first. Dropping the future removes the watch.
    pub async fn watch_event(&self, watcher: OneshotWatcher) -> Option<zk::EventType> {
        tokio::select! {
            biased;
            () = self.lost() => None,
            event = watcher.changed() => Some(event.event_type),
        }
    }

    /// Reads a znode.
    pub async fn get(&self, path: &str) -> Result<(Vec<u8>, Stat), Error> {
        let client = self.client("get", path)?;
        self.bounded("get", path, client.get_data(path)).await
    }

    /// Reads a znode. Returns `None` if it does not exist.
    pub async fn get_opt(&self, path: &str) -> Result<Option<(Vec<u8>, Stat)>, Error> {
        optional(self.get(path).await)
    }

    /// Reads a znode. Creates it first, persistent and empty, with its missing parents, if it does not exist.
    pub async fn get_or_create(&self, path: &str) -> Result<(Vec<u8>, Stat), Error> {
        if let Some(found) = self.get_opt(path).await? {
            return Ok(found);
        }
        self.ensure(path).await?;
        self.get(path).await
    }

    /// Reads a znode and watches it for changes of its data and for its deletion.
    pub async fn get_and_watch(&self, path: &str) -> Result<(Vec<u8>, Stat, OneshotWatcher), Error> {
        let client = self.client("get", path)?;
        self.bounded("get", path, client.get_and_watch_data(path)).await
    }

    /// Reads a znode and watches it for changes of its data, its deletion and its creation. Returns `None` if it does
    /// not exist.
    pub async fn get_opt_and_watch(
        &self,
        path: &str,
    ) -> Result<(Option<(Vec<u8>, Stat)>, OneshotWatcher), Error> {
        loop {
            if let Some((data, stat, watcher)) = optional(self.get_and_watch(path).await)? {
                return Ok((Some((data, stat)), watcher));
            }
            // Only this request can watch for the creation. If the znode was created since, read it again.
            if let (None, watcher) = self.stat_and_watch(path).await? {
                return Ok((None, watcher));
            }
        }
    }

    /// Returns the stat of a znode, or `None` if it does not exist.
    pub async fn stat(&self, path: &str) -> Result<Option<Stat>, Error> {
        let client = self.client("exists", path)?;
        self.bounded("exists", path, client.check_stat(path)).await
    }

    /// Returns the stat of a znode, and watches the znode for its creation, changes of its data and its deletion.
    pub async fn stat_and_watch(&self, path: &str) -> Result<(Option<Stat>, OneshotWatcher), Error> {
        let client = self.client("exists", path)?;
        self.bounded("exists", path, client.check_and_watch_stat(path)).await
    }

    /// Returns the names of a znode's children, in no particular order.
    pub async fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        let client = self.client("ls", path)?;
        self.bounded("ls", path, client.list_children(path)).await
    }

    /// Returns the names of a znode's children, in no particular order. Returns an empty list if the znode does not
    /// exist.
    pub async fn children_or_empty(&self, path: &str) -> Result<Vec<String>, Error> {
        Ok(optional(self.children(path).await)?.unwrap_or_default())
    }

    /// Returns the names of a znode's children, and watches it for created and deleted children and for its own
    /// deletion.
    pub async fn children_and_watch(&self, path: &str) -> Result<(Vec<String>, OneshotWatcher), Error> {
        let client = self.client("ls", path)?;
        self.bounded("ls", path, client.list_and_watch_children(path)).await
    }

    /// Returns the names of a znode's children, and watches it as [`Connection::children_and_watch`] does, and for its
    /// creation. Returns `None` if it does not exist.
    pub async fn children_opt_and_watch(
        &self,
        path: &str,
    ) -> Result<(Option<Vec<String>>, OneshotWatcher), Error> {
        loop {
            if let Some((names, watcher)) = optional(self.children_and_watch(path).await)? {
                return Ok((Some(names), watcher));
            }
            if let (None, watcher) = self.stat_and_watch(path).await? {
                return Ok((None, watcher));
            }
        }
    }

    /// Returns the paths of this session's ephemeral znodes that begin with `prefix`.
    pub(crate) async fn own_ephemerals(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let client = self.client("ls", prefix)?;
        self.bounded("ls", prefix, client.list_ephemerals(prefix)).await
    }

    /// Reads many znodes in one request. The results are in the order of `paths`.
    pub async fn get_many<P: AsRef<str>>(&self, paths: &[P]) -> Result<Vec<BulkRead>, Error> {
        let first = paths.first().map_or("", |path| path.as_ref());
        let client = self.client("get", first)?;
        let mut reader = client.new_multi_reader();
        for path in paths {
            reader.add_get_data(path.as_ref()).map_err(|source| refused("get", path.as_ref(), source))?;
        }
        let results = self.bounded("get", first, reader.commit()).await?;
        let read = |result| match result {
            zk::MultiReadResult::Data { data, stat } => BulkRead::Data(data, stat),
            zk::MultiReadResult::Error { err } => BulkRead::Missing(err),
            _ => BulkRead::Missing(zk::Error::MarshallingError),
        };
        Ok(results.into_iter().map(read).collect())
    }

    /// Creates a znode. Its parent must exist.
    pub async fn create(&self, path: &str, data: &[u8], mode: CreateMode) -> Result<Stat, Error> {
        let (stat, _) = self.create_with_acl(path, data, mode.client_mode()).await?;
        Ok(stat)
    }

    /// Like [`Connection::create`], but creates missing parents first, as persistent, empty znodes.
    pub(crate) async fn create_with_parents(
        &self,
        path: &str,
        data: &[u8],
        mode: CreateMode,
    ) -> Result<Stat, Error> {
        match self.create(path, data, mode).await {
            Err(error) if error.is_no_node() => {
                self.ensure_parent(path).await?;
                self.create(path, data, mode).await
            }
            result => result,
        }
    }

    /// Creates an ephemeral znode. Its parent must exist.
    pub async fn create_ephemeral(&self, path: &str, data: &[u8]) -> Result<Stat, Error> {
        self.create(path, data, CreateMode::Ephemeral).await
    }

    /// Creates an ephemeral znode whose name is `prefix` followed by a sequence number, and returns its path.
    pub async fn create_sequential(&self, prefix: &str, data: &[u8]) -> Result<String, Error> {
        let mode = zk::CreateMode::EphemeralSequential;
        let (_, sequence) = self.create_with_acl(prefix, data, mode).await?;
        Ok(format!("{prefix}{sequence}"))
    }

    /// Creates a znode with the ACL that the session's provider returns for its path.
    async fn create_with_acl(
        &self,
        path: &str,
        data: &[u8],
        mode: zk::CreateMode,
    ) -> Result<(Stat, zk::CreateSequence), Error> {
        let client = self.client("create", path)?;
        let acl = self.acl_provider().acl(path);
        let options = mode.with_acls(zk::Acls::new(&acl));
        self.confirmed("create", path, client.create(path, data, &options)).await
    }

    /// Creates `path` and its missing parents as persistent, empty znodes.
    pub async fn ensure(&self, path: &str) -> Result<(), Error> {
        self.mkdir(path, CreateMode::Persistent).await
    }

    /// Creates the missing parents of `path` as persistent, empty znodes.
    pub(crate) async fn ensure_parent(&self, path: &str) -> Result<(), Error> {
        self.ensure(path.rsplit_once('/').map_or("", |(parent, _)| parent)).await
    }

    /// Creates `path` and its missing parents as container znodes, which ZooKeeper deletes some time after their last
    /// child. Creates persistent ones on servers that do not support containers.
    pub async fn ensure_container(&self, path: &str) -> Result<(), Error> {
        match self.mkdir(path, CreateMode::Container).await {
            Err(error) if matches!(error.answer(), Some(zk::Error::Unimplemented)) => self.ensure(path).await,
            result => result,
        }
    }

    async fn mkdir(&self, path: &str, mode: CreateMode) -> Result<(), Error> {
        let client = self.client("mkdir", path)?;
        let created =
            make_directories(&client, path, mode.client_mode(), |path| self.acl_provider().acl(path));
        self.confirmed("mkdir", path, created).await
    }

    /// Replaces the data of a znode that is at `version`, or at any version if `None`.
    pub async fn set(&self, path: &str, data: &[u8], version: Option<i32>) -> Result<Stat, Error> {
        let client = self.client("set", path)?;
        self.confirmed("set", path, client.set_data(path, data, version)).await
    }

    /// Deletes a znode that is at `version`, or at any version if `None`.
    pub async fn delete(&self, path: &str, version: Option<i32>) -> Result<(), Error> {
        let client = self.client("delete", path)?;
        self.confirmed("delete", path, client.delete(path, version)).await
    }

    /// Like [`Connection::delete`], but returns false if the znode does not exist.
    pub async fn delete_if_exists(&self, path: &str, version: Option<i32>) -> Result<bool, Error> {
        Ok(optional(self.delete(path, version).await)?.is_some())
    }

    /// Waits until the znode at `path` does not exist. Cancel safe.
    pub(crate) async fn deleted(&self, path: &str) -> Result<(), Error> {
        loop {
            let (stat, watcher) = self.stat_and_watch(path).await?;
            if stat.is_none() {
                return Ok(());
            }
            watcher.changed().await;
        }
    }

    /// Makes a round trip to ZooKeeper's leader. Later reads show all writes made before, and the local lease is
    /// renewed.
    pub async fn sync(&self) -> Result<(), Error> {
        let client = self.client("sync", "/")?;
        self.confirmed("sync", "/", client.sync("/")).await
    }

    /// Makes a round trip to ZooKeeper's leader, and returns this connection for the read that follows.
    pub(crate) async fn synced(&self) -> Result<&Connection, Error> {
        self.sync().await?;
        Ok(self)
    }

    pub(super) fn acl_provider(&self) -> &AclProvider {
        &self.session.shared.acl
    }

    /// Returns a clone of the client for one request.
    pub(super) fn client(&self, operation: &'static str, path: &str) -> Result<zk::Client, Error> {
        let client = self.is_current().then(|| lock(&self.session.shared.client).clone()).flatten();
        client.ok_or_else(|| Error::NotConnected { operation, path: path.to_owned() })
    }

    /// Waits at most a session timeout for the response to `request`.
    pub(super) async fn bounded<T, E: Into<zk::Error>>(
        &self,
        operation: &'static str,
        path: &str,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.state.timeout, request).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(source)) => Err(refused(operation, path, source.into())),
            Err(_) => Err(Error::Timeout { operation, path: path.to_owned(), after: self.state.timeout }),
        }
    }

    /// Like [`Connection::bounded`], for requests in which ZooKeeper's leader takes part. A response renews the local
    /// lease as of the time at which the request was sent.
    pub(super) async fn confirmed<T, E: Into<zk::Error>>(
        &self,
        operation: &'static str,
        path: &str,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        let sent = BootInstant::now();
        let response = self.bounded(operation, path, request).await?;
        let (session, validity) = &mut *lock(&self.session.shared.validity);
        // The session may have been replaced since; the response proves nothing about the new one.
        if *session == self.state.session {
            validity.renew(sent);
        }
        Ok(response)
    }
}

/// Converts the error "no such znode" to `None`.
fn optional<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Err(error) if error.is_no_node() => Ok(None),
        result => result.map(Some),
    }
}

pub(super) fn refused(operation: &'static str, path: &str, source: zk::Error) -> Error {
    Error::Refused { operation, path: path.to_owned(), source }
}
