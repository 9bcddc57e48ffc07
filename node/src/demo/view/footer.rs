//! The last two lines: what was counted, and which keys there are.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::demo::state::State;

const KEYS: [(&str, &str); 9] = [
    ("k", "kill"),
    ("h", "hang"),
    ("r", "revive"),
    ("x", "expire"),
    ("l", "kill leader"),
    ("a", "API"),
    ("z", "ZooKeeper"),
    ("?", "help"),
    ("q", "quit"),
];

pub(super) fn draw(frame: &mut Frame<'_>, figures: Rect, keys: Rect, state: &State) {
    let ledger = &state.ledger;
    let mut spans = vec![Span::from(" ")];
    let mut figure = |name: &'static str, value: u64, bad: bool| {
        let style = if bad && value > 0 { Style::new().fg(Color::Red).bold() } else { Style::new().bold() };
        spans.push(format!("{name} ").dark_gray());
        spans.push(Span::styled(value.to_string(), style));
        spans.push("  ".into());
    };
    figure("averages", ledger.computed, false);
    figure("delivered", ledger.delivered, false);
    figure("waiting", ledger.waiting() as u64, false);
    figure("lost", ledger.lost() as u64, true);
    figure("stale", ledger.stale, true);
    figure("leaders", ledger.terms, false);
    figure("sessions", state.figures.sessions as u64, false);
    figure("znodes", state.figures.znodes as u64, false);
    figure("watches", state.figures.watches as u64, false);
    figure("requests", state.figures.requests, false);
    frame.render_widget(Paragraph::new(Line::from(spans)), figures);
    let help =
        KEYS.iter().flat_map(|(key, what)| [format!(" {key}").bold().cyan(), format!(" {what} ").into()]);
    frame.render_widget(Paragraph::new(help.collect::<Line<'_>>()), keys);
}
