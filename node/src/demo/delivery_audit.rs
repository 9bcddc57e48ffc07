//! Audit of the deliveries: which averages were computed, which the API has received, and which were lost or arrived
//! from a deposed leader. No I/O.
//!
//! The demo sees both ends: every average that a leader computes, and every report that the API receives. So it knows
//! of each average whether it was delivered, is waiting, or was lost with its leader.

use std::collections::{BTreeSet, VecDeque};

use atalaya_collector::Outcome;

use crate::model::report::{Average, Report};

/// Maximum number of averages that are kept. They cover some hours.
const MAX_KEPT: usize = 20_000;

/// Identity of an average: epoch, cycle, unit.
pub(crate) type Key = (i64, u64, Option<String>);

/// An average in the chart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    /// Seconds since the start of the demo.
    pub(crate) at: f64,
    pub(crate) mean: f64,
    pub(crate) count: usize,
    pub(crate) unit: Option<String>,
    pub(crate) delivered: bool,
    key: Key,
}

/// All averages with the state of their delivery.
#[derive(Debug, Default)]
pub(crate) struct DeliveryAudit {
    points: VecDeque<Point>,
    /// Number of undelivered averages that were dropped because of [`MAX_KEPT`].
    dropped: usize,
    /// The newest received averages.
    received: BTreeSet<Key>,
    pub(crate) computed: u64,
    /// Number of averages that the API recorded.
    pub(crate) delivered: u64,
    pub(crate) repeated: u64,
    /// Number of reports of deposed leaders, which the API rejected.
    pub(crate) stale: u64,
    /// Epoch of the newest average.
    pub(crate) epoch: i64,
    /// Number of epochs, and so of leaders, with averages.
    pub(crate) epochs: u64,
    newest_received_epoch: i64,
}

impl DeliveryAudit {
    /// Records that a leader computed an average, `at` seconds after the start. Returns false if it is known already:
    /// a new leader passes on all averages in the outbox.
    pub(crate) fn on_computed(&mut self, at: f64, report: &Report) -> bool {
        let key = (report.epoch, report.cycle, report.average.unit.clone());
        if self.points.iter().rev().any(|point| point.key == key) {
            return false;
        }
        self.computed += 1;
        if report.epoch > self.epoch {
            self.epoch = report.epoch;
            self.epochs += 1;
        }
        // The API's event may come before the leader's.
        let delivered = self.received.contains(&key);
        if self.points.len() == MAX_KEPT {
            self.dropped += usize::from(self.points.pop_front().is_some_and(|oldest| !oldest.delivered));
        }
        let Average { mean, count, unit, .. } = report.average.clone();
        self.points.push_back(Point { at, mean, count, unit, delivered, key });
        true
    }

    /// Records that the API received a report. The acknowledgement of a repeated one was lost; a stale one is from a
    /// deposed leader.
    pub(crate) fn on_received(&mut self, key: Key, outcome: &Outcome) {
        match outcome {
            Outcome::Recorded(_) => self.on_delivered(key),
            Outcome::Repeated => self.repeated += 1,
            Outcome::Stale(_) => self.stale += 1,
            Outcome::Conflict(_) => {}
        }
    }

    fn on_delivered(&mut self, key: Key) {
        self.newest_received_epoch = self.newest_received_epoch.max(key.0);
        self.delivered += 1;
        if let Some(point) = self.points.iter_mut().rev().find(|point| point.key == key) {
            point.delivered = true;
        }
        self.received.insert(key);
        if self.received.len() > MAX_KEPT {
            self.received.pop_first();
        }
    }

    /// Returns the epochs of the averages that the API has not received.
    fn undelivered(&self) -> impl Iterator<Item = i64> {
        self.points.iter().filter(|point| !point.delivered).map(|point| point.key.0)
    }

    /// Returns the number of averages that the API has not received yet.
    pub(crate) fn waiting(&self) -> usize {
        self.undelivered().filter(|epoch| *epoch >= self.newest_received_epoch).count()
    }

    /// Returns the number of averages that were not delivered although one of a later epoch was. Delivery is in
    /// order, so no leader will deliver them any more.
    pub(crate) fn lost(&self) -> usize {
        self.undelivered().filter(|epoch| *epoch < self.newest_received_epoch).count() + self.dropped
    }

    /// Returns the averages since `at`, oldest first.
    pub(crate) fn since(&self, at: f64) -> impl Iterator<Item = &Point> {
        self.points.iter().skip(self.points.partition_point(|point| point.at < at))
    }

    pub(crate) fn latest(&self) -> Option<&Point> {
        self.points.back()
    }
}

#[cfg(test)]
mod tests {
    use atalaya_collector::fence::Stale;
    use proptest::prelude::*;

    use super::*;
    use crate::model::report::tests::cycle_report;

    fn report(epoch: i64, cycle: u64) -> Report {
        cycle_report(epoch, cycle, None).reports().next().unwrap()
    }

    /// Records the arrival of a report with the outcome that the API would return.
    fn receive(audit: &mut DeliveryAudit, epoch: i64, cycle: u64) {
        let key = (epoch, cycle, None);
        let outcome = match audit.newest_received_epoch {
            _ if audit.received.contains(&key) => Outcome::Repeated,
            newest if epoch < newest => Outcome::Stale(Stale { epoch: newest, first_cycle: 1 }),
            _ => Outcome::Recorded(1),
        };
        audit.on_received(key, &outcome);
    }

    #[test]
    fn computed_average_is_waiting_until_it_is_received() {
        let mut audit = DeliveryAudit::default();
        audit.on_computed(1.0, &report(5, 1));
        audit.on_computed(2.0, &report(5, 2));
        assert_eq!((audit.waiting(), audit.lost()), (2, 0));
        receive(&mut audit, 5, 1);
        receive(&mut audit, 5, 1);
        assert_eq!((audit.computed, audit.delivered, audit.repeated), (2, 1, 1));
        assert_eq!(audit.since(0.0).map(|point| point.delivered).collect::<Vec<_>>(), [true, false]);
        assert_eq!(audit.since(1.5).count(), 1);
    }

    #[test]
    fn average_of_a_dead_leader_is_waiting_and_a_report_of_a_deposed_leader_is_stale() {
        let mut audit = DeliveryAudit::default();
        audit.on_computed(1.0, &report(5, 1));
        audit.on_computed(2.0, &report(5, 2));
        audit.on_computed(3.0, &report(6, 3));
        assert_eq!((audit.waiting(), audit.lost(), audit.epochs), (3, 0, 2));
        receive(&mut audit, 5, 1);
        receive(&mut audit, 6, 3);
        assert_eq!((audit.waiting(), audit.lost()), (0, 1), "delivery is in order");
        receive(&mut audit, 5, 2);
        assert_eq!((audit.lost(), audit.stale), (1, 1));
    }

    #[test]
    fn conflicting_average_is_not_delivered() {
        let mut audit = DeliveryAudit::default();
        audit.on_computed(1.0, &report(5, 1));
        audit.on_received((5, 1, None), &Outcome::Conflict(79.0));
        assert_eq!((audit.delivered, audit.waiting()), (0, 1));
    }

    #[test]
    fn average_that_is_passed_on_twice_is_counted_once() {
        let mut audit = DeliveryAudit::default();
        audit.on_computed(1.0, &report(5, 1));
        audit.on_computed(1.1, &report(5, 1));
        receive(&mut audit, 5, 1);
        audit.on_computed(1.2, &report(5, 1));
        assert_eq!((audit.computed, audit.delivered, audit.waiting()), (1, 1, 0));
    }

    #[test]
    fn average_may_be_received_before_it_is_reported_as_computed() {
        let mut audit = DeliveryAudit::default();
        receive(&mut audit, 5, 1);
        audit.on_computed(1.0, &report(5, 1));
        assert_eq!((audit.waiting(), audit.computed, audit.delivered), (0, 1, 1));
    }

    proptest! {
        #[test]
        fn audit_accounts_for_every_average(events in prop::collection::vec((any::<bool>(), 1i64..4, 1u64..6), 0..100)) {
            let mut audit = DeliveryAudit::default();
            let mut computed = BTreeSet::new();
            for (is_received, epoch, cycle) in events {
                if !is_received {
                    // No average is computed twice.
                    if computed.insert((epoch, cycle)) {
                        audit.on_computed(0.0, &report(epoch, cycle));
                    }
                } else if computed.contains(&(epoch, cycle)) {
                    receive(&mut audit, epoch, cycle);
                }
                let open = audit.waiting() + audit.lost();
                prop_assert_eq!(audit.computed, audit.delivered + open as u64);
                prop_assert_eq!(audit.since(0.0).filter(|point| !point.delivered).count(), open);
            }
        }
    }
}
