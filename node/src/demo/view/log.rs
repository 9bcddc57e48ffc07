//! The newest lines of the event log.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::framed;
use crate::demo::state::{LineKind, State};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let height = usize::from(area.height.saturating_sub(2));
    let first = state.log.len().saturating_sub(height);
    let lines = state.log.iter().skip(first).map(|line| {
        let color = match line.kind {
            LineKind::Info => Color::Reset,
            LineKind::Average => Color::Green,
            LineKind::Fault => Color::Magenta,
            LineKind::Warning => Color::Yellow,
        };
        Line::from(vec![
            format!("{:>7.1} ", line.at.as_secs_f64()).dark_gray(),
            format!("{:<10} ", line.source).cyan(),
            Span::styled(line.text.as_str(), Style::new().fg(color)),
        ])
    });
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(framed(" Events ")), area);
}
