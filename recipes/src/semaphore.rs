//! A number of places that as many at once hold: Kazoo's `Semaphore` on the wire.
//!
//! # What it promises
//! At most as many guards of a path hold at any moment as it has places, and nobody waits while one is free. Places are
//! given in the order of coming. An attempt that was cancelled, failed or timed out leaves nothing behind.
//!
//! # Znodes
//! As Kazoo 2.11's `Semaphore`: the data of `{path}` is the number of places in decimal; each place that is held is
//! `{path}/{32 hex}`, ephemeral, data the identifier; whoever comes stands in line at `{path}-__lock__`, as at a
//! [`Lock`](crate::Lock), until it has a place. Data that is no number is left alone, as Kazoo leaves it; where there is
//! none yet, ours is written.
//!
//! # Errors
//! As of [`crate::lock`]; and [`AcquireError::Inconsistent`] if the semaphore has another number of places than it was said
//! to have. Delete `{path}` to change the number.
//!
//! # Behaviour on disconnect and on expiry, cancellation safety
//! As of [`crate::lock`]: a place is lost for good on a disconnect, and its znode stays until the guard is dropped.
//!
//! # What others suffered from
//! A place that was made although the entry had been lost meanwhile (Kazoo's `Semaphore` creates it without looking): here
//! one `multi` checks the znode in the entry and makes the place. Ghosts, and waiting behind oneself, after a lost reply:
//! one's own place is looked for over every new connection, before the line is joined again.
//!
//! Try it: `cargo run -p atalaya-recipes --example semaphore -- 127.0.0.1:2181`.
//!
//! ```no_run
//! use atalaya_recipes::{Semaphore, Session};
//!
//! # async fn example(session: Session) -> Result<(), Box<dyn std::error::Error>> {
//! let semaphore = Semaphore::new(session, "/semaphores/downloads", "node 1", 3);
//! let guard = semaphore.acquire().await?;
//! println!("at most three of us are here, as long as {guard:?} holds");
//! guard.release().await;
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use zookeeper_client::OneshotWatcher;

use crate::acquire_task::{Acquirable, Stage};
use crate::contender_state;
use crate::guard::{self, AcquireError, Guard};
use crate::lock_queue::Line;
use crate::node_names::{ContenderId, Naming};
use crate::owned_node::Watched;
use crate::permit_state::{Entry, Event, PermitState, Step};
use crate::session::{BulkRead, CreateMode, Write};
use crate::wrong_znode::{WrongZnode, WrongZnodeReporter};
use crate::{Connection, Error, Session};

/// Maximum number of taken places that are checked.
const CHECKED: usize = 256;

/// A semaphore at a path. It holds nothing itself: each acquiring gives a [`Guard`] of its own.
#[derive(Clone, Debug)]
pub struct Semaphore {
    session: Session,
    path: String,
    identifier: Vec<u8>,
    places: u32,
}

impl Semaphore {
    /// The semaphore with so many places at `path`, for one who calls itself `identifier`. Nothing happens before it is
    /// acquired.
    pub fn new(
        session: Session,
        path: impl Into<String>,
        identifier: impl Into<Vec<u8>>,
        places: u32,
    ) -> Semaphore {
        Semaphore { session, path: path.into(), identifier: identifier.into(), places }
    }

    /// Waits for a place, however long that takes. Cancellation safe.
    ///
    /// # Errors
    /// As the [module](self) says.
    pub async fn acquire(&self) -> Result<Guard, AcquireError> {
        guard::acquire(&self.session, || self.visitor()).await
    }

    /// Waits for a place, for so long at most; `None` if there was none. See
    /// [`Lock::acquire_within`](crate::Lock::acquire_within).
    ///
    /// # Errors
    /// As the [module](self) says.
    pub async fn acquire_within(&self, patience: Duration) -> Result<Option<Guard>, AcquireError> {
        guard::acquire_within(&self.session, patience, || self.visitor()).await
    }

    /// Takes a place if one is free and nobody stands in line for it, be it only for as long as it takes to enter. See
    /// [`Lock::try_acquire`](crate::Lock::try_acquire).
    ///
    /// # Errors
    /// As the [module](self) says.
    pub async fn try_acquire(&self) -> Result<Option<Guard>, AcquireError> {
        guard::try_acquire(&self.session, &self.path, self.visitor()).await
    }

    fn visitor(&self) -> Visitor {
        let entry = Line::new(entry_of(&self.path), self.identifier.clone(), Naming::Kazoo.into());
        Visitor {
            semaphore: self.clone(),
            place: format!("{}/{}", self.path, ContenderId::random().to_hex()),
            seating: PermitState::new(entry),
            changes: None,
            wrong_znodes: WrongZnodeReporter::default(),
        }
    }
}

/// Where those stand in line who want a place of the semaphore at `path`.
fn entry_of(path: &str) -> String {
    format!("{path}-__lock__")
}

impl Entry for Line {
    fn step(&self) -> contender_state::Step {
        Line::step(self)
    }

    fn on(&mut self, event: contender_state::Event) {
        Line::on(self, event);
    }

    fn again(&mut self) {
        self.join_again();
    }
}

/// One who wants a place.
#[derive(Debug)]
struct Visitor {
    semaphore: Semaphore,
    /// The path of its place.
    place: String,
    seating: PermitState<Line>,
    /// Set while all places are taken: tells when one comes or goes.
    changes: Option<OneshotWatcher>,
    /// Places that are not ephemeral.
    wrong_znodes: WrongZnodeReporter,
}

impl Visitor {
    async fn carry_out(&mut self, connection: &Connection, step: Step) -> Result<Event, AcquireError> {
        Ok(match step {
            Step::Enter(step) => Event::Entered(self.seating.entry.carry_out(connection, step).await?),
            Step::Find => {
                connection.sync().await?;
                Event::Found(connection.stat(&self.place).await?.map(|stat| stat.ephemeral_owner))
            }
            Step::Count { entry } => match self.changes.take() {
                None => self.count(connection).await?,
                Some(changes) => {
                    let entry = self.seating.entry.path_of(&entry);
                    tokio::select! {
                        _ = changes.changed() => {}
                        result = connection.deleted(&entry) => result?,
                    }
                    Event::Full
                }
            },
            Step::Sit { entry } => {
                let entry = self.seating.entry.path_of(&entry);
                let data = &self.semaphore.identifier;
                let writes = [
                    Write::Check { path: &entry, version: 0 },
                    Write::Create { path: &self.place, data, mode: CreateMode::Ephemeral },
                ];
                match connection.multi(&writes).await.map_err(Error::from) {
                    Ok(_) => Event::Sat,
                    // The one or the other is not as it was.
                    Err(error) if error.is_no_node() || error.is_node_exists() => Event::Unclear,
                    Err(error) => return Err(error.into()),
                }
            }
            Step::Vacate => {
                connection.delete_if_exists(&self.place, None).await?;
                Event::Vacated
            }
            Step::AwaitLink | Step::OwnedNode | Step::Rest => std::future::pending().await,
        })
    }

    /// Looks how many places are taken. If all are, the next look waits until that may have changed.
    async fn count(&mut self, connection: &Connection) -> Result<Event, AcquireError> {
        let Semaphore { path, places, .. } = &self.semaphore;
        self.agree(connection).await?;
        let (taken, changes) = match connection.children_and_watch(path).await {
            // Somebody tidies up.
            Err(error) if error.is_no_node() => return Ok(Event::Unclear),
            result => result?,
        };
        if taken.iter().any(|name| self.place.ends_with(name)) {
            return Ok(Event::Found(connection.stat(&self.place).await?.map(|stat| stat.ephemeral_owner)));
        }
        if taken.len() < *places as usize {
            self.wrong_znodes.clear();
            return Ok(Event::Free);
        }
        let paths: Vec<String> = taken.iter().take(CHECKED).map(|name| format!("{path}/{name}")).collect();
        let read = connection.get_many(&paths).await?;
        let wrong = paths.iter().zip(read).filter_map(|(path, read)| match read {
            BulkRead::Data(_, stat) => WrongZnode::not_ephemeral(path, &stat),
            BulkRead::Missing(_) => None,
        });
        self.wrong_znodes.update(connection.session(), wrong);
        self.changes = Some(changes);
        Ok(Event::Full)
    }

    /// Sees to it that the semaphore has as many places as it was said to have.
    async fn agree(&self, connection: &Connection) -> Result<(), AcquireError> {
        let Semaphore { path, places, .. } = &self.semaphore;
        let (data, stat) = match connection.get(path).await {
            Err(error) if error.is_no_node() => {
                connection.ensure(path).await?;
                connection.get(path).await.map(|(data, stat, ..)| (data, stat))?
            }
            result => result?,
        };
        let text = std::str::from_utf8(&data).unwrap_or_default().trim();
        match text.parse::<u64>() {
            Ok(stored) if stored == u64::from(*places) => Ok(()),
            Ok(stored) => Err(AcquireError::Inconsistent { path: path.clone(), stored, expected: *places }),
            // Made a moment ago, by us or by a Kazoo that has not come to writing it yet. Whoever is too late reads it.
            Err(_) if data.is_empty() && stat.version == 0 => {
                match connection.set(path, places.to_string().as_bytes(), Some(0)).await {
                    Err(error) if error.is_bad_version() => Box::pin(self.agree(connection)).await,
                    result => Ok(result.map(drop)?),
                }
            }
            Err(_) => Ok(()),
        }
    }
}

impl Acquirable for Visitor {
    fn link_up(&mut self, connection: &Connection) {
        self.changes = None;
        self.seating.on(Event::LinkUp(connection.session_id()));
    }

    fn link_down(&mut self) {
        self.seating.on(Event::LinkDown);
    }

    fn unclear(&mut self) {
        self.changes = None;
        self.seating.on(Event::Unclear);
    }

    fn withdraw(&mut self) {
        self.seating.on(Event::Withdraw);
    }

    fn stage(&self) -> Stage {
        match self.seating.step() {
            Step::Enter(contender_state::Step::Wait { .. }) => Stage::Waiting,
            Step::Count { .. } if self.changes.is_some() => Stage::Waiting,
            Step::OwnedNode => Stage::Entitled(self.place.clone()),
            Step::Rest => Stage::Left,
            _ => Stage::Busy,
        }
    }

    async fn advance(&mut self, connection: &Connection) -> Result<(), AcquireError> {
        let event = self.carry_out(connection, self.seating.step()).await?;
        self.seating.on(event);
        Ok(())
    }

    async fn watched(
        &mut self,
        connection: &Connection,
        path: String,
    ) -> Result<Option<Watched>, AcquireError> {
        Ok(Watched::new(connection, path).await?)
    }

    async fn is_taken(&self, connection: &Connection) -> Result<bool, AcquireError> {
        if self.seating.entry.is_taken(connection).await? {
            return Ok(true);
        }
        let Semaphore { path, places, .. } = &self.semaphore;
        Ok(connection.children_or_empty(path).await?.len() >= *places as usize)
    }
}
