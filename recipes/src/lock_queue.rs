//! A contender's I/O: carries out the actions of a [`ContenderState`] over a [`Connection`]. Shared by
//! [`crate::election`], [`crate::lock`], [`crate::read_write_lock`] and the queue of a [`crate::semaphore`].

use crate::acquire_task::{Acquirable, Progress};
use crate::contender_state::{ContenderState, Event, Step};
use crate::node_names::{ContenderId, Role, sorted_contenders};
use crate::owned_node::OwnedNode;
use crate::session::{BulkRead, WrongZnodeReporter};
use crate::wrong_znode::WrongZnode;
use crate::{AcquireError, Connection, Error};

/// One contender in the queue below one znode.
#[derive(Debug)]
pub(crate) struct Contender {
    path: String,
    identifier: Vec<u8>,
    pub(crate) state: ContenderState,
    /// Znode that was created over this connection: its owner need not be read.
    created: Option<String>,
    /// Our znode, watched over this connection.
    watched: Option<OwnedNode>,
    /// Predecessor that is not ephemeral.
    wrong_znodes: WrongZnodeReporter,
    /// The server of this connection shows all writes of this session.
    synced: bool,
}

impl Contender {
    pub(crate) fn new(path: String, identifier: Vec<u8>, role: Role, id: ContenderId) -> Contender {
        Contender {
            path,
            identifier,
            state: ContenderState::new(role, id),
            created: None,
            watched: None,
            wrong_znodes: WrongZnodeReporter::default(),
            synced: false,
        }
    }

    pub(crate) fn rejoin(&mut self) {
        self.synced = false;
        self.state.rejoin();
    }

    pub(crate) fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Carries out a step that concerns the queue. Other steps never complete.
    pub(crate) async fn carry_out(&mut self, connection: &Connection, step: Step) -> Result<Event, Error> {
        match step {
            Step::List => self.list(connection).await,
            Step::Delete(names) => {
                for name in names {
                    connection.delete_if_exists(&self.path_of(&name), None).await?;
                }
                Ok(Event::Deleted)
            }
            Step::Create => self.create(connection).await,
            Step::Wait { own, predecessor, .. } => {
                self.wait(connection, self.path_of(&own), self.path_of(&predecessor)).await?;
                Ok(Event::WatchFired)
            }
            Step::AwaitConnection | Step::Left | Step::Hold { .. } => std::future::pending().await,
        }
    }

    /// Waits until the predecessor or our own znode changes.
    async fn wait(&mut self, connection: &Connection, own: String, predecessor: String) -> Result<(), Error> {
        let Contender { watched, wrong_znodes, .. } = self;
        let own_changes = async {
            if watched.as_ref().is_none_or(|known| known.hold.znode != own) {
                *watched = OwnedNode::watch(connection, own).await?;
            }
            if let Some(known) = watched {
                known.changed().await;
                *watched = None;
            }
            Ok(())
        };
        let predecessor_changes = async {
            let (stat, watcher) = connection.stat_and_watch(&predecessor).await?;
            // A predecessor that is not ephemeral may remain indefinitely.
            let wrong = stat.as_ref().and_then(|stat| WrongZnode::not_ephemeral(&predecessor, stat));
            wrong_znodes.update(connection.session(), wrong);
            if stat.is_some() {
                watcher.changed().await;
            }
            Ok(())
        };
        tokio::select! {
            result = own_changes => result,
            result = predecessor_changes => result,
        }
    }

    async fn list(&mut self, connection: &Connection) -> Result<Event, Error> {
        if !self.synced {
            // The server of a new connection may lag behind the writes that this session made over the last one.
            connection.sync().await?;
            self.synced = true;
        }
        let children = connection.children_or_empty(&self.path).await?;
        let names: Vec<String> = self.state.own_names(&children).into_iter().map(str::to_owned).collect();
        let own = match names.as_slice() {
            [only] if self.created.as_ref() == Some(only) => vec![(only.clone(), connection.session_id())],
            _ => {
                let paths: Vec<String> = names.iter().map(|name| self.path_of(name)).collect();
                let read = connection.get_many(&paths).await?;
                let owned = |(name, read): (String, &BulkRead)| Some((name, read.stat()?.ephemeral_owner));
                names.into_iter().zip(&read).filter_map(owned).collect()
            }
        };
        Ok(Event::Listed { children, own })
    }

    async fn create(&mut self, connection: &Connection) -> Result<Event, Error> {
        let prefix = self.path_of(&self.state.prefix());
        let created = match connection.create_sequential(&prefix, &self.identifier).await {
            Err(error) if error.is_no_node() => {
                if self.state.role.uses_container() {
                    connection.ensure_container(&self.path).await?;
                } else {
                    connection.ensure(&self.path).await?;
                }
                match connection.create_sequential(&prefix, &self.identifier).await {
                    // Another client deleted the parent. Nothing was created.
                    Err(error) if error.is_no_node() => return Ok(Event::OutcomeUnknown),
                    result => result?,
                }
            }
            result => result?,
        };
        let name = created[self.path.len() + 1..].to_owned();
        self.created = Some(name.clone());
        self.synced = true;
        Ok(Event::Created(name))
    }
}

/// The contender at the head of the queue holds its own znode there.
impl Acquirable for Contender {
    fn on(&mut self, event: Event) {
        match event {
            Event::Connected(_) | Event::Disconnected => {
                self.created = None;
                self.watched = None;
                self.synced = false;
            }
            // The effect of a request that is still in progress must be seen.
            Event::OutcomeUnknown | Event::Withdraw => self.synced = false,
            _ => {}
        }
        self.state.on(event);
    }

    fn progress(&self) -> Progress {
        match self.state.step() {
            Step::Wait { .. } => Progress::Waiting,
            Step::Hold { own } => Progress::Acquired(self.path_of(&own)),
            Step::Left => Progress::Left,
            Step::AwaitConnection | Step::List | Step::Create | Step::Delete(_) => Progress::Busy,
        }
    }

    async fn advance(&mut self, connection: &Connection) -> Result<(), AcquireError> {
        let event = self.carry_out(connection, self.state.step()).await?;
        self.on(event);
        Ok(())
    }

    async fn own(&mut self, connection: &Connection, path: String) -> Result<Option<OwnedNode>, Error> {
        // Our znode is first, so no contender blocks it.
        self.wrong_znodes.clear();
        let watched = match self.watched.take() {
            Some(watched) if watched.hold.znode == path => Some(watched),
            _ => OwnedNode::watch(connection, path).await?,
        };
        OwnedNode::lease(watched).await
    }

    async fn is_taken(&self, connection: &Connection) -> Result<bool, Error> {
        let role = self.state.role;
        let children = connection.synced().await?.children_or_empty(&self.path).await?;
        let blocking = sorted_contenders(role, &children).into_iter().find(|name| role.waits_for(name));
        let Some(blocking) = blocking else { return Ok(false) };
        let path = self.path_of(blocking);
        let stat = connection.stat(&path).await?;
        // A reporter that is dropped at once: the znode is logged, and reported only for a moment.
        WrongZnodeReporter::default()
            .update(connection.session(), stat.and_then(|stat| WrongZnode::not_ephemeral(&path, &stat)));
        Ok(true)
    }
}
