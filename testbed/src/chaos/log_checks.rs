//! Checks of what the nodes logged: no panics, and a bounded number of warnings, whatever is refused. Pure.

use std::collections::BTreeMap;

use super::evidence::LogLine;
use super::verdict::{Kind, Verdict};

/// Time over which warnings are counted, in milliseconds.
pub(super) const WINDOW: i64 = 10_000;
/// Maximum number of warnings of one process within [`WINDOW`]: 240 a minute.
pub(super) const MOST_WARNINGS: usize = 40;

/// Returns the level of a line, as the nodes write them: time, level, text.
fn level(text: &str) -> Option<&str> {
    text.split_ascii_whitespace().nth(1)
}

/// Returns true for lines at the levels WARN and ERROR.
fn is_warning(text: &str) -> bool {
    matches!(level(text), Some("WARN" | "ERROR"))
}

/// Returns true for lines below these levels. The last words of a process that ends have none.
pub(super) fn is_information(text: &str) -> bool {
    matches!(level(text), Some("INFO" | "DEBUG" | "TRACE"))
}

/// Checks the lines of all processes.
pub(super) fn check(log: &[LogLine], verdict: &mut Verdict) {
    let mut warnings: BTreeMap<&str, Vec<&LogLine>> = BTreeMap::new();
    for line in log {
        if line.text.contains("panicked at") {
            verdict.add(Kind::Other, format!("{}: {}", line.process, line.text));
        }
        if is_warning(&line.text) {
            warnings.entry(&line.process).or_default().push(line);
        }
    }
    for (process, lines) in warnings {
        let mut first = 0;
        let mut most: &[&LogLine] = &[];
        for (last, line) in lines.iter().enumerate() {
            while line.time - lines[first].time >= WINDOW {
                first += 1;
            }
            if last + 1 - first > most.len() {
                most = &lines[first..=last];
            }
        }
        verdict.figures.warnings = verdict.figures.warnings.max(most.len());
        if let Some(last) = most.last().filter(|_| most.len() > MOST_WARNINGS) {
            let count = most.len();
            let text = format!("{process}: {count} warnings within {WINDOW} ms, the last: {}", last.text);
            verdict.add(Kind::LogVolume, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: i64, pause: i64) -> Vec<LogLine> {
        let line = |number| LogLine {
            process: "node-1-1".into(),
            time: number * pause,
            text: "2026-11-28T11:53:07.312094Z  WARN cannot publish: NoAuth".into(),
        };
        (0..count).map(line).collect()
    }

    fn found(log: &[LogLine]) -> Vec<Kind> {
        let mut verdict = Verdict::default();
        check(log, &mut verdict);
        verdict.violations.iter().map(|violation| violation.kind).collect()
    }

    #[test]
    fn warnings_thirteen_times_a_second_are_too_many() {
        assert_eq!(found(&lines(60, 77)), [Kind::LogVolume]);
        // With pauses that grow to 5 s there are a few.
        assert_eq!(found(&lines(200, 300)), []);
    }

    #[test]
    fn information_is_not_counted_and_a_panic_is_a_violation() {
        let mut log = lines(500, 1);
        log.iter_mut().for_each(|line| line.text = line.text.replace("WARN", "INFO"));
        assert_eq!(found(&log), []);
        log[3].text = "thread 'main' panicked at library/std/src/io/stdio.rs:1165:9:".into();
        assert_eq!(found(&log), [Kind::Other]);
    }
}
