//! The live view: what is drawn, from what is known. Pure but for the frame it draws into.

mod chart;
mod footer;
mod header;
mod help;
mod log;
mod nodes;

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Paragraph, TableState};

use super::state::State;

/// Smaller than this there is nothing to see.
const LEAST: (u16, u16) = (60, 16);

/// What the viewer has chosen to see.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    table: TableState,
    /// Whether the help is open.
    pub help: bool,
}

impl Sight {
    /// The number of the node that is chosen.
    pub(crate) fn chosen(&self) -> u32 {
        u32::try_from(self.table.selected().unwrap_or(0)).unwrap_or(0) + 1
    }

    /// Chooses the node so many further down, of `all`.
    pub(crate) fn move_by(&mut self, by: isize, all: usize) {
        let at = self.table.selected().unwrap_or(0).saturating_add_signed(by);
        self.table.select(Some(at.min(all.saturating_sub(1))));
    }

    /// Chooses the first node, or the last.
    pub(crate) fn jump(&mut self, last: bool, all: usize) {
        self.table.select(Some(if last { all.saturating_sub(1) } else { 0 }));
    }
}

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, state: &State, sight: &mut Sight, now: Instant) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let words = format!("{}×{} is too small a window: make it 80×24", area.width, area.height);
        return frame.render_widget(Paragraph::new(words), area);
    }
    // Few nodes need few lines; the log takes what is left.
    let rows = u16::try_from(state.rows.len()).unwrap_or(u16::MAX).saturating_add(3);
    let middle = rows.max(10).min((area.height - 4) * 6 / 10);
    let [top, middle, bottom, figures, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(middle),
        Constraint::Min(4),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    let [left, right] = Layout::horizontal([Constraint::Length(45), Constraint::Min(20)]).areas(middle);
    header::draw(frame, top, state, now);
    nodes::draw(frame, left, state, sight, now);
    chart::draw(frame, right, state, now);
    log::draw(frame, bottom, state);
    footer::draw(frame, figures, keys, state);
    if sight.help {
        help::draw(frame, area, &state.page);
    }
}

/// Where something is, and what.
fn framed<'a>(title: impl Into<Line<'a>>) -> Block<'a> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().fg(Color::DarkGray))
        .title(title)
}

#[cfg(test)]
mod tests;
