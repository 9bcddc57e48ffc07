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
    ("l", "leader"),
    ("a", "API"),
    ("z", "ZooKeeper"),
    ("?", "help"),
    ("q", "quit"),
];

pub(super) fn draw(frame: &mut Frame<'_>, figures: Rect, keys: Rect, state: &State) {
    let ledger = &state.ledger;
    let bad = |value: u64| if value > 0 { Style::new().fg(Color::Red).bold() } else { Style::new().bold() };
    let good = Style::new().bold();
    let (lost, stale) = (ledger.lost() as u64, ledger.stale);
    let counted = [
        ("averages", ledger.computed, good),
        ("delivered", ledger.delivered, good),
        ("waiting", ledger.waiting() as u64, good),
        ("lost", lost, bad(lost)),
        ("stale", stale, bad(stale)),
        ("leaders", ledger.terms, good),
        ("sessions", state.figures.sessions as u64, good),
        ("znodes", state.figures.znodes as u64, good),
        ("watches", state.figures.watches as u64, good),
        ("requests", state.figures.requests, good),
    ];
    let mut room = usize::from(figures.width);
    let mut line = Line::default();
    for (name, value, style) in counted {
        let value = value.to_string();
        // Half a figure would be a wrong one.
        let Some(left) = room.checked_sub(name.len() + value.len() + 3) else { break };
        room = left;
        line.extend([format!(" {name} ").dark_gray(), Span::styled(value, style), " ".into()]);
    }
    frame.render_widget(Paragraph::new(line), figures);
    let help = KEYS.iter().flat_map(|(key, what)| [key.bold().cyan(), format!(" {what}  ").into()]);
    frame.render_widget(Paragraph::new(help.collect::<Line<'_>>()), keys);
}
