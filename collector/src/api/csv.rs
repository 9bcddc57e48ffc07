//! Reports and series as CSV.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::report::Record;
use crate::store::Point;
use crate::zones::CombinedPoint;

/// Cell of a CSV table.
pub(super) struct Cell(String);

impl Cell {
    pub(super) fn plain<T: ToString>(value: T) -> Cell {
        Cell(value.to_string())
    }

    /// Returns an empty cell for `None`.
    pub(super) fn number<T: ToString>(value: Option<T>) -> Cell {
        Cell(value.map(|value| value.to_string()).unwrap_or_default())
    }

    /// Returns a cell for text of other programs; empty for `None`. Spreadsheets run text as a formula if it starts
    /// with one of a few characters: an apostrophe before it prevents that.
    pub(super) fn text(value: Option<&str>) -> Cell {
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

pub(super) fn csv<const N: usize>(names: [&str; N], rows: impl IntoIterator<Item = [Cell; N]>) -> Response {
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

pub(super) fn combined_csv(points: &[CombinedPoint]) -> Response {
    let names = [
        "time", "quantity", "unit", "zones", "missing", "reports", "readings", "mean", "stddev", "min", "max",
    ];
    let row = |point: &CombinedPoint| {
        [
            Cell::plain(point.time),
            Cell::text(point.quantity.as_deref()),
            Cell::text(point.unit.as_deref()),
            Cell::plain(point.zones),
            Cell::text(Some(&point.missing.join(" "))),
            Cell::plain(point.reports),
            Cell::plain(point.readings),
            Cell::plain(point.mean),
            Cell::number(point.stddev),
            Cell::plain(point.min),
            Cell::plain(point.max),
        ]
    };
    csv(names, points.iter().map(row))
}
