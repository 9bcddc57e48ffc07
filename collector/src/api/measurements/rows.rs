//! Rows of a series in an answer.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::fleet_name::SampleFleet;
use crate::measurements::{ClockState, Row, SeriesRows};

/// Rows of one series.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MeasurementSeries {
    /// Name of the fleet, or `FLEET/ZONE`.
    #[serde(flatten, serialize_with = "SampleFleet::serialize_key")]
    #[schema(value_type = SampleFleet)]
    pub(crate) fleet: String,
    pub(crate) node: String,
    pub(crate) sensor: String,
    pub(crate) quantity: String,
    pub(crate) unit: Option<String>,
    /// Rows by time.
    pub(crate) rows: Vec<MeasurementRow>,
    /// Value of `from` for further rows of this series; null if there are none.
    pub(crate) next: Option<Timestamp>,
}

/// A sample, or the sums of a step.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum MeasurementRow {
    Sample(SampleRow),
    Step(StepRow),
}

/// Sample of a series.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SampleRow {
    /// Time by the node's clock.
    pub(crate) time: Timestamp,
    pub(crate) value: f64,
    /// State of the node's clock.
    pub(crate) clock: ClockState,
    /// Identifier of the boot; null if it is long ago.
    pub(crate) boot: Option<String>,
    /// Number of the sample within its boot.
    pub(crate) seq: i64,
}

/// Sums of the samples of a step.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct StepRow {
    /// Beginning of the step.
    pub(crate) time: Timestamp,
    pub(crate) mean: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Number of samples.
    pub(crate) count: i64,
    /// State of the clock of the least certain sample.
    pub(crate) clock: ClockState,
}

impl From<Row> for MeasurementRow {
    fn from(row: Row) -> MeasurementRow {
        let Row { time, mean, min, max, count, clock, sample } = row;
        let time = timestamp(time);
        match sample {
            Some((boot, seq)) => MeasurementRow::Sample(SampleRow { time, value: mean, clock, boot, seq }),
            None => MeasurementRow::Step(StepRow { time, mean, min, max, count, clock }),
        }
    }
}

/// Returns the first `limit` rows and the time at which the next page begins. Rows of one time are on one page, unless
/// they fill it.
pub(super) fn page(series: SeriesRows, limit: usize) -> MeasurementSeries {
    let SeriesRows { fleet, node, sensor, quantity, unit, mut rows } = series;
    let next = rows.get(limit).map(|row| row.time);
    rows.truncate(limit);
    let next = match next {
        Some(time) if rows.first().is_some_and(|first| first.time == time) => Some(time + 1),
        Some(time) => {
            rows.retain(|row| row.time < time);
            Some(time)
        }
        None => None,
    };
    let rows = rows.into_iter().map(MeasurementRow::from).collect();
    MeasurementSeries { fleet, node, sensor, quantity, unit, rows, next: next.map(timestamp) }
}

pub(super) fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}
