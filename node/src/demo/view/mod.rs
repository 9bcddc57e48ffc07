//! Draws the state of the demo into a frame of the terminal. No other I/O.

mod bars;
mod chart;
mod nodes;

use std::collections::VecDeque;
use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::Constraint::{Length, Min};
use ratatui::layout::{Flex, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Paragraph, TableState, Wrap};

use super::keys::KEYS;
use super::state::{self, LineKind, State};

const MIN_SIZE: (u16, u16) = (60, 16);

/// Selection and help of the user.
#[derive(Debug, Default)]
pub(crate) struct ViewState {
    table: TableState,
    /// True while the help is open.
    pub(crate) help: bool,
}

impl ViewState {
    pub(crate) fn selected(&self) -> u32 {
        u32::try_from(self.table.selected().unwrap_or(0)).unwrap_or(0) + 1
    }

    /// Selects the node `by` rows further down, limited to the first and the last of `all` nodes.
    pub(crate) fn move_by(&mut self, by: isize, all: usize) {
        let at = self.table.selected().unwrap_or(0).saturating_add_signed(by);
        self.table.select(Some(at.min(all.saturating_sub(1))));
    }
}

pub(crate) fn draw(frame: &mut Frame<'_>, state: &State, view: &mut ViewState, now: Instant) {
    let area = frame.area();
    if area.width < MIN_SIZE.0 || area.height < MIN_SIZE.1 {
        let text = format!("{}×{} is too small; enlarge the window to 80×24", area.width, area.height);
        return frame.render_widget(Paragraph::new(text), area);
    }
    // The table is only as high as the nodes need; events and averages get the rest.
    let rows = u16::try_from(state.rows.len()).unwrap_or(u16::MAX).saturating_add(3);
    let middle = rows.max(10).min((area.height - 4) * 6 / 10);
    let rows = [Length(1), Length(middle), Min(6), Length(1), Length(1)];
    let [top, middle, bottom, counters, keys] = Layout::vertical(rows).areas(area);
    let [left, right] = Layout::horizontal([Length(45), Min(20)]).areas(middle);
    bars::draw_header(frame, top, state, now);
    nodes::draw(frame, left, state, view, now);
    chart::draw(frame, right, state, now);
    // The averages have a short list: one comes in each period.
    let averages = (bottom.height / 5).clamp(1, 5) + 2;
    let [events, averages] = Layout::vertical([Min(3), Length(averages)]).areas(bottom);
    draw_lines(frame, events, " Events ", &state.events);
    draw_lines(frame, averages, " Averages ", &state.averages);
    bars::draw_footer(frame, counters, keys, state);
    if view.help {
        draw_help(frame, area, &state.page);
    }
}

/// Draws the newest lines of a list.
fn draw_lines(frame: &mut Frame<'_>, area: Rect, title: &'static str, list: &VecDeque<state::Line>) {
    let height = usize::from(area.height.saturating_sub(2));
    let shown = list.range(list.len().saturating_sub(height)..).map(|line| {
        let color = match line.kind {
            LineKind::Info => Color::Reset,
            LineKind::Average => Color::Green,
            LineKind::Fault => Color::Magenta,
            LineKind::Warning => Color::Yellow,
        };
        Line::from(vec![
            format!("{:>7.1} ", line.at.as_secs_f64()).dark_gray(),
            match line.kind {
                // The title names the source.
                LineKind::Average => Span::default(),
                _ => format!("{:<10} ", line.source).cyan(),
            },
            Span::styled(line.text.as_str(), Style::new().fg(color)),
        ])
    });
    frame.render_widget(Paragraph::new(shown.collect::<Vec<_>>()).block(framed(title)), area);
}

/// Draws the help, in front of the other parts.
fn draw_help(frame: &mut Frame<'_>, area: Rect, page: &str) {
    let mut lines = vec![
        Line::from("Nodes publish their measurements in ZooKeeper. The leader averages the"),
        Line::from("measurements and reports to the API. All parts run here, over TCP."),
        Line::from(format!("Web page of the API: {page}")),
        Line::default(),
    ];
    lines.extend(KEYS.iter().map(|(key, action)| {
        Line::from(vec![format!("{key:>4}").bold().cyan(), format!("  {action}").into()])
    }));
    lines.push(Line::default());
    lines.push(Line::from("lost: averages that no leader will deliver any more; should be 0"));
    lines.push(Line::from("stale: reports of a deposed leader that arrived at the API; should be 0"));
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2);
    let [area] = Layout::vertical([Length(height)]).flex(Flex::Center).areas(area);
    let [area] = Layout::horizontal([Length(80)]).flex(Flex::Center).areas(area);
    frame.render_widget(Clear, area);
    let block = framed(" Help ").border_style(Style::new().fg(Color::Cyan));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}

fn framed<'a>(title: impl Into<Line<'a>>) -> Block<'a> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().fg(Color::DarkGray))
        .title(title)
}

#[cfg(test)]
mod tests;
