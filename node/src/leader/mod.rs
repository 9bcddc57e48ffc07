//! What a node does while it leads: keep the list of those who measure, read all of them once a period, report.
//!
//! All of it is one future that the election drops at any await. What must outlive an interruption (a connection that
//! came back, the same znode still first) is in [`Leader`], under the term it belongs to.

pub mod aggregate;
pub mod courier;
pub mod deliver;
pub mod gather;
pub mod report;
pub mod roster;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use atalaya_recipes::{Leadership, children_watch};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use deliver::{Api, Outgoing};
use gather::gather;
use report::Report;
use roster::{Changes, Roster};

/// What the leader is told, and may be told anew at any time.
#[derive(Clone, Debug)]
pub struct Orders {
    /// How often it averages.
    pub period: Duration,
    /// Where it reports; nowhere, if `None`: averages are only logged.
    pub api: Option<Api>,
}

/// What the leader is told once.
#[derive(Clone, Debug)]
pub struct LeaderOptions {
    /// The znode whose children are the measurements.
    pub measurements: String,
    /// What may change.
    pub orders: watch::Receiver<Orders>,
    /// Who is told of each average as it is computed, besides the API.
    pub averages: Option<mpsc::UnboundedSender<Report>>,
}

/// The target of the log lines that tell averages.
pub const AVERAGES: &str = "atalaya::leader::average";

/// A leader to be; clones share their state.
#[derive(Clone, Debug)]
pub struct Leader {
    options: Arc<LeaderOptions>,
    state: Arc<Mutex<State>>,
}

/// What outlives an interruption.
#[derive(Debug)]
struct State {
    term: i64,
    cycle: u64,
    roster: Roster,
    outgoing: Outgoing,
}

impl Leader {
    /// One that has never led.
    pub fn new(options: LeaderOptions) -> Leader {
        let outgoing = Outgoing::new(options.orders.borrow().period);
        let state = State { term: 0, cycle: 0, roster: Roster::default(), outgoing };
        Leader { options: Arc::new(options), state: Arc::new(Mutex::new(state)) }
    }

    /// Leads until it is dropped.
    pub async fn lead(self, leadership: Leadership) -> Infallible {
        let mut state = self.state.lock().await;
        if state.term == leadership.term() {
            info!("leading again: the session is back and nobody else has led");
        } else {
            info!(epoch = leadership.term(), "leading");
            // What an earlier term has not delivered is older than what others have reported since.
            let roster = std::mem::take(&mut state.roster);
            let outgoing = Outgoing::new(self.options.orders.borrow().period);
            *state = State { term: leadership.term(), cycle: 0, roster, outgoing };
        }
        let State { cycle, roster, outgoing, .. } = &mut *state;
        let outgoing = &*outgoing;
        let (listed, mut list) = watch::channel(None);
        let session = leadership.link().session().clone();
        let following = children_watch::follow(&session, &self.options.measurements, |names| {
            listed.send_replace(Some(names));
        });
        let cycles = self.cycles(&leadership, &mut list, cycle, roster, outgoing);
        let delivering = self.deliver(&leadership, outgoing);
        tokio::select! {
            () = following => {}
            () = cycles => {}
            () = delivering => {}
        }
        std::future::pending().await
    }

    /// Delivers to wherever the reports are to go at the moment.
    async fn deliver(&self, leadership: &Leadership, outgoing: &Outgoing) {
        let mut orders = self.options.orders.clone();
        loop {
            let api = orders.borrow_and_update().api.clone();
            let delivering = async {
                match &api {
                    Some(api) => outgoing.deliver(leadership, api).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = delivering => {}
                // Requests under way are cut off, and made again at the other place.
                Ok(()) = orders.changed() => {}
            }
        }
    }

    async fn cycles(
        &self,
        leadership: &Leadership,
        list: &mut watch::Receiver<Option<Vec<String>>>,
        cycle: &mut u64,
        roster: &mut Roster,
        outgoing: &Outgoing,
    ) {
        // The first cycle comes at once, as soon as it is known who measures.
        if list.wait_for(Option::is_some).await.is_err() {
            return;
        }
        list.mark_changed();
        let mut orders = self.options.orders.clone();
        let mut period = orders.borrow_and_update().period;
        outgoing.set_period(period).await;
        let mut ticks = ticks(period);
        loop {
            tokio::select! {
                biased;
                Ok(()) = orders.changed() => {
                    let now = orders.borrow_and_update().period;
                    if std::mem::replace(&mut period, now) != now {
                        outgoing.set_period(period).await;
                        ticks = self::ticks(period);
                    }
                }
                Ok(()) = list.changed() => {
                    let names = list.borrow_and_update().clone().unwrap_or_default();
                    log_changes(&roster.update(&self.options.measurements, names), roster.len());
                }
                _ = ticks.tick() => self.cycle(leadership, cycle, roster, outgoing).await,
            }
        }
    }

    async fn cycle(
        &self,
        leadership: &Leadership,
        cycle: &mut u64,
        roster: &mut Roster,
        outgoing: &Outgoing,
    ) {
        let gathered = match gather(leadership.link(), roster).await {
            Ok(gathered) => gathered,
            Err(error) => return warn!("no average this time: {error}"),
        };
        let summaries = gathered.aggregate.summaries();
        if summaries.is_empty() {
            return warn!(
                excluded = gathered.excluded,
                "no average this time: nobody has a usable measurement"
            );
        }
        *cycle += 1;
        let reports = self.options.orders.borrow().api.is_some();
        for summary in summaries {
            let report =
                Report::new(leadership.term(), *cycle, SystemTime::now(), summary, gathered.excluded);
            info!(
                target: AVERAGES,
                cycle = report.cycle,
                mean = report.mean,
                unit = report.unit.as_deref(),
                min = report.min,
                max = report.max,
                count = report.count,
                excluded = report.excluded,
                "average"
            );
            if let Some(averages) = &self.options.averages {
                // Nobody may be listening any more.
                let _ = averages.send(report.clone());
            }
            if reports {
                outgoing.push(report).await;
            }
        }
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Most names in one log line.
const NAMED: usize = 10;

fn log_changes(changes: &Changes, total: usize) {
    for (names, what) in [(&changes.joined, "joined"), (&changes.left, "left")] {
        if !names.is_empty() {
            info!(now = total, "{} {what}", list(names));
        }
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
