//! Averages over the zones of a fleet, from the sums of each zone. Pure.
//!
//! Number, mean, standard deviation, minimum and maximum are those of all readings of all zones, up to rounding. Medians
//! and other quantiles cannot be computed from those of the zones, so there are none.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::moments::{Moments, merge};
use crate::store::Sum;
use crate::values::without_negative_zero;

/// Time for which a zone without reports is expected to report again, in microseconds: a week. A zone that was renamed
/// or removed is not missing any more after that.
const EXPECTED_FOR: i64 = 7 * 86_400_000_000;

/// Sums of a zone, and the times from which and up to which it is known to report.
#[derive(Clone, Debug, Default)]
pub(crate) struct ZoneSums {
    /// Name of the zone; empty for none.
    pub(crate) zone: String,
    pub(crate) sums: Vec<Sum>,
    /// Times of its first and its last report, in microseconds since 1970.
    pub(crate) reported: Option<(i64, i64)>,
}

impl ZoneSums {
    /// Returns true if the zone should have reports in a step.
    fn is_expected(&self, begin: i64, end: i64) -> bool {
        self.reported.is_some_and(|(first, last)| first < end && begin <= last.saturating_add(EXPECTED_FOR))
    }
}

/// Step of a series over all zones.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct CombinedPoint {
    /// Beginning of the step.
    pub(crate) time: Timestamp,
    /// Quantity that was averaged, if known.
    pub(crate) quantity: Option<String>,
    /// Unit of the quantity, if known.
    pub(crate) unit: Option<String>,
    /// Number of zones whose readings are part of the values.
    pub(crate) zones: usize,
    /// Zones that should have readings in the step and have none, by name; an empty name stands for reports without a
    /// zone.
    pub(crate) missing: Vec<String>,
    /// Number of reports of those zones.
    pub(crate) reports: i64,
    /// Number of readings.
    pub(crate) readings: i64,
    /// Arithmetic mean of all readings.
    pub(crate) mean: f64,
    /// Population standard deviation of all readings. Null: it is not known of all reports.
    pub(crate) stddev: Option<f64>,
    /// Smallest measurement.
    pub(crate) min: f64,
    /// Largest measurement.
    pub(crate) max: f64,
}

/// Beginning of a step, quantity and unit.
type Key<'a> = (i64, Option<&'a str>, Option<&'a str>);

/// Returns the steps of `step` microseconds in which any zone has readings, by time, quantity and unit.
pub(crate) fn combine(zones: &[ZoneSums], step: i64) -> Vec<CombinedPoint> {
    let mut steps: BTreeMap<_, BTreeMap<&str, &Sum>> = BTreeMap::new();
    for ZoneSums { zone, sums, .. } in zones {
        for sum in sums.iter().filter(|sum| sum.moments.is_some()) {
            let key = (sum.time, sum.quantity.as_deref(), sum.unit.as_deref());
            steps.entry(key).or_default().insert(zone, sum);
        }
    }
    let point = |(key, present): (Key<'_>, BTreeMap<&str, &Sum>)| {
        let (begin, quantity, unit) = key;
        let moments = present.values().fold(None, |all, sum| merge(all, sum.moments))?;
        let missing = zones.iter().filter(|zone| {
            !present.contains_key(&*zone.zone) && zone.is_expected(begin, begin.saturating_add(step))
        });
        let Moments { readings, mean, .. } = moments;
        let sums = present.values();
        Some(CombinedPoint {
            time: Timestamp::from_microsecond(begin).unwrap_or(Timestamp::MAX),
            quantity: quantity.map(str::to_owned),
            unit: unit.map(str::to_owned),
            zones: present.len(),
            missing: missing.map(|zone| zone.zone.clone()).collect(),
            reports: sums.clone().map(|sum| sum.reports).sum(),
            readings,
            mean: without_negative_zero(mean),
            stddev: moments.stddev().map(without_negative_zero),
            min: without_negative_zero(sums.clone().map(|sum| sum.min).fold(f64::INFINITY, f64::min)),
            max: without_negative_zero(sums.map(|sum| sum.max).fold(f64::NEG_INFINITY, f64::max)),
        })
    };
    steps.into_iter().filter_map(point).collect()
}

#[cfg(test)]
#[path = "combine_tests.rs"]
mod tests;
