//! The books: which averages were computed, which the API has, and what must never happen. Pure.
//!
//! The demo sees both ends: what every leader computes, and what arrives at the API. So it can say of each average
//! whether it arrived, is on its way, or went with the leader that had it.

use std::collections::{BTreeSet, HashSet, VecDeque};

use crate::model::report::{Average, Report};

/// How many averages are remembered: those of the last hours.
const REMEMBERED: usize = 20_000;

/// An average as the API got it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arrival {
    /// Higher for every later leader.
    pub epoch: i64,
    /// Counts the cycles of the fleet.
    pub cycle: u64,
    /// The unit, if the measurements say it.
    pub unit: Option<String>,
    /// The average.
    pub mean: f64,
    /// Of how many.
    pub count: usize,
}

/// What the API says of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is new.
    New,
    /// The same was there before: its acknowledgement must have been lost.
    Repeated,
    /// A later leader has reported already: whoever sent this was deposed.
    Stale,
    /// Another average of this cycle was there before.
    Conflict,
}

/// Which average: epoch, cycle, unit.
type Key = (i64, u64, Option<String>);

/// An average for the chart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    /// Seconds since the start of the demo.
    pub at: f64,
    /// The average.
    pub mean: f64,
    /// Of how many.
    pub count: usize,
    /// Its unit.
    pub unit: Option<String>,
    /// Whether the API has it.
    pub delivered: bool,
    key: Key,
}

/// All averages and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    points: VecDeque<Point>,
    /// Computed and not arrived.
    outstanding: BTreeSet<Key>,
    /// Outstanding ones that are too many to be remembered.
    forgotten: usize,
    /// Arrived, the newest.
    arrived: HashSet<Key>,
    order: VecDeque<Key>,
    /// Averages that leaders computed.
    pub computed: u64,
    /// Averages that the API has.
    pub delivered: u64,
    /// Arrivals that it had already.
    pub repeated: u64,
    /// Arrivals from a leader that was deposed: refused.
    pub stale: u64,
    /// Arrivals whose cycle it has with another average: refused.
    pub conflicts: u64,
    /// The epoch of the newest average.
    pub epoch: i64,
    /// How many leaders have computed averages.
    pub terms: u64,
    newest_arrived: i64,
}

impl Ledger {
    /// A leader has computed an average, `at` seconds after the start. False if that is known: whoever begins to lead tells what
    /// still waits.
    pub(crate) fn computed(&mut self, at: f64, report: &Report) -> bool {
        let key = (report.epoch, report.cycle, report.average.unit.clone());
        if self.outstanding.contains(&key) || self.points.iter().rev().any(|point| point.key == key) {
            return false;
        }
        self.computed += 1;
        if report.epoch > self.epoch {
            self.epoch = report.epoch;
            self.terms += 1;
        }
        // It may have arrived before this was heard of.
        let delivered = self.arrived.contains(&key);
        if !delivered {
            self.outstanding.insert(key.clone());
        }
        if self.outstanding.len() > REMEMBERED {
            self.outstanding.pop_first();
            self.forgotten += 1;
        }
        if self.points.len() == REMEMBERED {
            self.points.pop_front();
        }
        let Average { mean, count, unit, .. } = report.average.clone();
        self.points.push_back(Point { at, mean, count, unit, delivered, key });
        true
    }

    /// Something has arrived at the API, which says this of it.
    pub(crate) fn arrived(&mut self, arrival: &Arrival, verdict: Verdict) {
        match verdict {
            Verdict::New => self.is_there(arrival),
            Verdict::Repeated => self.repeated += 1,
            Verdict::Stale => self.stale += 1,
            Verdict::Conflict => self.conflicts += 1,
        }
    }

    fn is_there(&mut self, arrival: &Arrival) {
        let key = (arrival.epoch, arrival.cycle, arrival.unit.clone());
        self.newest_arrived = self.newest_arrived.max(arrival.epoch);
        self.delivered += 1;
        self.outstanding.remove(&key);
        if let Some(point) = self.points.iter_mut().rev().find(|point| point.key == key) {
            point.delivered = true;
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.arrived.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.arrived.insert(key);
    }

    /// Averages that the API does not have yet.
    pub(crate) fn waiting(&self) -> usize {
        self.outstanding.iter().filter(|(epoch, ..)| *epoch >= self.newest_arrived).count()
    }

    /// Averages that never arrived, although a later leader's have: nobody delivers them any more.
    pub(crate) fn lost(&self) -> usize {
        self.outstanding.len() - self.waiting() + self.forgotten
    }

    /// The averages since `at`, oldest first.
    pub(crate) fn since(&self, at: f64) -> impl Iterator<Item = &Point> {
        self.points.iter().skip(self.points.partition_point(|point| point.at < at))
    }

    /// The newest average.
    pub(crate) fn latest(&self) -> Option<&Point> {
        self.points.back()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::report::tests::cycle_report;

    fn report(epoch: i64, cycle: u64) -> Report {
        cycle_report(epoch, cycle, None).reports().next().unwrap()
    }

    fn arrival(epoch: i64, cycle: u64) -> Arrival {
        Arrival { epoch, cycle, unit: None, mean: 79.5, count: 2 }
    }

    /// What the API would say.
    fn arrive(ledger: &mut Ledger, epoch: i64, cycle: u64) {
        let verdict = match () {
            () if ledger.arrived.contains(&(epoch, cycle, None)) => Verdict::Repeated,
            () if epoch < ledger.newest_arrived => Verdict::Stale,
            () => Verdict::New,
        };
        ledger.arrived(&arrival(epoch, cycle), verdict);
    }

    #[test]
    fn what_is_computed_is_on_its_way_until_it_arrives() {
        let mut ledger = Ledger::default();
        ledger.computed(1.0, &report(5, 1));
        ledger.computed(2.0, &report(5, 2));
        assert_eq!((ledger.waiting(), ledger.lost()), (2, 0));
        arrive(&mut ledger, 5, 1);
        arrive(&mut ledger, 5, 1);
        assert_eq!((ledger.computed, ledger.delivered, ledger.repeated), (2, 1, 1));
        assert_eq!(ledger.since(0.0).map(|point| point.delivered).collect::<Vec<_>>(), [true, false]);
        assert_eq!(ledger.since(1.5).count(), 1);
    }

    #[test]
    fn what_a_dead_leader_had_waits_for_the_next_one_and_what_a_deposed_one_sends_is_stale() {
        let mut ledger = Ledger::default();
        ledger.computed(1.0, &report(5, 1));
        ledger.computed(2.0, &report(5, 2));
        ledger.computed(3.0, &report(6, 3));
        assert_eq!((ledger.waiting(), ledger.lost(), ledger.terms), (3, 0, 2));
        arrive(&mut ledger, 5, 1);
        arrive(&mut ledger, 6, 3);
        assert_eq!((ledger.waiting(), ledger.lost()), (0, 1), "what comes before it can come no more");
        arrive(&mut ledger, 5, 2);
        assert_eq!((ledger.lost(), ledger.stale), (1, 1));
    }

    #[test]
    fn another_average_of_a_cycle_is_counted_and_changes_nothing() {
        let mut ledger = Ledger::default();
        ledger.computed(1.0, &report(5, 1));
        ledger.arrived(&arrival(5, 1), Verdict::Conflict);
        assert_eq!((ledger.conflicts, ledger.delivered, ledger.waiting()), (1, 0, 1));
    }

    #[test]
    fn what_is_told_twice_is_computed_once() {
        let mut ledger = Ledger::default();
        ledger.computed(1.0, &report(5, 1));
        ledger.computed(1.1, &report(5, 1));
        arrive(&mut ledger, 5, 1);
        ledger.computed(1.2, &report(5, 1));
        assert_eq!((ledger.computed, ledger.delivered, ledger.waiting()), (1, 1, 0));
    }

    #[test]
    fn an_arrival_may_be_heard_of_before_its_computation() {
        let mut ledger = Ledger::default();
        arrive(&mut ledger, 5, 1);
        ledger.computed(1.0, &report(5, 1));
        assert_eq!((ledger.waiting(), ledger.computed, ledger.delivered), (0, 1, 1));
    }

    proptest! {
        #[test]
        fn the_books_balance(events in prop::collection::vec((any::<bool>(), 1i64..4, 1u64..6), 0..100)) {
            let mut ledger = Ledger::default();
            let mut computed = HashSet::new();
            for (arrives, epoch, cycle) in events {
                if !arrives {
                    // Nobody computes one average twice.
                    if computed.insert((epoch, cycle)) {
                        ledger.computed(0.0, &report(epoch, cycle));
                    }
                } else if computed.contains(&(epoch, cycle)) {
                    arrive(&mut ledger, epoch, cycle);
                }
                let open = ledger.waiting() + ledger.lost();
                prop_assert_eq!(ledger.computed, ledger.delivered + open as u64);
                prop_assert_eq!(ledger.since(0.0).filter(|point| !point.delivered).count(), open);
            }
        }
    }
}
