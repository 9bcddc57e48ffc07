//! A party: the set of members that are present. Compatible with Kazoo.
//!
//! # Guarantees
//! A member is in the party from [`Party::join`] until it leaves, over lost connections and lost sessions, exactly once
//! even if responses are lost. If its process dies, it leaves with its session.
//!
//! # Znodes
//! All ephemeral, in `{path}`:
//! * [`Party::new`], as Kazoo's `Party`: `{32 hex digits}__party__`, with the identifier as data.
//! * [`Party::shallow`], as Kazoo's `ShallowParty`: `{32 hex digits}-{identifier}`, also with the identifier as data.
//!
//! # Errors
//! [`PartyError`].
//!
//! # Disconnect and session expiry
//! As [`PersistentNode`]: the membership is verified over every new connection, and created again in every new session.
//! Between the end of a session and the next one, the member is not in the party; see [`Membership::is_held`].
//! [`Party::members`] is retried until its timeout (30 s by default) has elapsed.
//!
//! # Cancel safety
//! Dropping the future of [`Party::join`], or a [`Membership`], leaves the party in the background;
//! [`Membership::leave`] waits until that is done. Dropping the future of [`Party::follow`] ends the watch.
//!
//! # Bugs of other implementations
//! kazoo `Party`: after its session was lost, a member is not in the party any more and is not notified.
//!
//! Example: `cargo run -p atalaya-recipes --example party -- 127.0.0.1:2181`.
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) -> Result<(), atalaya_recipes::PartyError> {
//! use atalaya_recipes::Party;
//!
//! let party = Party::new(session, "/workers", "node 1");
//! let membership = party.join().await?;
//! println!("members: {:?}", party.members().await?);
//! membership.leave().await;
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use tokio::sync::watch;
use uuid::Uuid;

use crate::cleanup::Cleanup;
use crate::persistent_node::NodeState;
use crate::retry::{Attempts, DEFAULT_TIMEOUT};
use crate::session::{BulkRead, WrongZnodeReporter, not_ephemeral};
use crate::{Connection, Error, PersistentNode, Session};

/// Suffix of a member's name in Kazoo's `Party`.
const MEMBER_SUFFIX: &str = "__party__";

/// Failure of a party operation.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartyError {
    /// The identifier of a shallow party is part of a znode name, and contains a `/` or another character that
    /// ZooKeeper refuses in names.
    #[error("{0:?} cannot be part of a znode's name")]
    Identifier(String),
    /// A request failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A party, and the identifier with which this process joins it. See the [module documentation](self).
#[derive(Clone, Debug)]
pub struct Party {
    session: Session,
    path: String,
    identifier: String,
    shallow: bool,
    timeout: Duration,
}

/// A membership. Dropping it leaves the party.
#[derive(Debug)]
pub struct Membership {
    znode: Cleanup,
    state: watch::Receiver<NodeState>,
    // Dropping the sender would end the task that keeps the znode.
    _data: watch::Sender<Option<Vec<u8>>>,
}

impl Party {
    /// Describes a party like Kazoo's `Party`: the identifier is the data of the member's znode.
    pub fn new(session: Session, path: impl Into<String>, identifier: impl Into<String>) -> Party {
        let (path, identifier) = (path.into(), identifier.into());
        Party { session, path, identifier, shallow: false, timeout: DEFAULT_TIMEOUT }
    }

    /// Describes a party like Kazoo's `ShallowParty`: the identifier is part of the name of the member's znode, so that
    /// one request returns all members.
    pub fn shallow(session: Session, path: impl Into<String>, identifier: impl Into<String>) -> Party {
        Party { shallow: true, ..Party::new(session, path, identifier) }
    }

    /// Sets the timeout of [`Party::join`] and [`Party::members`].
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Party {
        self.timeout = timeout;
        self
    }

    /// Joins the party, and returns when the znode of the member exists. Each call adds another member.
    pub async fn join(&self) -> Result<Membership, PartyError> {
        let refused = |c: char| c == '/' || c.is_control() || ('\u{f000}'..='\u{f8ff}').contains(&c);
        if self.shallow && self.identifier.contains(refused) {
            return Err(PartyError::Identifier(self.identifier.clone()));
        }
        let token = Uuid::new_v4().simple();
        let name = match self.shallow {
            true => format!("{token}-{}", self.identifier),
            false => format!("{token}{MEMBER_SUFFIX}"),
        };
        let mut znode = Cleanup::new(self.session.clone(), format!("{}/{name}", self.path));
        let node = PersistentNode::new(self.session.clone(), &*znode.path);
        let mut state = node.state();
        let (data, newest) = watch::channel(Some(self.identifier.clone().into_bytes()));
        // There is no conflict, because the name is unique.
        znode.arm();
        znode.task = Some(tokio::spawn(async move {
            node.run(newest).await;
        }));
        let membership = Membership { znode, state: state.clone(), _data: data };
        let mut attempts = Attempts::new(&self.session, self.timeout, "join", &self.path);
        let held = attempts.bounded(async { state.wait_for(|state| state.held).await.map(drop) }).await;
        if let Err(error) = held {
            membership.leave().await;
            return Err(error.into());
        }
        Ok(membership)
    }

    /// Returns the sorted identifiers of the members. An identifier that joined several times occurs that often.
    pub async fn members(&self) -> Result<Vec<String>, PartyError> {
        let mut attempts = Attempts::new(&self.session, self.timeout, "look at", &self.path);
        let read = |connection: Connection| async move {
            let names = connection.synced().await?.children_or_empty(&self.path).await?;
            self.identifiers(&connection, names, &mut WrongZnodeReporter::default()).await
        };
        Ok(attempts.retry(read).await?)
    }

    /// Calls `changed` with the members, as [`Party::members`] returns them, now and whenever they may have changed.
    /// Several changes in quick succession cause one call. Returns when an error occurs that a retry cannot solve.
    pub async fn follow(&self, mut changed: impl FnMut(Vec<String>)) -> PartyError {
        let mut attempts = Attempts::new(&self.session, Duration::MAX, "look at", &self.path);
        let mut wrong_znodes = WrongZnodeReporter::default();
        loop {
            let connection = self.session.connection().await;
            if let Err(error) = self.follow_over(&connection, &mut changed, &mut wrong_znodes).await
                && let Err(error) = attempts.failed(error).await
            {
                return error.into();
            }
        }
    }

    async fn follow_over(
        &self,
        connection: &Connection,
        changed: &mut impl FnMut(Vec<String>),
        wrong_znodes: &mut WrongZnodeReporter,
    ) -> Result<(), Error> {
        let (names, watcher) = match connection.children_and_watch(&self.path).await {
            Err(error) if error.is_no_node() => {
                connection.ensure(&self.path).await?;
                connection.children_and_watch(&self.path).await?
            }
            result => result?,
        };
        // The names do not show which members of a shallow party are ephemeral.
        let paths: Option<Vec<String>> =
            self.shallow.then(|| names.iter().map(|name| format!("{}/{name}", self.path)).collect());
        changed(self.identifiers(connection, names, wrong_znodes).await?);
        if let Some(paths) = paths {
            let read = connection.get_many(&paths).await?;
            wrong_znodes.update(connection.session(), not_ephemeral(&paths, &read));
        }
        connection.watch_event(watcher).await;
        Ok(())
    }

    async fn identifiers(
        &self,
        connection: &Connection,
        names: Vec<String>,
        wrong_znodes: &mut WrongZnodeReporter,
    ) -> Result<Vec<String>, Error> {
        let mut members: Vec<String> = if self.shallow {
            let identifier =
                |name: &String| name.split_once('-').map_or(&**name, |(_, rest)| rest).to_owned();
            names.iter().map(identifier).collect()
        } else {
            let is_member = |name: &&String| name.contains(MEMBER_SUFFIX);
            let paths: Vec<String> =
                names.iter().filter(is_member).map(|name| format!("{}/{name}", self.path)).collect();
            let read = connection.get_many(&paths).await?;
            wrong_znodes.update(connection.session(), not_ephemeral(&paths, &read));
            read.into_iter()
                .filter_map(|read| match read {
                    BulkRead::Data(data, _) => Some(String::from_utf8_lossy(&data).into_owned()),
                    BulkRead::Missing(_) => None,
                })
                .collect()
        };
        members.sort_unstable();
        Ok(members)
    }
}

impl Membership {
    /// Returns the path of the member's znode.
    pub fn znode(&self) -> &str {
        &self.znode.path
    }

    /// Returns true if the znode of the member was verified or written over the current connection.
    pub fn is_held(&self) -> bool {
        self.state.borrow().held
    }

    /// Leaves the party. Waits at most a session timeout until the znode is deleted.
    pub async fn leave(self) {
        self.znode.run().await;
    }
}
