//! Reports, series and measurements as CSV.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::measurements::{MeasurementRow, MeasurementSeries, SampleRow, StepRow};
use crate::measurements::LatestSample;
use crate::report::Record;
use crate::store::Point;

/// Cell of a CSV table.
struct Cell(String);

impl Cell {
    fn plain<T: ToString>(value: T) -> Cell {
        Cell(value.to_string())
    }

    /// Returns an empty cell for `None`.
    fn number<T: ToString>(value: Option<T>) -> Cell {
        Cell(value.map(|value| value.to_string()).unwrap_or_default())
    }

    /// Returns a cell for text of other programs; empty for `None`. Spreadsheets run text as a formula if it starts
    /// with one of a few characters: an apostrophe before it prevents that.
    fn text(value: Option<&str>) -> Cell {
        let value = value.unwrap_or_default();
        let starts_formula = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
        let is_formula = value.starts_with(starts_formula) || value.trim_start().starts_with(starts_formula);
        Cell(if is_formula { format!("'{value}") } else { value.to_owned() })
    }
}

impl AsRef<[u8]> for Cell {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn csv<const N: usize>(names: [&str; N], rows: impl IntoIterator<Item = [Cell; N]>) -> Response {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory cannot fail, and all rows are of one length.
    let _ = writer.write_record(names);
    for row in rows {
        let _ = writer.write_record(row);
    }
    let body = writer.into_inner().unwrap_or_default();
    let kind = HeaderValue::from_static("text/csv; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

pub(super) fn reports_csv(records: &[Record]) -> Response {
    let names = [
        "id", "epoch", "cycle", "time", "quantity", "unit", "mean", "min", "max", "stddev", "count",
        "excluded", "received", "reporter",
    ];
    let row = |Record { id, report }: &Record| {
        [
            Cell::plain(id),
            Cell::number(report.epoch),
            Cell::number(report.cycle),
            Cell::plain(report.time),
            Cell::text(report.quantity.as_deref()),
            Cell::text(report.unit.as_deref()),
            Cell::plain(report.mean),
            Cell::number(report.min),
            Cell::number(report.max),
            Cell::number(report.stddev),
            Cell::number(report.count),
            Cell::number(report.excluded),
            Cell::plain(report.received),
            Cell::text(report.reporter.as_deref()),
        ]
    };
    csv(names, records.iter().map(row))
}

pub(super) fn series_csv(points: &[Point]) -> Response {
    let names = ["time", "quantity", "unit", "reports", "mean", "min", "max"];
    let row = |point: &Point| {
        [
            Cell::plain(point.time),
            Cell::text(point.quantity.as_deref()),
            Cell::text(point.unit.as_deref()),
            Cell::plain(point.reports),
            Cell::plain(point.mean),
            Cell::plain(point.min),
            Cell::plain(point.max),
        ]
    };
    csv(names, points.iter().map(row))
}

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
