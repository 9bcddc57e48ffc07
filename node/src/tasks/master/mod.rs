//! The leader's part: accepts, assigns, repeats and ends tasks.
//!
//! # Control flow
//!
//! [`Master::run`] reads all records when this node becomes the leader, follows the lists of znodes that clients and
//! workers write, and commits what [`core::Core`] decides. Each transaction checks the own election znode, so a deposed
//! leader changes nothing.
//!
//! # Errors
//!
//! A request that fails, or a commit with an unknown outcome: everything is read again. A transaction that ZooKeeper
//! refuses: the changes in it are committed one by one, and the task of a refused one is left alone for a second. So one
//! task never blocks the others.
//!
//! # Cancellation safety
//!
//! The future may be dropped at any await. All state is in ZooKeeper.

mod assign;
mod commit;
mod core;
#[cfg(test)]
mod core_tests;
mod load;
#[cfg(test)]
mod model_tests;
mod observe;
mod part;
mod publish;
mod rollout;
mod step;
mod task;

use std::convert::Infallible;
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Backoff, Connection, Error, Leadership};
use tracing::info;

use self::commit::Committer;
use self::observe::Observer;
pub(crate) use self::publish::OverviewSender;
use self::publish::Publisher;
use crate::metrics::TaskMetrics;
use crate::model::task::paths;
use crate::zk::server_clock::{Millis, ServerClock, local_time};

/// Interval at which time limits are checked while there are live tasks.
const TICK: Duration = Duration::from_millis(200);

/// The leader's part in tasks.
#[derive(Debug)]
pub(crate) struct Master {
    /// Parent of the measurement znodes.
    measurements: String,
    /// Name of a node's measurement znode, with `{id}` in it.
    name_template: String,
    metrics: TaskMetrics,
    overview: OverviewSender,
}

impl Master {
    pub(crate) fn new(
        measurements: &str,
        name_template: &str,
        metrics: TaskMetrics,
        overview: OverviewSender,
    ) -> Master {
        let (measurements, name_template) = (measurements.to_owned(), name_template.to_owned());
        Master { measurements, name_template, metrics, overview }
    }

    /// Serves tasks until the future is dropped.
    pub(crate) async fn run(&self, leadership: &Leadership) -> Infallible {
        let mut backoff = Backoff::default();
        backoff.reconnected();
        loop {
            match self.serve(leadership, &mut backoff).await {
                Ok(never) => match never {},
                Err(error) => backoff.pause(leadership.connection().session(), &error).await,
            }
        }
    }

    async fn serve(&self, leadership: &Leadership, backoff: &mut Backoff) -> Result<Infallible, Error> {
        let connection = leadership.connection();
        let mut publisher = Publisher::new(&self.metrics, &self.overview);
        wait_for_root(connection).await?;
        for parent in paths::PARENTS {
            connection.ensure(parent).await?;
        }
        let (mut core, orphans) = load::load(connection).await?;
        let mut clock = ServerClock::default();
        let committer = Committer { leadership };
        committer.start(&mut clock).await?;
        committer.delete_runs(&orphans).await?;
        if !core.tasks.is_empty() {
            info!(live = core.tasks.len(), "continuing with the tasks of the previous leader");
        }
        let mut observer = Observer::new(connection, &self.measurements, &self.name_template);
        let lists = observer.lists();
        let serving = async {
            let mut changed = true;
            loop {
                let now = self.now(&clock);
                if changed {
                    observer.update_lists(&mut core);
                    publisher.outdated();
                }
                publisher.publish(&core, now);
                observer.read_new(&core).await?;
                observer.verify(&core, now).await?;
                observer.read_measurements(&core.nodes_to_check()).await?;
                let changes = core.step(now, &observer.inputs);
                if changes.is_empty() {
                    observer.inputs.losses.clear();
                    let has_live = !core.tasks.is_empty() || observer.has_inputs();
                    changed = tokio::select! {
                        () = observer.changed() => true,
                        () = tokio::time::sleep(TICK), if has_live => false,
                        () = publisher.due() => false,
                    };
                    continue;
                }
                let committed = committer.commit(&mut core, changes, &mut clock, now).await?;
                publisher.committed(&committed, now);
                observer.handled(&committed, &core);
                backoff.reset();
                changed = observer.has_changed();
            }
        };
        tokio::select! {
            error = lists => Err(error),
            result = serving => result,
        }
    }

    fn now(&self, clock: &ServerClock) -> Millis {
        clock.now(BootInstant::now()).unwrap_or_else(local_time)
    }
}

/// Waits until a client or a worker has created the parent of all tasks: a fleet that does not use them has no znodes of
/// them.
async fn wait_for_root(connection: &Connection) -> Result<(), Error> {
    loop {
        let (stat, watcher) = connection.stat_and_watch(paths::ROOT).await?;
        if stat.is_some() {
            return Ok(());
        }
        watcher.changed().await;
    }
}
