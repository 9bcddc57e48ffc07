//! Table of a fleet for people: a few lines about the whole fleet, and one line per node.

use std::collections::BTreeMap;

use crate::fleet_status::{FleetStatus, NodeSummary, Reading};
use crate::model::details::{Findings, UnitGroup, Withheld};
use crate::model::text::{format_age, truncate};
use crate::zk::listing_size;

/// Escape sequence that starts the style of a piece of text on a terminal.
type Style = &'static str;

const PLAIN: Style = "";
const DIM: Style = "\x1b[2m";
const BOLD: Style = "\x1b[1m";
const GOOD: Style = "\x1b[32m";
const BAD: Style = "\x1b[31m";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StyledLine(Vec<(Style, String)>);

impl StyledLine {
    /// Returns a line that starts with a heading; an empty heading continues the line above.
    fn with_heading(heading: &str, rest: impl IntoIterator<Item = (Style, String)>) -> StyledLine {
        let gap = if heading.len() < 10 { "" } else { " " };
        let mut pieces = vec![(DIM, format!("{heading:<10}{gap}"))];
        pieces.extend(rest);
        StyledLine(pieces)
    }

    /// Returns the first `width` characters, with or without colours.
    pub(crate) fn render(&self, width: usize, colours: bool) -> String {
        let (mut text, mut left) = (String::new(), width);
        for (style, piece) in &self.0 {
            // Ids and errors come from other programs, so control characters are replaced.
            let shown = truncate(piece, left);
            left -= shown.chars().count();
            if colours && !style.is_empty() && !shown.is_empty() {
                text.extend([*style, &shown, "\x1b[0m"]);
            } else {
                text.push_str(&shown);
            }
        }
        if colours { text } else { text.trim_end().to_owned() }
    }
}

/// Returns the lines as one text of unlimited width.
pub(crate) fn render_lines(lines: &[StyledLine], colours: bool) -> String {
    lines.iter().map(|line| line.render(usize::MAX, colours) + "\n").collect()
}

/// Returns the lines of a fleet: those about the whole fleet, then a table with at most `max_nodes` nodes.
pub(crate) fn render_table(fleet: &FleetStatus, max_nodes: usize) -> Vec<StyledLine> {
    let plain = |text: String| (PLAIN, text);
    let mut lines = vec![StyledLine::with_heading("fleet", [plain(fleet.zookeeper.clone())])];
    if fleet.nodes.is_empty() && fleet.in_line == 0 && fleet.epoch.is_none() && fleet.wrong_znodes.is_empty()
    {
        let text = "no fleet found: no measurements and no contenders".to_owned();
        lines.push(StyledLine::with_heading("", [plain(text)]));
        return lines;
    }
    lines.push(StyledLine::with_heading("leader", leader(fleet)));
    if let (Some(epoch), Some(cycle)) = (fleet.epoch, fleet.cycle) {
        lines.push(StyledLine::with_heading("cycle", [plain(format!("{cycle} (epoch {epoch})"))]));
        lines.push(StyledLine::with_heading("reports", reports(fleet)));
        if let Some(outranked) = fleet.outranked {
            let text = format!("none is accepted: the collector has reports of the later epoch {outranked}");
            lines.push(StyledLine::with_heading("", [(BAD, text)]));
        }
    }
    lines.extend(outputs(fleet));
    if let Some(period) = fleet.sampling_period {
        let text = format!("{period}s (from /config/sampling_period)");
        lines.push(StyledLine::with_heading("period", [plain(text)]));
    }
    lines.extend(findings(fleet));
    lines.push(StyledLine::with_heading("nodes", [plain(nodes(fleet))]));
    let size = listing_size::response_size(fleet.nodes.iter().map(|node| node.id.as_str()));
    let warning = listing_size::warning(size);
    lines.extend(warning.map(|text| StyledLine::with_heading("", [(BAD, text)])));
    lines.extend(wrong_znodes(fleet));
    if fleet.nodes.is_empty() {
        return lines;
    }
    lines.push(StyledLine::default());
    let shown = &fleet.nodes[..fleet.nodes.len().min(max_nodes)];
    lines.extend(rows(fleet, shown));
    let more = fleet.nodes.len() - shown.len();
    if more > 0 {
        lines.push(StyledLine(vec![(DIM, format!("and {more} more"))]));
    }
    lines
}

/// Returns two lines for each znode of the wrong type: the reason and the remedy.
fn wrong_znodes(fleet: &FleetStatus) -> Vec<StyledLine> {
    let mut lines = Vec::new();
    for wrong in &fleet.wrong_znodes {
        lines.push(StyledLine::with_heading("wrong type", [(BAD, wrong.message.clone())]));
        lines.push(StyledLine::with_heading("", [(PLAIN, wrong.remedy.clone())]));
    }
    if fleet.more_wrong_znodes > 0 {
        let text = format!("and {} more of the wrong type", fleet.more_wrong_znodes);
        lines.push(StyledLine::with_heading("", [(BAD, text)]));
    }
    lines
}

/// Returns the lines for withheld values, outliers and groups.
fn findings(fleet: &FleetStatus) -> Vec<StyledLine> {
    let Findings { withheld, outliers, more_outliers, groups } = &fleet.findings;
    let mut lines = Vec::new();
    for Withheld { unit, value, nodes, needed } in withheld {
        let text = format!("{} (count {nodes}, {needed} needed)", with_unit(*value, unit.as_deref()));
        lines.push(StyledLine::with_heading("withheld", [(BAD, text)]));
    }
    if !outliers.is_empty() {
        let shown = outliers.iter().map(|outlier| {
            format!("{} ({})", outlier.node, with_unit(outlier.value, outlier.unit.as_deref()))
        });
        let more = (*more_outliers > 0).then(|| format!("{more_outliers} more"));
        let text = shown.chain(more).collect::<Vec<_>>().join(", ");
        lines.push(StyledLine::with_heading("outliers", [(BAD, text)]));
    }
    let mut by_group: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for UnitGroup { group, unit, value, count, .. } in groups {
        let text = format!("{} (count {count})", with_unit(*value, unit.as_deref()));
        by_group.entry(group).or_default().push(text);
    }
    for (position, (group, values)) in by_group.into_iter().enumerate() {
        let heading = if position == 0 { "groups" } else { "" };
        let text = format!("{group}: {}", values.join(", "));
        lines.push(StyledLine::with_heading(heading, [(PLAIN, text)]));
    }
    lines
}

fn leader(fleet: &FleetStatus) -> Vec<(Style, String)> {
    let Some(leader) = &fleet.leader else {
        return vec![(BAD, "none".to_owned())];
    };
    let since = match leader.since {
        Some(since) => format!(" for {}", time_since(fleet, since)),
        None => format!(", contender for {}", time_since(fleet, leader.in_line_since)),
    };
    let others = match fleet.in_line {
        0 | 1 => "; no other contenders".to_owned(),
        2 => "; 1 more contender".to_owned(),
        count => format!("; {} more contenders", count - 1),
    };
    vec![(BOLD, leader.id.clone()), (PLAIN, since + &others)]
}

fn reports(fleet: &FleetStatus) -> Vec<(Style, String)> {
    let delivered = match &fleet.delivered {
        Some(delivered) => {
            format!("; last accepted: cycle {}, {} ago", delivered.cycle, time_since(fleet, delivered.time))
        }
        None => "; the leader has published no accepted report".to_owned(),
    };
    let [waiting, rejected] = counts(fleet.waiting, fleet.aside);
    vec![waiting, rejected, (PLAIN, delivered)]
}

/// Returns the numbers of waiting and of rejected reports.
fn counts(waiting: usize, rejected: usize) -> [(Style, String); 2] {
    let bad_unless_zero = |count: usize| if count == 0 { PLAIN } else { BAD };
    [
        // Most of the time, one report is being delivered.
        (bad_unless_zero(waiting.saturating_sub(1)), format!("{waiting} waiting")),
        (bad_unless_zero(rejected), format!(", {rejected} rejected")),
    ]
}

/// Returns a line for each output, and a second one with the reason if it accepts no reports.
fn outputs(fleet: &FleetStatus) -> Vec<StyledLine> {
    let mut lines = Vec::new();
    for output in &fleet.outputs {
        let heading = if lines.is_empty() { "outputs" } else { "" };
        let mut pieces = vec![(BOLD, output.name.clone()), (PLAIN, ": ".to_owned())];
        pieces.extend(counts(output.waiting, output.aside));
        if let Some(oldest) = output.oldest.filter(|_| output.waiting > 1) {
            pieces.push((PLAIN, format!(", the oldest for {}", time_since(fleet, oldest))));
        }
        match &output.delivered {
            Some(delivered) => {
                let (cycle, age) = (delivered.cycle, time_since(fleet, delivered.time));
                pieces.push((PLAIN, format!("; last accepted: cycle {cycle}, {age} ago")));
            }
            None if !output.used && fleet.leader.is_some() => {
                pieces.push((BAD, "; the leader does not have this output".to_owned()));
            }
            None => {}
        }
        lines.push(StyledLine::with_heading(heading, pieces));
        if let Some(problem) = &output.problem {
            lines.push(StyledLine::with_heading("", [(BAD, problem.clone())]));
        }
    }
    lines
}

fn time_since(fleet: &FleetStatus, then: jiff::Timestamp) -> String {
    format_age(fleet.time.duration_since(then).as_secs_f64().max(0.0))
}

fn nodes(fleet: &FleetStatus) -> String {
    let count = |is_counted: fn(&&NodeSummary) -> bool, text: &str| {
        let count = fleet.nodes.iter().filter(is_counted).count();
        (count > 0).then(|| format!("{count} {text}"))
    };
    let counts = [
        count(|node| !node.failing.is_empty(), "with failing sensors"),
        count(|node| node.problem.is_some(), "with an invalid measurement"),
        count(|node| node.age.is_none(), "without a measurement"),
        count(|node| !node.atalaya, "not Atalaya"),
        count(|node| node.standby, "on standby"),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let gap = if counts.is_empty() { "" } else { ": " };
    format!("{}{gap}{}", fleet.nodes.len(), counts.join(", "))
}

/// Maximum width of a cell, in characters.
const MAX_CELL_WIDTH: usize = 40;
const MAX_READINGS: usize = 4;

fn rows(fleet: &FleetStatus, nodes: &[NodeSummary]) -> Vec<StyledLine> {
    type Cell = (Style, String);
    let header = ["node", "measurement", "age", "sensors", "host", "version", "online"];
    let mut rows: Vec<[Cell; 7]> = vec![header.map(|name| (DIM, name.to_owned()))];
    let or_dash = |text: &Option<String>| (PLAIN, text.clone().unwrap_or_else(|| "-".to_owned()));
    rows.extend(nodes.iter().map(|node| {
        let role = if node.leads { Some("leader") } else { node.standby.then_some("standby") };
        let notes: Vec<&str> = role.into_iter().chain(node.group.as_deref()).collect();
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        let name = (if node.leads { BOLD } else { PLAIN }, format!("{}{notes}", node.id));
        let online = node.since.map(|since| time_since(fleet, since));
        let age = node.age.map(format_age);
        let version = if node.atalaya { or_dash(&node.version) } else { (DIM, "not Atalaya".to_owned()) };
        [
            name,
            measurement(node),
            or_dash(&age),
            sensors(node),
            or_dash(&node.host),
            version,
            or_dash(&online),
        ]
    }));
    for (_, text) in rows.iter_mut().flatten() {
        if text.chars().count() > MAX_CELL_WIDTH {
            *text = text.chars().take(MAX_CELL_WIDTH - 1).chain(['…']).collect();
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].1.chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |row: [Cell; 7]| {
        let cells =
            row.into_iter().zip(widths).map(|((style, text), width)| (style, format!("{text:width$}")));
        let pieces = cells.flat_map(|cell| [cell, (PLAIN, "  ".to_owned())]);
        StyledLine(pieces.collect())
    };
    rows.into_iter().map(line).collect()
}

fn measurement(node: &NodeSummary) -> (Style, String) {
    if let Some(problem) = &node.problem {
        return (BAD, problem.clone());
    }
    if node.readings.is_empty() {
        return (BAD, "none".to_owned());
    }
    let mut texts: Vec<String> = node.readings.iter().take(MAX_READINGS).map(reading).collect();
    let more = node.more + node.readings.len().saturating_sub(MAX_READINGS);
    if more > 0 {
        texts.push(format!("{more} more"));
    }
    (PLAIN, texts.join(", "))
}

fn reading(reading: &Reading) -> String {
    with_unit(reading.value, reading.unit.as_deref())
}

fn with_unit(value: f64, unit: Option<&str>) -> String {
    let number = number(value);
    match unit {
        Some(unit) => format!("{number} {unit}"),
        None => number,
    }
}

/// Formats a number with up to three decimal places; with an exponent if it is very large or very small.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e9).contains(&size) {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn sensors(node: &NodeSummary) -> (Style, String) {
    match (&*node.failing, node.sensors) {
        ([], 0) => (PLAIN, "-".to_owned()),
        ([], _) => (GOOD, "ok".to_owned()),
        ([one], total) => {
            let of = if total > 1 { format!(" (1 of {total})") } else { String::new() };
            (BAD, format!("{} {}{of}", one.sensor, one.health))
        }
        (failing, total) => (BAD, format!("{} of {total} failing", failing.len())),
    }
}
