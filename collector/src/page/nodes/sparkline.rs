//! Small chart of one series: a line without axes. Pure.

use maud::{Markup, html};

use crate::page::range::Window;
use crate::store::Point;

const WIDTH: f64 = 200.0;
const HEIGHT: f64 = 40.0;
/// Margin above and below, so that the line is not cut.
const MARGIN: f64 = 3.0;

/// Renders the chart. `label` describes it for screen readers.
pub(super) fn sparkline(points: &[Point], window: &Window, label: &str) -> Markup {
    let min = points.iter().map(|point| point.mean).fold(f64::INFINITY, f64::min);
    let max = points.iter().map(|point| point.mean).fold(f64::NEG_INFINITY, f64::max);
    // Computes with halves, because the whole difference may overflow.
    let half = max / 2.0 - min / 2.0;
    let x = |point: &Point| {
        let share =
            (point.time.as_microsecond() - window.from) as f64 / (window.to - window.from).max(1) as f64;
        share.clamp(0.0, 1.0) * WIDTH
    };
    let y = |point: &Point| {
        // A flat line is in the middle.
        let share = if half > 0.0 { (max / 2.0 - point.mean / 2.0) / half } else { 0.5 };
        MARGIN + share * (HEIGHT - 2.0 * MARGIN)
    };
    let longest = window.step.saturating_mul(5) / 2;
    let at = |point: &Point| point.time.as_microsecond();
    html! {
        svg.spark viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(label) {
            title { (label) }
            @for run in points.chunk_by(|one, next| at(next) - at(one) <= longest) {
                @let line: Vec<_> = run.iter().map(|point| format!("{:.1},{:.1}", x(point), y(point))).collect();
                // A line of one point has a length of zero; its round ends are a dot.
                polyline points=(format!("{} {}", line.join(" "), line.last().map_or("", String::as_str))) {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_interrupted_and_within_the_drawing() {
        let minute = 60_000_000;
        let window = Window { from: 0, now: 59 * minute, to: 60 * minute, step: minute };
        for values in [[1.0, 2.0, 3.0], [7.0; 3], [f64::MIN, 0.0, f64::MAX]] {
            let points: Vec<_> = [0, 60, 600]
                .into_iter()
                .zip(values)
                .map(|(second, value)| Point::of_one(second, value))
                .collect();
            let svg = sparkline(&points, &window, "<x>").into_string();
            assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
            assert!(svg.contains("&lt;x&gt;") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            for place in svg.split("points=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                for number in place.split([' ', ',']) {
                    assert!((0.0..=WIDTH).contains(&number.parse::<f64>().unwrap()), "{svg}");
                }
            }
        }
    }
}
