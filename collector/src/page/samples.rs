//! Samples of single sensors, read from the store as points of a chart.

use std::collections::HashMap;

use jiff::Timestamp;
use maud::{Markup, html};

use super::chart::{ClockRun, clock_class_and_name};
use super::i18n::Lang;
use super::range::Window;
use crate::app::App;
use crate::measurements::{
    ClockState, LatestSample, MINUTE, Resolution, Row, Selection, SeriesQuery, SeriesRows,
};
use crate::problem::Problem;
use crate::store::Point;

/// Maximum number of samples of a series that are read for a chart. With more, it consists of sums per minute.
const MAX_SAMPLES: usize = 8_000;

/// Points of a series, and times at which the clock of its node was not synchronised.
#[derive(Debug, Default)]
pub(super) struct SampledPoints {
    pub(super) points: Vec<Point>,
    pub(super) clocks: Vec<ClockRun>,
}

/// Reads the points of these series in a window, in the order of the series: all together, and again those with too
/// many samples.
pub(super) async fn read(
    app: &App,
    series: &[&LatestSample],
    window: &Window,
) -> Result<Vec<SampledPoints>, Problem> {
    let kept = app.options.measurements.retention(Timestamp::now());
    let step = window.step / 1_000;
    let mut rows = HashMap::new();
    if step % MINUTE != 0 && kept.samples.is_none_or(|kept| kept <= window.from / 1_000) {
        rows = rows_of(app, series, window, Resolution::Samples).await?;
        rows.retain(|_, rows| rows.len() < MAX_SAMPLES);
    }
    let left: Vec<&LatestSample> =
        series.iter().copied().filter(|series| !rows.contains_key(&key(series))).collect();
    if !left.is_empty() {
        let length = if step % MINUTE == 0 { step } else { MINUTE };
        rows.extend(rows_of(app, &left, window, kept.steps(length)).await?);
    }
    let points = |series: &&LatestSample| {
        SampledPoints::of(rows.remove(&key(series)).unwrap_or_default(), series, window.step)
    };
    Ok(series.iter().map(points).collect())
}

/// Node, sensor and quantity.
type Key = (String, String, String);

fn key(series: &LatestSample) -> Key {
    (series.node.clone(), series.sensor.clone(), series.quantity.clone())
}

/// Returns the rows of these series of one fleet. A series that was deleted in the meantime is missing.
async fn rows_of(
    app: &App,
    series: &[&LatestSample],
    window: &Window,
    resolution: Resolution,
) -> Result<HashMap<Key, Vec<Row>>, Problem> {
    let selection = |series: &&LatestSample| {
        let LatestSample { fleet, node, sensor, quantity, .. } = series;
        let [fleet, node, sensor, quantity] = [fleet, node, sensor, quantity].map(|name| Some(name.clone()));
        Selection { fleet, node, sensor, quantity }
    };
    let query = SeriesQuery {
        selections: series.iter().map(selection).collect(),
        from: window.from / 1_000,
        to: window.to / 1_000,
        resolution,
        limit: MAX_SAMPLES,
        max_rows: MAX_SAMPLES * series.len(),
    };
    let found = app.with_store_timeout(app.store.measurements().sample_series(query)).await?;
    let named = |SeriesRows { node, sensor, quantity, rows, .. }| ((node, sensor, quantity), rows);
    Ok(found.into_iter().map(named).collect())
}

impl SampledPoints {
    /// Merges rows, ordered by time, into one point per step.
    fn of(rows: Vec<Row>, series: &LatestSample, step: i64) -> SampledPoints {
        let mut all = SampledPoints::default();
        for row in rows {
            let begin = row.time.saturating_mul(1_000);
            let begin = begin - begin.rem_euclid(step);
            all.mark(begin, begin.saturating_add(step), row.clock);
            let time = Timestamp::from_microsecond(begin).unwrap_or(Timestamp::MAX);
            match all.points.last_mut() {
                Some(last) if last.time == time => add(last, &row),
                _ => all.points.push(Point {
                    time,
                    quantity: Some(series.quantity.clone()),
                    unit: series.unit.clone(),
                    reports: row.count,
                    mean: row.mean,
                    min: row.min,
                    max: row.max,
                }),
            }
        }
        all
    }

    /// Marks a step if the clock was not synchronised.
    fn mark(&mut self, from: i64, to: i64, clock: ClockState) {
        match self.clocks.last_mut() {
            _ if clock == ClockState::Synchronised => {}
            // The least certain sample of a step counts.
            Some(last) if last.from == from => last.clock = last.clock.max(clock),
            Some(last) if last.clock == clock && last.to >= from => last.to = to,
            Some(last) if last.to > from && last.clock > clock => {}
            _ => self.clocks.push(ClockRun { from, to, clock }),
        }
    }
}

fn add(point: &mut Point, row: &Row) {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52 samples")]
    let share = row.count as f64 / (point.reports + row.count).max(1) as f64;
    point.min = point.min.min(row.min);
    point.max = point.max.max(row.max);
    point.mean = (point.mean * (1.0 - share) + row.mean * share).max(point.min).min(point.max);
    point.reports += row.count;
}

/// Returns the seconds since a sample. Its time counts if its clock was synchronised, otherwise that of its arrival.
pub(super) fn age(sample: &LatestSample, now: Timestamp) -> f64 {
    let time = match sample.clock {
        ClockState::Unsynchronised => sample.received,
        ClockState::Synchronised | ClockState::Corrected => sample.time,
    };
    now.duration_since(time).as_secs_f64().max(0.0)
}

/// Moves series without samples for longer than samples are kept behind the others: their sensors were probably removed.
/// Returns the number of the others.
pub(super) fn move_ended_last(app: &App, series: &mut [LatestSample], now: Timestamp) -> usize {
    let Some(kept) = app.options.measurements.retention(now).samples else { return series.len() };
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52 milliseconds")]
    let longest = (now.as_millisecond() - kept) as f64 / 1e3;
    series.sort_by_key(|sample| age(sample, now) > longest);
    series.partition_point(|sample| age(sample, now) <= longest)
}

/// Renders the sensor and the quantity.
pub(super) fn series_name(sample: &LatestSample, lang: Lang) -> Markup {
    html! { bdi { (sample.sensor) } " · " bdi { (lang.quantity(Some(&sample.quantity))) } }
}

/// Renders the mark of a clock that was corrected or not synchronised.
pub(super) fn clock_note(sample: &LatestSample, lang: Lang) -> Markup {
    html! {
        @if sample.clock != ClockState::Synchronised {
            @let (class, name) = clock_class_and_name(sample.clock, lang);
            span.clock-note.(class) { (name) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seconds: i64, value: f64, clock: ClockState) -> Row {
        Row { time: seconds * 1_000, mean: value, min: value, max: value, count: 1, clock, sample: None }
    }

    fn series() -> LatestSample {
        let [time, received] = [50, 100].map(|second| Timestamp::from_second(second).unwrap());
        LatestSample::of_sensor("roof", time, received)
    }

    #[test]
    fn samples_of_a_step_are_one_point() {
        use ClockState::{Corrected, Synchronised, Unsynchronised};
        let rows = vec![
            row(3, 1.0, Synchronised),
            row(9, 4.0, Corrected),
            row(10, 5.0, Corrected),
            row(39, f64::MAX, Unsynchronised),
            row(40, f64::MAX, Synchronised),
            row(41, f64::MAX, Corrected),
        ];
        let SampledPoints { points, clocks } = SampledPoints::of(rows, &series(), 10_000_000);
        let found: Vec<_> =
            points.iter().map(|point| (point.time.as_second(), point.mean, point.reports)).collect();
        assert_eq!(found, [(0, 2.5, 2), (10, 5.0, 1), (30, f64::MAX, 1), (40, f64::MAX, 2)]);
        assert_eq!((points[0].min, points[0].max), (1.0, 4.0));
        let run = |from: i64, to: i64, clock| ClockRun { from: from * 1_000_000, to: to * 1_000_000, clock };
        assert_eq!(clocks, [run(0, 20, Corrected), run(30, 40, Unsynchronised), run(40, 50, Corrected)]);
    }

    #[test]
    fn age_of_a_sample_is_that_of_its_arrival_if_the_clock_was_not_set() {
        let now = Timestamp::from_second(160).unwrap();
        let sample = series();
        assert!((age(&sample, now) - 110.0).abs() < 1e-9);
        let sample = LatestSample { clock: ClockState::Unsynchronised, ..sample };
        assert!((age(&sample, now) - 60.0).abs() < 1e-9);
    }
}
