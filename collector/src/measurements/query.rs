//! Queries of measurements, and their results.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::ClockState;
use crate::fleet_name::SampleFleet;

/// Milliseconds in a minute, the shortest step of the sums.
pub(crate) const MINUTE: i64 = 60_000;
/// Milliseconds in an hour.
pub(crate) const HOUR: i64 = 3_600_000;

/// Selected series. `None` selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Name of the fleet, or `FLEET/ZONE`.
    pub fleet: Option<String>,
    /// Name of the node.
    pub node: Option<String>,
    /// Name of the sensor.
    pub sensor: Option<String>,
    /// Measured quantity.
    pub quantity: Option<String>,
}

impl Selection {
    pub(crate) fn contains(&self, fleet: &str, node: &str, sensor: &str, quantity: &str) -> bool {
        let same = |wanted: &Option<String>, own| wanted.as_deref().is_none_or(|wanted| wanted == own);
        same(&self.fleet, fleet)
            && same(&self.node, node)
            && same(&self.sensor, sensor)
            && same(&self.quantity, quantity)
    }
}

/// Measurements of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSummary {
    /// Name of the fleet, or `FLEET/ZONE`.
    pub fleet: String,
    /// Number of nodes with measurements.
    pub nodes: i64,
    /// Number of series.
    pub series: i64,
    /// Time at which its newest sample was received, by the collector's clock.
    pub received: Timestamp,
}

/// Latest sample of a series.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LatestSample {
    /// Name of the fleet, or `FLEET/ZONE`.
    #[serde(flatten, serialize_with = "SampleFleet::serialize_key")]
    #[schema(value_type = SampleFleet)]
    pub fleet: String,
    /// Name of the node.
    pub node: String,
    /// Name of the sensor.
    pub sensor: String,
    /// Measured quantity.
    pub quantity: String,
    /// Unit of the value.
    pub unit: Option<String>,
    /// Measured value.
    pub value: f64,
    /// Time by the node's clock.
    pub time: Timestamp,
    /// State of the node's clock.
    pub clock: ClockState,
    /// Time of arrival, by the collector's clock.
    pub received: Timestamp,
}

#[cfg(test)]
impl LatestSample {
    /// Returns a sample of temperature.
    pub(crate) fn of_sensor(sensor: &str, time: Timestamp, received: Timestamp) -> LatestSample {
        let [fleet, node, quantity] = ["default", "n1", "temperature"].map(str::to_owned);
        let (unit, clock) = (Some("Cel".to_owned()), ClockState::Synchronised);
        LatestSample {
            fleet,
            node,
            sensor: sensor.to_owned(),
            quantity,
            unit,
            value: 1.0,
            time,
            clock,
            received,
        }
    }
}

/// Resolution of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The samples themselves.
    Samples,
    /// Sums of each step, made of the sums per minute or per hour.
    Step {
        /// Length in milliseconds, a multiple of a minute.
        length: i64,
        /// Beginning of the hour from which sums per minute are kept. Before it, each row is an hour or longer.
        minutes_from: i64,
    },
}

/// Query of rows, by series and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesQuery {
    /// Selected series: those of the first selection, then those of the second one, and so on.
    pub selections: Vec<Selection>,
    /// Earliest time, inclusive, in milliseconds since 1970.
    pub from: i64,
    /// Latest time, exclusive, in milliseconds since 1970.
    pub to: i64,
    /// Resolution of the rows.
    pub resolution: Resolution,
    /// Maximum number of rows of each series.
    pub limit: usize,
    /// Number of rows of all series at which the store stops to read.
    pub max_rows: usize,
}

impl SeriesQuery {
    /// Returns the time before which rows are made of sums per hour, and after which of sums per minute.
    pub(crate) fn edge(&self) -> i64 {
        match self.resolution {
            Resolution::Step { length, .. } if length % HOUR == 0 => self.to,
            Resolution::Step { minutes_from, .. } => minutes_from.clamp(self.from, self.to.max(self.from)),
            Resolution::Samples => self.from,
        }
    }
}

/// Rows of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesRows {
    /// Name of the fleet, or `FLEET/ZONE`.
    pub fleet: String,
    /// Name of the node.
    pub node: String,
    /// Name of the sensor.
    pub sensor: String,
    /// Measured quantity.
    pub quantity: String,
    /// Unit of the values.
    pub unit: Option<String>,
    /// Rows by time. A series that has none in the range is returned without rows.
    pub rows: Vec<Row>,
}

/// One sample, or the sums of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Time of the sample, or beginning of the step, in milliseconds since 1970.
    pub time: i64,
    /// Value, or mean.
    pub mean: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Number of samples.
    pub count: i64,
    /// State of the clock; of a step, that of the least certain sample.
    pub clock: ClockState,
    /// Boot and number of a sample. The boot is `None` if its marks were dropped.
    pub sample: Option<(Option<String>, i64)>,
}

impl Row {
    pub(crate) fn of_sample(time: i64, value: f64, clock: ClockState, boot: Option<String>, seq: i64) -> Row {
        Row { time, mean: value, min: value, max: value, count: 1, clock, sample: Some((boot, seq)) }
    }
}

/// Times before which data is deleted, in milliseconds since 1970. `None`: it is kept indefinitely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Limit for samples. Marks of boots that sent nothing since then are deleted, too, except the latest of a series.
    pub samples: Option<i64>,
    /// Limit for sums per minute.
    pub minutes: Option<i64>,
    /// Limit for sums per hour.
    pub hours: Option<i64>,
}

impl Retention {
    /// Returns the times for a series, by its latest sample: beginnings of hours, since whole hours are deleted. A node
    /// without a synchronised clock may live in the past: its samples are deleted at the same age as others, by its own
    /// clock.
    pub(crate) fn of_series(self, time: i64, clock: ClockState, received: i64) -> Retention {
        let behind = if clock == ClockState::Unsynchronised { (received - time).max(0) } else { 0 };
        let edge = |time: Option<i64>| time.map(|time| (time - behind).div_euclid(HOUR) * HOUR);
        Retention { samples: edge(self.samples), minutes: edge(self.minutes), hours: edge(self.hours) }
    }

    /// Returns the resolution of steps of this length.
    pub(crate) fn steps(self, length: i64) -> Resolution {
        let hour = |kept: i64| kept.max(0).saturating_add(HOUR - 1) / HOUR * HOUR;
        Resolution::Step { length, minutes_from: self.minutes.map_or(0, hour) }
    }
}

/// Result of one step of deleting data past the retention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Number of deleted samples and sums.
    pub deleted: usize,
    /// Series after which the next step begins; `None`: all series are done.
    pub next: Option<i64>,
}
