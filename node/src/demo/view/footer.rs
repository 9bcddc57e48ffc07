//! The last two lines: counters and keys.

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

pub(super) fn draw(frame: &mut Frame<'_>, counters: Rect, keys: Rect, state: &State) {
    let audit = &state.audit;
    let bad = |value: u64| if value > 0 { Style::new().fg(Color::Red).bold() } else { Style::new().bold() };
    let good = Style::new().bold();
    let (lost, stale) = (audit.lost() as u64, audit.stale);
    let values = [
        ("averages", audit.computed, good),
        ("delivered", audit.delivered, good),
        ("waiting", audit.waiting() as u64, good),
        ("lost", lost, bad(lost)),
        ("stale", stale, bad(stale)),
        ("leaders", audit.epochs, good),
        ("sessions", state.server.sessions as u64, good),
        ("znodes", state.server.znodes as u64, good),
        ("watches", state.server.watches as u64, good),
        ("requests", state.server.requests, good),
    ];
    let mut room = usize::from(counters.width);
    let mut line = Line::default();
    for (name, value, style) in values {
        let value = value.to_string();
        // A truncated number would be wrong.
        let Some(left) = room.checked_sub(name.len() + value.len() + 3) else { break };
        room = left;
        line.extend([format!(" {name} ").dark_gray(), Span::styled(value, style), " ".into()]);
    }
    frame.render_widget(Paragraph::new(line), counters);
    let help = KEYS.iter().flat_map(|(key, action)| [key.bold().cyan(), format!(" {action}  ").into()]);
    frame.render_widget(Paragraph::new(help.collect::<Line<'_>>()), keys);
}
