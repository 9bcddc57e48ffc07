//! The line at a znode: carries out over a [`Connection`] what a [`ContenderState`] asks for. What [`crate::election`],
//! [`crate::lock`], [`crate::read_write_lock`] and the entry to a [`crate::semaphore`] have in common.

use crate::contender_state::{ContenderState, Event, Step};
use crate::node_names::{ContenderId, Role, is_taken, sorted_contenders};
use crate::owned_node::Watched;
use crate::session::BulkRead;
use crate::wrong_znode::{WrongZnode, WrongZnodeReporter};
use crate::{Connection, Error};

/// One contender in the line at one znode.
#[derive(Debug)]
pub(crate) struct Line {
    path: String,
    identifier: Vec<u8>,
    candidacy: ContenderState,
    /// What was created over this connection: its owner need not be asked for.
    fresh: Option<String>,
    /// Our znode, watched over this connection.
    watched: Option<Watched>,
    /// Contender ahead that is not ephemeral.
    wrong_znodes: WrongZnodeReporter,
    /// What this connection's server shows includes all that was written by this session.
    in_step: bool,
}

impl Line {
    pub(crate) fn new(path: String, identifier: Vec<u8>, role: Role) -> Line {
        Line::with_contender_id(path, identifier, role, ContenderId::random())
    }

    /// One whose znodes' names carry this token.
    pub(crate) fn with_contender_id(
        path: String,
        identifier: Vec<u8>,
        role: Role,
        token: ContenderId,
    ) -> Line {
        let candidacy = ContenderState::new(role, token);
        Line {
            path,
            identifier,
            candidacy,
            fresh: None,
            watched: None,
            wrong_znodes: WrongZnodeReporter::default(),
            in_step: false,
        }
    }

    /// What to do next.
    pub(crate) fn step(&self) -> Step {
        self.candidacy.step()
    }

    /// Takes note of what happened.
    pub(crate) fn on(&mut self, event: Event) {
        match event {
            Event::LinkUp(_) | Event::LinkDown => {
                self.fresh = None;
                self.watched = None;
                self.in_step = false;
            }
            // A request may be under way whose effect is to be seen.
            Event::Unclear | Event::Withdraw => self.in_step = false,
            _ => {}
        }
        self.candidacy.on(event);
    }

    /// Joins the line again, after it was left.
    pub(crate) fn join_again(&mut self) {
        self.in_step = false;
        self.candidacy.join_again();
    }

    /// The path of the znode with this name.
    pub(crate) fn path_of(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// Does what a step asks for, as far as it is about the line; pending for ever otherwise.
    pub(crate) async fn carry_out(&mut self, connection: &Connection, step: Step) -> Result<Event, Error> {
        match step {
            Step::Look => self.look(connection).await,
            Step::Delete(name) => {
                connection.delete_if_exists(&self.path_of(&name), None).await?;
                Ok(Event::Deleted(name))
            }
            Step::Create => self.create(connection).await,
            Step::Wait { own, predecessor, .. } => {
                self.wait(connection, self.path_of(&own), self.path_of(&predecessor)).await?;
                Ok(Event::Stirred)
            }
            Step::AwaitLink | Step::Rest | Step::Lead { .. } => std::future::pending().await,
        }
    }

    /// Our znode at `path`, to be held; `None` if it is not this session's, or not there.
    pub(crate) async fn watched(
        &mut self,
        connection: &Connection,
        path: String,
    ) -> Result<Option<Watched>, Error> {
        // It is first: no contender blocks it.
        self.wrong_znodes.clear();
        match self.watched.take() {
            Some(watched) if watched.path() == path => Ok(Some(watched)),
            _ => Watched::new(connection, path).await,
        }
    }

    /// Waits until anything has happened to the one ahead or to our own.
    async fn wait(&mut self, connection: &Connection, own: String, predecessor: String) -> Result<(), Error> {
        let Line { watched, wrong_znodes, .. } = self;
        let own = async {
            if watched.as_ref().is_none_or(|known| known.path() != own) {
                *watched = Watched::new(connection, own).await?;
            }
            if let Some(known) = watched {
                known.stirred().await;
                *watched = None;
            }
            Ok::<_, Error>(())
        };
        tokio::select! {
            result = own => result,
            result = stirs(connection, &predecessor, wrong_znodes) => result,
        }
    }

    /// Whether whoever joins now has to wait. Writes nothing.
    pub(crate) async fn is_taken(&self, connection: &Connection) -> Result<bool, Error> {
        connection.sync().await?;
        let (role, children) = (self.candidacy.role(), connection.children_or_empty(&self.path).await?);
        if let Some(first) = sorted_contenders(role, &children).into_iter().find(|name| role.waits_for(name))
        {
            let path = self.path_of(first);
            let stat = connection.stat(&path).await?;
            // This logs it, and reports it for a moment only.
            WrongZnodeReporter::default()
                .update(connection.session(), stat.and_then(|stat| WrongZnode::not_ephemeral(&path, &stat)));
        }
        Ok(is_taken(role, &children))
    }

    async fn look(&mut self, connection: &Connection) -> Result<Event, Error> {
        if !self.in_step {
            // Over a new connection the server may lag behind what this session has written over the last one.
            connection.sync().await?;
            self.in_step = true;
        }
        let children = connection.children_or_empty(&self.path).await?;
        let names: Vec<String> = self.candidacy.ours(&children).into_iter().map(str::to_owned).collect();
        let ours = match names.as_slice() {
            [] => Vec::new(),
            [only] if self.fresh.as_ref() == Some(only) => vec![(only.clone(), connection.session_id())],
            _ => {
                let paths: Vec<String> = names.iter().map(|name| self.path_of(name)).collect();
                let answers = connection.get_many(&paths).await?;
                let owners = answers.into_iter().map(|answer| match answer {
                    BulkRead::Data(_, stat) => Some(stat.ephemeral_owner),
                    BulkRead::Missing(_) => None,
                });
                names.into_iter().zip(owners).filter_map(|(name, owner)| Some((name, owner?))).collect()
            }
        };
        Ok(Event::Seen { children, ours })
    }

    async fn create(&mut self, connection: &Connection) -> Result<Event, Error> {
        let prefix = self.path_of(&self.candidacy.prefix());
        let created = match connection.create_sequential(&prefix, &self.identifier).await {
            Err(error) if error.is_no_node() => {
                if self.candidacy.role().in_container() {
                    connection.ensure_container(&self.path).await?;
                } else {
                    connection.ensure(&self.path).await?;
                }
                match connection.create_sequential(&prefix, &self.identifier).await {
                    // Somebody tidies up. Nothing of ours is there.
                    Err(error) if error.is_no_node() => return Ok(Event::Unclear),
                    result => result?,
                }
            }
            result => result?,
        };
        let name = created[self.path.len() + 1..].to_owned();
        self.fresh = Some(name.clone());
        self.in_step = true;
        Ok(Event::Created(name))
    }
}

/// Returns when the znode does not exist, or anything has happened to it: whoever waits looks at the line again.
/// Reports a znode that is not ephemeral in `wrong_znodes`: it may remain indefinitely.
async fn stirs(
    connection: &Connection,
    path: &str,
    wrong_znodes: &mut WrongZnodeReporter,
) -> Result<(), Error> {
    let (stat, watcher) = connection.stat_and_watch(path).await?;
    let wrong = stat.as_ref().and_then(|stat| WrongZnode::not_ephemeral(path, stat));
    wrong_znodes.update(connection.session(), wrong);
    if stat.is_some() {
        watcher.changed().await;
    }
    Ok(())
}
