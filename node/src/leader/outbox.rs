//! The reports that are written down and not yet accepted: which of them to send next, and what to do with those that are
//! settled. Pure; filled and emptied by [`super::office`], sent by [`super::deliver`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atalaya_recipes::clock::Moment;
use jiff::Timestamp;

use super::courier::{Courier, Key, News, Next, Outcome, Settled};
use super::report::{CycleReport, Report};

/// The parent of reports that are not delivered yet; their names are their cycles.
pub const PATH: &str = "/atalaya/reports";
/// The parent of reports that the API rejects.
pub const ASIDE: &str = "/atalaya/aside";
/// Reports kept while the API is away; then the oldest makes room.
pub const LARGEST: usize = 10_000;
/// Rejected reports kept; then the oldest makes room.
pub const MOST_ASIDE: usize = 1_000;

/// What is to be done with a report that is settled.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// It was accepted: delete it.
    Delivered,
    /// Some of it was rejected: set this aside, and delete it.
    Aside(CycleReport),
}

#[derive(Debug)]
struct Open {
    report: CycleReport,
    /// How many of its averages are not settled.
    left: usize,
    /// Those that were rejected, and why.
    rejected: Vec<usize>,
    reason: Option<String>,
}

/// What waits to be delivered.
#[derive(Debug)]
pub struct Outbox {
    courier: Courier<()>,
    open: BTreeMap<u64, Open>,
    /// Settled, but perhaps still written down.
    ending: BTreeMap<u64, Ending>,
}

impl Outbox {
    /// An empty one, for cycles that come once a `period`.
    pub fn new(period: Duration) -> Outbox {
        Outbox { courier: Courier::new(period), open: BTreeMap::new(), ending: BTreeMap::new() }
    }

    /// Cycles come once a `period` from now on.
    pub fn set_period(&mut self, period: Duration) {
        self.courier.set_period(period);
    }

    /// How long to wait for an answer.
    pub fn timeout(&self) -> Duration {
        self.courier.timeout()
    }

    /// How many cycles have not been settled.
    pub fn waiting(&self) -> usize {
        self.open.len()
    }

    /// The time of the oldest of them.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.open.first_key_value().map(|(_, open)| open.report.time)
    }

    /// Whether this report, which is under way, has been sent before.
    pub fn is_retry(&self, key: Key) -> bool {
        self.courier.is_retry(key)
    }

    /// Whether it is known already that this cycle's report is written down.
    pub fn knows(&self, cycle: u64) -> bool {
        self.open.contains_key(&cycle) || self.ending.contains_key(&cycle)
    }

    /// A report that is written down.
    pub fn add(&mut self, report: CycleReport) {
        if self.knows(report.cycle) {
            return;
        }
        let left = report.averages.len();
        for index in 0..left {
            self.courier.push((report.cycle, index), report.epoch, ());
        }
        self.open.insert(report.cycle, Open { report, left, rejected: Vec::new(), reason: None });
    }

    /// All that are known to be written down.
    pub fn known(&self) -> BTreeSet<u64> {
        self.open.keys().chain(self.ending.keys()).copied().collect()
    }

    /// Of those that were known `before` somebody looked, `listed` are written down. What came meanwhile is not among them, and
    /// stays.
    pub fn keep_only(&mut self, before: &BTreeSet<u64>, listed: &BTreeSet<u64>) {
        for cycle in before.difference(listed) {
            self.forget(*cycle, false);
            self.ending.remove(cycle);
        }
    }

    /// The report that has to make room for another, if there is no room: the oldest that is not being sent.
    pub fn too_many(&self) -> Option<u64> {
        if self.open.len() < LARGEST {
            return None;
        }
        let idle = |(cycle, open): &(&u64, &Open)| {
            (0..open.report.averages.len()).all(|index| !self.courier.is_under_way((**cycle, index)))
        };
        self.open.iter().find(idle).map(|(cycle, _)| *cycle)
    }

    /// This one had to make room.
    pub fn dropped(&mut self, cycle: u64) {
        self.forget(cycle, true);
    }

    fn forget(&mut self, cycle: u64, dropped: bool) {
        let Some(open) = self.open.remove(&cycle) else { return };
        for index in 0..open.report.averages.len() {
            // A cycle counts as one.
            self.courier.forget((cycle, index), dropped && index == 0);
        }
    }

    /// Requests that were under way have been cut off, their outcome unknown: they are sent again.
    pub fn interrupted(&mut self) {
        self.courier.interrupted();
    }

    /// What to do at `now`.
    pub fn next(&mut self, now: Moment) -> Next<Report> {
        loop {
            return match self.courier.next(now) {
                Next::Wait(until) => Next::Wait(until),
                Next::Idle => Next::Idle,
                Next::Send(key, ()) => {
                    let open = self.open.get(&key.0);
                    match open.and_then(|open| open.report.reports().nth(key.1)) {
                        Some(report) => Next::Send(key, report),
                        None => {
                            self.courier.forget(key, false);
                            continue;
                        }
                    }
                }
            };
        }
    }

    /// A request has ended. Gives the cycle that it settled, if it did: see [`Outbox::ending`].
    pub fn done(&mut self, key: Key, outcome: Outcome) -> (Option<u64>, Option<News>) {
        let (cycle, index) = key;
        let (settled, news) = self.courier.done(key, outcome);
        let (Some(settled), Some(open)) = (settled, self.open.get_mut(&cycle)) else { return (None, news) };
        open.left -= 1;
        if let Settled::Rejected(reason) = settled {
            open.rejected.push(index);
            open.reason = Some(reason);
        }
        if open.left > 0 {
            return (None, news);
        }
        let ending = match self.open.remove(&cycle) {
            Some(Open { mut report, rejected, reason: Some(reason), .. }) => {
                let mut index = 0;
                report.averages.retain(|_| {
                    index += 1;
                    rejected.contains(&(index - 1))
                });
                report.reason = Some(reason);
                Ending::Aside(report)
            }
            _ => Ending::Delivered,
        };
        self.ending.insert(cycle, ending);
        (Some(cycle), news)
    }

    /// What is to be done with that report now.
    pub fn ending(&self, cycle: u64) -> Option<&Ending> {
        self.ending.get(&cycle)
    }

    /// All that are to be deleted.
    pub fn endings(&self) -> Vec<u64> {
        self.ending.keys().copied().collect()
    }

    /// It is not written down any more.
    pub fn ended(&mut self, cycle: u64) {
        self.ending.remove(&cycle);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::report::tests::cycle_report;
    use super::*;

    fn ms(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    fn outbox(cycles: impl IntoIterator<Item = u64>) -> Outbox {
        let mut outbox = Outbox::new(Duration::from_secs(1));
        cycles.into_iter().for_each(|cycle| outbox.add(cycle_report(1, cycle, None)));
        outbox
    }

    /// A cycle with averages of two units.
    fn double(cycle: u64) -> CycleReport {
        let mut report = cycle_report(1, cycle, Some("Cel"));
        report.averages.extend(cycle_report(1, cycle, Some("%RH")).averages);
        report
    }

    /// Sends the next one at `now`, or as soon as it may be sent.
    fn send(outbox: &mut Outbox, now: &mut u64) -> Option<(Key, Report)> {
        for _ in 0..60_000 {
            match outbox.next(ms(*now)) {
                Next::Send(key, report) => return Some((key, report)),
                Next::Wait(_) => *now += 1,
                Next::Idle => return None,
            }
        }
        panic!("it waits for ever")
    }

    #[test]
    fn a_cycle_ends_with_its_last_average() {
        let (mut outbox, mut now) = (outbox([]), 0);
        outbox.add(double(7));
        let (key, report) = send(&mut outbox, &mut now).unwrap();
        assert_eq!((report.key(), outbox.done(key, Outcome::Accepted)), ("1-7-Cel".to_owned(), (None, None)));
        let (key, report) = send(&mut outbox, &mut now).unwrap();
        assert_eq!(
            (report.key(), outbox.done(key, Outcome::Accepted)),
            ("1-7-%RH".to_owned(), (Some(7), None))
        );
        assert_eq!((outbox.ending(7), outbox.waiting()), (Some(&Ending::Delivered), 0));
        // It is there for as long as it is not deleted, and not sent again.
        outbox.add(double(7));
        assert_eq!((send(&mut outbox, &mut now), outbox.endings()), (None, vec![7]));
        outbox.ended(7);
        assert!(!outbox.knows(7));
    }

    #[test]
    fn only_what_was_rejected_is_set_aside() {
        let (mut outbox, mut now) = (outbox([]), 0);
        outbox.add(double(7));
        let (key, _) = send(&mut outbox, &mut now).unwrap();
        outbox.done(key, Outcome::Accepted);
        while outbox.ending(7).is_none() {
            let (key, report) = send(&mut outbox, &mut now).unwrap();
            assert_eq!(report.key(), "1-7-%RH");
            outbox.done(key, Outcome::Rejected("400".into()));
        }
        let Some(Ending::Aside(aside)) = outbox.ending(7) else { panic!() };
        assert_eq!((aside.averages.len(), aside.averages[0].unit.as_deref()), (1, Some("%RH")));
        assert_eq!(aside.reason.as_deref(), Some("400"));
    }

    #[test]
    fn what_somebody_has_deleted_is_not_sent() {
        let (mut outbox, mut now) = (outbox([1, 2, 3]), 0);
        let before = outbox.known();
        outbox.keep_only(&before, &BTreeSet::from([2]));
        assert_eq!(send(&mut outbox, &mut now).unwrap().0.0, 2);
        assert_eq!(outbox.waiting(), 1);
    }

    #[test]
    fn what_is_written_down_while_somebody_looks_stays() {
        let (mut outbox, mut now) = (outbox([1, 2]), 0);
        let before = outbox.known();
        // The list was read already.
        outbox.add(cycle_report(1, 3, None));
        outbox.keep_only(&before, &BTreeSet::from([2]));
        let mut settled = Vec::new();
        while let Some((key, _)) = send(&mut outbox, &mut now) {
            settled.extend(outbox.done(key, Outcome::Accepted).0);
        }
        assert_eq!(settled, [2, 3]);
        // So does what is still to be deleted.
        let before = BTreeSet::from([2]);
        outbox.keep_only(&before, &BTreeSet::new());
        assert_eq!(outbox.endings(), [3]);
    }

    #[test]
    fn there_is_room_for_so_many_and_the_oldest_makes_room() {
        let mut outbox = outbox(1..=LARGEST as u64 - 1);
        assert_eq!(outbox.too_many(), None);
        outbox.add(cycle_report(1, 20_000, None));
        let mut now = 0;
        assert_eq!(send(&mut outbox, &mut now).unwrap().0.0, 1);
        assert_eq!(outbox.too_many(), Some(2), "the first is being sent");
        outbox.dropped(2);
        assert_eq!((outbox.too_many(), outbox.knows(2)), (None, false));
        let news = outbox.done((1, 0), Outcome::Failed("refused".into())).1;
        assert!(matches!(news, Some(News::Failing(_))));
        let (key, _) = send(&mut outbox, &mut now).unwrap();
        assert_eq!(outbox.done(key, Outcome::Accepted).1, Some(News::Accepting { dropped: 1 }));
    }

    proptest! {
        /// Whatever happens, each cycle ends once, or still waits.
        #[test]
        fn each_cycle_ends_once(acts in prop::collection::vec((0u8..6, 1u64..8), 0..200)) {
            let (mut outbox, mut now) = (outbox([]), 0);
            let (mut written, mut ended): (BTreeSet<u64>, Vec<u64>) = Default::default();
            let mut seen = BTreeSet::new();
            for (act, cycle) in acts {
                now += 10;
                match act {
                    0 if seen.insert(cycle) => { outbox.add(double(cycle)); written.insert(cycle); }
                    1 => outbox.interrupted(),
                    2 => {
                        let known = outbox.known();
                        outbox.keep_only(&known, &written);
                    }
                    _ => if let Some((key, _)) = send(&mut outbox, &mut now) {
                        let outcome = match act {
                            3 => Outcome::Accepted,
                            4 => Outcome::Rejected("no".into()),
                            _ => Outcome::Failed("no".into()),
                        };
                        if let (Some(cycle), _) = outbox.done(key, outcome) {
                            prop_assert!(outbox.ending(cycle).is_some());
                            outbox.ended(cycle);
                            written.remove(&cycle);
                            ended.push(cycle);
                        }
                    },
                }
                prop_assert_eq!(outbox.waiting(), written.len());
            }
            let count = ended.len();
            ended.sort_unstable();
            ended.dedup();
            prop_assert_eq!(ended.len(), count);
        }
    }
}
