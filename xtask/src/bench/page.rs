//! The figures as Markdown: on the terminal, and in the page of the documentation.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use super::figures::Section;
use super::machine::Machine;

/// Between these lines the page is generated; what stands around them is kept.
const BEGIN: &str = "<!-- figures: written by `cargo xtask bench` -->";
const END: &str = "<!-- end of the figures -->";

/// What a new page begins with.
const INTRODUCTION: &str = "# Benchmarks

Atalaya beside the Kazoo programs that it takes the place of, measured in one run by

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
    let head = ["aim", "to reach", "came out", ""].map(str::to_owned);
    let verdict = |reached| if reached { "reached" } else { "**missed**" }.to_owned();
    let rows: Vec<Vec<String>> = sections
        .iter()
        .flat_map(|section| &section.aims)
        .map(|aim| vec![aim.what.clone(), aim.wanted.clone(), aim.came_out.clone(), verdict(aim.reached)])
        .collect();
    format!("## Aims\n\n{}", table(&head, &rows))
}

/// Writes the page, or its generated part if it is there already.
pub(crate) fn write(path: &Path, sections: &[Section], machine: &Machine) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> =
        machine.facts().iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect();
    let measured = table(&[String::new(), String::new()], &rows);
    let mut parts = vec![aims(sections)];
    parts.extend(sections.iter().map(section));
    parts.push(format!("## Measured on and with\n\n{measured}"));
    let before = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let page = put(&before, &parts.join("\n"));
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// `page` with `figures` in the place of those it had.
fn put(page: &str, figures: &str) -> String {
    let around = page.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    match around {
        Some((before, after)) => format!("{before}{BEGIN}\n\n{figures}\n{END}{after}"),
        None => format!("{INTRODUCTION}\n{BEGIN}\n\n{figures}\n{END}\n"),
    }
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
