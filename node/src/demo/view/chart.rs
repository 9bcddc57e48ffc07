//! The chart of averages: those that the API has received, and those that are waiting.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType};

use super::framed;
use crate::demo::delivery_audit::Point;
use crate::demo::state::State;

/// Width of the chart in sampling periods.
const PERIODS: u32 = 60;
const MIN_SPAN: Duration = Duration::from_secs(30);

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, now: Instant) {
    let span = state.period.saturating_mul(PERIODS).max(MIN_SPAN).as_secs_f64();
    let end = now.saturating_duration_since(state.started).as_secs_f64().max(span);
    let begin = end - span;
    let latest = state.audit.latest();
    let unit = latest.and_then(|point| point.unit.clone());
    let points: Vec<&Point> = state.audit.since(begin).filter(|point| point.unit == unit).collect();
    let at = |point: &&Point| (point.at - end, point.mean);
    let with_state = |delivered: bool| -> Vec<_> {
        points.iter().filter(|point| point.delivered == delivered).map(at).collect()
    };
    let (all, delivered, waiting): (Vec<_>, _, _) =
        (points.iter().map(at).collect(), with_state(true), with_state(false));
    let (low, high) = bounds(&points);
    let dataset = |data, color: Color| Dataset::default().style(color).data(data);
    let dots = |data, color| dataset(data, color).marker(Marker::Dot).graph_type(GraphType::Scatter);
    let line = dataset(&all, Color::DarkGray).marker(Marker::Braille).graph_type(GraphType::Line);
    let mut title = vec![Span::from(" Average ")];
    match latest {
        Some(point) => {
            let unit = point.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
            title.push(format!("{:.2}{unit}", point.mean).bold().green());
            title.push(format!(" of {} ", point.count).into());
        }
        None => title.push("none yet ".dark_gray()),
    }
    let legend = Line::from(vec![" • delivered ".green(), "• waiting ".yellow()]);
    let axis = || Axis::default().style(Style::new().fg(Color::DarkGray));
    let middle = low.midpoint(high);
    let number = |value: f64| Span::from(format!("{value:.1}"));
    let chart = Chart::new(vec![line, dots(&delivered, Color::Green), dots(&waiting, Color::Yellow)])
        .block(framed(Line::from(title)).title_bottom(legend.right_aligned()))
        .x_axis(axis().bounds([-span, 0.0]).labels([format!("-{span:.0}s"), "now".to_owned()]))
        .y_axis(axis().bounds([low, high]).labels([number(low), number(middle), number(high)]));
    frame.render_widget(chart, area);
}

/// Returns the limits of the vertical axis: all points, with a margin.
fn bounds(points: &[&Point]) -> (f64, f64) {
    let low = points.iter().map(|point| point.mean).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|point| point.mean).fold(f64::NEG_INFINITY, f64::max);
    if low > high {
        return (0.0, 1.0);
    }
    let margin = ((high - low) * 0.1).max(0.5);
    (low - margin, high + margin)
}
