//! The table of nodes.

use std::time::{Duration, Instant};

use atalaya_recipes::Standing;
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row as TableRow, Table};

use super::{Sight, framed};
use crate::demo::fleet::Condition;
use crate::demo::state::{Row, State};
use crate::model::measurement;

/// A measurement that is older than so many periods is marked.
const OLD: u32 = 3;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, sight: &mut Sight, now: Instant) {
    if sight.table.selected().is_none() && !state.rows.is_empty() {
        sight.table.select(Some(0));
    }
    // Only what can be seen is made: there may be thousands.
    let height = usize::from(area.height.saturating_sub(3)).max(1);
    let chosen = sight.table.selected().unwrap_or(0);
    let first = sight.table.offset().clamp((chosen + 1).saturating_sub(height), chosen);
    let first = first.min(state.rows.len().saturating_sub(height));
    *sight.table.offset_mut() = first;
    let shown = state.rows.iter().skip(first).take(height);
    let rows = shown.enumerate().map(|(index, row)| {
        let line = cells(row, state.period, now);
        if first + index == chosen { line.add_modifier(Modifier::REVERSED) } else { line }
    });
    let widths = [
        Constraint::Length(6),
        Constraint::Length(11),
        Constraint::Length(11),
        Constraint::Length(5),
        Constraint::Min(8),
    ];
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
    let (role, role_style) = role(row);
    let reading = row.vitals.measured.as_ref().map(|measured| reading(&measured.data)).unwrap_or_default();
    let age = row.vitals.measured.as_ref().map(|measured| now.saturating_duration_since(measured.at));
    let old = age.is_some_and(|age| age > period * OLD);
    let (health, health_color) = health(row);
    let dead = matches!(row.condition, Condition::Dead(_));
    let quiet = if dead { Style::new().fg(Color::DarkGray) } else { Style::new() };
    TableRow::new([
        Cell::new(row.number.to_string()).style(quiet),
        Cell::new(role).style(role_style),
        Cell::new(reading).style(quiet),
        Cell::new(age.map(age_text).unwrap_or_default()).style(if old {
            quiet.fg(Color::Yellow)
        } else {
            quiet
        }),
        Cell::new(health).style(Style::new().fg(health_color)),
    ])
}

fn role(row: &Row) -> (String, Style) {
    match (&row.condition, row.vitals.standing) {
        (Condition::Dead(_), _) => ("dead".to_owned(), Style::new().fg(Color::Red)),
        (Condition::Hung, _) => ("hung".to_owned(), Style::new().fg(Color::Magenta)),
        (Condition::Up, Standing::Leading) => {
            ("leads".to_owned(), Style::new().fg(Color::Cyan).add_modifier(Modifier::BOLD))
        }
        // How many are ahead is known only from the last time it looked: no number is better than an old one.
        (Condition::Up, Standing::Waiting { .. }) => ("follows".to_owned(), Style::new()),
        (Condition::Up, Standing::Inactive) => ("joining".to_owned(), Style::new().fg(Color::Yellow)),
    }
}

fn health(row: &Row) -> (String, Color) {
    match &row.condition {
        Condition::Dead(None) => ("killed".to_owned(), Color::Red),
        Condition::Dead(Some(why)) => (why.clone(), Color::Red),
        Condition::Hung => ("stopped".to_owned(), Color::Magenta),
        Condition::Up => match row.vitals.sensor_errors.first_key_value() {
            Some((sensor, fault)) => (format!("{sensor}: {fault}"), Color::Red),
            None if row.cut_off() => ("cut off".to_owned(), Color::Yellow),
            None if row.publishes() => ("ok".to_owned(), Color::Green),
            None => ("starting".to_owned(), Color::Yellow),
        },
    }
}

/// A measurement as people read it.
fn reading(data: &[u8]) -> String {
    let Ok(values) = measurement::parse(data) else {
        return String::from_utf8_lossy(data).into_owned();
    };
    let words = values.iter().map(|value| {
        let number = format!("{:.2}", value.value);
        let number = number.trim_end_matches('0').trim_end_matches('.');
        match &value.unit {
            Some(unit) => format!("{number} {unit}"),
            None => number.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// In five columns.
fn age_text(age: Duration) -> String {
    match age.as_secs() {
        0..100 => format!("{:.1}s", age.as_secs_f64()),
        seconds @ 100..6_000 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3_600),
    }
}
