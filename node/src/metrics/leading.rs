//! What is counted of leading: cycles, the fleet as it was read last, the outbox, deliveries. Counts stay when it leads no
//! more; what is only known to a leader goes.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::leader::delivery::queue::Outcome;
use crate::leader::read_fleet::Gathered;
use crate::leader::schedule::ServerClock;
use crate::metrics::lock;
use crate::model::measurement::Exclusion;
use crate::model::report::CycleReport;

/// How a cycle ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is written down.
    Written,
    /// Nobody had a usable measurement.
    Empty,
    /// It could not be done, or is not known to be.
    CommitError,
}

impl Ended {
    const ALL: [Ended; 3] = [Ended::Written, Ended::Empty, Ended::CommitError];

    const fn name(self) -> &'static str {
        match self {
            Ended::Written => "written",
            Ended::Empty => "empty",
            Ended::CommitError => "failed",
        }
    }
}

/// How a delivery ended, by name.
const DELIVERIES: [&str; 4] = ["accepted", "rejected", "failed", "stale"];

type ByOutcome = Family<[(&'static str, &'static str); 1], Counter>;

/// How late the next cycle may be before the leader counts as one that hangs, besides what its requests may take.
const SLACK: Duration = Duration::from_secs(10);
/// The longest time between two requests, or the end of one, while reports wait: the longest timeout and twice the longest
/// pause, and some more.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// The fleet's average of one quantity.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mean {
    /// Empty for bare numbers, as the unit is.
    pub(crate) quantity: String,
    pub(crate) unit: String,
    pub(crate) mean: f64,
}

/// What only a leader knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Led {
    /// When the next cycle has ended at the latest.
    next_by: Option<BootInstant>,
    /// When reports were last sent, or answered, or began to wait.
    sent_at: Option<BootInstant>,
    pub(crate) clock: ServerClock,
    /// How many nodes are listed, counted and, by reason, excluded.
    pub(crate) fleet: Option<(usize, usize, [usize; Exclusion::REASONS.len()])>,
    pub(crate) means: Vec<Mean>,
    /// How many reports wait, and the time of the oldest, by ZooKeeper's clock in milliseconds.
    pub(crate) waiting: usize,
    pub(crate) oldest: Option<i64>,
    /// How many were rejected and are kept.
    pub(crate) aside: Option<i32>,
    /// What stands at the counter, if the leader writes it.
    pub(crate) tally: Option<i64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Leading {
    terms: Counter,
    cycles: ByOutcome,
    durations: Histogram,
    lateness: Histogram,
    deliveries: ByOutcome,
    delivering: Histogram,
    retries: Counter,
    set_aside: Counter,
    dropped: Counter,
    outranked: Counter,
    /// `None` while it does not lead.
    led: Mutex<Option<Led>>,
}

impl Leading {
    pub(crate) fn new() -> Leading {
        // From a millisecond to the longest that a request may take.
        let seconds =
            || Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let leading = Leading {
            terms: Counter::default(),
            cycles: Family::default(),
            durations: seconds(),
            lateness: seconds(),
            deliveries: Family::default(),
            delivering: seconds(),
            retries: Counter::default(),
            set_aside: Counter::default(),
            dropped: Counter::default(),
            outranked: Counter::default(),
            led: Mutex::new(None),
        };
        // From the first on each is there, so that its increase can be seen.
        for ended in Ended::ALL {
            drop(leading.cycles.get_or_create(&[("outcome", ended.name())]));
        }
        for outcome in DELIVERIES {
            drop(leading.deliveries.get_or_create(&[("outcome", outcome)]));
        }
        leading
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let seconds = || Unit::Seconds;
        registry.register(
            "terms",
            "Times that this node began to lead in an epoch of its own",
            self.terms.clone(),
        );
        registry.register("cycles", "Cycles as a leader, by how they ended", self.cycles.clone());
        registry.register_with_unit(
            "cycle_duration",
            "How long a cycle took: reading the fleet, averaging, writing it down",
            seconds(),
            self.durations.clone(),
        );
        registry.register_with_unit(
            "cycle_lateness",
            "How long after it was due a cycle began",
            seconds(),
            self.lateness.clone(),
        );
        registry.register(
            "deliveries",
            "Requests to the API, by what became of them",
            self.deliveries.clone(),
        );
        registry.register_with_unit(
            "delivery_duration",
            "How long a request to the API took",
            seconds(),
            self.delivering.clone(),
        );
        registry.register(
            "delivery_retries",
            "Requests to the API with a report that had been sent before",
            self.retries.clone(),
        );
        registry.register("reports_set_aside", "Reports that the API rejected", self.set_aside.clone());
        registry.register(
            "reports_dropped",
            "Reports that had to make room in the outbox",
            self.dropped.clone(),
        );
        registry.register(
            "reports_outranked",
            "Reports that a collector refused because it has some of an epoch above the leader's",
            self.outranked.clone(),
        );
    }

    /// What only a leader knows; `None` while it does not lead.
    pub(crate) fn led(&self) -> MutexGuard<'_, Option<Led>> {
        lock(&self.led)
    }

    fn with(&self, act: impl FnOnce(&mut Led)) {
        if let Some(led) = self.led().as_mut() {
            act(led);
        }
    }

    pub(crate) fn begins(&self, now: BootInstant, patience: Duration) {
        let next_by = Some(now + patience + SLACK);
        *self.led() = Some(Led { next_by, sent_at: Some(now), ..Led::default() });
    }

    pub(crate) fn ends(&self) {
        *self.led() = None;
    }

    pub(crate) fn takes_office(&self, clock: ServerClock) {
        self.terms.inc();
        self.with(|led| led.clock = clock);
    }

    pub(crate) fn awaits(&self, due: Duration, now: BootInstant, patience: Duration) {
        self.with(|led| led.next_by = Some(now + due + patience + SLACK));
    }

    pub(crate) fn cycled(&self, ended: Ended, late: Duration, took: Duration, clock: ServerClock) {
        self.cycles.get_or_create(&[("outcome", ended.name())]).inc();
        self.lateness.observe(late.as_secs_f64());
        self.durations.observe(took.as_secs_f64());
        self.with(|led| led.clock = clock);
    }

    pub(crate) fn gathered(&self, nodes: usize, gathered: &Gathered) {
        let counted = nodes.saturating_sub(gathered.excluded);
        self.with(|led| led.fleet = Some((nodes, counted, gathered.reasons)));
    }

    /// A cycle came to this. Units that others made up are left out: there may be any number of them, in time.
    pub(crate) fn averaged(&self, report: &CycleReport) {
        let known = |average: &crate::model::report::Average| {
            let (quantity, unit) = (average.quantity.clone(), average.unit.clone());
            (quantity.is_some() || unit.is_none()).then(|| Mean {
                quantity: quantity.unwrap_or_default(),
                unit: unit.unwrap_or_default(),
                mean: average.mean,
            })
        };
        self.with(|led| led.means = report.averages.iter().filter_map(known).collect());
    }

    pub(crate) fn waits(&self, waiting: usize, oldest: Option<i64>, now: BootInstant) {
        self.with(|led| {
            if led.waiting == 0 {
                led.sent_at = Some(now);
            }
            (led.waiting, led.oldest) = (waiting, oldest);
        });
    }

    /// Whatever waits is sent from now on.
    pub(crate) fn delivers(&self, now: BootInstant) {
        self.with(|led| led.sent_at = Some(now));
    }

    pub(crate) fn sends(&self, retry: bool, now: BootInstant) {
        self.retries.inc_by(u64::from(retry));
        self.delivers(now);
    }

    pub(crate) fn answered(&self, outcome: &Outcome, took: Duration, now: BootInstant) {
        let outcome = match outcome {
            Outcome::Accepted => DELIVERIES[0],
            Outcome::Rejected(_) | Outcome::Invalid(_) => DELIVERIES[1],
            Outcome::CommitError(_) | Outcome::Doubtful(_) => DELIVERIES[2],
            Outcome::Stale(_) => DELIVERIES[3],
        };
        self.deliveries.get_or_create(&[("outcome", outcome)]).inc();
        self.delivering.observe(took.as_secs_f64());
        self.delivers(now);
    }

    pub(crate) fn sets_aside(&self) {
        self.set_aside.inc();
    }

    pub(crate) fn outranked(&self) {
        self.outranked.inc();
    }

    pub(crate) fn drops(&self) {
        self.dropped.inc();
    }

    pub(crate) fn aside(&self, aside: i32) {
        self.with(|led| led.aside = Some(aside));
    }

    pub(crate) fn tallied(&self, value: Option<i64>) {
        self.with(|led| led.tally = value);
    }
}

impl Led {
    /// What does not go on, if anything. `reports`: there is an API to report to.
    pub(crate) fn problem(&self, reports: bool, now: BootInstant) -> Option<&'static str> {
        if self.next_by.is_some_and(|by| !now.since(by).is_zero()) {
            return Some("it leads, and no cycle comes");
        }
        let silent = self.sent_at.is_some_and(|at| now.since(at) > LONGEST_SILENCE);
        (reports && self.waiting > 0 && silent).then_some("it leads, reports wait, and none is sent")
    }

    /// How old the oldest report is that waits.
    pub(crate) fn oldest_age(&self, now: BootInstant) -> Duration {
        let age = self.oldest.zip(self.clock.now(now)).map_or(0, |(oldest, now)| now.saturating_sub(oldest));
        Duration::from_millis(u64::try_from(age).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(second: u64) -> BootInstant {
        BootInstant::at(SECOND * u32::try_from(second).unwrap())
    }

    fn problem(leading: &Leading, second: u64) -> Option<&'static str> {
        leading.led().as_ref().and_then(|led| led.problem(true, at(second)))
    }

    #[test]
    fn a_leader_whose_cycles_do_not_come_is_noticed() {
        let leading = Leading::new();
        assert_eq!(problem(&leading, 1_000), None, "it does not lead");
        leading.begins(at(0), 20 * SECOND);
        assert_eq!(problem(&leading, 30), None);
        assert!(problem(&leading, 31).unwrap().contains("no cycle"), "it cannot even begin");
        leading.awaits(5 * SECOND, at(31), 20 * SECOND);
        assert_eq!(problem(&leading, 66), None);
        assert!(problem(&leading, 67).is_some());
        leading.ends();
        assert_eq!(problem(&leading, 1_000), None);
    }

    #[test]
    fn reports_that_wait_and_are_not_sent_are_noticed_and_those_that_fail_are_not() {
        let leading = Leading::new();
        leading.begins(at(0), 1_000 * SECOND);
        leading.waits(1, Some(0), at(100));
        assert_eq!(problem(&leading, 130), None);
        assert!(problem(&leading, 131).unwrap().contains("none is sent"));
        leading.sends(false, at(131));
        leading.answered(&Outcome::CommitError("away".into()), SECOND, at(141));
        assert_eq!(problem(&leading, 171), None);
        leading.waits(0, None, at(171));
        assert_eq!(problem(&leading, 900), None);
    }

    #[test]
    fn the_age_of_a_report_is_by_the_clock_that_it_was_made_with() {
        let mut clock = ServerClock::default();
        clock.heard(1_000_000, at(10), at(10));
        let led = Led { clock, oldest: Some(997_000), ..Led::default() };
        assert_eq!(led.oldest_age(at(12)), 5 * SECOND);
        assert_eq!(Led { oldest: Some(2_000_000), ..led }.oldest_age(at(12)), Duration::ZERO);
        assert_eq!(Led::default().oldest_age(at(12)), Duration::ZERO);
    }

    #[test]
    fn a_report_in_units_of_somebody_elses_making_makes_no_label() {
        let leading = Leading::new();
        leading.begins(at(0), SECOND);
        let average = |quantity: Option<&str>, unit: Option<&str>| crate::model::report::Average {
            quantity: quantity.map(str::to_owned),
            unit: unit.map(str::to_owned),
            mean: 1.0,
            min: 1.0,
            max: 1.0,
            stddev: None,
            count: 1,
        };
        let averages = vec![
            average(None, None),
            average(Some("temperature"), Some("Cel")),
            average(None, Some("furlongs")),
        ];
        let report = CycleReport {
            epoch: 1,
            cycle: 1,
            time: jiff::Timestamp::UNIX_EPOCH,
            excluded: 0,
            averages,
            reason: None,
        };
        leading.averaged(&report);
        let units: Vec<String> =
            leading.led().as_ref().unwrap().means.iter().map(|mean| mean.unit.clone()).collect();
        assert_eq!(units, ["", "Cel"]);
    }
}
