//! Measurements of single sensors: the batches that nodes send, and what queries return. Pure.
//!
//! A series is one quantity of one sensor of a node. A node numbers its samples; within a series and a boot the
//! numbers only increase. Therefore a number that is not above the highest accepted one is a repeat.

mod query;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use query::{
    FleetSummary, LatestSample, Pruned, Resolution, Retention, Row, Selection, SeriesQuery, SeriesRows,
};
pub(crate) use query::{HOUR, MINUTE};

/// Fleet of batches that name none.
pub(crate) const DEFAULT_FLEET: &str = "default";
/// Maximum number of series of a fleet.
pub(crate) const MAX_SERIES: usize = if cfg!(test) { 300 } else { 100_000 };
/// Maximum number of fleets.
pub(crate) const MAX_FLEETS: usize = if cfg!(test) { 5 } else { 1_000 };
/// Maximum number of boots of a node whose marks are kept. The marks of the oldest ones are dropped.
pub(crate) const MAX_BOOTS: usize = if cfg!(test) { 20 } else { 1_000 };

/// State of a node's clock when a sample was taken. A later variant is less certain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClockState {
    /// The clock was synchronised.
    #[default]
    Synchronised,
    /// The sample was taken before the clock was set, and its time was corrected since.
    Corrected,
    /// The clock was not synchronised.
    Unsynchronised,
}

impl ClockState {
    const ALL: [ClockState; 3] =
        [ClockState::Synchronised, ClockState::Corrected, ClockState::Unsynchronised];

    /// Returns the number of the state in a store.
    pub(crate) fn number(self) -> i64 {
        self as i64
    }

    /// Returns the state of this number. An unknown one is not trusted.
    pub(crate) fn of_number(number: i64) -> ClockState {
        let known = usize::try_from(number).ok().and_then(|number| ClockState::ALL.get(number));
        known.copied().unwrap_or(ClockState::Unsynchronised)
    }

    /// Returns the name, as in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ClockState::Synchronised => "synchronised",
            ClockState::Corrected => "corrected",
            ClockState::Unsynchronised => "unsynchronised",
        }
    }
}

/// Samples of one node and boot, from one request.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleBatch {
    /// Name of the fleet, or `FLEET/ZONE`: nodes of two zones may have the same name.
    pub fleet: String,
    /// Name of the node.
    pub node: String,
    /// Identifier of one run of the sequence.
    pub boot: String,
    /// Time of arrival, in milliseconds since 1970.
    pub received: i64,
    /// Series of the samples: each once, and each with at least one sample.
    pub series: Vec<SeriesName>,
    /// Samples, in the order in which they were sent.
    pub samples: Vec<Sample>,
}

/// Name of a series within its node, and its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesName {
    /// Name of the sensor.
    pub sensor: String,
    /// Measured quantity.
    pub quantity: String,
    /// Unit of the values. It is not a part of the name: the last one applies.
    pub unit: Option<String>,
}

/// Value of a series at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Index of the series in the batch.
    pub series: usize,
    /// Number of the sample within its boot.
    pub seq: i64,
    /// Time by the node's clock, in milliseconds since 1970.
    pub time: i64,
    /// Measured value.
    pub value: f64,
    /// State of the node's clock.
    pub clock: ClockState,
}

/// Result of adding a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SampleOutcome {
    /// The sample was stored.
    Accepted,
    /// The sample was stored earlier, or a later one of its series and boot was.
    Repeated,
    /// A sample with the same time and number was stored earlier, with this value, which differs.
    Conflict(f64),
    /// The fleet has the maximum number of series, or the store that of fleets.
    TooManySeries,
}

impl SampleOutcome {
    /// Returns the outcome for a sample that is not above the mark of its series and boot. `kept`: the value that is
    /// stored for the same time and number.
    pub(crate) fn of_repeat(sample: &Sample, kept: Option<f64>) -> SampleOutcome {
        match kept {
            Some(kept) if kept != sample.value => SampleOutcome::Conflict(kept),
            _ => SampleOutcome::Repeated,
        }
    }
}

/// Position of the latest sample of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Position {
    /// Number of the boot in the store.
    pub(crate) boot: i64,
    pub(crate) time: i64,
    pub(crate) clock: ClockState,
}

impl Position {
    /// Returns true if an accepted sample is the latest of its series. Within a boot, the last one is. Of two boots, the
    /// later time decides, or the arrival if the time of either is not certain.
    pub(crate) fn supersedes(&self, latest: &Position) -> bool {
        self.boot == latest.boot
            || self.clock.max(latest.clock) == ClockState::Unsynchronised
            || self.time >= latest.time
    }
}
