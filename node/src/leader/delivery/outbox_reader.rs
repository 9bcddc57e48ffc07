//! Keeps an outbox of the leader equal to the reports in ZooKeeper: lists them, reads as many as fit into memory, and
//! rejects those that can never be delivered.

use std::collections::BTreeSet;
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{DataWatch, Error, Leadership};
use tracing::{debug, error, warn};

use crate::leader::config::LeaderHandles;
use crate::leader::delivery::shared_outbox::SharedOutbox;
use crate::leader::outbox_store;
use crate::model::fence::{self, Fence};
use crate::model::report::{self, CycleReport};
use crate::zk::server_clock::ServerClock;

/// Minimum time between takeovers above an epoch of a collector, and between checks whether the clock allows one.
const TAKEOVER_INTERVAL: Duration = Duration::from_secs(10);
/// Delay before reports that could not be read are read again.
const READ_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Reader of the reports in ZooKeeper for one leader.
#[derive(Clone, Copy, Debug)]
pub(in crate::leader) struct OutboxReader<'a> {
    pub(in crate::leader) outbox: &'a SharedOutbox,
    pub(in crate::leader) leadership: &'a Leadership,
    pub(in crate::leader) handles: &'a LeaderHandles,
}

impl OutboxReader<'_> {
    /// Updates the outbox at a takeover, as [`OutboxReader::sync`] does. The reports of an output are read later, beside
    /// the cycles, so that an output that is away does not delay the takeover.
    pub(in crate::leader) async fn take_over(
        self,
        known: &BTreeSet<u64>,
        listed: &BTreeSet<u64>,
        newest: Fence,
    ) -> Result<(), Error> {
        if self.outbox.is_of_api() {
            return self.sync(known, listed, newest).await;
        }
        self.outbox.update(|outbox| outbox.set_listed(known, listed)).await;
        self.outbox.finished.notify_one();
        Ok(())
    }

    /// Updates the outbox, which contained the cycles `known`, to the cycles `listed` in ZooKeeper. `newest` is this
    /// leader's epoch and the newest cycle that it can have committed.
    async fn sync(self, known: &BTreeSet<u64>, listed: &BTreeSet<u64>, newest: Fence) -> Result<(), Error> {
        self.outbox.count_rejected(self.leadership.connection()).await?;
        self.outbox.lock().await.set_listed(known, listed);
        self.load(newest).await?;
        // Updates the metrics. Before the reports are read, the age of the oldest is not known.
        self.outbox.update(|_| ()).await;
        Ok(())
    }

    /// Reads reports until all are read or the memory limit is reached.
    async fn load(self, newest: Fence) -> Result<(), Error> {
        let mut batch = outbox_store::FIRST_BATCH;
        loop {
            let cycles = self.outbox.lock().await.to_read(batch);
            if cycles.is_empty() {
                return Ok(());
            }
            let parent = &self.outbox.paths.reports;
            let found = outbox_store::read(self.leadership.connection(), parent, &cycles).await?;
            batch = outbox_store::next_batch(batch, found.iter().flat_map(|(_, data)| data).map(Vec::len));
            let mut undeliverable = Vec::new();
            self.outbox
                .update(|outbox| {
                    for (cycle, data) in found {
                        match data.map(|data| check(data, cycle, newest)) {
                            Some(Ok(report)) => {
                                if self.outbox.is_of_api() {
                                    self.handles.publish_averages(&report);
                                }
                                outbox.on_read(report);
                            }
                            Some(Err((reason, data))) => {
                                undeliverable.push((cycle, reason));
                                outbox.on_undeliverable(cycle, data);
                            }
                            None => drop(outbox.unread.remove(&cycle)),
                        }
                    }
                })
                .await;
            log_undeliverable(parent, &undeliverable);
        }
    }

    /// Reads further reports whenever finished ones have made room.
    pub(in crate::leader) async fn load_when_there_is_room(self) {
        loop {
            self.outbox.finished.notified().await;
            let Some(newest) = self.newest_possible() else { continue };
            if let Err(error) = self.load(newest).await {
                debug!(%error, "cannot read the outbox");
                tokio::time::sleep(READ_RETRY_INTERVAL).await;
                self.outbox.finished.notify_one();
            }
        }
    }

    /// Lists the reports again whenever their parent is written: clients do that after they deleted or restored one.
    pub(in crate::leader) async fn follow_changes(self) {
        let session = self.leadership.connection().session().clone();
        let parent = &self.outbox.paths.reports;
        let data_watch = DataWatch::new(session, parent);
        let mut changes = data_watch.subscribe();
        let syncing = async {
            // Also at the first notification, which is the state at the start: the parent may have been written since the
            // takeover has listed the reports.
            while changes.changed().await.is_ok() {
                while let Err(error) = self.list_and_sync().await {
                    debug!(%error, "cannot list the outbox; trying again");
                    tokio::time::sleep(READ_RETRY_INTERVAL).await;
                }
            }
        };
        tokio::select! {
            error = data_watch.run() => {
                warn!(%error, "cannot watch {parent}: reports that are put back wait for the next leader");
            }
            () = syncing => {}
        }
        std::future::pending().await
    }

    async fn list_and_sync(self) -> Result<(), Error> {
        // Cycles are committed while this runs, so the list is compared with the outbox as it was before.
        let known = self.outbox.lock().await.cycles();
        let parent = &self.outbox.paths.reports;
        let listing = outbox_store::list(self.leadership.connection(), parent).await?.unwrap_or_default();
        let unlogged = self.outbox.unlogged_foreign_children(&listing.others).await;
        outbox_store::warn_about_foreign_children(parent, &unlogged, listing.others.len());
        let Some(newest) = self.newest_possible() else { return Ok(()) };
        self.sync(&known, &listing.cycles, newest).await
    }

    /// Returns the newest cycle that can be in ZooKeeper: the one after the newest confirmed one may be committed too.
    fn newest_possible(self) -> Option<Fence> {
        let (epoch, cycle) = self.handles.state.borrow().as_ref().map(|state| (state.epoch, state.cycle))?;
        Some(Fence { epoch, cycle, skipped: None }.with_next_cycle())
    }
}

/// Parses the report of a cycle. Refuses one that can never be delivered, and one that is ahead of the fleet: after a
/// report of a later epoch than the leader's, a collector would refuse all further reports of the fleet. The error has
/// the reason, and the data for the rejected reports.
fn check(data: Vec<u8>, cycle: u64, newest: Fence) -> Result<CycleReport, (String, Vec<u8>)> {
    let report = match CycleReport::parse(&data, cycle) {
        Ok(report) => report,
        Err(reason) if data.len() <= report::MAX_SIZE => return Err((reason, data)),
        Err(reason) => {
            // Too large to keep: there may be a thousand rejected reports.
            let data = serde_json::json!({"cycle": cycle, "reason": reason}).to_string().into_bytes();
            return Err((reason, data));
        }
    };
    let reason = if report.epoch > newest.epoch {
        format!("its epoch is {}, above {}, that of the leader", report.epoch, newest.epoch)
    } else if cycle > newest.cycle {
        format!("its cycle is above {}, the newest of the fleet", newest.cycle)
    } else {
        return Ok(report);
    };
    let data = CycleReport { reason: Some(reason.clone()), ..report }.data();
    Err((reason, data))
}

fn log_undeliverable(path: &str, undeliverable: &[(u64, String)]) {
    let [(cycle, reason), ..] = undeliverable else { return };
    let reports = undeliverable.len();
    let reason = crate::model::text::sanitize_for_log(reason);
    warn!(
        reports,
        "{path}/{cycle} can never be delivered and moves to the rejected reports: {reason}; see atalaya reports list"
    );
}

/// Waits until this leader, of `epoch`, must take over above an epoch of which a collector has reports, and returns
/// that epoch. ZooKeeper's clock must allow a higher one, and the last takeover for this reason must be long ago.
pub(in crate::leader) async fn outranked(
    handles: &LeaderHandles,
    clock: ServerClock,
    epoch: i64,
    last_takeover: Option<BootInstant>,
) -> i64 {
    let mut state = handles.state.subscribe();
    let mut logged = None;
    loop {
        let known = state.borrow_and_update().as_ref().and_then(|state| state.outranked);
        if let Some(collector) = known.filter(|collector| *collector > epoch) {
            let latest = fence::latest_epoch(clock.now(BootInstant::now()).unwrap_or(0));
            let is_allowed = collector < latest;
            if logged.replace(collector) != Some(collector) {
                let next = if is_allowed {
                    "this leader takes over in a higher epoch"
                } else {
                    "that is more than a day ahead of ZooKeeper's clock, so reports wait; \
                     delete it on the collector's machine: atalaya epochs drop"
                };
                error!(
                    epoch,
                    collector,
                    "the collector has reports of an epoch that no leader of this fleet had (if another fleet reports to it, give \
                     each its own fleet_name): {next}"
                );
            }
            let is_recent =
                last_takeover.is_some_and(|time| BootInstant::now().since(time) < TAKEOVER_INTERVAL);
            if is_allowed && !is_recent {
                return collector;
            }
        }
        let recheck = if known.is_some() { TAKEOVER_INTERVAL } else { Duration::MAX };
        tokio::select! {
            Ok(()) = state.changed() => {}
            () = tokio::time::sleep(recheck) => {}
        }
    }
}

#[cfg(test)]
#[path = "outbox_reader_tests.rs"]
mod tests;
