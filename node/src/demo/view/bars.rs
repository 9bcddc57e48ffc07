//! The first line: the parts of the demo with their states, and the time since the start. The last two lines:
//! counters and keys.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::demo::script::ApiMode;
use crate::demo::state::State;

/// Minimum width that has room for ZooKeeper's address. The event log has it too.
const WIDTH_WITH_ADDRESS: u16 = 100;

pub(super) fn draw_header(frame: &mut Frame<'_>, area: Rect, state: &State, now: Instant) {
    let style = |good: bool| Style::new().fg(if good { Color::Green } else { Color::Red }).bold();
    let api = match state.api {
        ApiMode::Up => "up",
        ApiMode::Down => "down",
        ApiMode::Hanging => "hanging",
        ApiMode::Failing => "failing",
    };
    let nodes = match state.rows.len() {
        1 => "1 node".to_owned(),
        all if state.publishing() == all => format!("{all} nodes"),
        all => format!("{} of {all} nodes", state.publishing()),
    };
    let wide = area.width >= WIDTH_WITH_ADDRESS;
    let mut line = Line::from(vec![
        " Atalaya".bold().cyan(),
        format!("  {nodes}, every {:?}", state.period).into(),
        if wide { format!("  ZooKeeper {} ", state.zookeeper).into() } else { "  ZooKeeper ".into() },
        Span::styled(if state.server.stopped { "stopped" } else { "up" }, style(!state.server.stopped)),
        "  API ".into(),
        Span::styled(api, style(state.api == ApiMode::Up)),
    ]);
    let seconds = now.saturating_duration_since(state.started).as_secs();
    let clock = format!("{}:{:02}:{:02} ", seconds / 3600, seconds / 60 % 60, seconds % 60);
    // Many terminals make a link of the complete URL.
    let short = state.page.trim_start_matches("http://").trim_end_matches('/');
    let room = usize::from(area.width).saturating_sub(line.width() + clock.len() + 2);
    if let Some(page) = [state.page.as_str(), short].into_iter().find(|page| page.len() <= room) {
        line.push_span(format!(" {page}").cyan());
    }
    frame.render_widget(Paragraph::new(line), area);
    frame.render_widget(Paragraph::new(clock).alignment(Alignment::Right), area);
}

const KEYS: [(&str, &str); 9] = [
    ("k", "kill"),
    ("h", "hang"),
    ("r", "revive"),
    ("l", "leader"),
    ("a", "API"),
    ("z", "ZooKeeper"),
    ("t", "task"),
    ("?", "help"),
    ("q", "quit"),
];

pub(super) fn draw_footer(frame: &mut Frame<'_>, counters: Rect, keys: Rect, state: &State) {
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
