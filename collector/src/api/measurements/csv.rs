//! Measurements as CSV.

use axum::response::Response;

use super::super::csv::{Cell, csv};
use super::rows::{MeasurementRow, MeasurementSeries, SampleRow, StepRow};
use crate::measurements::LatestSample;

pub(super) fn latest_measurements_csv(measurements: &[LatestSample]) -> Response {
    let names = ["fleet", "node", "sensor", "quantity", "unit", "value", "time", "clock", "received"];
    let row = |latest: &LatestSample| {
        [
            Cell::text(Some(&latest.fleet)),
            Cell::text(Some(&latest.node)),
            Cell::text(Some(&latest.sensor)),
            Cell::text(Some(&latest.quantity)),
            Cell::text(latest.unit.as_deref()),
            Cell::plain(latest.value),
            Cell::plain(latest.time),
            Cell::plain(latest.clock.name()),
            Cell::plain(latest.received),
        ]
    };
    csv(names, measurements.iter().map(row))
}

/// Returns samples, or steps.
pub(super) fn measurements_csv(series: &[MeasurementSeries], are_samples: bool) -> Response {
    let name = |series: &MeasurementSeries| {
        let MeasurementSeries { fleet, node, sensor, quantity, unit, .. } = series;
        let unit = unit.as_deref();
        [Some(fleet.as_str()), Some(node), Some(sensor), Some(quantity), unit].map(Cell::text)
    };
    let rows = series.iter().flat_map(|series| series.rows.iter().map(move |row| (series, row)));
    if are_samples {
        let names = ["fleet", "node", "sensor", "quantity", "unit", "time", "value", "clock", "boot", "seq"];
        let rows = rows.filter_map(|(series, row)| {
            let MeasurementRow::Sample(SampleRow { time, value, clock, boot, seq }) = row else {
                return None;
            };
            let [fleet, node, sensor, quantity, unit] = name(series);
            let (time, value, clock) = (Cell::plain(time), Cell::plain(value), Cell::plain(clock.name()));
            let (boot, seq) = (Cell::text(boot.as_deref()), Cell::plain(seq));
            Some([fleet, node, sensor, quantity, unit, time, value, clock, boot, seq])
        });
        return csv(names, rows);
    }
    let names =
        ["fleet", "node", "sensor", "quantity", "unit", "time", "mean", "min", "max", "count", "clock"];
    let rows = rows.filter_map(|(series, row)| {
        let MeasurementRow::Step(StepRow { time, mean, min, max, count, clock }) = row else { return None };
        let [fleet, node, sensor, quantity, unit] = name(series);
        let [mean, min, max] = [mean, min, max].map(Cell::plain);
        let (time, count, clock) = (Cell::plain(time), Cell::plain(count), Cell::plain(clock.name()));
        Some([fleet, node, sensor, quantity, unit, time, mean, min, max, count, clock])
    });
    csv(names, rows)
}
