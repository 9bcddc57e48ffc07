//! Checks that the nodes log no panics and a bounded number of warnings, and that a node continues when nothing reads
//! its log. Pure.

use std::collections::BTreeMap;

use crate::chaos::check_report::{CheckReport, Violation};
use crate::chaos::history::{History, LogLine, Stall};
use crate::chaos::txn_effects::MEASUREMENTS;
use crate::journal::Change;

/// Time over which warnings are counted, in milliseconds.
pub(crate) const WINDOW: i64 = 10_000;
/// Maximum number of warnings of one process within [`WINDOW`]: 180 a minute.
pub(crate) const MAX_WARNINGS: usize = 30;

/// Returns the level of a line, as the nodes write them: time, level, text.
fn level(text: &str) -> Option<&str> {
    text.split_ascii_whitespace().nth(1)
}

/// Returns true for lines below the level WARN. The last lines of a process that ends have no level.
pub(crate) fn is_information(text: &str) -> bool {
    matches!(level(text), Some("INFO" | "DEBUG" | "TRACE"))
}

/// Start of a stall that is not checked, in milliseconds: requests under way may still be committed.
const STALL_BEGINS: i64 = 500;
/// Minimum rest of a stall in which the node must publish, in milliseconds.
const SHORTEST_STALL: i64 = 1_500;

/// Minimum number of publications of other nodes during a stall, which shows that the fleet works.
const OTHERS: usize = 3;

/// Checks that a node publishes while nothing reads its standard error, as the others do.
pub(crate) fn check_stalls(history: &History, findings: &mut CheckReport) {
    for Stall { node, from, to } in &history.stalls {
        let begin = from + STALL_BEGINS;
        let during =
            history.transactions.iter().filter(|transaction| (begin..=*to).contains(&transaction.time));
        let of_nodes = during.filter(|transaction| !history.foreign.contains(&transaction.session));
        let published =
            of_nodes.flat_map(|transaction| &transaction.changes).filter_map(|change| match change {
                Change::Create { path, .. } | Change::Set { path, .. } => path.strip_prefix(MEASUREMENTS),
                _ => None,
            });
        let (own, others): (Vec<&str>, Vec<&str>) = published.partition(|name| name == node);
        if to - begin >= SHORTEST_STALL && own.is_empty() && others.len() >= OTHERS {
            let stalled = to - from;
            let text = format!(
                "node {node} published nothing while its standard error was stalled for {stalled} ms"
            );
            findings.add(Violation::Stderr, text);
        }
    }
}

/// Checks the lines of all processes.
pub(crate) fn check(log: &[LogLine], findings: &mut CheckReport) {
    let mut warnings: BTreeMap<&str, Vec<&LogLine>> = BTreeMap::new();
    for line in log {
        if line.text.contains("panicked at") {
            findings.add(Violation::Other, format!("{}: {}", line.process, line.text));
        }
        if matches!(level(&line.text), Some("WARN" | "ERROR")) {
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
        findings.counts.warnings = findings.counts.warnings.max(most.len());
        if let Some(last) = most.last().filter(|_| most.len() > MAX_WARNINGS) {
            let count = most.len();
            let text = format!("{process}: {count} warnings within {WINDOW} ms, the last: {}", last.text);
            findings.add(Violation::LogVolume, text);
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

    fn found(log: &[LogLine]) -> Vec<Violation> {
        let mut findings = CheckReport::default();
        check(log, &mut findings);
        findings.violations.iter().map(|violation| violation.kind).collect()
    }

    #[test]
    fn warnings_thirteen_times_a_second_are_too_many() {
        assert_eq!(found(&lines(60, 77)), [Violation::LogVolume]);
        // With pauses that grow to 5 s there are only a few warnings.
        assert_eq!(found(&lines(200, 400)), []);
    }

    #[test]
    fn node_that_stops_publishing_while_its_stderr_is_stalled_is_a_violation() {
        let set = |(node, time): (u32, i64)| crate::journal::Transaction {
            zxid: time,
            session: i64::from(node),
            time,
            changes: vec![Change::Set { path: format!("/mediciones/{node}"), data: b"7".to_vec() }],
        };
        let found = |published: &[(u32, i64)]| {
            let stalls = vec![Stall { node: "2".into(), from: 1_000, to: 4_000 }];
            let transactions = published.iter().copied().map(set).collect();
            let history = History { transactions, stalls, ..History::default() };
            let mut findings = CheckReport::default();
            check_stalls(&history, &mut findings);
            findings.violations.len()
        };
        let others = [(1, 2_000), (3, 2_100), (1, 3_000)];
        let with = |own: &[(u32, i64)]| [&others, own].concat();
        assert_eq!(found(&with(&[(2, 900), (2, 2_000)])), 0);
        assert_eq!(found(&with(&[(2, 900), (2, 1_200), (2, 5_000)])), 1);
        assert_eq!(found(&[(2, 900), (2, 5_000)]), 0, "the others published nothing either");
    }

    #[test]
    fn information_is_not_counted_and_a_panic_is_a_violation() {
        let mut log = lines(500, 1);
        log.iter_mut().for_each(|line| line.text = line.text.replace("WARN", "INFO"));
        assert_eq!(found(&log), []);
        log[3].text = "thread 'main' panicked at library/std/src/io/stdio.rs:1165:9:".into();
        assert_eq!(found(&log), [Violation::Other]);
    }
}
