//! Draws the state of the demo into a frame of the terminal. No other I/O.

mod chart;
mod footer;
mod header;
mod help;
mod log;
mod nodes;

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::Constraint::{Length, Min};
use ratatui::layout::Layout;
use ratatui::style::{Color, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Paragraph, TableState};

use super::state::State;

const MIN_SIZE: (u16, u16) = (60, 16);

/// Selection and help of the user.
#[derive(Debug, Default)]
pub(crate) struct ViewState {
    table: TableState,
    /// True while the help is open.
    pub(crate) help: bool,
}

impl ViewState {
    /// Returns the number of the selected node.
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
    // The table is only as high as the nodes need; the log gets the rest.
    let rows = u16::try_from(state.rows.len()).unwrap_or(u16::MAX).saturating_add(3);
    let middle = rows.max(10).min((area.height - 4) * 6 / 10);
    let rows = [Length(1), Length(middle), Min(4), Length(1), Length(1)];
    let [top, middle, bottom, counters, keys] = Layout::vertical(rows).areas(area);
    let [left, right] = Layout::horizontal([Length(45), Min(20)]).areas(middle);
    header::draw(frame, top, state, now);
    nodes::draw(frame, left, state, view, now);
    chart::draw(frame, right, state, now);
    log::draw(frame, bottom, state);
    footer::draw(frame, counters, keys, state);
    if view.help {
        help::draw(frame, area, &state.page);
    }
}

/// Returns a frame with a title.
fn framed<'a>(title: impl Into<Line<'a>>) -> Block<'a> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().fg(Color::DarkGray))
        .title(title)
}

#[cfg(test)]
mod tests;
