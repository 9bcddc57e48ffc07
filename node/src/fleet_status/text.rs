//! A fleet for people: a few lines about the whole, and a line for each node.

use super::{FleetStatus, Node, Reading};
use crate::inspect::age;
use crate::model::text::truncate;

/// What a piece of text says besides its words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// It is only there to find other things.
    Faint,
    /// It stands out.
    Strong,
    /// All is well.
    Good,
    /// Something is wrong.
    Bad,
}

impl Tone {
    /// How terminals are told.
    fn code(self) -> &'static str {
        match self {
            Tone::Plain => "",
            Tone::Faint => "\x1b[2m",
            Tone::Strong => "\x1b[1m",
            Tone::Good => "\x1b[32m",
            Tone::Bad => "\x1b[31m",
        }
    }
}

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(Tone, String)>);

impl Line {
    fn of(name: &str, rest: impl IntoIterator<Item = (Tone, String)>) -> Line {
        let mut pieces = vec![(Tone::Faint, format!("{name:<10}{}", if name.len() < 10 { "" } else { " " }))];
        pieces.extend(rest);
        Line(pieces)
    }

    /// At most `width` characters of it, with colours or without.
    pub fn text(&self, width: usize, colours: bool) -> String {
        let (mut text, mut left) = (String::new(), width);
        for (tone, words) in &self.0 {
            // Ids and reasons come from other programs.
            let shown = truncate(words, left);
            left -= shown.chars().count();
            if colours && *tone != Tone::Plain && !shown.is_empty() {
                text.extend([tone.code(), &shown, "\x1b[0m"]);
            } else {
                text.push_str(&shown);
            }
        }
        if colours { text } else { text.trim_end().to_owned() }
    }
}

/// The lines as one text, of any width.
pub fn block(lines: &[Line], colours: bool) -> String {
    lines.iter().map(|line| line.text(usize::MAX, colours) + "\n").collect()
}

/// The lines for a fleet: first those about the whole, then, with a headline, those about its nodes; at most `most` of
/// these, and a line that says how many there are beyond them.
pub fn table(fleet: &FleetStatus, most: usize) -> Vec<Line> {
    let plain = |text: String| (Tone::Plain, text);
    let mut lines = vec![Line::of("fleet", [plain(fleet.zookeeper.clone())])];
    if fleet.is_empty() {
        lines.push(Line::of(
            "",
            [plain("there is no fleet here: nobody measures, and nobody stands in line".into())],
        ));
        return lines;
    }
    lines.push(Line::of("leader", leader(fleet)));
    if let (Some(epoch), Some(cycle)) = (fleet.epoch, fleet.cycle) {
        lines.push(Line::of("cycle", [plain(format!("{cycle} (epoch {epoch})"))]));
        lines.push(Line::of("reports", reports(fleet)));
        if let Some(outranked) = fleet.outranked {
            let text = format!("none is accepted: the collector has reports of the later epoch {outranked}");
            lines.push(Line::of("", [(Tone::Bad, text)]));
        }
    }
    if let Some(period) = fleet.sampling_period {
        lines.push(Line::of("period", [plain(format!("{period}s, as /config/sampling_period tells"))]));
    }
    lines.push(Line::of("nodes", [plain(nodes(fleet))]));
    lines.extend(wrong_znodes(fleet));
    if fleet.nodes.is_empty() {
        return lines;
    }
    lines.push(Line::default());
    let shown = &fleet.nodes[..fleet.nodes.len().min(most)];
    lines.extend(rows(fleet, shown));
    let more = fleet.nodes.len() - shown.len();
    if more > 0 {
        lines.push(Line(vec![(Tone::Faint, format!("and {more} more"))]));
    }
    lines
}

/// Returns two lines for each znode of the wrong type: the reason and the remedy.
fn wrong_znodes(fleet: &FleetStatus) -> Vec<Line> {
    let mut lines = Vec::new();
    for wrong in &fleet.wrong_znodes {
        lines.push(Line::of("wrong type", [(Tone::Bad, wrong.message.clone())]));
        lines.push(Line::of("", [(Tone::Plain, wrong.remedy.clone())]));
    }
    if fleet.more_wrong_znodes > 0 {
        lines.push(Line::of(
            "",
            [(Tone::Bad, format!("and {} more of the wrong type", fleet.more_wrong_znodes))],
        ));
    }
    lines
}

fn leader(fleet: &FleetStatus) -> Vec<(Tone, String)> {
    let Some(leader) = &fleet.leader else {
        return vec![(Tone::Bad, "nobody".to_owned())];
    };
    let since = match leader.since {
        Some(since) => format!(" for {}", ago(fleet, since)),
        None => format!(", in line for {}", ago(fleet, leader.in_line_since)),
    };
    let behind = match fleet.in_line {
        0 | 1 => "; nobody else in line".to_owned(),
        more => format!("; {} more in line", more - 1),
    };
    vec![(Tone::Strong, leader.id.clone()), (Tone::Plain, since + &behind)]
}

fn reports(fleet: &FleetStatus) -> Vec<(Tone, String)> {
    let some = |count: usize| if count == 0 { Tone::Plain } else { Tone::Bad };
    let delivered = match &fleet.delivered {
        Some(delivered) => {
            format!(
                "cycle {} was the last that was accepted, {} ago",
                delivered.cycle,
                ago(fleet, delivered.time)
            )
        }
        None => "this leader has not said that any was accepted".to_owned(),
    };
    // One is on its way most of the time.
    let mut pieces = vec![(some(fleet.waiting.saturating_sub(1)), format!("{} waiting", fleet.waiting))];
    pieces.push((some(fleet.aside), format!(", {} set aside", fleet.aside)));
    pieces.push((Tone::Plain, format!("; {delivered}")));
    pieces
}

/// How long ago something was.
fn ago(fleet: &FleetStatus, then: jiff::Timestamp) -> String {
    age(Some(fleet.time.duration_since(then).as_secs_f64().max(0.0)))
}

fn nodes(fleet: &FleetStatus) -> String {
    let count = |what: fn(&&Node) -> bool, words: &str| match fleet.nodes.iter().filter(what).count() {
        0 => String::new(),
        count => format!(", {count} {words}"),
    };
    [
        fleet.nodes.len().to_string(),
        count(|node| !node.failing.is_empty(), "with sensors that cannot be read"),
        count(|node| node.problem.is_some(), "with a measurement that is none"),
        count(|node| node.age.is_none(), "without a measurement"),
        count(|node| !node.atalaya, "of another kind"),
    ]
    .concat()
}

/// Longest text of one cell.
const WIDEST: usize = 40;
/// Readings of a node in one cell.
const SHOWN: usize = 4;

fn rows(fleet: &FleetStatus, nodes: &[Node]) -> Vec<Line> {
    type Cell = (Tone, String);
    let headline = ["node", "measured", "age", "sensors", "host", "version", "for"];
    let mut rows: Vec<[Cell; 7]> = vec![headline.map(|name| (Tone::Faint, name.to_owned()))];
    let or_none = |text: &Option<String>| (Tone::Plain, text.clone().unwrap_or_else(|| "-".to_owned()));
    rows.extend(nodes.iter().map(|node| {
        let name = if node.leads {
            (Tone::Strong, format!("{} leads", node.id))
        } else {
            (Tone::Plain, node.id.clone())
        };
        let since = node.since.map(|since| ago(fleet, since));
        let seen = node.age.map(|seconds| age(Some(seconds)));
        let version =
            if node.atalaya { or_none(&node.version) } else { (Tone::Faint, "not Atalaya".to_owned()) };
        [name, measured(node), or_none(&seen), sensors(node), or_none(&node.host), version, or_none(&since)]
    }));
    for (_, text) in rows.iter_mut().flatten() {
        if text.chars().count() > WIDEST {
            *text = text.chars().take(WIDEST - 1).chain(['…']).collect();
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].1.chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |row: [Cell; 7]| {
        let cells = row.into_iter().zip(widths).map(|((tone, text), width)| (tone, format!("{text:width$}")));
        // Blanks between the cells are nobody's.
        let pieces = cells.flat_map(|cell| [cell, (Tone::Plain, "  ".to_owned())]);
        Line(pieces.collect())
    };
    rows.into_iter().map(line).collect()
}

fn measured(node: &Node) -> (Tone, String) {
    if let Some(problem) = &node.problem {
        return (Tone::Bad, problem.clone());
    }
    if node.readings.is_empty() {
        return (Tone::Bad, "nothing".to_owned());
    }
    let mut texts: Vec<String> = node.readings.iter().take(SHOWN).map(reading).collect();
    let more = node.more + node.readings.len().saturating_sub(SHOWN);
    if more > 0 {
        texts.push(format!("{more} more"));
    }
    (Tone::Plain, texts.join(", "))
}

fn reading(reading: &Reading) -> String {
    let number = number(reading.value);
    match &reading.unit {
        Some(unit) => format!("{number} {unit}"),
        None => number,
    }
}

/// With as many digits as a table has room for.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e9).contains(&size) {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn sensors(node: &Node) -> (Tone, String) {
    match (&*node.failing, node.sensors) {
        ([], 0) => (Tone::Plain, "-".to_owned()),
        ([], _) => (Tone::Good, "ok".to_owned()),
        ([one], all) => {
            let of = if all > 1 { format!(" (1 of {all})") } else { String::new() };
            (Tone::Bad, format!("{} {}{of}", one.sensor, one.health))
        }
        (some, all) => (Tone::Bad, format!("{} of {all} cannot be read", some.len())),
    }
}
