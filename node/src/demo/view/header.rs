//! The first line: what runs, and for how long.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::demo::script::ApiMode;
use crate::demo::state::State;

/// With less, ZooKeeper's address has no room; the log has it, too.
const WIDE: u16 = 100;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, now: Instant) {
    let light = |well: bool| Style::new().fg(if well { Color::Green } else { Color::Red }).bold();
    let api = match state.api {
        ApiMode::Up => "up",
        ApiMode::Away => "away",
        ApiMode::Hanging => "hanging",
        ApiMode::Failing => "failing",
    };
    let nodes = match state.rows.len() {
        1 => "1 node".to_owned(),
        all if state.publishing() == all => format!("{all} nodes"),
        all => format!("{} of {all} nodes", state.publishing()),
    };
    let wide = area.width >= WIDE;
    let mut line = Line::from(vec![
        " Atalaya".bold().cyan(),
        format!("  {nodes}, every {:?}", state.period).into(),
        if wide { format!("  ZooKeeper {} ", state.zookeeper).into() } else { "  ZooKeeper ".into() },
        Span::styled(if state.zookeeper_up { "up" } else { "stopped" }, light(state.zookeeper_up)),
        "  API ".into(),
        Span::styled(api, light(state.api == ApiMode::Up)),
    ]);
    let seconds = now.saturating_duration_since(state.started).as_secs();
    let clock = format!("{}:{:02}:{:02} ", seconds / 3600, seconds / 60 % 60, seconds % 60);
    // Whole, a terminal makes it a link.
    let short = state.page.trim_start_matches("http://").trim_end_matches('/');
    let room = usize::from(area.width).saturating_sub(line.width() + clock.len() + 2);
    if let Some(page) = [state.page.as_str(), short].into_iter().find(|page| page.len() <= room) {
        line.push_span(format!(" {page}").cyan());
    }
    frame.render_widget(Paragraph::new(line), area);
    frame.render_widget(Paragraph::new(clock).alignment(Alignment::Right), area);
}
