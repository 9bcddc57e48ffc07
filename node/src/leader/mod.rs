//! What a node does while it leads: keep the list of those who measure, read all of them once a period, write down what
//! they come to, report it.
//!
//! All of it is one future that the election drops at any await. What must outlive an interruption (a connection that
//! came back, the same znode still first) is in [`Leader`], under the term it belongs to; what must outlive the leader is in
//! ZooKeeper: [`fenced_store`].

pub mod aggregate;
mod cycle;
pub mod delivery;
pub mod fenced_store;
pub mod members;
pub mod outbox_store;
pub mod read_fleet;
pub mod schedule;
mod status_push;
mod write_counter;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use atalaya_hal::boards::{Counting, Release, SyncMode};
use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Backoff, Connection, Leadership, WrongZnodeReporter, children_watch};
use jiff::Timestamp;
use tokio::sync::{Mutex, mpsc, watch};
use tracing::{info, warn};

use crate::model::leader_state::LeaderState;
use crate::model::report::{CycleReport, Report};
use cycle::CycleRunner;
use delivery::outbox_reader;
use delivery::worker::{Api, Outgoing};
use fenced_store::{CommitError, FencedStore, Takeover};
use members::Members;
use schedule::ServerClock;
use write_counter::CounterTrouble;

use crate::metrics::LeaderMetrics;

/// What the leader is told, and may be told anew at any time.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    /// How often it averages.
    pub period: Duration,
    /// Where it reports; nowhere, if `None`: averages are only logged.
    pub api: Option<Api>,
    /// Whether all measure in step with it.
    pub sync: SyncMode,
    /// If so, when it lets them go on.
    pub release: Release,
    /// Who counts measurements.
    pub counting: Counting,
}

/// What the leader is told once.
#[derive(Clone, Debug)]
pub struct LeaderHandles {
    /// Its own id.
    pub id: String,
    /// The znode whose children are the measurements.
    pub measurements: String,
    /// What a node calls its measurement, with `{id}` in it.
    pub name: String,
    /// What may change.
    pub orders: watch::Receiver<LeaderConfig>,
    /// Who is told of each average once it is written down, besides the API. After an interruption one may be told twice.
    pub averages: Option<mpsc::UnboundedSender<Report>>,
    /// Where it says how it leads; `None` while it does not.
    pub leading: watch::Sender<Option<LeaderState>>,
    /// Where it is counted.
    pub metrics: LeaderMetrics,
}

/// The target of the log lines that tell averages.
pub const AVERAGES: &str = "atalaya::leader::average";

/// How long to wait before something that ZooKeeper has refused is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// A leader to be; clones share their state.
#[derive(Clone, Debug)]
pub struct Leader {
    options: Arc<LeaderHandles>,
    state: Arc<Mutex<State>>,
}

/// What outlives an interruption.
#[derive(Debug)]
struct State {
    /// `None`: it has not led, or has to take it anew.
    office: Option<FencedStore>,
    /// The number of the connection over which it led last.
    connection: u64,
    /// Since when it leads in this epoch.
    since: Timestamp,
    clock: ServerClock,
    roster: Members,
    outgoing: Outgoing,
    /// Refusals by ZooKeeper since the last cycle that was written down.
    trouble: Backoff,
    /// The next epoch must be above this one, which a collector has from elsewhere.
    above: Option<i64>,
    /// When it last took over for that reason.
    rose: Option<BootInstant>,
}

/// Takes back what was said when leading ends, however it ends.
struct Quiet<'a>(&'a LeaderHandles);

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        self.0.leading.send_replace(None);
        self.0.metrics.leadership_ended();
    }
}

impl Leader {
    /// One that has never led.
    pub fn new(options: LeaderHandles) -> Leader {
        let outgoing = Outgoing::new(options.orders.borrow().period, options.metrics.clone());
        let state = State {
            office: None,
            connection: 0,
            since: Timestamp::UNIX_EPOCH,
            clock: ServerClock::default(),
            roster: Members::default(),
            outgoing,
            trouble: Backoff::default(),
            above: None,
            rose: None,
        };
        Leader { options: Arc::new(options), state: Arc::new(Mutex::new(state)) }
    }

    /// Leads until it is dropped.
    pub async fn lead(self, leadership: Leadership) -> Infallible {
        let mut state = self.state.lock().await;
        state.trouble.reconnected();
        let _quiet = Quiet(&self.options);
        self.options.metrics.leadership_started(patience(leadership.connection()));
        let (listed, mut list) = watch::channel(None);
        let session = leadership.connection().session().clone();
        let following = children_watch::follow(&session, &self.options.measurements, |names| {
            listed.send_replace(Some(names));
        });
        let leading = Box::pin(async {
            loop {
                let before = self.begin(&leadership, &mut state).await;
                self.carry_on(&leadership, &mut state, before, &mut list).await;
            }
        });
        tokio::select! {
            () = following => {}
            never = leading => never,
        }
        std::future::pending().await
    }

    /// Takes the office, or finds it as it was left, and learns which reports wait. Gives when the office was last written
    /// before, if that is known: when the last cycle was, mostly.
    async fn begin(&self, leadership: &Leadership, state: &mut State) -> Option<i64> {
        loop {
            match self.try_to_begin(leadership, state).await {
                Ok(before) => return before,
                Err(CommitError::Fenced) => std::future::pending().await,
                Err(CommitError::OutcomeUnknown(error) | CommitError::Rejected(_, error)) => {
                    state.trouble.pause(leadership.connection().session(), &error).await;
                }
            }
        }
    }

    async fn try_to_begin(
        &self,
        leadership: &Leadership,
        state: &mut State,
    ) -> Result<Option<i64>, CommitError> {
        let connection = std::mem::replace(&mut state.connection, leadership.connection().number());
        let collector = state.above;
        let held = state.office.as_mut().filter(|office| office.is_of(leadership) && collector.is_none());
        if let Some(office) = held
            && let Some(waiting) = office.look(leadership).await?
        {
            if connection != state.connection {
                info!("leading again: the session is back and nobody else has led");
            }
            let term = office.term;
            let forged = state.outgoing.with(|outbox| outbox.refuse_above(term.cycle)).await;
            if forged > 0 {
                warn!(reports = forged, "reports of cycles that the fleet has not reached are set aside");
            }
            let known = state.outgoing.with(|outbox| outbox.known()).await;
            self.refill(leadership, &state.outgoing, &known, &waiting, term).await?;
            // The rhythm goes on: the cycle of this period may have been.
            return Ok(state.clock.now(BootInstant::now()));
        }
        let own = state.office.map(|office| office.term);
        let taken = FencedStore::take(leadership, &mut state.clock, own, collector).await?;
        let Takeover { office, waiting, before } = taken;
        state.above = None;
        state.outgoing = Outgoing::new(self.options.orders.borrow().period, self.options.metrics.clone());
        (state.office, state.since) = (Some(office), Timestamp::now());
        self.options.metrics.epoch_started(state.clock.now(BootInstant::now()));
        info!(epoch = office.term.epoch, cycle = office.term.cycle, undelivered = waiting.len(), "leading");
        state.outgoing.with(|outbox| outbox.set_term(office.term)).await;
        self.refill(leadership, &state.outgoing, &BTreeSet::new(), &waiting, office.term).await?;
        Ok(before)
    }

    fn tell_averages(&self, report: &CycleReport) {
        if let Some(averages) = &self.options.averages {
            // Nobody may be listening any more.
            report.reports().for_each(|report| drop(averages.send(report)));
        }
    }

    /// Leads in this office, for as long as it is known to be held.
    async fn carry_on(
        &self,
        leadership: &Leadership,
        state: &mut State,
        before: Option<i64>,
        list: &mut watch::Receiver<Option<Vec<String>>>,
    ) {
        let State { office: Some(office), since, clock, roster, outgoing, trouble, above, rose, .. } = state
        else {
            return;
        };
        let outgoing = &*outgoing;
        let (epoch, since) = (office.term.epoch, *since);
        let (counted, newest) = watch::channel(office.term.cycle);
        let delivering = self.deliver(leadership, outgoing);
        let saying = self.say(outgoing, epoch, since, newest.clone());
        let retrying = self.follow_the_outbox(leadership, outgoing, epoch, newest.clone());
        let loading = self.load_when_there_is_room(leadership, outgoing, epoch, newest.clone());
        let outranked = outbox_reader::outranked(outgoing, *clock, epoch, *rose);
        let telling = status_push::tell(&self.options, leadership);
        let cycles = CycleRunner {
            leader: self,
            leadership,
            clock,
            roster,
            outgoing,
            counted,
            office,
            counter: CounterTrouble::default(),
            trouble,
            sightings: WrongZnodeReporter::default(),
        };
        tokio::select! {
            // It ends when the office has to be looked at again.
            () = Box::pin(cycles.run(before, list)) => {}
            () = delivering => {}
            () = saying => {}
            () = retrying => {}
            () = loading => {}
            () = telling => {}
            collector = outranked => {
                *above = Some(collector);
                *rose = Some(BootInstant::now());
            }
        }
    }

    /// Delivers to wherever the reports are to go at the moment.
    async fn deliver(&self, leadership: &Leadership, outgoing: &Outgoing) {
        let mut orders = self.options.orders.clone();
        loop {
            let LeaderConfig { api, period, .. } = orders.borrow_and_update().clone();
            outgoing.with(|outbox| outbox.set_period(period)).await;
            tokio::select! {
                () = outgoing.deliver(leadership, api.as_ref()) => {}
                // Requests under way are cut off, and made again at the other place.
                Ok(()) = other_orders(&mut orders, &api, period) => {}
            }
        }
    }

    /// Says how it leads, whenever that changes.
    async fn say(&self, outgoing: &Outgoing, epoch: i64, since: Timestamp, mut newest: watch::Receiver<u64>) {
        let mut accepted = outgoing.delivered();
        let mut later = outgoing.outranked();
        loop {
            let delivered = *accepted.borrow_and_update();
            let cycle = *newest.borrow_and_update();
            let outranked = *later.borrow_and_update();
            let waiting = outgoing.with(|outbox| outbox.waiting()).await;
            let leading = LeaderState { epoch, cycle, since, waiting, delivered, outranked };
            self.options.leading.send_replace(Some(leading));
            tokio::select! {
                Ok(()) = newest.changed() => {}
                Ok(()) = later.changed() => {}
                Ok(()) = accepted.changed() => {}
            }
        }
    }
}

/// How long what a cycle asks ZooKeeper may take: who has no answer for a session timeout leads no more.
fn patience(connection: &Connection) -> Duration {
    connection.timeout() * 2
}

/// Returns when there are other orders about delivery.
async fn other_orders(
    orders: &mut watch::Receiver<LeaderConfig>,
    api: &Option<Api>,
    period: Duration,
) -> Result<(), watch::error::RecvError> {
    let other = |now: &LeaderConfig| now.period != period || !same(&now.api, api);
    orders.wait_for(other).await.map(|_| ())
}

fn same(one: &Option<Api>, other: &Option<Api>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is(other),
        (None, None) => true,
        _ => false,
    }
}

/// Most names in one log line.
const NAMED: usize = 10;

fn log_joined(names: &[String], total: usize) {
    if !names.is_empty() {
        info!(now = total, "{} joined", list(names));
    }
}

fn log_left(names: &[String], total: usize) {
    if !names.is_empty() {
        info!(now = total, "{} left", list(names));
    }
}

/// "node 1", "nodes 1, 2", "nodes 1, 2, … and 7 more".
fn list(names: &[String]) -> String {
    let noun = if names.len() == 1 { "node" } else { "nodes" };
    let shown = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => format!("{noun} {shown}"),
        more => format!("{noun} {shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_log_line_are_few() {
        let names: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
        assert_eq!(list(&names[..1]), "node 1");
        assert_eq!(list(&names[..2]), "nodes 1, 2");
        assert_eq!(list(&names), "nodes 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more");
    }
}
