//! Calls to ZooKeeper over one connection of a [`Session`], each of them bounded in time.

use std::future::Future;
use std::time::Duration;

use zookeeper_client as zk;
use zookeeper_client::{OneshotWatcher, Stat};

use super::{Phase, Session, SessionState, lock};
use crate::Error;
use crate::clock::BootInstant;

/// One connection of a session: what was verified over it holds while it is [current](Connection::is_current).
///
/// # Errors
/// Every call fails with [`Error::NotConnected`] at once, and sends nothing, when the connection is lost or the session
/// has been replaced; with [`Error::Timeout`] when no answer came within the session timeout; else with what ZooKeeper
/// answered. After a failure with [`Error::outcome_unknown`] a write may have taken effect.
///
/// # Order
/// Requests take effect in the order in which they were made over one session, also when one of them failed with an
/// unknown outcome before: a read made afterwards shows whether it did, if [`Connection::sync`] goes before it.
///
/// # Cancellation safety
/// Dropping a call's future does not take the request back.
#[derive(Clone, Debug)]
pub struct Connection {
    session: Session,
    view: SessionState,
}

/// The answer to one of many reads made at once.
#[derive(Debug)]
pub enum BulkRead {
    /// The znode's data and stat.
    Data(Vec<u8>, Stat),
    /// It is gone, or may not be read.
    Missing(zk::Error),
}

impl Connection {
    pub(super) fn new(session: Session, view: SessionState) -> Connection {
        Connection { session, view }
    }

    /// The session that this is a connection of.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The id of the session: the `ephemeral_owner` of what it creates.
    pub fn session_id(&self) -> i64 {
        self.view.session
    }

    /// The number of the connection, see [`SessionState::connection`].
    pub fn number(&self) -> u64 {
        self.view.connection
    }

    /// The session timeout that the servers granted.
    pub fn timeout(&self) -> Duration {
        self.view.timeout
    }

    /// Whether this connection still stands.
    pub fn is_current(&self) -> bool {
        let view = self.session.state();
        view.phase == Phase::Connected && view.connection == self.view.connection
    }

    /// Waits until this connection is lost, or has been replaced. Cancellation safe.
    pub async fn lost(&self) {
        let mut view = self.session.watch();
        // An error means that nobody keeps the session any more: then it is lost as well.
        let _ = view
            .wait_for(|view| view.phase != Phase::Connected || view.connection != self.view.connection)
            .await;
    }

    /// Waits until a watch that was set over this connection fires, and returns the type of its event. Returns `None` if the
    /// connection is lost first. Cancellation safe, but a dropped future removes the watch.
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

    /// Reads a znode and watches it: for a change of its data, and its end.
    pub async fn get_and_watch(&self, path: &str) -> Result<(Vec<u8>, Stat, OneshotWatcher), Error> {
        let client = self.client("get", path)?;
        self.bounded("get", path, client.get_and_watch_data(path)).await
    }

    /// The stat of a znode, or `None` if it does not exist.
    pub async fn stat(&self, path: &str) -> Result<Option<Stat>, Error> {
        let client = self.client("exists", path)?;
        self.bounded("exists", path, client.check_stat(path)).await
    }

    /// The stat of a znode, and a watch on its creation, change and end.
    pub async fn stat_and_watch(&self, path: &str) -> Result<(Option<Stat>, OneshotWatcher), Error> {
        let client = self.client("exists", path)?;
        self.bounded("exists", path, client.check_and_watch_stat(path)).await
    }

    /// The names of a znode's children, in no order.
    pub async fn children(&self, path: &str) -> Result<Vec<String>, Error> {
        let client = self.client("ls", path)?;
        self.bounded("ls", path, client.list_children(path)).await
    }

    /// Returns the names of a znode's children, in no particular order. Returns an empty list if the znode does not exist.
    pub async fn children_or_empty(&self, path: &str) -> Result<Vec<String>, Error> {
        Ok(optional(self.children(path).await)?.unwrap_or_default())
    }

    /// The names of a znode's children, and a watch on children that come and go.
    pub async fn children_and_watch(&self, path: &str) -> Result<(Vec<String>, OneshotWatcher), Error> {
        let client = self.client("ls", path)?;
        self.bounded("ls", path, client.list_and_watch_children(path)).await
    }

    /// Reads many znodes in one request; the answers come in the order of `paths`.
    pub async fn get_many<P: AsRef<str>>(&self, paths: &[P]) -> Result<Vec<BulkRead>, Error> {
        let first = paths.first().map_or("", |path| path.as_ref());
        let client = self.client("get", first)?;
        let mut reader = client.new_multi_reader();
        for path in paths {
            reader.add_get_data(path.as_ref()).map_err(|source| refused("get", path.as_ref(), source))?;
        }
        let answers = self.bounded("get", first, reader.commit()).await?;
        Ok(answers
            .into_iter()
            .map(|answer| match answer {
                zk::MultiReadResult::Data { data, stat } => BulkRead::Data(data, stat),
                zk::MultiReadResult::Error { err } => BulkRead::Missing(err),
                _ => BulkRead::Missing(zk::Error::MarshallingError),
            })
            .collect())
    }

    /// Writes a znode, if it is at `version` (`None`: whatever it is at).
    pub async fn set(&self, path: &str, data: &[u8], version: Option<i32>) -> Result<Stat, Error> {
        let client = self.client("set", path)?;
        self.confirmed("set", path, client.set_data(path, data, version)).await
    }

    /// Creates an ephemeral znode that anyone may read and write, as Kazoo does.
    pub async fn create_ephemeral(&self, path: &str, data: &[u8]) -> Result<Stat, Error> {
        let options = zk::CreateMode::Ephemeral.with_acls(zk::Acls::anyone_all());
        let client = self.client("create", path)?;
        let (stat, _) = self.confirmed("create", path, client.create(path, data, &options)).await?;
        Ok(stat)
    }

    /// Creates an ephemeral znode whose name is `prefix` and a number, and returns its whole path.
    pub async fn create_sequential(&self, prefix: &str, data: &[u8]) -> Result<String, Error> {
        let options = zk::CreateMode::EphemeralSequential.with_acls(zk::Acls::anyone_all());
        let client = self.client("create", prefix)?;
        let (_, sequence) = self.confirmed("create", prefix, client.create(prefix, data, &options)).await?;
        Ok(format!("{prefix}{sequence}"))
    }

    /// Makes `path` and what is missing above it, as persistent, empty znodes.
    pub async fn ensure(&self, path: &str) -> Result<(), Error> {
        let options = zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all());
        let client = self.client("mkdir", path)?;
        self.confirmed("mkdir", path, client.mkdir(path, &options)).await
    }

    /// Deletes a znode, if it is at `version` (`None`: whatever it is at).
    pub async fn delete(&self, path: &str, version: Option<i32>) -> Result<(), Error> {
        let client = self.client("delete", path)?;
        self.confirmed("delete", path, client.delete(path, version)).await
    }

    /// Deletes a znode, if it exists. `version` is as for [`Connection::delete`]. Returns false if the znode did not exist.
    pub async fn delete_if_exists(&self, path: &str, version: Option<i32>) -> Result<bool, Error> {
        Ok(optional(self.delete(path, version).await)?.is_some())
    }

    /// Waits until the znode at `path` does not exist. Cancellation safe.
    pub(crate) async fn deleted(&self, path: &str) -> Result<(), Error> {
        loop {
            let (stat, watcher) = self.stat_and_watch(path).await?;
            if stat.is_none() {
                return Ok(());
            }
            watcher.changed().await;
        }
    }

    /// Asks ZooKeeper's leader for a sign of life: reads made afterwards show everything that was written before, and
    /// the lease is renewed.
    pub async fn sync(&self) -> Result<(), Error> {
        let client = self.client("sync", "/")?;
        self.confirmed("sync", "/", client.sync("/")).await
    }

    /// A clone of the client, for the length of one call.
    pub(super) fn client(&self, operation: &'static str, path: &str) -> Result<zk::Client, Error> {
        let current = self.is_current().then(|| lock(&self.session.shared.client).clone()).flatten();
        current.ok_or_else(|| Error::NotConnected { operation, path: path.to_owned() })
    }

    async fn bounded<T, E: Into<zk::Error>>(
        &self,
        operation: &'static str,
        path: &str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(self.view.timeout, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(refused(operation, path, source.into())),
            Err(_) => Err(Error::Timeout { operation, path: path.to_owned(), after: self.view.timeout }),
        }
    }

    /// A call that ZooKeeper's leader has a part in: its success renews the lease, from when it was sent.
    pub(super) async fn confirmed<T, E: Into<zk::Error>>(
        &self,
        operation: &'static str,
        path: &str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        let sent = BootInstant::now();
        let answer = self.bounded(operation, path, call).await?;
        let (session, lease) = &mut *lock(&self.session.shared.lease);
        // Of another session by now, this answer says nothing.
        if *session == self.view.session {
            lease.renew(sent);
        }
        Ok(answer)
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
