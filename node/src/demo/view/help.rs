//! The help, in front of everything.

use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph, Wrap};

use super::framed;
use crate::demo::keys::KEYS;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, page: &str) {
    let mut lines = vec![
        Line::from("Nodes measure and publish in ZooKeeper; the leader averages what all of"),
        Line::from("them measured and posts it to the API. All of it runs here, over TCP."),
        Line::from(format!("The API has a page: {page}")),
        Line::default(),
    ];
    lines.extend(
        KEYS.iter().map(|(key, what)| {
            Line::from(vec![format!("{key:>4}").bold().cyan(), format!("  {what}").into()])
        }),
    );
    lines.push(Line::default());
    lines.push(Line::from("lost: averages that nobody will deliver any more; there should be none"));
    lines.push(Line::from("stale: reports that arrived from a leader that was deposed"));
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2);
    let [area] = Layout::vertical([Constraint::Length(height)]).flex(Flex::Center).areas(area);
    let [area] = Layout::horizontal([Constraint::Length(80)]).flex(Flex::Center).areas(area);
    frame.render_widget(Clear, area);
    let block = framed(" Help ").border_style(Style::new().fg(Color::Cyan));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}
