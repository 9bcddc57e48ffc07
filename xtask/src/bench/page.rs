//! The figures as Markdown: on the terminal, and in the page of the documentation.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use super::figures::Section;
use super::machine::Machine;

/// Between these lines the page is generated; what stands around them is kept.
const BEGIN: &str = "<!-- figures: written by `cargo xtask bench` -->";
const END: &str = "<!-- end of the figures -->";

const AIMS: &str = "## Aims";
const AIMS_HEAD: [&str; 4] = ["aim", "to reach", "came out", ""];
const MEASURED: &str = "## Measured on and with";

/// What a new page begins with.
const INTRODUCTION: &str = "# Benchmarks

Atalaya beside the Kazoo programs that it takes the place of, and its server in memory beside Apache ZooKeeper, measured
in one run by

```sh
cargo xtask bench
```

Figures of another machine are other figures; what carries over is how they compare. Figures that came out badly stand
here as well.
";

/// One section: what was done, the table, what else there is to say.
pub(crate) fn section(section: &Section) -> String {
    let mut text = format!("## {}\n\n{}\n\n", section.title, wrap(&section.method));
    text += &table(&section.head, &section.rows);
    for note in &section.notes {
        let _ = write!(text, "\n{}\n", wrap(note));
    }
    text
}

/// What was aimed at, and whether it was reached.
pub(crate) fn aims(sections: &[Section]) -> String {
    format!("{AIMS}\n\n{}", table(&AIMS_HEAD.map(str::to_owned), &aim_rows(sections)))
}

fn aim_rows(sections: &[Section]) -> Vec<Vec<String>> {
    let verdict = |reached| if reached { "reached" } else { "**missed**" }.to_owned();
    let aims = sections.iter().flat_map(|section| &section.aims);
    aims.map(|aim| vec![aim.what.clone(), aim.wanted.clone(), aim.came_out.clone(), verdict(aim.reached)])
        .collect()
}

/// Writes the page, or its generated part if it is there already.
pub(crate) fn write(path: &Path, sections: &[Section], machine: &Machine) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> =
        machine.facts().iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect();
    let measured = table(&[String::new(), String::new()], &rows);
    let mut parts = vec![aims(sections)];
    parts.extend(sections.iter().map(section));
    parts.push(format!("{MEASURED}\n\n{measured}"));
    put_into(path, &parts.join("\n"))
}

/// Puts sections that were measured without the rest into a page that has others, which stay. Each of the new ones says
/// what was otherwise when it was measured. Without such a page this writes one.
pub(crate) fn update(path: &Path, mut sections: Vec<Section>, machine: &Machine) -> anyhow::Result<()> {
    let page = read(path)?;
    let Some((_, figures, _)) = apart(&page) else { return write(path, &sections, machine) };
    let measured = figures.split_once(MEASURED).map_or("", |(_, measured)| measured);
    sections.iter_mut().for_each(|section| section.notes.push(machine.otherwise_than(measured)));
    put_into(path, &merge(figures, &sections))
}

fn read(path: &Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn put_into(path: &Path, figures: &str) -> anyhow::Result<()> {
    let page = put(&read(path)?, figures);
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// What stands before the figures, the figures, and what stands behind them.
fn apart(page: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (figures, after) = rest.split_once(END)?;
    Some((before, figures, after))
}

/// `page` with `figures` in the place of those it had.
fn put(page: &str, figures: &str) -> String {
    match apart(page) {
        Some((before, _, after)) => format!("{before}{BEGIN}\n\n{figures}\n{END}{after}"),
        None => format!("{INTRODUCTION}\n{BEGIN}\n\n{figures}\n{END}\n"),
    }
}

/// `figures` with these sections and their aims, in the place of those with the same title and name, else as the last
/// ones.
fn merge(figures: &str, sections: &[Section]) -> String {
    let mut parts: Vec<(&str, String)> = Vec::new();
    for part in figures.trim().split("\n## ") {
        let part = part.trim().trim_start_matches("## ");
        parts.push((part.lines().next().unwrap_or_default(), format!("## {part}\n")));
    }
    let measured = parts.pop_if(|(title, _)| MEASURED.ends_with(*title));
    for new in sections {
        let text = section(new);
        match parts.iter_mut().find(|(title, _)| *title == new.title) {
            Some(part) => part.1 = text,
            None => parts.push((&new.title, text)),
        }
    }
    if let Some((_, aims)) = parts.iter_mut().find(|(title, _)| AIMS.ends_with(*title)) {
        let cells =
            |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let lines = aims.lines().filter(|line| line.starts_with('|')).skip(2);
        let mut rows: Vec<Vec<String>> = lines.map(cells).collect();
        for new in aim_rows(sections) {
            match rows.iter_mut().find(|row| row.first() == new.first()) {
                Some(row) => *row = new,
                None => rows.push(new),
            }
        }
        *aims = format!("{AIMS}\n\n{}", table(&AIMS_HEAD.map(str::to_owned), &rows));
    }
    parts.into_iter().chain(measured).map(|(_, text)| text).collect::<Vec<_>>().join("\n")
}

/// A table whose columns line up in the source, too.
fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let length = |cell: &str| cell.chars().count();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).chain(head.get(column));
        cells.map(|cell| length(cell)).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        format!("|{}\n", cells.collect::<String>())
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    line(head) + &line(&rule) + &rows.iter().map(|row| line(row)).collect::<String>()
}

/// Lines of at most 120 characters.
fn wrap(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].chars().count() + 1 + word.chars().count() > 120 {
            lines.push(word.to_owned());
            continue;
        }
        if !lines[last].is_empty() {
            lines[last].push(' ');
        }
        lines[last].push_str(word);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::figures::Aim;
    use super::*;

    #[test]
    fn what_stands_around_the_figures_is_kept() {
        let first = put("", "1 ms");
        assert!(first.starts_with("# Benchmarks") && first.contains("1 ms"));
        let edited = first.replace("# Benchmarks", "# Speed") + "\nWhy so slow?\n";
        let second = put(&edited, "2 ms");
        assert!(second.starts_with("# Speed") && second.ends_with("Why so slow?\n"));
        assert!(second.contains("2 ms") && !second.contains("1 ms"));
    }

    #[test]
    fn what_is_measured_alone_takes_its_place_among_the_others() {
        let figures = |title: &str, value: f64| Section {
            title: title.to_owned(),
            method: "Some.".to_owned(),
            head: vec!["ms".to_owned()],
            rows: vec![vec![value.to_string()]],
            notes: Vec::new(),
            aims: vec![Aim::at_most(title, 1.0, "", value)],
        };
        let whole = [figures("One", 1.0), figures("Two", 2.0)];
        let page = [aims(&whole), section(&whole[0]), section(&whole[1]), format!("{MEASURED}\n\nhere\n")]
            .join("\n");
        assert_eq!(merge(&page, &whole), page);
        let page = merge(&page, &[figures("Two", 0.5), figures("Three", 3.0)]);
        let wanted = [figures("One", 1.0), figures("Two", 0.5), figures("Three", 3.0)];
        let sections: Vec<String> = wanted.iter().map(section).collect();
        let here = format!("{MEASURED}\n\nhere\n");
        assert_eq!(page, [aims(&wanted), sections.join("\n"), here].join("\n"));
    }

    #[test]
    fn tables_line_up() {
        let cells = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let text = table(&cells(&["", "ms"]), &[cells(&["größer", "1"])]);
        assert_eq!(text, "|        | ms  |\n| ------ | --- |\n| größer | 1   |\n");
    }

    #[test]
    fn long_lines_are_wrapped() {
        let text = wrap(&"word ".repeat(50));
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [119, 119, 9]);
    }
}
