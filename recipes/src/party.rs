//! Who is there: a party that its members join and leave; Kazoo's on the wire.
//!
//! # What it promises
//! A member is in the party from [`Party::join`] until it leaves, over lost connections and lost sessions; each once,
//! whatever was lost. A member whose process dies is gone with its session.
//!
//! # Znodes
//! All ephemeral, in `{path}`:
//! * [`Party::new`], as Kazoo's `Party`: `{32 hex}__party__`, with the identifier.
//! * [`Party::shallow`], as Kazoo's `ShallowParty`: `{32 hex}-{identifier}`, with the identifier as well.
//!
//! # Errors
//! [`PartyError`].
//!
//! # Behaviour on disconnect and on expiry
//! As [`PersistentNode`]: the membership is verified at every new connection and made again in every new session. Between
//! the end of a session and the next one a member is not in the party; [`Membership::is_held`] tells. Asking who is there
//! tries on until the patience (30 s) is over.
//!
//! # Cancellation safety
//! A dropped [`Party::join`], and a dropped [`Membership`], leave the party, a little later; [`Membership::leave`] waits
//! until that is done. A dropped [`Party::follow`] ends the watching.
//!
//! # Answers to
//! kazoo `Party`: a member is not in it any more after its session was lost, and is not told.
//!
//! Try it: `cargo run -p atalaya-recipes --example party -- 127.0.0.1:2181`.
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) -> Result<(), atalaya_recipes::PartyError> {
//! use atalaya_recipes::Party;
//!
//! let party = Party::new(session, "/workers", "node 1");
//! let membership = party.join().await?;
//! println!("{:?} are here", party.members().await?);
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
use crate::session::BulkRead;
use crate::wrong_znode::{WrongZnode, WrongZnodeReporter};
use crate::{Connection, Error, PersistentNode, Session};

/// What a member's name ends with in Kazoo's `Party`.
const MARK: &str = "__party__";

/// Why joining, or looking, did not work.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartyError {
    /// An identifier that is part of a name must not have a `/` in it, nor what else ZooKeeper takes in no name.
    #[error("{0:?} cannot be part of a znode's name")]
    Identifier(String),
    /// It failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A party at one path, and the identifier with which it is joined.
#[derive(Clone, Debug)]
pub struct Party {
    session: Session,
    path: String,
    identifier: String,
    shallow: bool,
    patience: Duration,
}

/// Is in the party. Dropping it leaves.
#[derive(Debug)]
pub struct Membership {
    znode: Cleanup,
    state: watch::Receiver<NodeState>,
    // Its end would end the keeping of the data.
    _data: watch::Sender<Option<Vec<u8>>>,
}

impl Party {
    /// As Kazoo's `Party`: the identifier is the member's data.
    pub fn new(session: Session, path: impl Into<String>, identifier: impl Into<String>) -> Party {
        let (path, identifier) = (path.into(), identifier.into());
        Party { session, path, identifier, shallow: false, patience: DEFAULT_TIMEOUT }
    }

    /// As Kazoo's `ShallowParty`: the identifier is in the member's name, so that one request tells who is there.
    pub fn shallow(session: Session, path: impl Into<String>, identifier: impl Into<String>) -> Party {
        Party { shallow: true, ..Party::new(session, path, identifier) }
    }

    /// How long joining and looking try on.
    #[must_use]
    pub fn with_timeout(mut self, patience: Duration) -> Party {
        self.patience = patience;
        self
    }

    /// Joins, and returns when the member is there. Each call is another member.
    pub async fn join(&self) -> Result<Membership, PartyError> {
        let refused = |c: char| c == '/' || c.is_control() || ('\u{f000}'..='\u{f8ff}').contains(&c);
        if self.shallow && self.identifier.contains(refused) {
            return Err(PartyError::Identifier(self.identifier.clone()));
        }
        let token = Uuid::new_v4().simple();
        let name = match self.shallow {
            true => format!("{token}-{}", self.identifier),
            false => format!("{token}{MARK}"),
        };
        let mut znode = Cleanup::of(self.session.clone(), format!("{}/{name}", self.path));
        let node = PersistentNode::new(self.session.clone(), znode.path());
        let mut state = node.state();
        let (data, newest) = watch::channel(Some(self.identifier.clone().into_bytes()));
        // A conflict there cannot be: the name is nobody else's.
        znode.arm_with(tokio::spawn(async move {
            node.run(newest).await;
        }));
        let membership = Membership { znode, state: state.clone(), _data: data };
        let mut attempts = Attempts::new(&self.session, self.patience, "join", &self.path);
        let held = attempts.bounded(async { state.wait_for(|state| state.held).await.map(drop) }).await;
        match held {
            Ok(_) => Ok(membership),
            Err(error) => {
                membership.leave().await;
                Err(error.into())
            }
        }
    }

    /// The identifiers of those who are there, sorted; one that joined several times stands there as often.
    pub async fn members(&self) -> Result<Vec<String>, PartyError> {
        let mut attempts = Attempts::new(&self.session, self.patience, "look at", &self.path);
        loop {
            let connection = attempts.connection().await?;
            let looked = async {
                connection.sync().await?;
                let names = connection.children_or_empty(&self.path).await?;
                self.identifiers(&connection, names, &mut WrongZnodeReporter::default()).await
            };
            match looked.await {
                Ok(members) => return Ok(members),
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// Hands the members, as [`Party::members`] returns them, to `changed`: now, and whenever they may have changed.
    /// Changes that come fast are told as one. Ends only if ZooKeeper refuses.
    pub async fn follow(&self, mut changed: impl FnMut(Vec<String>)) -> PartyError {
        let mut attempts = Attempts::until(&self.session, None, "look at", &self.path);
        let mut wrong_znodes = WrongZnodeReporter::default();
        loop {
            let result = match attempts.connection().await {
                Ok(connection) => self.follow_over(&connection, &mut changed, &mut wrong_znodes).await,
                Err(error) => Err(error),
            };
            let Err(error) = result else { continue };
            if let Err(error) = attempts.failed(error).await {
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
        if self.shallow {
            // The names do not tell which members are ephemeral.
            let paths: Vec<String> = names.iter().map(|name| format!("{}/{name}", self.path)).collect();
            changed(self.identifiers(connection, names, wrong_znodes).await?);
            wrong_znodes
                .update(connection.session(), wrong_members(&paths, &connection.get_many(&paths).await?));
        } else {
            changed(self.identifiers(connection, names, wrong_znodes).await?);
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
            names
                .iter()
                .map(|name| name.split_once('-').map_or(&**name, |(_, identifier)| identifier).to_owned())
                .collect()
        } else {
            let paths: Vec<String> = names
                .iter()
                .filter(|name| name.contains(MARK))
                .map(|name| format!("{}/{name}", self.path))
                .collect();
            if paths.is_empty() {
                wrong_znodes.clear();
                return Ok(Vec::new());
            }
            let read = connection.get_many(&paths).await?;
            wrong_znodes.update(connection.session(), wrong_members(&paths, &read));
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

/// Finds the members that are not ephemeral.
fn wrong_members(paths: &[String], read: &[BulkRead]) -> Vec<WrongZnode> {
    let check = |(path, read): (&String, &BulkRead)| match read {
        BulkRead::Data(_, stat) => WrongZnode::not_ephemeral(path, stat),
        BulkRead::Missing(_) => None,
    };
    paths.iter().zip(read).filter_map(check).collect()
}

impl Membership {
    /// The path of the member's znode.
    pub fn znode(&self) -> &str {
        self.znode.path()
    }

    /// Whether the member is known to be there over the present connection.
    pub fn is_held(&self) -> bool {
        self.state.borrow().held
    }

    /// Leaves, and waits until that is done, as far as it is possible within a session timeout.
    pub async fn leave(self) {
        self.znode.now().await;
    }
}
