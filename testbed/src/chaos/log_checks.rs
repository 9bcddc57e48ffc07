//! Checks that the nodes log no panics and a bounded number of warnings, and that a node continues when nothing reads its
//! log. Pure.

use std::collections::BTreeMap;

use super::deeds::MEASUREMENTS;
use super::evidence::{Evidence, LogLine, Stall};
use super::verdict::{Kind, Verdict};
use crate::journal::Change;

/// Time over which warnings are counted, in milliseconds.
pub(super) const WINDOW: i64 = 10_000;
/// Maximum number of warnings of one process within [`WINDOW`]: 180 a minute.
pub(super) const MOST_WARNINGS: usize = 30;

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

/// Start of a stall that is not checked, in milliseconds: requests under way may still be committed.
const STALL_BEGINS: i64 = 500;
/// Minimum rest of a stall in which the node must publish, in milliseconds.
const SHORTEST_STALL: i64 = 1_500;

/// Checks that a node publishes while nothing reads its standard error.
pub(super) fn check_stalls(evidence: &Evidence, verdict: &mut Verdict) {
    for Stall { node, from, to } in &evidence.stalls {
        let begin = from + STALL_BEGINS;
        let path = format!("{MEASUREMENTS}{node}");
        let publishes = |change: &Change| match change {
            Change::Create { path: written, .. } | Change::Set { path: written, .. } => *written == path,
            _ => false,
        };
        let mut during =
            evidence.transactions.iter().filter(|transaction| (begin..=*to).contains(&transaction.time));
        if to - begin >= SHORTEST_STALL
            && !during.any(|transaction| transaction.changes.iter().any(publishes))
        {
            let text = format!(
                "node {node} published nothing while its standard error was stalled for {} ms",
                to - from
            );
            verdict.add(Kind::Other, text);
        }
    }
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
        assert_eq!(found(&lines(200, 400)), []);
    }

    #[test]
    fn node_that_stops_publishing_while_its_stderr_is_stalled_is_a_violation() {
        let set = |time| crate::journal::Transaction {
            zxid: time,
            session: 1,
            time,
            changes: vec![Change::Set { path: "/mediciones/2".into(), data: b"7".to_vec() }],
        };
        let stalls = vec![Stall { node: "2".into(), from: 1_000, to: 4_000 }];
        let found = |times: &[i64]| {
            let transactions = times.iter().copied().map(set).collect();
            let evidence = Evidence { transactions, stalls: stalls.clone(), ..Evidence::default() };
            let mut verdict = Verdict::default();
            check_stalls(&evidence, &mut verdict);
            verdict.violations.len()
        };
        assert_eq!((found(&[900, 2_000, 5_000]), found(&[900, 1_200, 5_000])), (0, 1));
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
