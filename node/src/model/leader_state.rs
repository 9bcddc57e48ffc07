//! Public state of a leader: its node publishes it in its node info and in its metrics, and sends it to the collector.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::details::Findings;

/// State of a leader.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct LeaderState {
    /// Epoch of this leader. Increases with every leader.
    pub epoch: i64,
    /// Newest cycle that is committed.
    pub cycle: u64,
    /// Start of this epoch, by the clock of the leader's machine.
    pub since: Timestamp,
    /// Number of cycles whose reports the API has not accepted yet.
    #[serde(default)]
    pub waiting: usize,
    /// Newest accepted report.
    #[serde(default)]
    pub delivered: Option<Delivered>,
    /// Epoch above `epoch` of which the collector has reports: it accepts no report of this leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outranked: Option<i64>,
    /// Outliers, withheld values and values of groups in the newest cycle, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Box<Findings>>,
    /// Outputs that send averages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputState>,
}

impl LeaderState {
    pub(crate) fn new(epoch: i64, cycle: u64, since: Timestamp) -> LeaderState {
        LeaderState {
            epoch,
            cycle,
            since,
            waiting: 0,
            delivered: None,
            outranked: None,
            findings: None,
            outputs: Vec::new(),
        }
    }
}

/// Delivery of averages to an output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct OutputState {
    /// Name of the output.
    pub name: String,
    /// Number of cycles whose reports the output has not accepted yet.
    #[serde(default)]
    pub waiting: usize,
    /// Time of the oldest of these reports, by ZooKeeper's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// Newest accepted report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Delivered>,
    /// Reason why the output accepts no reports; `None` if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A report that the API has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Delivered {
    /// Cycle of the report.
    pub cycle: u64,
    /// Time of the acceptance, by the clock of the leader's machine.
    pub time: Timestamp,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns the state of a leader that has delivered no report yet.
    pub(crate) fn leader_state() -> LeaderState {
        LeaderState { waiting: 2, ..LeaderState::new(7, 41, Timestamp::UNIX_EPOCH) }
    }

    #[test]
    fn leader_state_has_the_json_of_earlier_versions() {
        let since = Timestamp::from_second(60).unwrap();
        let delivered = Some(Delivered { cycle: 39, time: since });
        let state = LeaderState { since, delivered, ..leader_state() };
        let json = r#"{"epoch":7,"cycle":41,"since":"1970-01-01T00:01:00Z","waiting":2,"delivered":{"cycle":39,"time":"1970-01-01T00:01:00Z"}}"#;
        assert_eq!(serde_json::to_string(&state).unwrap(), json);
        assert_eq!(serde_json::from_str::<LeaderState>(json).unwrap(), state);
        let text = serde_json::to_string(&LeaderState { outranked: Some(99), ..leader_state() }).unwrap();
        assert!(text.ends_with(r#""delivered":null,"outranked":99}"#), "{text}");
    }
}
