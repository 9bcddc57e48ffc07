//! Watches the barrier znode in lock-step mode and keeps the [`SamplingMode`] current.
//!
//! A lost connection keeps the last known state: the next read over a new connection corrects it. Errors are retried
//! with backoff.

use atalaya_config::SyncMode;
use atalaya_recipes::{Backoff, Connection, EventType, Session, WrongZnode, WrongZnodeReporter};
use tokio::sync::watch;
use tracing::debug;

use crate::model::barrier::{self, Barrier, LOG_TARGET, SamplingMode};
use crate::settings::Settings;

/// Keeps `mode` current with the settings and, in lock-step mode, with the state of the barrier. Runs until dropped.
pub(crate) async fn follow_barrier(
    session: &Session,
    mut settings: watch::Receiver<Settings>,
    mode: &watch::Sender<SamplingMode>,
) {
    loop {
        let Settings { sampling_period: period, sync, .. } = *settings.borrow_and_update();
        let lock_step = sync == SyncMode::Barrier;
        let publish = |barrier: Option<Barrier>| {
            let new = SamplingMode { period, barrier };
            mode.send_if_modified(|known| std::mem::replace(known, new) != new);
        };
        let known = mode.borrow().barrier.unwrap_or_default();
        publish(lock_step.then_some(known));
        let watching = async {
            if lock_step {
                // Boxed, because most fleets do not need it.
                Box::pin(watch_barrier(session, |barrier| publish(Some(barrier)))).await;
            }
            std::future::pending::<()>().await;
        };
        let changed = settings.wait_for(|new| (new.sampling_period, new.sync) != (period, sync));
        tokio::select! {
            () = watching => {}
            Ok(_) = changed => {}
            else => return std::future::pending().await,
        }
    }
}

/// Watches the barrier over the current connection of the session, and over its successors.
async fn watch_barrier(session: &Session, mut on_change: impl FnMut(Barrier)) {
    let (mut backoff, mut wrong_znodes) = (Backoff::default(), WrongZnodeReporter::default());
    loop {
        let connection = session.connection().await;
        backoff.reconnected();
        tokio::select! {
            biased;
            () = connection.lost() => {}
            () = watch_over(&connection, &mut on_change, &mut backoff, &mut wrong_znodes) => {}
        }
    }
}

async fn watch_over(
    connection: &Connection,
    on_change: &mut impl FnMut(Barrier),
    backoff: &mut Backoff,
    wrong_znodes: &mut WrongZnodeReporter,
) {
    loop {
        match connection.stat_and_watch(barrier::PATH).await {
            Ok((stat, watcher)) => {
                backoff.reset();
                let wrong = stat.as_ref().and_then(|stat| {
                    WrongZnode::not_childless(barrier::PATH, stat)
                        .or(WrongZnode::not_persistent(barrier::PATH, stat))
                });
                wrong_znodes.update(connection.session(), wrong);
                let generation = stat.map(|stat| stat.czxid);
                debug!(target: LOG_TARGET, generation, "barrier state");
                on_change(generation.map_or(Barrier::Open, Barrier::Closed));
                if connection.watch_event(watcher).await == Some(EventType::NodeDeleted) {
                    debug!(target: LOG_TARGET, released = generation, "barrier released");
                    on_change(Barrier::Released);
                }
            }
            Err(error) => {
                backoff.pause(connection.session(), &error).await;
            }
        }
    }
}
