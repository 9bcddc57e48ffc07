//! The fleet status, which the leader sends besides its reports: nodes, their health, and the outbox. Only the newest
//! one of each fleet is kept, in memory. Pure: time is passed in.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::findings::{Findings, MAX_FINDINGS};
use crate::fleet_name::{FleetName, ZoneName};
use crate::invalid::Invalid;
use crate::plausibility::{check_cycle_range, check_epoch_range};
use crate::tasks::{MAX_TASKS, Tasks};
use crate::values::{cut, integer, needed_integer, shortened, without_negative_zero};

/// Maximum number of nodes in a status; further ones are counted in `more`.
pub const MAX_NODES: usize = 1_000;
/// Maximum number of readings of a node.
pub const MAX_READINGS: usize = 32;
/// Maximum length of a text, in characters.
pub(crate) const MAX_TEXT: usize = 512;
/// Time after which a status no longer outranks an older epoch or cycle. Leaders send one at least every five seconds,
/// so a sender that is silent for longer is not the leader.
const OUTRANKS: Duration = Duration::from_secs(60);
/// Pattern of texts, for the OpenAPI document.
pub(crate) const TEXT_PATTERN: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]{0,512}$";

/// Status of a fleet, as its leader sees it. Unknown fields are ignored, because newer leaders may add some.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct Status {
    /// Name of the fleet; missing if it is `default`.
    #[serde(default, skip_serializing_if = "FleetName::is_default")]
    #[schema(value_type = Option<FleetName>, nullable = false)]
    pub fleet: FleetName,
    /// Zone of the fleet; missing if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub zone: Option<ZoneName>,
    /// Epoch; increases with every leader. The same maximum as for reports.
    #[serde(deserialize_with = "needed_integer")]
    #[schema(minimum = 1, maximum = 4_611_686_018_427_387_904_i64)]
    pub epoch: i64,
    /// Newest cycle.
    #[serde(deserialize_with = "needed_integer")]
    #[schema(minimum = 0, maximum = 4_611_686_018_427_387_904_i64)]
    pub cycle: i64,
    /// Id of the leader.
    pub leader: String,
    /// Time since which it leads, by its own clock.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Seconds from one cycle to the next.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub period: Option<f64>,
    /// Number of cycles whose reports wait in the outbox.
    #[serde(default, deserialize_with = "needed_integer")]
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    pub waiting: u64,
    /// Newest cycle whose report was accepted.
    #[serde(default, deserialize_with = "integer")]
    #[schema(minimum = -9_223_372_036_854_775_808_i64, maximum = 9_223_372_036_854_775_807_i64)]
    pub delivered: Option<i64>,
    /// Nodes, at most 1000.
    #[schema(max_items = 1000)]
    pub nodes: Vec<Node>,
    /// Number of further nodes.
    #[serde(default, deserialize_with = "needed_integer")]
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    pub more: u64,
    /// Newest tasks; null: the fleet has none, or the leader does not report them.
    #[serde(default)]
    pub tasks: Option<Tasks>,
    /// Outliers, withheld values and groups of the newest cycle; missing: there are none, or the leader does not report
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Findings>,
}

/// Node, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct Node {
    /// Id of the node.
    pub id: String,
    /// Seconds since its last measurement; null: there is none.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub age: Option<f64>,
    /// Health of the node.
    #[serde(default)]
    pub health: Health,
    /// Problem of the node, for people.
    #[serde(default)]
    pub problem: Option<String>,
    /// Machine on which it runs, if known.
    #[serde(default)]
    pub host: Option<String>,
    /// Group of the node, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// True if the node waits until fewer nodes contend for leadership.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standby: bool,
    /// Last readings, at most 32.
    #[serde(default)]
    #[schema(max_items = 32)]
    pub readings: Vec<Reading>,
}

/// Number with its unit.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct Reading {
    /// Value of the reading.
    pub value: f64,
    /// Unit as a SenML name (RFC 8428), if known.
    #[serde(default)]
    pub unit: Option<String>,
}

/// Health of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// The node and, as far as known, all of its sensors provide measurements.
    Ok,
    /// A sensor cannot be read, or the node has no measurement.
    Failing,
    /// The health is not known.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Status {
    /// Checks that the status is plausible and within the limits.
    ///
    /// # Errors
    /// Returns an error with the reason if it is not.
    pub fn check(&self) -> Result<(), Invalid> {
        let wrong = |what: String| Err(Invalid::new(what));
        check_epoch_range(self.epoch)?;
        check_cycle_range(self.cycle)?;
        if self.nodes.len() > MAX_NODES {
            return wrong(format!(
                "{} nodes: {MAX_NODES} at most, and the others as `more`",
                self.nodes.len()
            ));
        }
        let of_tasks = self.tasks.iter().flat_map(Tasks::seconds);
        let seconds = [self.period].into_iter().chain(self.nodes.iter().map(|node| node.age)).flatten();
        if let Some(seconds) = seconds.chain(of_tasks).find(|seconds| !(0.0..=1e12).contains(seconds)) {
            return wrong(format!("{seconds} is not a number of seconds from 0 to 1e12"));
        }
        let texts = self.nodes.iter().flat_map(|node| {
            let units = node.readings.iter().filter_map(|reading| reading.unit.as_ref());
            let own = [Some(&node.id), node.problem.as_ref(), node.host.as_ref(), node.group.as_ref()];
            own.into_iter().flatten().chain(units)
        });
        let of_tasks = self.tasks.iter().flat_map(Tasks::texts);
        let of_findings = self.findings.iter().flat_map(Findings::texts);
        let mut texts = texts.chain([&self.leader]).chain(of_tasks).chain(of_findings);
        if let Some(text) =
            texts.find(|text| text.chars().nth(MAX_TEXT).is_some() || text.chars().any(char::is_control))
        {
            return wrong(format!("{:?} is not {MAX_TEXT} printable characters or fewer", shortened(text)));
        }
        if let Some(tasks) = self.tasks.as_ref().filter(|tasks| tasks.list.len() > MAX_TASKS) {
            return wrong(format!("{} tasks: {MAX_TASKS} at most", tasks.list.len()));
        }
        if let Some(longest) = self.findings.as_ref().map(Findings::longest).filter(|n| *n > MAX_FINDINGS) {
            return wrong(format!("{longest} findings of a kind: {MAX_FINDINGS} at most"));
        }
        if let Some(node) = self.nodes.iter().find(|node| node.readings.len() > MAX_READINGS) {
            return wrong(format!("node {:?} has more than {MAX_READINGS} readings", shortened(&node.id)));
        }
        Ok(())
    }

    /// Turns every negative zero into zero.
    fn normalize(&mut self) {
        let normalize = |number: &mut f64| *number = without_negative_zero(*number);
        self.period.iter_mut().for_each(normalize);
        self.tasks.iter_mut().for_each(Tasks::normalize);
        self.findings.iter_mut().for_each(Findings::normalize);
        for node in &mut self.nodes {
            node.age.iter_mut().for_each(normalize);
            node.readings.iter_mut().for_each(|reading| normalize(&mut reading.value));
        }
    }
}

/// Received status, and the time of its arrival.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetSnapshot {
    /// The status.
    pub status: Status,
    /// Time of its arrival.
    pub received: Timestamp,
    /// `User-Agent` of the sender.
    pub reporter: Option<String>,
    at: Instant,
}

impl FleetSnapshot {
    /// Accepts a status as the `latest` one, unless a later epoch is known: `newest`, or the epoch of the last status if
    /// that is younger than a minute.
    ///
    /// # Errors
    /// Returns the later epoch, or the same epoch if its last status has a later cycle.
    pub fn update(
        latest: &mut Option<FleetSnapshot>,
        mut status: Status,
        newest: Option<i64>,
        reporter: Option<&str>,
        (received, at): (Timestamp, Instant),
    ) -> Result<(), i64> {
        if let Some(newest) = newest.filter(|newest| *newest > status.epoch) {
            return Err(newest);
        }
        if let Some(known) = latest
            && (known.status.epoch, known.status.cycle) > (status.epoch, status.cycle)
            && known.age(at) < OUTRANKS
        {
            return Err(known.status.epoch);
        }
        status.normalize();
        let reporter = reporter.map(cut);
        *latest = Some(FleetSnapshot { status, received, reporter, at });
        Ok(())
    }

    /// Returns the time since its arrival. It does not depend on changes of the system clock.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(epoch: i64, cycle: i64) -> Status {
        let text =
            format!(r#"{{"epoch": {epoch}, "cycle": {cycle}, "leader": "1", "nodes": [{{"id": "1"}}]}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn status_with_the_highest_epoch_and_cycle_is_kept() {
        let mut fleet = None;
        let start = Instant::now();
        let mut update = |epoch, cycle, newest| {
            let arrival = (Timestamp::UNIX_EPOCH, start);
            FleetSnapshot::update(&mut fleet, status(epoch, cycle), newest, None, arrival)
        };
        assert_eq!(update(7, 5, None), Ok(()));
        assert_eq!(update(7, 4, None), Err(7), "it was delayed");
        assert_eq!(update(7, 5, Some(7)), Ok(()), "the same cycle, a little later");
        assert_eq!(update(7, 6, Some(8)), Err(8), "another leader has reported");
        assert_eq!(update(8, 6, Some(8)), Ok(()));
        assert_eq!(update(7, 9, None), Err(8));
        let snapshot = fleet.unwrap();
        assert_eq!((snapshot.status.epoch, snapshot.status.cycle), (8, 6));
        assert_eq!(snapshot.age(start + Duration::from_secs(3)), Duration::from_secs(3));
    }

    /// Otherwise one status with a far epoch or cycle would hide all later ones until the collector is restarted.
    #[test]
    fn status_of_a_far_epoch_or_cycle_outranks_others_for_a_minute_only() {
        for far in [status(900, 1), status(7, 1 << 62)] {
            let mut fleet = None;
            let start = Instant::now();
            let mut update = |status, seconds| {
                let arrival = (Timestamp::UNIX_EPOCH, start + Duration::from_secs(seconds));
                FleetSnapshot::update(&mut fleet, status, Some(7), None, arrival)
            };
            let epoch = far.epoch;
            assert_eq!(update(far, 0), Ok(()));
            assert_eq!(update(status(7, 5), 59), Err(epoch));
            assert_eq!(update(status(7, 5), 60), Ok(()));
            assert_eq!(update(status(7, 4), 61), Err(7));
            assert_eq!(update(status(6, 9), 600), Err(7), "a deposed leader");
        }
    }

    #[test]
    fn implausible_status_is_refused() {
        assert!(status(1, 0).check().is_ok());
        for wrong in [status(0, 0), status(1, -1), status(i64::MAX, 0), status(1, i64::MAX)] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
        let node = status(1, 0).nodes[0].clone();
        let with = |change: &dyn Fn(&mut Status)| {
            let mut status = status(1, 0);
            change(&mut status);
            status.check()
        };
        assert!(with(&|status| status.nodes = vec![node.clone(); MAX_NODES + 1]).is_err());
        assert!(with(&|status| status.nodes[0].age = Some(-1.0)).is_err());
        assert!(with(&|status| status.period = Some(f64::NAN)).is_err());
        assert!(with(&|status| status.leader = "x".repeat(MAX_TEXT + 1)).is_err());
        assert!(with(&|status| status.nodes[0].host = Some("a\nb".to_owned())).is_err());
        let reading = Reading { value: 1.0, unit: None };
        assert!(with(&|status| status.nodes[0].readings = vec![reading.clone(); MAX_READINGS + 1]).is_err());
        let task = r#"{"id": "t-0000000003", "state": "resting", "mood": 3}"#;
        let task: crate::tasks::Task = serde_json::from_str(task).unwrap();
        assert_eq!(task.state, crate::tasks::TaskState::Unknown, "newer leaders may send more");
        let tasks = |change: &dyn Fn(&mut crate::tasks::Task), count| {
            let mut task = task.clone();
            change(&mut task);
            with(&|status| status.tasks = Some(Tasks { live: 1, list: vec![task.clone(); count] }))
        };
        assert!(tasks(&|_| {}, MAX_TASKS).is_ok() && tasks(&|_| {}, MAX_TASKS + 1).is_err());
        assert!(tasks(&|task| task.reason = Some("a\u{1b}[2J".to_owned()), 1).is_err());
        assert!(tasks(&|task| task.progress = Some("x".repeat(MAX_TEXT + 1)), 1).is_err());
        assert!(tasks(&|task| task.ended = Some(-1.0), 1).is_err());
        let findings = |text: &str| with(&|status| status.findings = serde_json::from_str(text).unwrap());
        assert!(
            findings(r#"{"withheld":[{"value":1}],"outliers":[{"node":"7","value":-0.0}],"later":1}"#)
                .is_ok()
        );
        for wrong in [
            r#"{"outliers":[{"node":"a\u001b[2J","value":1}]}"#.to_owned(),
            format!(r#"{{"groups":[{{"group":"{}","value":1,"min":1,"max":1}}]}}"#, "x".repeat(MAX_TEXT + 1)),
            format!(r#"{{"withheld":[{}]}}"#, vec![r#"{"value":1}"#; MAX_FINDINGS + 1].join(",")),
        ] {
            assert!(findings(&wrong).is_err(), "{wrong}");
        }
        assert!(with(&|status| status.nodes[0].group = Some("a\nb".to_owned())).is_err());
        let later: Node = serde_json::from_str(r#"{"id": "1", "health": "sleepy", "mood": 3}"#).unwrap();
        assert_eq!(later.health, Health::Unknown, "newer leaders may send more");
    }

    proptest! {
        /// Checks that an accepted status can be sent again, without negative zeros.
        #[test]
        fn status_of_arbitrary_input_is_sound_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            numbers in prop::collection::vec(prop_oneof![Just(-0.0), any::<f64>()], 3),
            wholes in prop::collection::vec(any::<i64>(), 5), text in ".{0,600}",
        ) {
            let text = serde_json::to_string(&text).unwrap();
            let [period, age, value] = numbers[..] else { unreachable!() };
            let [epoch, cycle, waiting, delivered, more] = wholes[..] else { unreachable!() };
            let sent = format!(
                r#"{{"epoch": {epoch}, "cycle": {cycle}, "leader": {text}, "period": {period:e}, "waiting": {waiting},
                "delivered": {delivered}, "more": {more}, "nodes": [{{"id": {text}, "age": {age:e}, "problem": {text},
                "health": {text}, "readings": [{{"value": {value:e}, "unit": {text}}}]}}], "tasks": {{"live": {more}, "list": [
                {{"id": {text}, "action": {text}, "state": {text}, "done": {waiting}, "age": {age:e}, "ended": {value:e},
                "reason": {text}}}]}}, "findings": {{"more_outliers": {more}, "withheld": [{{"value": {value:e}, "nodes": {more}}}],
                "outliers": [{{"node": {text}, "value": {age:e}}}],
                "groups": [{{"group": {text}, "unit": {text}, "value": {value:e}, "min": {age:e}, "max": {period:e}}}]}}}}"#
            );
            for body in [&bytes[..], sent.as_bytes()] {
                let Ok(status) = serde_json::from_slice::<Status>(body) else { continue };
                if status.check().is_ok() {
                    let (mut fleet, arrival) = (None, (Timestamp::UNIX_EPOCH, Instant::now()));
                    FleetSnapshot::update(&mut fleet, status, None, Some(&text), arrival).unwrap();
                    let again = serde_json::to_string(&fleet.unwrap().status).unwrap();
                    prop_assert!(!again.contains(":-0.0"), "{again}");
                }
            }
        }
    }
}
