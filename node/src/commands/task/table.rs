//! Tables and times of the output for people.

use jiff::Timestamp;

use crate::model::text::{format_age, truncate};
use crate::zk::server_clock::local_time;

/// Maximum width of a cell, in characters, except in the last column.
const MAX_CELL_WIDTH: usize = 40;

/// Returns a table whose columns are separated by two spaces. Unsafe characters are replaced.
pub(super) fn render<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let cell = |column: usize, text: &str| {
        let max = if column + 1 == N { usize::MAX } else { MAX_CELL_WIDTH };
        if text.chars().count() > max {
            format!("{}…", truncate(text, max - 1))
        } else {
            truncate(text, max)
        }
    };
    let header = header.map(str::to_owned);
    let cells = |row: &[String; N]| (0..N).map(|column| cell(column, &row[column])).collect();
    align_columns(&std::iter::once(&header).chain(rows).map(cells).collect::<Vec<_>>())
}

/// Returns rows of the same length as lines with aligned columns.
pub(in crate::commands) fn align_columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Returns a line with a heading, as in `atalaya status`. Unsafe characters are replaced.
pub(super) fn line(heading: &str, text: &str) -> String {
    format!("{heading:<10}{}\n", truncate(text, usize::MAX))
}

/// Returns the time since `then` at `now`, both in milliseconds since 1970.
pub(super) fn age(then: i64, now: i64) -> String {
    format_age(now.saturating_sub(then).max(0) as f64 / 1_000.0)
}

/// Returns the later of this machine's clock and `newest`, a time by ZooKeeper's clock that has passed.
pub(super) fn now(newest: i64) -> i64 {
    local_time().max(newest)
}

/// Returns a date; the start of 1970 for a time that no calendar contains.
pub(super) fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_aligned_columns_without_unsafe_characters() {
        let long = "x".repeat(100);
        let table = render(["a", "b"], &[["1\u{1b}[2J".into(), long.clone()], [long.clone(), "2".into()]]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0].find('b'), Some(42));
        assert!(lines[1].starts_with("1\u{fffd}[2J") && lines[1].ends_with(&long), "{table}");
        assert!(lines[2].ends_with("…  2"), "{table}");
    }
}
