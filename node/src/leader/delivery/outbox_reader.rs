//! Keeps the leader's outbox equal to the reports in ZooKeeper: lists them, reads as many as there is room for, and
//! sets aside those that can never be delivered.

use std::collections::BTreeSet;
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Connection, DataWatch, Error, Leadership};
use tokio::sync::watch;
use tracing::{debug, error, warn};

use crate::leader::Leader;
use crate::leader::delivery::outbox;
use crate::leader::delivery::worker::Outgoing;
use crate::leader::outbox_store::{self, Batch};
use crate::leader::schedule::ServerClock;
use crate::model::fence::{self, Fence};
use crate::model::report::{self, CycleReport};

/// Shortest time between two takeovers above an epoch of a collector, and between two looks whether the clock allows
/// one.
const BETWEEN_TAKEOVERS: Duration = Duration::from_secs(10);
/// Pause after reports could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);

impl Leader {
    /// Updates the outbox to the `waiting` cycles that were listed when it contained the `known` ones. `newest` is
    /// this leader's epoch and the newest cycle that it can have written.
    pub(in crate::leader) async fn refill(
        &self,
        leadership: &Leadership,
        outgoing: &Outgoing,
        known: &BTreeSet<u64>,
        waiting: &BTreeSet<u64>,
        newest: Fence,
    ) -> Result<(), Error> {
        self.count_aside(leadership.connection()).await?;
        outgoing.list(known, waiting).await;
        self.load(leadership, outgoing, newest).await?;
        // Those that are not listed any more are gone from the metrics, too.
        outgoing.with(|_| ()).await;
        Ok(())
    }

    /// Reads reports until all are read or the memory limit is reached.
    async fn load(&self, leadership: &Leadership, outgoing: &Outgoing, newest: Fence) -> Result<(), Error> {
        let mut batch = Batch::default();
        loop {
            let cycles = outgoing.to_read(batch.count()).await;
            if cycles.is_empty() {
                return Ok(());
            }
            let found = outbox_store::read(leadership.connection(), outbox::PATH, &cycles).await?;
            batch.saw(found.iter().filter_map(|(_, data)| data.as_ref()).map(Vec::len).max().unwrap_or(0));
            let judged: Vec<_> = found
                .into_iter()
                .map(|(cycle, data)| (cycle, data.map(|data| judge(data, cycle, newest))))
                .collect();
            log_refused(&judged);
            judged.iter().filter_map(|(_, judged)| judged.as_ref()?.as_ref().ok()).for_each(|report| {
                self.tell_averages(report);
            });
            outgoing
                .with(|outbox| {
                    for (cycle, judged) in judged {
                        match judged {
                            Some(Ok(report)) => outbox.read(report),
                            Some(Err(refused)) => outbox.refuse(cycle, refused.data),
                            None => outbox.gone(cycle),
                        }
                    }
                })
                .await;
        }
    }

    /// Counts the reports that are set aside, for the metrics.
    async fn count_aside(&self, connection: &Connection) -> Result<(), Error> {
        if self.options.metrics.is_enabled() {
            let aside = connection.stat(outbox::ASIDE).await?;
            self.options.metrics.set_rejected_reports(aside.map_or(0, |stat| stat.num_children));
        }
        Ok(())
    }

    /// Reads on whenever reports have been settled.
    pub(in crate::leader) async fn load_when_there_is_room(
        &self,
        leadership: &Leadership,
        outgoing: &Outgoing,
        epoch: i64,
        newest: watch::Receiver<u64>,
    ) {
        loop {
            outgoing.settled().await;
            let newest = possible(epoch, *newest.borrow());
            if let Err(error) = self.load(leadership, outgoing, newest).await {
                debug!(%error, "cannot read the outbox");
                tokio::time::sleep(READ_AGAIN).await;
            }
        }
    }

    /// Lists the reports that are written down whenever `/atalaya/reports` is written: that is what a client does
    /// after it has deleted a report or put one back.
    pub(in crate::leader) async fn follow_the_outbox(
        &self,
        leadership: &Leadership,
        outgoing: &Outgoing,
        epoch: i64,
        newest: watch::Receiver<u64>,
    ) {
        let watch = DataWatch::new(leadership.connection().session().clone(), outbox::PATH);
        let mut rung = watch.subscribe();
        let looking = async {
            let mut first = true;
            while rung.changed().await.is_ok() {
                rung.mark_unchanged();
                if std::mem::take(&mut first) {
                    continue;
                }
                let connection = leadership.connection();
                let looked = async {
                    // Cycles are written while this runs.
                    let known = outgoing.with(|outbox| outbox.known()).await;
                    let waiting = outbox_store::list(connection, outbox::PATH).await?.unwrap_or_default();
                    outbox_store::warn_of_others(&waiting.others);
                    let newest = possible(epoch, *newest.borrow());
                    self.refill(leadership, outgoing, &known, &waiting.cycles, newest).await
                };
                if let Err(error) = looked.await {
                    debug!(%error, "could not look into the outbox");
                }
            }
        };
        tokio::select! {
            error = watch.run() => warn!(%error, "nobody can tell this leader what to retry"),
            () = looking => {}
        }
        std::future::pending().await
    }
}

/// Returns the newest report that can be written down while `cycle` is the newest that is known to be: the one after
/// it may have been written and not confirmed.
fn possible(epoch: i64, cycle: u64) -> Fence {
    Fence { epoch, cycle, skipped: None }.with_next_cycle()
}

/// A report that can never be delivered.
struct Refused {
    reason: String,
    /// The data that is set aside.
    data: Vec<u8>,
}

/// Returns the report in the znode of this cycle, unless it can never be delivered or outranks the fleet: a report of
/// a later epoch than the leader's would make a collector refuse all that leaders report from then on.
fn judge(data: Vec<u8>, cycle: u64, newest: Fence) -> Result<CycleReport, Refused> {
    let report = match CycleReport::parse(&data, cycle) {
        Ok(report) => report,
        Err(reason) if data.len() <= report::MAX_SIZE => return Err(Refused { reason, data }),
        Err(reason) => {
            // As much as may be set aside a thousand times.
            let data = serde_json::json!({"cycle": cycle, "reason": reason}).to_string().into_bytes();
            return Err(Refused { reason, data });
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
    Err(Refused { reason, data })
}

/// Logs one line for all reports of a batch that can never be delivered.
fn log_refused(judged: &[(u64, Option<Result<CycleReport, Refused>>)]) {
    let mut refused =
        judged.iter().filter_map(|(cycle, judged)| Some((cycle, judged.as_ref()?.as_ref().err()?)));
    let Some((cycle, Refused { reason, .. })) = refused.next() else { return };
    let reports = refused.count() + 1;
    let reason = crate::model::text::sanitize_for_log(reason);
    let path = outbox::PATH;
    warn!(reports, "{path}/{cycle} can never be delivered and is set aside: {reason}; see atalaya reports");
}

/// Completes with the epoch of which a collector has reports, and above which this leader, of `epoch`, has to take
/// over: when the collector has said so, the clock allows a higher epoch, and the last takeover for this reason,
/// `rose`, is long ago.
pub(in crate::leader) async fn outranked(
    outgoing: &Outgoing,
    clock: ServerClock,
    epoch: i64,
    rose: Option<BootInstant>,
) -> i64 {
    let mut later = outgoing.outranked();
    let mut said = None;
    loop {
        let known = *later.borrow_and_update();
        if let Some(collector) = known.filter(|collector| *collector > epoch) {
            let latest = fence::latest_epoch(clock.now(BootInstant::now()).unwrap_or(0));
            let allowed = collector < latest;
            if said.replace(collector) != Some(collector) {
                let next = if allowed {
                    "this leader takes over in a higher epoch"
                } else {
                    "that is more than a day ahead of ZooKeeper's clock, so reports wait; drop it there: atalaya epochs drop"
                };
                error!(
                    epoch,
                    collector,
                    "the collector has reports of an epoch that no leader of this fleet had: {next}"
                );
            }
            let recent = rose.is_some_and(|rose| BootInstant::now().since(rose) < BETWEEN_TAKEOVERS);
            if allowed && !recent {
                return collector;
            }
        }
        let pause = if known.is_some() { BETWEEN_TAKEOVERS } else { Duration::MAX };
        tokio::select! {
            Ok(()) = later.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
#[path = "outbox_reader_tests.rs"]
mod tests;
