//! The chart as a table, for users who cannot see it.

use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::{Chart, clock_class_and_name};
use crate::measurements::ClockState;
use crate::page::i18n::Lang;
use crate::store::Point;

/// Maximum number of rows; `/api/v1/series` and `/api/v1/measurements` return all points.
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
pub(super) fn table(chart: &Chart, lang: Lang) -> Markup {
    let zone = TimeZone::fixed(chart.ahead);
    let size = chart.points.len().div_ceil(MAX_ROWS).max(1);
    let messages = lang.messages();
    let columns = [
        messages.column_from,
        messages.column_mean,
        messages.column_min,
        messages.column_max,
        chart.subject.nouns(lang).1,
    ];
    let has_clocks = !chart.clocks.is_empty();
    html! {
        table {
            thead {
                tr {
                    @for column in columns { th scope="col" { (column) } }
                    @if has_clocks { th scope="col" { (messages.column_clock) } }
                }
            }
            tbody {
                @for points in chart.points.rchunks(size) {
                    @if let Some(row) = merged(points) {
                        tr {
                            th scope="row" {
                                (row.time.to_zoned(zone.clone()).strftime("%d/%m/%Y %H:%M:%S"))
                            }
                            td { (lang.measured(row.mean)) }
                            td { (lang.measured(row.min)) }
                            td { (lang.measured(row.max)) }
                            td { (lang.count(row.reports)) }
                            @if has_clocks { td { (clock_class_and_name(clock(chart, points), lang).1) } }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the least certain clock of the points.
fn clock(chart: &Chart, points: &[Point]) -> ClockState {
    let at = |point: Option<&Point>| point.map_or(0, |point| point.time.as_microsecond());
    let (first, last) = (at(points.first()), at(points.last()));
    let runs = chart.clocks.iter().filter(|run| run.from <= last && first < run.to);
    runs.map(|run| run.clock).max().unwrap_or_default()
}
