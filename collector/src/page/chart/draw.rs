//! The chart as SVG: a band from least to most, a line of means.

use std::fmt::Write;

use maud::{Markup, html};

use super::{Chart, gaps, scale};
use crate::page::words::{Lang, span};
use crate::store::Point;

/// Height of the plot, in pixels. The style sheet knows it too.
const HEIGHT: f64 = 260.0;
/// Room above and below the lines.
const PAD: f64 = 14.0;
/// Width of the plot in its own units: it is stretched.
const WIDTH: f64 = 10_000.0;
/// Epochs that are marked at most.
pub(in super::super) const MARKS: usize = 40;

/// From time and value to places.
struct Frame {
    from: i64,
    now: i64,
    least: f64,
    most: f64,
}

impl Frame {
    fn of(chart: &Chart) -> Option<Frame> {
        let least = chart.points.iter().map(|point| point.min).fold(f64::INFINITY, f64::min);
        let most = chart.points.iter().map(|point| point.max).fold(f64::NEG_INFINITY, f64::max);
        if chart.points.is_empty() || !(most - least).is_finite() {
            return None;
        }
        // A flat line lies in the middle.
        let room = if most > least { (most - least) * 0.06 } else { least.abs().max(1.0) * 0.01 };
        let (least, most) = (least - room, most + room);
        Some(Frame { from: chart.window.from, now: chart.window.now, least, most })
    }

    /// From 0 to 1.
    #[allow(clippy::cast_precision_loss, reason = "pixels")]
    fn share(&self, micros: i64) -> f64 {
        ((micros - self.from) as f64 / (self.now - self.from).max(1) as f64).clamp(0.0, 1.0)
    }

    fn percent(&self, micros: i64) -> String {
        format!("{:.2}%", self.share(micros) * 100.0)
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value - self.least) / (self.most - self.least);
        PAD + (1.0 - share) * (HEIGHT - 2.0 * PAD)
    }

    /// In the middle of its step, or now.
    fn at(&self, point: &Point, step: i64) -> i64 {
        point.time.as_microsecond().saturating_add(step / 2).min(self.now)
    }
}

/// Paths of the band and of the line.
fn paths(frame: &Frame, runs: &[&[Point]], step: i64) -> (String, String) {
    let (mut band, mut line) = (String::new(), String::new());
    for run in runs {
        let places: Vec<(f64, &Point)> =
            run.iter().map(|point| (frame.share(frame.at(point, step)) * WIDTH, point)).collect();
        // A point alone has no width: a dash of its step.
        let alone = if places.len() == 1 { 12.0 } else { 0.0 };
        for (at, (x, point)) in places.iter().enumerate() {
            let command = if at == 0 { 'M' } else { 'L' };
            // Writing to a string cannot fail.
            let _ = write!(line, "{command}{x:.0} {:.1}", frame.y(point.mean));
            let _ = write!(band, "{command}{x:.0} {:.1}", frame.y(point.max));
        }
        if alone > 0.0 {
            let _ = write!(line, "h{alone:.0}");
            let _ = write!(band, "h{alone:.0}");
        }
        for (x, point) in places.iter().rev() {
            let _ = write!(band, "L{:.0} {:.1}", x + alone, frame.y(point.min));
        }
        band.push('Z');
    }
    (band, line)
}

/// What the script shows at the pointer: place in percent, height in pixels, seconds since 1970, mean, least, most, reports.
fn data(frame: &Frame, points: &[Point], step: i64) -> String {
    let rows: Vec<_> = points
        .iter()
        .map(|point| {
            let round = |value: f64| (value * 100.0).round() / 100.0;
            let x = round(frame.share(frame.at(point, step)) * 100.0);
            let y = round(frame.y(point.mean));
            (x, y, point.time.as_second(), point.mean, point.min, point.max, point.reports)
        })
        .collect();
    // Numbers only: this cannot fail.
    serde_json::to_string(&rows).unwrap_or_default()
}

/// The chart. `label` tells what it shows.
pub(in super::super) fn draw(chart: &Chart, lang: Lang, label: &str) -> Markup {
    let Some(frame) = Frame::of(chart) else {
        return html! {
            p.nothing { (lang.say("No reports in this time.", "No hay informes en este tiempo.")) }
        };
    };
    let step = chart.window.step;
    let (runs, gaps) = gaps::cut(&chart.points, step, chart.usual, chart.window.now);
    let (band, line) = paths(&frame, &runs, step);
    let (lines, decimals) = scale::numbers(frame.least, frame.most, 5);
    let ticks = scale::times(frame.from, frame.now, chart.ahead);
    let last = chart.points.last().filter(|_| gaps.last().is_none_or(|gap| gap.to < frame.now));
    html! {
        div.chart {
            svg.axis width="100%" height=(HEIGHT) aria-hidden="true" {
                @for value in &lines {
                    text x="100%" y=(format!("{:.1}", frame.y(*value))) { (lang.number(*value, decimals)) }
                }
            }
            svg.plot width="100%" height=(HEIGHT + 30.0) role="img" aria-label=(label)
                data-points=(data(&frame, &chart.points, step)) {
                @for value in &lines {
                    @let y = format!("{:.1}", frame.y(*value));
                    line.grid x1="0" x2="100%" y1=(y) y2=(y) {}
                }
                @for (at, tick) in ticks.iter().enumerate() {
                    @let x = frame.percent(tick.at);
                    g.tick.odd[at % 2 == 1] {
                        line x1=(x) x2=(x) y1=(HEIGHT) y2=(HEIGHT + 5.0) {}
                        text.start[frame.share(tick.at) < 0.04].end[frame.share(tick.at) > 0.96] x=(x) y=(HEIGHT + 21.0) { (tick.label) }
                    }
                }
                @for gap in &gaps {
                    @let width = (frame.share(gap.to) - frame.share(gap.from)) * 100.0;
                    rect.gap x=(frame.percent(gap.from)) y="0" width=(format!("{width:.2}%")) height=(HEIGHT) {
                        title { (lang.say("No reports for ", "Sin informes durante ")) (span(seconds(gap.to - gap.from))) }
                    }
                }
                svg x="0" y="0" width="100%" height=(HEIGHT) viewBox=(format!("0 0 {WIDTH} {HEIGHT}"))
                    preserveAspectRatio="none" {
                    path.band d=(band) {}
                    path.mean d=(line) {}
                }
                @for (at, epoch) in chart.changes.iter().take(MARKS) {
                    @let x = frame.percent(*at);
                    g.epoch {
                        title { (lang.say("A new leader: epoch ", "Nuevo líder: época ")) (epoch) }
                        line x1=(x) x2=(x) y1="8" y2=(HEIGHT) {}
                        circle cx=(x) cy="6" r="5" {}
                    }
                }
                line.base x1="0" x2="100%" y1=(HEIGHT) y2=(HEIGHT) {}
                @if let Some(last) = last {
                    @let (x, y) = (frame.percent(frame.at(last, step)), format!("{:.1}", frame.y(last.mean)));
                    circle.halo cx=(x) cy=(y) r="9" {}
                    circle.last cx=(x) cy=(y) r="4" {}
                }
                g.pointed {
                    line x1="0" x2="0" y1="0" y2=(HEIGHT) {}
                    circle cx="0" cy="0" r="4" {}
                }
            }
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz};
    use proptest::prelude::*;

    use super::*;
    use crate::page::range::Window;

    fn chart(points: Vec<(i64, f64, f64, f64)>) -> Chart {
        let window = Window { from: 0, now: 299_500_000, to: 300_000_000, step: 1_000_000 };
        let point = |(second, mean, min, max)| Point {
            time: Timestamp::from_second(second).unwrap(),
            quantity: None,
            unit: None,
            reports: 1,
            mean,
            min,
            max,
        };
        let points = points.into_iter().map(point).collect();
        Chart { window, points, usual: None, changes: vec![(100_000_000, 8)], ahead: tz::Offset::UTC }
    }

    #[test]
    fn a_line_is_cut_where_reports_are_missing() {
        let points = [0, 5, 10, 15, 100, 105, 295].map(|second| (second, 1.0, 0.5, 2.0));
        let svg = draw(&chart(points.to_vec()), Lang::En, "x").into_string();
        assert_eq!(svg.matches("<title>No reports for").count(), 2, "{svg}");
        assert!(svg.contains("A new leader: epoch 8"));
        let path = svg.split("class=\"mean\" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 3, "{path}");
        assert!(!svg.contains("style="), "the policy of the page would not let it");
    }

    proptest! {
        #[test]
        fn whatever_is_measured_is_drawn_within(values in prop::collection::vec((0i64..300, -1e300..1e300f64), 0..50)) {
            let points = values.into_iter().map(|(second, mean)| (second, mean, mean - 1.0, mean + 1.0)).collect();
            let mut chart = chart(points);
            chart.points.sort_by_key(|point| point.time);
            let svg = draw(&chart, Lang::En, "x").into_string();
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf"));
        }
    }
}
