//! Semaphore with a fixed number of permits: Kazoo's `Semaphore` on the wire.
//!
//! # Guarantees
//! At any time at most as many guards of a path hold as the semaphore has permits, and no client waits while a permit
//! is free. Permits are acquired in the order of arrival. An attempt that was cancelled, failed or timed out leaves no
//! znode.
//!
//! # Znodes
//! As in Kazoo 2.11:
//!
//! * `{path}`: its data is the number of permits, in decimal. Data that is not a number is not modified, as in Kazoo;
//!   if the data is empty, this crate writes the number.
//! * `{path}/{32 hex}`: a permit in use, ephemeral, with the identifier as data.
//! * `{path}-__lock__`: the queue of the waiting clients, like that of a [`Lock`](crate::Lock). A client leaves it when
//!   it has a permit.
//!
//! # Errors
//! As for [`crate::lock`]. Also [`AcquireError::Inconsistent`] if the semaphore has a different number of permits than
//! the caller specified. Delete `{path}` to change the number.
//!
//! # Disconnect and session expiry, cancel safety
//! As for [`crate::lock`]: a permit is lost on a disconnect, and its znode stays until the guard is dropped.
//!
//! # Bugs of other implementations
//! * A permit that is created although the contender has lost its position in the queue (Kazoo's `Semaphore` does not
//!   check): one `multi` checks the contender's znode and creates the permit.
//! * Orphaned permits, and a client that waits behind its own permit, after a lost reply: over every new connection the
//!   client looks for its own permit before it joins the queue again.
//!
//! # Example
//! `cargo run -p atalaya-recipes --example semaphore -- 127.0.0.1:2181`
//!
//! ```no_run
//! use atalaya_recipes::{Semaphore, Session};
//!
//! # async fn example(session: Session) -> Result<(), Box<dyn std::error::Error>> {
//! let semaphore = Semaphore::new(session, "/semaphores/downloads", "node 1", 3);
//! let guard = semaphore.acquire().await?;
//! println!("at most three clients are here while {guard:?} holds");
//! guard.release().await;
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use zookeeper_client::OneshotWatcher;

use crate::acquire_task::{Acquirable, Progress};
use crate::contender_state as queue;
use crate::guard::{self, AcquireError, Guard};
use crate::lock_queue::Contender;
use crate::node_names::{ContenderId, Naming};
use crate::owned_node::OwnedNode;
use crate::permit_state::{Event, PermitState, Step};
use crate::session::{CreateMode, Write, WrongZnodeReporter, not_ephemeral};
use crate::{Connection, Error, Session};

/// Maximum number of permits in use whose type is checked.
const MAX_CHECKED_PERMITS: usize = 256;
const OUTCOME_UNKNOWN: Event = Event::Queue(queue::Event::OutcomeUnknown);

/// Semaphore at a path. Each acquisition returns its own [`Guard`].
#[derive(Clone, Debug)]
pub struct Semaphore {
    session: Session,
    path: String,
    identifier: Vec<u8>,
    permits: u32,
}

impl Semaphore {
    /// Creates a semaphore at `path` with `permits` permits. The client's znodes store `identifier`. Does no I/O.
    pub fn new(
        session: Session,
        path: impl Into<String>,
        identifier: impl Into<Vec<u8>>,
        permits: u32,
    ) -> Semaphore {
        Semaphore { session, path: path.into(), identifier: identifier.into(), permits }
    }

    /// Waits for a permit, without a time limit. Cancel safe.
    ///
    /// # Errors
    /// See the [module](self).
    pub async fn acquire(&self) -> Result<Guard, AcquireError> {
        guard::acquire(&self.session, || self.waiter()).await
    }

    /// Waits for a permit, for at most `timeout`. Returns `None` after a timeout. See
    /// [`Lock::acquire_within`](crate::Lock::acquire_within).
    ///
    /// # Errors
    /// See the [module](self).
    pub async fn acquire_within(&self, timeout: Duration) -> Result<Option<Guard>, AcquireError> {
        guard::acquire_within(&self.session, timeout, || self.waiter()).await
    }

    /// Acquires a permit if one is free and no client is in the queue, not even for the moment that an acquisition
    /// takes. See [`Lock::try_acquire`](crate::Lock::try_acquire).
    ///
    /// # Errors
    /// See the [module](self).
    pub async fn try_acquire(&self) -> Result<Option<Guard>, AcquireError> {
        guard::try_acquire(&self.session, &self.path, self.waiter()).await
    }

    fn waiter(&self) -> Waiter {
        let (queue_path, identifier) = (format!("{}-__lock__", self.path), self.identifier.clone());
        let contender = Contender::new(queue_path, identifier, Naming::Kazoo.into(), ContenderId::random());
        Waiter {
            semaphore: self.clone(),
            permit: format!("{}/{}", self.path, ContenderId::random().to_hex()),
            state: PermitState::new(contender),
            permit_changes: None,
            wrong_znodes: WrongZnodeReporter::default(),
        }
    }
}

/// Client that acquires a permit.
#[derive(Debug)]
struct Waiter {
    semaphore: Semaphore,
    /// Path of its permit.
    permit: String,
    state: PermitState,
    /// Watch on the permits. Set while all are in use.
    permit_changes: Option<OneshotWatcher>,
    /// Permits that are not ephemeral.
    wrong_znodes: WrongZnodeReporter,
}

impl Waiter {
    async fn carry_out(&mut self, connection: &Connection, step: Step) -> Result<Event, AcquireError> {
        Ok(match step {
            Step::Queue(step) => Event::Queue(self.state.queue.carry_out(connection, step).await?),
            Step::FindPermit => self.find_permit(connection.synced().await?).await?,
            Step::CountPermits { contender } => match self.permit_changes.take() {
                None => self.count_permits(connection).await?,
                Some(permit_changes) => {
                    let contender = self.state.queue.path_of(&contender);
                    tokio::select! {
                        _ = permit_changes.changed() => {}
                        result = connection.deleted(&contender) => result?,
                    }
                    Event::NoPermitAvailable
                }
            },
            Step::CreatePermit { contender } => {
                let contender = self.state.queue.path_of(&contender);
                let data = &self.semaphore.identifier;
                let writes = [
                    Write::Check { path: &contender, version: 0 },
                    Write::Create { path: &self.permit, data, mode: CreateMode::Ephemeral },
                ];
                match connection.multi(&writes).await.map_err(Error::from) {
                    Ok(_) => Event::PermitCreated,
                    // Our znode in the queue was deleted, or our permit exists already.
                    Err(error) if error.is_no_node() || error.is_node_exists() => OUTCOME_UNKNOWN,
                    Err(error) => return Err(error.into()),
                }
            }
            Step::DeletePermit => {
                connection.delete_if_exists(&self.permit, None).await?;
                Event::PermitDeleted
            }
            Step::AwaitConnection | Step::Hold | Step::Left => std::future::pending().await,
        })
    }

    async fn find_permit(&self, connection: &Connection) -> Result<Event, Error> {
        Ok(Event::PermitFound(connection.stat(&self.permit).await?.map(|stat| stat.ephemeral_owner)))
    }

    /// Counts the permits in use. If all are, the next [`Step::CountPermits`] waits until that may have changed.
    async fn count_permits(&mut self, connection: &Connection) -> Result<Event, AcquireError> {
        self.check_permit_count(connection).await?;
        let Semaphore { path, permits, .. } = &self.semaphore;
        let (in_use, permit_changes) = match connection.children_and_watch(path).await {
            // Another client deleted the semaphore.
            Err(error) if error.is_no_node() => return Ok(OUTCOME_UNKNOWN),
            result => result?,
        };
        if in_use.iter().any(|name| self.permit.ends_with(name)) {
            return Ok(self.find_permit(connection).await?);
        }
        if in_use.len() < *permits as usize {
            self.wrong_znodes.clear();
            return Ok(Event::PermitAvailable);
        }
        let paths: Vec<String> =
            in_use.iter().take(MAX_CHECKED_PERMITS).map(|name| format!("{path}/{name}")).collect();
        let read = connection.get_many(&paths).await?;
        self.wrong_znodes.update(connection.session(), not_ephemeral(&paths, &read));
        self.permit_changes = Some(permit_changes);
        Ok(Event::NoPermitAvailable)
    }

    /// Compares the number of permits in ZooKeeper with ours, and writes ours if there is none yet.
    async fn check_permit_count(&self, connection: &Connection) -> Result<(), AcquireError> {
        let Semaphore { path, permits, .. } = &self.semaphore;
        let (data, stat) = connection.get_or_create(path).await?;
        let text = std::str::from_utf8(&data).unwrap_or_default().trim();
        match text.parse::<u64>() {
            Ok(stored) if stored == u64::from(*permits) => Ok(()),
            Ok(stored) => Err(AcquireError::Inconsistent { path: path.clone(), stored, expected: *permits }),
            // Just created, by us or by a Kazoo client that has not written the number yet. The later writer gets a
            // version error and reads the number of the other.
            Err(_) if data.is_empty() && stat.version == 0 => {
                match connection.set(path, permits.to_string().as_bytes(), Some(0)).await {
                    Err(error) if error.is_bad_version() => {
                        Box::pin(self.check_permit_count(connection)).await
                    }
                    result => Ok(result.map(drop)?),
                }
            }
            Err(_) => Ok(()),
        }
    }
}

impl Acquirable for Waiter {
    fn on(&mut self, event: queue::Event) {
        if matches!(event, queue::Event::Connected(_) | queue::Event::OutcomeUnknown) {
            self.permit_changes = None;
        }
        self.state.on(Event::Queue(event));
    }

    fn progress(&self) -> Progress {
        match self.state.step() {
            Step::Queue(queue::Step::Wait { .. }) => Progress::Waiting,
            Step::CountPermits { .. } if self.permit_changes.is_some() => Progress::Waiting,
            Step::Hold => Progress::Acquired(self.permit.clone()),
            Step::Left => Progress::Left,
            _ => Progress::Busy,
        }
    }

    async fn advance(&mut self, connection: &Connection) -> Result<(), AcquireError> {
        let event = self.carry_out(connection, self.state.step()).await?;
        self.state.on(event);
        Ok(())
    }

    async fn own(&mut self, connection: &Connection, path: String) -> Result<Option<OwnedNode>, Error> {
        OwnedNode::lease(OwnedNode::watch(connection, path).await?).await
    }

    async fn is_taken(&self, connection: &Connection) -> Result<bool, Error> {
        if self.state.queue.is_taken(connection).await? {
            return Ok(true);
        }
        let Semaphore { path, permits, .. } = &self.semaphore;
        Ok(connection.children_or_empty(path).await?.len() >= *permits as usize)
    }
}
