//! The table of nodes.

use std::time::{Duration, Instant};

use atalaya_recipes::Standing;
use ratatui::Frame;
use ratatui::layout::Constraint::{Length, Min};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row as TableRow, Table};

use super::{ViewState, framed};
use crate::demo::fleet::Condition;
use crate::demo::state::{Row, State};
use crate::model::measurement;

/// Age of a measurement, in periods, after which it is highlighted.
const OLD_PERIODS: u32 = 3;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, view: &mut ViewState, now: Instant) {
    if view.table.selected().is_none() && !state.rows.is_empty() {
        view.table.select(Some(0));
    }
    // Only the visible rows are created: there may be thousands of nodes.
    let height = usize::from(area.height.saturating_sub(3)).max(1);
    let selected = view.table.selected().unwrap_or(0);
    let first = view.table.offset().clamp((selected + 1).saturating_sub(height), selected);
    let first = first.min(state.rows.len().saturating_sub(height));
    *view.table.offset_mut() = first;
    let shown = state.rows.iter().skip(first).take(height);
    let rows = shown.enumerate().map(|(index, row)| {
        let line = cells(row, state.period, now);
        if first + index == selected { line.add_modifier(Modifier::REVERSED) } else { line }
    });
    let widths = [Length(6), Length(11), Length(11), Length(5), Min(8)];
    let title = Line::from(vec![" Nodes".into(), position(first, height, state.rows.len()).dark_gray()]);
    let table = Table::new(rows, widths)
        .header(TableRow::new(["id", "role", "reading", "age", "health"]).dark_gray())
        .block(framed(title));
    frame.render_widget(table, area);
}

fn position(first: usize, height: usize, all: usize) -> Span<'static> {
    if all <= height {
        return " ".into();
    }
    format!(" {} to {} of {all} ", first + 1, (first + height).min(all)).into()
}

fn cells(row: &Row, period: Duration, now: Instant) -> TableRow<'static> {
    let reading = row.status.measured.as_ref().map(|measured| reading(&measured.data)).unwrap_or_default();
    let age = row.status.measured.as_ref().map(|measured| now.saturating_duration_since(measured.at));
    let old = age.is_some_and(|age| age > period * OLD_PERIODS);
    let styled = |span: Span<'static>| Cell::new(span.content).style(span.style);
    let dead = matches!(row.condition, Condition::Dead(_));
    let style = if dead { Style::new().fg(Color::DarkGray) } else { Style::new() };
    let age_style = if old { style.fg(Color::Yellow) } else { style };
    TableRow::new([
        Cell::new(row.number.to_string()).style(style),
        styled(role(row)),
        Cell::new(reading).style(style),
        Cell::new(age.map(age_text).unwrap_or_default()).style(age_style),
        styled(health(row)),
    ])
}

fn role(row: &Row) -> Span<'static> {
    match (&row.condition, row.status.standing) {
        (Condition::Dead(_), _) => "dead".red(),
        (Condition::Hung, _) => "hung".magenta(),
        (Condition::Running, Standing::Leading) => "leader".cyan().bold(),
        // Without the number of contenders ahead: it is known only from the last read of the election, and may be old.
        (Condition::Running, Standing::Waiting { .. }) => "follower".into(),
        (Condition::Running, Standing::Standby) => "standby".into(),
        (Condition::Running, Standing::Inactive) => "joining".yellow(),
    }
}

fn health(row: &Row) -> Span<'static> {
    match &row.condition {
        Condition::Dead(None) => "killed".red(),
        Condition::Dead(Some(reason)) => reason.clone().red(),
        Condition::Hung => "stopped".magenta(),
        Condition::Running => match row.status.sensor_errors.first_key_value() {
            Some((sensor, fault)) => format!("{sensor}: {fault}").red(),
            None if row.is_disconnected() => "offline".yellow(),
            None if row.is_publishing() => "ok".green(),
            None => "starting".yellow(),
        },
    }
}

fn reading(data: &[u8]) -> String {
    let Ok(values) = measurement::parse(data) else {
        return String::from_utf8_lossy(data).into_owned();
    };
    let texts = values.iter().map(|value| {
        let number = format!("{:.2}", value.value);
        let number = number.trim_end_matches('0').trim_end_matches('.');
        match &value.unit {
            Some(unit) => format!("{number} {unit}"),
            None => number.to_owned(),
        }
    });
    texts.collect::<Vec<_>>().join(" ")
}

/// Formats an age in at most five characters.
fn age_text(age: Duration) -> String {
    match age.as_secs() {
        0..100 => format!("{:.1}s", age.as_secs_f64()),
        seconds @ 100..6_000 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3_600),
    }
}
