//! Results as Markdown: for the terminal, and for the generated part of `docs/benchmarks.md`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use super::machine::Machine;
use super::targets::Target;

/// Markers around the generated part of the page. The text before and after them is kept.
const BEGIN: &str = "<!-- figures: written by `cargo xtask bench` -->";
const END: &str = "<!-- end of the figures -->";

const TARGETS: &str = "## Targets";
const TARGETS_HEAD: [&str; 4] = ["measurement", "target", "result", ""];
const ENVIRONMENT: &str = "## Test environment";

/// Text before the generated part of a new page.
const INTRODUCTION: &str = "# Benchmarks

Atalaya in comparison with the Kazoo programs that it replaces, and its in-memory server in comparison with Apache
ZooKeeper, measured in one run by

```sh
cargo xtask bench
```

Another machine gives other values; the ratios carry over. Values that miss their target are listed as well.
";

/// Results of one benchmark, as a section of the page.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Heading. Identifies the section when a page is updated.
    pub(crate) title: String,
    /// Description of the measurement, in enough detail to repeat and to judge it.
    pub(crate) method: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// Paragraphs below the table.
    pub(crate) notes: Vec<String>,
    pub(crate) targets: Vec<Target>,
}

/// Returns the cells of a row or of the head.
pub(crate) fn cells<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Returns a row with its label in the first cell.
pub(crate) fn row(label: impl Into<String>, cells: impl IntoIterator<Item = String>) -> Vec<String> {
    [label.into()].into_iter().chain(cells).collect()
}

/// Formats a section: heading, method, table, notes.
pub(crate) fn section(section: &Section) -> String {
    let mut text = format!("## {}\n\n{}\n\n", section.title, wrap(&section.method));
    text += &table(&section.head, &section.rows);
    for note in &section.notes {
        let _ = write!(text, "\n{}\n", wrap(note));
    }
    text
}

/// Formats the table of all targets, with the results.
pub(crate) fn targets(sections: &[Section]) -> String {
    format!("{TARGETS}\n\n{}", table(&cells(TARGETS_HEAD), &target_rows(sections)))
}

fn target_rows(sections: &[Section]) -> Vec<Vec<String>> {
    let met = |met| if met { "met" } else { "**missed**" }.to_owned();
    let targets = sections.iter().flat_map(|section| &section.targets);
    let row = |target: &Target| {
        vec![target.name.clone(), target.limit.clone(), target.result.clone(), met(target.met)]
    };
    targets.map(row).collect()
}

/// Writes the page, or replaces its generated part if it exists.
pub(crate) fn write(path: &Path, sections: &[Section], machine: &Machine) -> anyhow::Result<()> {
    let rows: Vec<_> = machine.facts().iter().map(|(name, value)| row(*name, [value.clone()])).collect();
    let environment = table(&cells(["", ""]), &rows);
    let mut parts = vec![targets(sections)];
    parts.extend(sections.iter().map(section));
    parts.push(format!("{ENVIRONMENT}\n\n{environment}"));
    write_generated(path, &parts.join("\n"))
}

/// Replaces the sections of a page that this run has measured, and keeps the others. Each new section gets a note with
/// the facts in which this run differs from the test environment of the page. Writes a new page if there is none.
pub(crate) fn update(path: &Path, mut sections: Vec<Section>, machine: &Machine) -> anyhow::Result<()> {
    let page = read(path)?;
    let Some((_, generated, _)) = split(&page) else { return write(path, &sections, machine) };
    let environment = generated.split_once(ENVIRONMENT).map_or("", |(_, environment)| environment);
    sections.iter_mut().for_each(|section| section.notes.push(machine.differences_from(environment)));
    write_generated(path, &merge(generated, &sections))
}

fn read(path: &Path) -> anyhow::Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn write_generated(path: &Path, generated: &str) -> anyhow::Result<()> {
    let page = replace_generated(&read(path)?, generated);
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// Splits a page into the text before the generated part, the generated part, and the text after it. Returns `None` if
/// the page has no generated part.
fn split(page: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (generated, after) = rest.split_once(END)?;
    Some((before, generated, after))
}

/// Returns `page` with `generated` as its generated part.
fn replace_generated(page: &str, generated: &str) -> String {
    match split(page) {
        Some((before, _, after)) => format!("{before}{BEGIN}\n\n{generated}\n{END}{after}"),
        None => format!("{INTRODUCTION}\n{BEGIN}\n\n{generated}\n{END}\n"),
    }
}

/// Returns `generated` with these sections and their targets. They replace those with the same title or name; others
/// are appended.
fn merge(generated: &str, sections: &[Section]) -> String {
    let mut parts: Vec<(&str, String)> = Vec::new();
    for part in generated.trim().split("\n## ") {
        let part = part.trim().trim_start_matches("## ");
        parts.push((part.lines().next().unwrap_or_default(), format!("## {part}\n")));
    }
    // The test environment stays the last part.
    let environment = parts.pop_if(|(title, _)| ENVIRONMENT.ends_with(*title));
    for new in sections {
        let text = section(new);
        match parts.iter_mut().find(|(title, _)| *title == new.title) {
            Some(part) => part.1 = text,
            None => parts.push((&new.title, text)),
        }
    }
    if let Some((_, targets)) = parts.iter_mut().find(|(title, _)| TARGETS.ends_with(*title)) {
        let split =
            |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        // The first two lines are the head and the rule below it.
        let lines = targets.lines().filter(|line| line.starts_with('|')).skip(2);
        let mut rows: Vec<Vec<String>> = lines.map(split).collect();
        for new in target_rows(sections) {
            match rows.iter_mut().find(|row| row.first() == new.first()) {
                Some(row) => *row = new,
                None => rows.push(new),
            }
        }
        *targets = format!("{TARGETS}\n\n{}", table(&cells(TARGETS_HEAD), &rows));
    }
    parts.into_iter().chain(environment).map(|(_, text)| text).collect::<Vec<_>>().join("\n")
}

/// Formats a table, with columns that are aligned in the source as well.
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

/// Wraps text to lines of at most 120 characters.
fn wrap(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= 120) {
            Some(line) => line.extend([" ", word]),
            None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_keeps_the_text_around_its_generated_part() {
        let first = replace_generated("", "1 ms");
        assert!(first.starts_with("# Benchmarks") && first.contains("1 ms"));
        let edited = first.replace("# Benchmarks", "# Speed") + "\nWhy so slow?\n";
        let second = replace_generated(&edited, "2 ms");
        assert!(second.starts_with("# Speed") && second.ends_with("Why so slow?\n"));
        assert!(second.contains("2 ms") && !second.contains("1 ms"));
    }

    #[test]
    fn merge_replaces_sections_with_the_same_title_and_appends_new_ones() {
        let results = |title: &str, value: f64| Section {
            title: title.to_owned(),
            method: "Some.".to_owned(),
            head: vec!["ms".to_owned()],
            rows: vec![vec![value.to_string()]],
            notes: Vec::new(),
            targets: vec![Target::at_most(title, 1.0, "", value)],
        };
        let whole = [results("One", 1.0), results("Two", 2.0)];
        let page =
            [targets(&whole), section(&whole[0]), section(&whole[1]), format!("{ENVIRONMENT}\n\nhere\n")]
                .join("\n");
        assert_eq!(merge(&page, &whole), page);
        let page = merge(&page, &[results("Two", 0.5), results("Three", 3.0)]);
        let expected = [results("One", 1.0), results("Two", 0.5), results("Three", 3.0)];
        let sections: Vec<String> = expected.iter().map(section).collect();
        let here = format!("{ENVIRONMENT}\n\nhere\n");
        assert_eq!(page, [targets(&expected), sections.join("\n"), here].join("\n"));
    }

    #[test]
    fn benchmarks_page_has_the_headings_that_an_update_needs() {
        let (_, generated, _) = split(include_str!("../../docs/benchmarks.md")).unwrap();
        assert!(generated.contains(TARGETS) && generated.contains(ENVIRONMENT));
        assert_eq!(merge(generated, &[]).trim(), generated.trim());
    }
}
