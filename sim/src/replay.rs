//! Reads the values of a CSV file, for waveforms that replay recorded measurements. Used by [`crate::generator`].

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use atalaya_hal::read_limited;

use crate::waveform::Column;

/// Maximum size of a file, in bytes.
const MAX_SIZE: usize = 16 << 20;

/// A CSV file that cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {problem}", file.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ReplayError {
    file: PathBuf,
    line: Option<u64>,
    problem: String,
}

/// Returns the numbers in one column of `file`, by default the first. The first line may be a header; lines in which
/// the column is empty are skipped, and `#` starts a comment.
pub(crate) fn load(file: &Path, column: Option<&Column>) -> Result<Vec<f64>, ReplayError> {
    let refuse = |line, problem: String| ReplayError { file: file.to_path_buf(), line, problem };
    let bytes = read_limited(file, MAX_SIZE).map_err(|error| {
        let problem = match error.kind() {
            ErrorKind::FileTooLarge => format!("larger than {} MiB; replay a part of it", MAX_SIZE >> 20),
            _ => format!("cannot read it: {error}; `replay` names a CSV file"),
        };
        refuse(None, problem)
    })?;
    numbers(&bytes, column).map_err(|(line, problem)| refuse(line, problem))
}

type Refusal = (Option<u64>, String);

fn numbers(bytes: &[u8], column: Option<&Column>) -> Result<Vec<f64>, Refusal> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
    let mut index = match column {
        Some(Column::Name(_)) => None,
        Some(Column::Number(number)) => Some(usize::from(number.get()) - 1),
        None => Some(0),
    };
    let mut values = Vec::new();
    for (row, record) in reader.records().enumerate() {
        let record =
            record.map_err(|error| (error.position().map(csv::Position::line), error.to_string()))?;
        let line = record.position().map(csv::Position::line);
        let Some(index) = index else {
            index = Some(header(&record, column).map_err(|problem| (line, problem))?);
            continue;
        };
        let Some(cell) = record.get(index).filter(|cell| !cell.is_empty()) else { continue };
        match cell.parse::<f64>() {
            Ok(value) if value.is_finite() => values.push(value),
            // A word in the first line is a header.
            Err(_) if row == 0 => {}
            _ => {
                return Err((line, format!("`{}` is not a finite number", excerpt(cell))));
            }
        }
    }
    if values.is_empty() {
        return Err((
            None,
            "no numbers in that column; `column` names or counts (from 1) another".to_owned(),
        ));
    }
    Ok(values)
}

/// Returns the beginning of an untrusted text, safe for a terminal.
fn excerpt(text: &str) -> String {
    text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Returns the position of the column with this name in the header.
fn header(record: &csv::StringRecord, column: Option<&Column>) -> Result<usize, String> {
    let Some(Column::Name(name)) = column else { return Ok(0) };
    record.iter().position(|cell| cell == name).ok_or_else(|| {
        let there: Vec<String> = record.iter().take(20).map(excerpt).collect();
        format!("no column is called `{}`; the header has {}", excerpt(name), there.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU16;

    #[test]
    fn reads_a_column_by_position_or_name_with_or_without_a_header() {
        let named = Column::Name("temperature".into());
        let second = Column::Number(NonZeroU16::new(2).unwrap());
        let table: [(&str, Option<&Column>, &[f64]); 7] = [
            ("20\n21.5\n", None, &[20.0, 21.5]),
            ("temperature\n20\n21.5", None, &[20.0, 21.5]),
            ("time,temperature\n0,20\n1,21.5\n", Some(&named), &[20.0, 21.5]),
            ("time,temperature\r\n0,20\r\n1,21.5\r\n", Some(&second), &[20.0, 21.5]),
            ("# recorded in Málaga\n0, 20\n\n1, \n2, -3e1\n", Some(&second), &[20.0, -30.0]),
            ("\u{feff}temperature\n1\n", Some(&named), &[1.0]),
            ("1,2\n3\n4,5\n", Some(&second), &[2.0, 5.0]),
        ];
        for (text, column, want) in table {
            assert_eq!(numbers(text.as_bytes(), column).as_deref(), Ok(want), "{text:?}");
        }
    }

    /// A file, the column, the line that is refused, and part of the problem.
    type Row<'a> = (&'a [u8], Option<&'a Column>, Option<u64>, &'a str);

    #[test]
    fn refuses_what_is_not_numbers_and_says_where() {
        let named = Column::Name("pressure".into());
        let table: [Row<'_>; 7] = [
            (b"", None, None, "no numbers"),
            (b"temperature\n", None, None, "no numbers"),
            (b"20\nabc\n", None, Some(2), "`abc` is not a finite number"),
            (b"20\nnan\n", None, Some(2), "`nan` is not a finite number"),
            (b"inf\n", None, Some(1), "`inf` is not a finite number"),
            (b"time,temperature\n0,1\n", Some(&named), Some(1), "the header has time, temperature"),
            (b"20\n\xff\xfe\n", None, Some(2), "UTF-8"),
        ];
        for (bytes, column, line, want) in table {
            let (at, problem) = numbers(bytes, column).unwrap_err();
            assert_eq!(at, line, "{problem}");
            assert!(problem.contains(want), "{problem}");
        }
    }

    /// Runs `load` in its own thread, because a read that blocks would never end.
    #[cfg(unix)]
    fn load_in_time(path: &Path) -> String {
        let (sender, receiver) = std::sync::mpsc::channel();
        let path = path.to_path_buf();
        std::thread::spawn(move || sender.send(load(&path, None).map_err(|error| error.to_string())));
        receiver.recv_timeout(std::time::Duration::from_secs(30)).unwrap().unwrap_err()
    }

    #[cfg(unix)]
    #[test]
    fn replay_of_a_pipe_a_device_or_a_folder_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), Path::new("/dev/zero"), folder.path()] {
            let message = load_in_time(path);
            assert!(message.contains("only a regular file"), "{message}");
        }
    }

    #[test]
    fn messages_about_huge_cells_are_short() {
        let named = Column::Name("x".repeat(100_000));
        let text = format!("{}\n1,2\n", vec!["y".repeat(100_000); 20].join(","));
        let (_, problem) = numbers(text.as_bytes(), Some(&named)).unwrap_err();
        assert!(problem.len() < 2_000, "{}", problem.len());
    }

    #[test]
    fn names_the_file_and_bounds_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let missing = load(&folder.path().join("no.csv"), None).unwrap_err().to_string();
        assert!(missing.contains("no.csv: cannot read it"), "{missing}");
        let large = folder.path().join("large.csv");
        std::fs::File::create(&large).unwrap().set_len(MAX_SIZE as u64 + 1).unwrap();
        let message = load(&large, None).unwrap_err().to_string();
        assert!(message.contains("large.csv: larger than 16 MiB"), "{message}");
        let bad = folder.path().join("bad.csv");
        std::fs::write(&bad, "1\n2\nthree\n").unwrap();
        let message = load(&bad, None).unwrap_err().to_string();
        assert!(message.ends_with("bad.csv:3: `three` is not a finite number"), "{message}");
    }
}
