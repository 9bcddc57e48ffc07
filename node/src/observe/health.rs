//! Liveness and readiness of a node, as Kubernetes defines them. No I/O: [`HealthSnapshot`] has all that is known.

use std::time::Duration;

use crate::sampling::read_timeout;

#[derive(Clone, Debug, Default)]
pub(crate) struct HealthSnapshot {
    pub(crate) stage: Stage,
    pub(crate) sampling_period: Duration,
    /// Parts that make no progress.
    pub(crate) problems: Vec<&'static str>,
    /// Names of the sensors that cannot be read, and their errors.
    pub(crate) sensor_errors: Vec<(String, String)>,
    /// Problems of the samples that wait for the collector or an output.
    pub(crate) history_problems: Vec<String>,
    pub(crate) measurement_age: Option<Duration>,
    /// Time since a measurement was stored in ZooKeeper.
    pub(crate) publication_age: Option<Duration>,
    /// True if ZooKeeper is connected and the node's lease has not expired. The lease is half the session timeout.
    pub(crate) is_connected: bool,
    /// Reason why there is no session with ZooKeeper, if it is known.
    pub(crate) connect_error: Option<String>,
    /// True if the measurement's znode is known to belong to this node's session.
    pub(crate) owns_measurement: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    #[default]
    Starting,
    Running,
    /// The node's thread does not respond.
    Hanging,
    Stopping,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthReport {
    pub(crate) is_healthy: bool,
    /// One reason or note per line.
    pub(crate) text: String,
}

const MAX_SENSORS: usize = 10;

/// Returns the age up to which a measurement counts as recent: as long as a leader accepts it, plus the time that a
/// reading may take.
fn max_age(sampling_period: Duration) -> Duration {
    (sampling_period * 3).max(Duration::from_secs(1)) + read_timeout(sampling_period)
}

impl HealthSnapshot {
    /// Reports whether the process makes progress. Problems that a restart cannot solve (sensors, an unreachable
    /// ZooKeeper or API) are notes; they do not fail the probe.
    pub(crate) fn liveness(&self) -> HealthReport {
        match self.stage {
            Stage::Hanging => {
                let reason = "the node hangs: its thread does not respond within 1 s";
                return HealthReport::new(false, [reason.into()]);
            }
            Stage::Starting => return HealthReport::new(true, ["starting".into()]),
            Stage::Stopping => return HealthReport::new(true, ["stopping".into()]),
            Stage::Running => {}
        }
        let disconnected = (!self.is_connected).then(|| self.disconnected());
        let notes = self.notes().into_iter().chain(disconnected);
        let is_healthy = self.problems.is_empty();
        let first = if is_healthy { &["ok"][..] } else { &self.problems };
        HealthReport::new(is_healthy, first.iter().map(|line| (*line).to_owned()).chain(notes))
    }

    /// Reports whether the node does its work: it has measured and published recently, and is connected.
    pub(crate) fn readiness(&self) -> HealthReport {
        match self.stage {
            Stage::Hanging => return self.liveness(),
            Stage::Starting => return HealthReport::new(false, ["the node is starting".into()]),
            Stage::Stopping => return HealthReport::new(false, ["the node is stopping".into()]),
            Stage::Running => {}
        }
        let max_age = max_age(self.sampling_period);
        let mut reasons = Vec::new();
        let missing = |what: &str, age: Option<Duration>| match age {
            None => Some(format!("no {what} yet")),
            Some(age) => (age > max_age).then(|| format!("no {what} for {:.1} s", age.as_secs_f64())),
        };
        reasons.extend(missing("measurement", self.measurement_age));
        if !self.is_connected {
            reasons.push(self.disconnected());
        }
        match missing("measurement published", self.publication_age) {
            None if self.is_connected && !self.owns_measurement => {
                reasons.push("the measurement's znode is not known to belong to this node".to_owned());
            }
            reason => reasons.extend(reason),
        }
        let is_ready = reasons.is_empty();
        reasons.extend(is_ready.then(|| "ready".to_owned()));
        HealthReport::new(is_ready, reasons.into_iter().chain(self.notes()))
    }

    fn disconnected(&self) -> String {
        match &self.connect_error {
            Some(error) => format!("ZooKeeper is not connected: {error}"),
            None => "ZooKeeper is not connected".to_owned(),
        }
    }

    /// Returns notes about sensors and samples, which do not fail a probe.
    fn notes(&self) -> Vec<String> {
        let errors = self.sensor_errors.iter().take(MAX_SENSORS);
        let named = errors.map(|(name, error)| format!("sensor {name}: {error}"));
        let more = self.sensor_errors.len().saturating_sub(MAX_SENSORS);
        let more = (more > 0).then(|| format!("and {more} more sensors"));
        named.chain(more).chain(self.history_problems.iter().cloned()).collect()
    }
}

impl HealthReport {
    fn new(is_healthy: bool, lines: impl IntoIterator<Item = String>) -> HealthReport {
        HealthReport { is_healthy, text: lines.into_iter().map(|line| line + "\n").collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn healthy() -> HealthSnapshot {
        HealthSnapshot {
            stage: Stage::Running,
            sampling_period: SECOND,
            measurement_age: Some(SECOND),
            publication_age: Some(SECOND),
            is_connected: true,
            owns_measurement: true,
            ..HealthSnapshot::default()
        }
    }

    #[test]
    fn health_of_a_healthy_node_is_one_word() {
        assert_eq!(healthy().liveness(), HealthReport { is_healthy: true, text: "ok\n".into() });
        assert_eq!(healthy().readiness(), HealthReport { is_healthy: true, text: "ready\n".into() });
    }

    #[test]
    fn liveness_only_notes_what_a_restart_cannot_solve() {
        let snapshot = HealthSnapshot {
            is_connected: false,
            measurement_age: None,
            publication_age: None,
            sensor_errors: vec![("air".into(), "cut".into())],
            ..healthy()
        };
        let text = "ok\nsensor air: cut\nZooKeeper is not connected\n".to_owned();
        assert_eq!(snapshot.liveness(), HealthReport { is_healthy: true, text });
        let HealthReport { is_healthy, text } = snapshot.readiness();
        assert!(!is_healthy && text.contains("no measurement yet\n"), "{text}");
        assert!(text.contains("no measurement published yet\nsensor air: cut\n"), "{text}");
    }

    #[test]
    fn problems_of_the_history_are_notes() {
        let snapshot = HealthSnapshot { history_problems: vec!["full".into()], ..healthy() };
        assert_eq!(snapshot.liveness(), HealthReport { is_healthy: true, text: "ok\nfull\n".into() });
        assert_eq!(snapshot.readiness(), HealthReport { is_healthy: true, text: "ready\nfull\n".into() });
    }

    #[test]
    fn hanging_node_is_neither_alive_nor_ready() {
        let snapshot = HealthSnapshot { stage: Stage::Hanging, ..healthy() };
        assert!(!snapshot.liveness().is_healthy && !snapshot.readiness().is_healthy);
        let snapshot = HealthSnapshot { problems: vec!["sampling makes no progress"], ..healthy() };
        assert!(!snapshot.liveness().is_healthy);
    }

    #[test]
    fn starting_or_stopping_node_is_alive_and_not_ready() {
        for stage in [Stage::Starting, Stage::Stopping] {
            let snapshot = HealthSnapshot { stage, ..healthy() };
            assert!(snapshot.liveness().is_healthy && !snapshot.readiness().is_healthy, "{stage:?}");
        }
    }

    #[test]
    fn readiness_needs_a_recent_measurement() {
        let aged =
            |age| HealthSnapshot { measurement_age: Some(age), publication_age: Some(age), ..healthy() };
        assert!(aged(4 * SECOND).readiness().is_healthy);
        let readiness = aged(5 * SECOND).readiness();
        assert_eq!(readiness.text, "no measurement for 5.0 s\nno measurement published for 5.0 s\n");
        assert!(!HealthSnapshot { owns_measurement: false, ..healthy() }.readiness().is_healthy);
    }

    #[test]
    fn health_report_names_a_limited_number_of_sensors() {
        let sensor_errors = (0..500).map(|n| (n.to_string(), "cut".to_owned())).collect();
        assert_eq!(HealthSnapshot { sensor_errors, ..healthy() }.liveness().text.lines().count(), 12);
    }
}
