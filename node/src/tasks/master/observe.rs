//! Follows the znodes that clients and workers write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_recipes::{CacheError, ChildrenCache, Connection, Error, Stat};
use futures_util::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use tokio::sync::watch;

use super::core::{Core, Inputs};
use super::load::{CONCURRENT_READS, read_each};
use super::part::Loss;
use super::task::{Change, Op, Worker};
use crate::model::task::paths::parse_task_and_node;
use crate::model::task::record::{Cancel, Outcome};
use crate::model::task::spec::Spec;
use crate::model::task::worker_info::WorkerInfo;
use crate::model::task::{TaskId, paths};

/// Maximum number of specifications that are kept until they are accepted.
const MAX_NEW: usize = 2_000;
/// Maximum number of known workers.
const MAX_WORKERS: usize = 20_000;
/// Minimum time between two verifications of the same assignment.
const VERIFY_INTERVAL: Duration = Duration::from_millis(500);
/// Minimum time between two readings of the measurements that a roll-out waits for.
const MEASURED_INTERVAL: Duration = Duration::from_millis(500);

/// Names of the children of a znode.
type Names = Arc<BTreeSet<String>>;

/// Znodes whose children are followed, in the order of the fields of [`Observer`].
const FOLLOWED: [&str; 5] = [paths::SPEC, paths::CANCEL, paths::DONE, paths::CLAIM, paths::ALIVE];

pub(super) struct Observer<'a> {
    connection: &'a Connection,
    measurements: &'a str,
    name_template: &'a str,
    pub(super) inputs: Inputs,
    lists: Arc<[watch::Sender<Names>; 5]>,
    specs: watch::Receiver<Names>,
    cancels: watch::Receiver<Names>,
    done: watch::Receiver<Names>,
    claims: watch::Receiver<Names>,
    alive: watch::Receiver<Names>,
    workers: watch::Receiver<atalaya_recipes::children_cache::Children>,
    cache: Option<ChildrenCache>,
    verified: BTreeMap<(TaskId, String), Instant>,
    measured_at: Option<Instant>,
}

impl<'a> Observer<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        measurements: &'a str,
        name_template: &'a str,
    ) -> Observer<'a> {
        let lists: [watch::Sender<Names>; 5] = Default::default();
        let [specs, cancels, done, claims, alive] = lists.each_ref().map(watch::Sender::subscribe);
        let cache = ChildrenCache::new(connection.session().clone(), paths::WORKER).with_limit(MAX_WORKERS);
        Observer {
            connection,
            measurements,
            name_template,
            inputs: Inputs::default(),
            specs,
            cancels,
            done,
            claims,
            alive,
            workers: cache.subscribe(),
            cache: Some(cache),
            lists: Arc::new(lists),
            verified: BTreeMap::new(),
            measured_at: None,
        }
    }

    /// Keeps the lists current until a request fails.
    pub(super) fn lists(&mut self) -> impl Future<Output = Error> + use<'a> {
        let (connection, lists, cache) = (self.connection, self.lists.clone(), self.cache.take());
        async move {
            let workers = async {
                match cache {
                    Some(cache) => match cache.run().await {
                        CacheError::Failed(error) => error,
                        // The fleet is larger than supported: its workers stay as they were read last.
                        error => {
                            tracing::warn!(%error, "changes of workers are not followed");
                            std::future::pending().await
                        }
                    },
                    None => std::future::pending().await,
                }
            };
            let followed = FOLLOWED.iter().zip(&*lists);
            let mut names: FuturesUnordered<_> =
                followed.map(|(path, names)| follow(connection, path, names)).collect();
            tokio::select! {
                Some(error) = names.next() => error,
                error = workers => error,
            }
        }
    }

    /// Waits until a list or a worker changes.
    pub(super) async fn changed(&mut self) {
        // The senders live as long as this struct.
        tokio::select! {
            _ = self.specs.changed() => self.specs.mark_changed(),
            _ = self.cancels.changed() => self.cancels.mark_changed(),
            _ = self.done.changed() => self.done.mark_changed(),
            _ = self.claims.changed() => self.claims.mark_changed(),
            _ = self.alive.changed() => self.alive.mark_changed(),
            _ = self.workers.changed() => self.workers.mark_changed(),
        }
    }

    /// Returns true if a list or a worker has changed.
    pub(super) fn has_changed(&self) -> bool {
        let lists = [&self.specs, &self.cancels, &self.done, &self.claims, &self.alive];
        lists.iter().any(|list| list.has_changed().unwrap_or(false))
            || self.workers.has_changed().unwrap_or(false)
    }

    /// Applies changed lists of workers and claims.
    pub(super) fn update_lists(&mut self, core: &mut Core) {
        self.specs.mark_unchanged();
        self.cancels.mark_unchanged();
        self.done.mark_unchanged();
        if self.claims.has_changed().unwrap_or(false) {
            let names = self.claims.borrow_and_update().clone();
            let claims = names.iter().filter_map(|name| parse_task_and_node(name));
            core.set_claims(claims.map(|(id, node)| (id, node.to_owned())).collect());
        }
        let is_changed = [self.alive.has_changed(), self.workers.has_changed()];
        if is_changed.iter().any(|changed| *changed.as_ref().unwrap_or(&false)) {
            let alive = self.alive.borrow_and_update().clone();
            let known = self.workers.borrow_and_update().clone();
            core.workers = known
                .iter()
                .filter_map(|(node, (data, _))| {
                    let info = WorkerInfo::parse(data)?;
                    Some((node.clone(), Worker { info, is_alive: alive.contains(node) }))
                })
                .collect();
        }
    }

    /// Returns true if there are inputs that no committed change has used.
    pub(super) fn has_inputs(&self) -> bool {
        let Inputs { specs, done, cancels, .. } = &self.inputs;
        !specs.is_empty() || !done.is_empty() || !cancels.is_empty()
    }

    /// Reads the specifications, outcomes and requests that are new.
    pub(super) async fn read_new(&mut self, core: &Core) -> Result<(), Error> {
        let connection = self.connection;
        let names = self.specs.borrow().clone();
        self.inputs.specs.retain(|id, _| names.contains(id.as_str()));
        let room = MAX_NEW.saturating_sub(self.inputs.specs.len());
        let new = names.iter().filter_map(|name| TaskId::of_znode(name));
        let new = new.filter(|id| !core.knows(id) && !self.inputs.specs.contains_key(id)).take(room);
        let parse = |data: &[u8], stat: &Stat| (stat.ctime, Spec::parse(data));
        self.inputs.specs.extend(read_each(connection, new, paths::spec, parse).await?);

        let names = self.done.borrow().clone();
        let listed: BTreeSet<(TaskId, String)> = names
            .iter()
            .filter_map(|name| parse_task_and_node(name))
            .map(|(id, node)| (id, node.to_owned()))
            .collect();
        self.inputs.done.retain(|entry, _| listed.contains(entry));
        let new = listed.into_iter().filter(|entry| !self.inputs.done.contains_key(entry)).take(MAX_NEW);
        let path = |(id, node): &(TaskId, String)| paths::done(id, node);
        let done = read_each(connection, new, path, |data, _| Outcome::parse(data)).await?;
        self.inputs.done.extend(done);

        let names = self.cancels.borrow().clone();
        self.inputs.cancels.retain(|id, _| names.contains(id.as_str()));
        let new = names.iter().filter_map(|name| TaskId::of_znode(name));
        let new = new.filter(|id| !self.inputs.cancels.contains_key(id)).take(MAX_NEW);
        let cancels = read_each(connection, new, paths::cancel, |data, _| Cancel::parse(data)).await?;
        self.inputs.cancels.extend(cancels);
        Ok(())
    }

    /// Verifies the assignments that may have ended without an outcome.
    ///
    /// The order of the reads matters. The claim is created in the transaction that changes the version of the assignment,
    /// and the outcome in the one that deletes both. So an assignment that was claimed when it was read, whose claim and
    /// outcome do not exist afterwards, has lost its worker.
    pub(super) async fn verify(&mut self, core: &Core, now: i64) -> Result<(), Error> {
        self.inputs.losses.clear();
        let suspects = core.suspects(now);
        self.verified.retain(|_, at| at.elapsed() < VERIFY_INTERVAL);
        let due: Vec<(TaskId, String)> =
            suspects.into_iter().filter(|entry| !self.verified.contains_key(entry)).collect();
        if due.is_empty() {
            return Ok(());
        }
        let connection = self.connection;
        // The server of this connection may be behind.
        connection.sync().await?;
        for (id, node) in due {
            self.verified.insert((id.clone(), node.clone()), Instant::now());
            let run = connection.stat(&paths::run(&node, &id)).await?;
            let claim = connection.stat(&paths::claim(&id, &node)).await?;
            let done = connection.stat(&paths::done(&id, &node)).await?;
            if claim.is_some() || done.is_some() {
                continue;
            }
            let loss = match run {
                Some(run) if run.version == 0 => match connection.stat(&paths::alive(&node)).await? {
                    Some(_) => continue,
                    None => (Loss::Unclaimed, Some(0)),
                },
                Some(run) => (Loss::Claimed, Some(run.version)),
                None => (Loss::Claimed, None),
            };
            self.inputs.losses.insert((id, node), loss);
        }
        Ok(())
    }

    /// Reads the times of the newest measurements of `nodes`.
    pub(super) async fn read_measurements(&mut self, nodes: &BTreeSet<String>) -> Result<(), Error> {
        let is_recent = self.measured_at.is_some_and(|at| at.elapsed() < MEASURED_INTERVAL);
        if nodes.is_empty() || is_recent {
            return Ok(());
        }
        self.measured_at = Some(Instant::now());
        let (connection, parent, template) = (self.connection, self.measurements, self.name_template);
        let measured: Vec<Option<(String, i64)>> = stream::iter(nodes)
            .map(|node| async move {
                let path = format!("{parent}/{}", template.replace("{id}", node));
                let stat = connection.stat(&path).await?;
                Ok::<_, Error>(stat.map(|stat| (node.clone(), stat.mtime)))
            })
            .buffer_unordered(CONCURRENT_READS)
            .try_collect()
            .await?;
        self.inputs.measured = measured.into_iter().flatten().collect();
        Ok(())
    }

    /// Removes the inputs that committed changes have used.
    pub(super) fn handled(&mut self, committed: &[Change], core: &Core) {
        for change in committed {
            for op in &change.ops {
                match op {
                    Op::DeleteDone(node) => {
                        self.inputs.done.remove(&(change.task.clone(), node.clone()));
                    }
                    Op::DeleteCancel => {
                        self.inputs.cancels.remove(&change.task);
                    }
                    _ => {}
                }
            }
        }
        self.inputs.specs.retain(|id, _| !core.knows(id));
        self.inputs.losses.clear();
    }
}

/// Publishes the names of the children of `path` until a request fails.
async fn follow(connection: &Connection, path: &str, names: &watch::Sender<Names>) -> Error {
    loop {
        match connection.children_opt_and_watch(path).await {
            Ok((children, watcher)) => {
                names.send_replace(Arc::new(children.unwrap_or_default().into_iter().collect()));
                watcher.changed().await;
            }
            Err(error) => return error,
        }
    }
}
