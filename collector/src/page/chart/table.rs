//! The chart as a table, for users who cannot see it.

use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::Chart;
use crate::page::i18n::Lang;
use crate::store::Point;

/// Maximum number of rows; `/api/v1/series` returns all points.
const MAX_ROWS: usize = 48;

/// Merges several points into one.
pub(super) fn merged(points: &[Point]) -> Option<Point> {
    let first = points.first()?;
    let reports: i64 = points.iter().map(|point| point.reports).sum();
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52 reports")]
    let mean = points.iter().map(|point| point.mean * (point.reports as f64 / reports.max(1) as f64)).sum();
    let min = points.iter().map(|point| point.min).fold(f64::INFINITY, f64::min);
    let max = points.iter().map(|point| point.max).fold(f64::NEG_INFINITY, f64::max);
    Some(Point { reports, mean, min, max, ..first.clone() })
}

/// Renders the table, newest rows first.
pub(in super::super) fn table(chart: &Chart, lang: Lang) -> Markup {
    let zone = TimeZone::fixed(chart.ahead);
    let size = chart.points.len().div_ceil(MAX_ROWS).max(1);
    let rows: Vec<Point> = chart.points.rchunks(size).filter_map(merged).collect();
    let messages = lang.messages();
    let columns = [
        messages.column_from,
        messages.column_mean,
        messages.column_min,
        messages.column_max,
        messages.column_reports,
    ];
    html! {
        table {
            thead {
                tr {
                    @for column in columns { th scope="col" { (column) } }
                }
            }
            tbody {
                @for point in &rows {
                    tr {
                        th scope="row" {
                            (point.time.to_zoned(zone.clone()).strftime("%d/%m/%Y %H:%M:%S"))
                        }
                        td { (lang.measured(point.mean)) }
                        td { (lang.measured(point.min)) }
                        td { (lang.measured(point.max)) }
                        td { (lang.count(point.reports)) }
                    }
                }
            }
        }
    }
}
