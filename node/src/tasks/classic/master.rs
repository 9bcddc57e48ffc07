//! A master: takes part in the election and, while it leads, assigns tasks to free workers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_recipes::backoff::Backoff;
use atalaya_recipes::children_cache::{Child, Children};
use atalaya_recipes::node_names::ContenderId;
use atalaya_recipes::session::{BulkRead, Write};
use atalaya_recipes::{CacheError, ChildrenCache, Connection, Error, Session, Stat};
use futures_util::future::try_join_all;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::election::{Place, contenders, number, place, shown};
use super::layout::Layout;
use super::lease;
use super::master_state::{Assignment, Znode, plan};

/// Maximum number of tasks or workers.
const MAX_CHILDREN: usize = 100_000;
/// Maximum time between attempts to assign a task if none of the watched znodes changes.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Minimum time between two assignments of a task, so that a worker that always reports itself free without a result does not
/// cause an endless sequence of writes.
const REASSIGN_INTERVAL: Duration = Duration::from_secs(1);
/// Number of znodes in one read. Each may have 1 MiB, and a response is limited to 16 MiB.
const READ_BATCH: usize = 12;

pub(crate) struct Master {
    session: Session,
    layout: Layout,
    /// Data of the election znode, by which it is found after a lost reply.
    identity: String,
}

/// The newest tasks and workers, from watches.
struct Watched {
    tasks: watch::Receiver<Children>,
    workers: watch::Receiver<Children>,
}

/// Tasks that this leader has assigned, with the time of the assignment. Kept for [`REASSIGN_INTERVAL`].
#[derive(Default)]
struct Recent(BTreeMap<String, Instant>);

impl Recent {
    /// Forgets old assignments, and returns the other tasks.
    fn deferred(&mut self) -> BTreeSet<String> {
        self.0.retain(|_, assigned| assigned.elapsed() < REASSIGN_INTERVAL);
        self.0.keys().cloned().collect()
    }
}

impl Master {
    pub(crate) fn new(session: Session, layout: Layout, id: &str) -> Master {
        let identity = format!("{id} {}", ContenderId::random().to_hex());
        Master { session, layout, identity }
    }

    /// Takes part in the election until tasks or workers cannot be read.
    pub(crate) async fn run(&self) -> CacheError {
        let cache = |path: String| ChildrenCache::new(self.session.clone(), path).with_limit(MAX_CHILDREN);
        let (tasks, workers) = (cache(self.layout.tasks()), cache(self.layout.workers()));
        let watched = Watched { tasks: tasks.subscribe(), workers: workers.subscribe() };
        tokio::select! {
            error = tasks.run() => error,
            error = workers.run() => error,
            () = self.contend(watched) => std::future::pending().await,
        }
    }

    async fn contend(&self, mut watched: Watched) {
        let mut backoff = Backoff::default();
        loop {
            let connection = self.session.connection().await;
            backoff.reconnected();
            let contend = async {
                loop {
                    match self.contend_over(&connection, &mut watched).await {
                        Ok(()) => backoff.conflict().await,
                        Err(error) => backoff.pause(&self.session, &error).await,
                    }
                }
            };
            tokio::select! {
                biased;
                () = connection.lost() => {}
                () = contend => {}
            }
        }
    }

    /// Joins the election and leads when this contender is first. Returns when the own znode does not exist any more.
    async fn contend_over(&self, connection: &Connection, watched: &mut Watched) -> Result<(), Error> {
        let parents =
            [self.layout.tasks(), self.layout.workers(), self.layout.inputs(), self.layout.master_current()];
        for path in parents {
            if connection.stat(&path).await?.is_none() {
                connection.ensure(&path).await?;
            }
        }
        let own = self.join(connection).await?;
        let mut awaited = String::new();
        loop {
            connection.sync().await?;
            let children = connection.children(&self.layout.masters()).await?;
            match place(&children, &own) {
                Place::Absent => {
                    warn!(znode = own, "the own election znode was deleted; joining again");
                    return Ok(());
                }
                Place::First => self.lead(connection, &own, watched).await?,
                Place::Behind { predecessor, ahead } => {
                    let path = self.layout.master(&predecessor);
                    let (stat, watcher) = connection.stat_and_watch(&path).await?;
                    let Some(stat) = stat else { continue };
                    if awaited != predecessor {
                        info!(znode = own, ahead, predecessor = shown(&predecessor), "waiting to lead");
                        if stat.ephemeral_owner == 0 {
                            warn!(
                                "{} is persistent: it does not end with its creator; delete it",
                                shown(&path)
                            );
                        }
                        awaited = predecessor;
                    }
                    // The data of the predecessor may change. Only its end matters.
                    connection.watch_event(watcher).await;
                }
            }
        }
    }

    /// Returns the name of the own election znode, and creates it if there is none in this session. An earlier attempt may
    /// have created it although its reply was lost. Deletes the one of an earlier session of this process.
    async fn join(&self, connection: &Connection) -> Result<String, Error> {
        connection.sync().await?;
        let children = connection.children(&self.layout.masters()).await?;
        for name in contenders(&children) {
            let path = self.layout.master(name);
            let Some((data, stat)) = connection.get_opt(&path).await? else { continue };
            if data != self.identity.as_bytes() {
                continue;
            }
            if stat.ephemeral_owner == connection.session_id() {
                return Ok(name.to_owned());
            }
            connection.delete_if_exists(&path, None).await?;
        }
        let prefix = format!("{}/", self.layout.masters());
        let path = connection.create_sequential(&prefix, self.identity.as_bytes()).await?;
        let name = path.strip_prefix(&prefix).unwrap_or(&path).to_owned();
        info!(znode = name, "joined the election");
        Ok(name)
    }

    /// Assigns tasks until leadership is not certain any more.
    async fn lead(&self, connection: &Connection, own: &str, watched: &mut Watched) -> Result<(), Error> {
        let path = self.layout.master(own);
        let (stat, watcher) = connection.stat_and_watch(&path).await?;
        if stat.is_none_or(|stat| stat.ephemeral_owner != connection.session_id()) {
            return Ok(());
        }
        let current = format!("{}/{}", self.layout.master_current(), number(own).unwrap_or(own));
        match connection.create_ephemeral(&current, self.identity.as_bytes()).await {
            Ok(_) => {}
            Err(error) if error.is_node_exists() => debug!(current, "exists already"),
            Err(error) => return Err(error),
        }
        info!(znode = own, "leading");
        let result = tokio::select! {
            biased;
            () = lease::expired(connection) => {
                warn!("lease expired without an answer from ZooKeeper; no longer the leader");
                Ok(())
            }
            _ = connection.watch_event(watcher) => Ok(()),
            error = self.assign_tasks(connection, &path, watched) => Err(error),
        };
        if !connection.is_current() {
            return result;
        }
        // The session continues without the leadership, for example because an operator deleted the election znode.
        let is_own = |stat: Stat| stat.ephemeral_owner == connection.session_id();
        if connection.stat(&path).await?.is_none() && connection.stat(&current).await?.is_some_and(is_own) {
            connection.delete_if_exists(&current, None).await?;
        }
        result
    }

    /// Assigns tasks whenever there are tasks and free workers. Returns only errors.
    async fn assign_tasks(&self, connection: &Connection, own: &str, watched: &mut Watched) -> Error {
        let mut backoff = Backoff::default();
        let mut recent = Recent::default();
        loop {
            let has_work = {
                let (tasks, workers) =
                    (watched.tasks.borrow_and_update(), watched.workers.borrow_and_update());
                !plan(&znodes(&tasks), &znodes(&workers), &BTreeSet::new()).is_empty()
            };
            if has_work {
                match self.assign(connection, own, &mut recent).await {
                    Ok(()) => backoff.reset(),
                    // This contender does not lead any more.
                    Err(error) if error.is_no_node() => return error,
                    Err(error) => backoff.pause(&self.session, &error).await,
                }
            }
            tokio::select! {
                _ = watched.tasks.changed() => {}
                _ = watched.workers.changed() => {}
                () = tokio::time::sleep(RETRY_INTERVAL), if has_work => {}
            }
        }
    }

    /// Reads tasks and workers again, because those of the watches may be older than the last change of leader, and writes the
    /// assignments.
    async fn assign(&self, connection: &Connection, own: &str, recent: &mut Recent) -> Result<(), Error> {
        connection.sync().await?;
        let workers = read_children(connection, &self.layout.workers()).await?;
        let tasks = read_children(connection, &self.layout.tasks()).await?;
        for assignment in plan(&znodes(&tasks), &znodes(&workers), &recent.deferred()) {
            if !lease::holds(connection) {
                return Ok(());
            }
            self.write(connection, own, &assignment).await?;
            recent.0.insert(assignment.task, Instant::now());
        }
        Ok(())
    }

    /// Writes one assignment, unless task or worker have changed.
    async fn write(&self, connection: &Connection, own: &str, assignment: &Assignment) -> Result<(), Error> {
        let Assignment { task, worker, previous, .. } = assignment;
        let (task_path, worker_path) = (self.layout.task(task), self.layout.worker(worker));
        let writes = [
            Write::Check { path: own, version: -1 },
            Write::Set {
                path: &task_path,
                data: assignment.task_data.as_bytes(),
                version: Some(assignment.task_version),
            },
            Write::Set {
                path: &worker_path,
                data: task.as_bytes(),
                version: Some(assignment.worker_version),
            },
        ];
        match connection.multi(&writes).await {
            Ok(_) => match previous {
                None => info!(task, worker, "assigned"),
                Some(previous) => info!(task, worker, previous = shown(previous), "assigned again"),
            },
            Err(failure)
                if failure.at.is_some_and(|at| at > 0)
                    && (failure.error.is_no_node() || failure.error.is_bad_version()) =>
            {
                debug!(task, worker, error = %failure.error, "not assigned: task or worker has changed");
            }
            Err(failure) => return Err(failure.into()),
        }
        Ok(())
    }
}

pub(crate) async fn read_children(
    connection: &Connection,
    parent: &str,
) -> Result<Arc<BTreeMap<String, Child>>, Error> {
    let names = connection.children_or_empty(parent).await?;
    let read = async |names: &[String]| -> Result<Vec<(String, Child)>, Error> {
        let paths: Vec<String> = names.iter().map(|name| format!("{parent}/{name}")).collect();
        let found = connection.get_many(&paths).await?;
        let child = |(name, read): (&String, _)| match read {
            BulkRead::Data(data, stat) => Some((name.clone(), (data, stat))),
            BulkRead::Missing(_) => None,
        };
        Ok(names.iter().zip(found).filter_map(child).collect())
    };
    let batches = try_join_all(names.chunks(READ_BATCH).map(read)).await?;
    Ok(Arc::new(batches.into_iter().flatten().collect()))
}

fn znodes(children: &BTreeMap<String, Child>) -> Vec<Znode<'_>> {
    children
        .iter()
        .map(|(id, (data, stat))| Znode {
            id,
            data,
            version: stat.version,
            created: stat.czxid,
            modified: stat.mzxid,
            is_ephemeral: stat.ephemeral_owner != 0,
        })
        .collect()
}
