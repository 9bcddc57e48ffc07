//! The help, in front of the other parts.

use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph, Wrap};

use super::framed;
use crate::demo::keys::KEYS;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, page: &str) {
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
    let [area] = Layout::vertical([Constraint::Length(height)]).flex(Flex::Center).areas(area);
    let [area] = Layout::horizontal([Constraint::Length(80)]).flex(Flex::Center).areas(area);
    frame.render_widget(Clear, area);
    let block = framed(" Help ").border_style(Style::new().fg(Color::Cyan));
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), area);
}
