//! The outcome of one schedule, and its files in a folder, for analysis.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::evidence::Evidence;
use super::kazoo::KazooFigures;
use super::pauses::Pauses;
use super::schedule::Schedule;
use super::verdict::Verdict;
use crate::process::Line;

/// Outcome of one schedule.
pub struct Outcome {
    /// Violations found by the judge and by the runner.
    pub verdict: Verdict,
    /// Number of times that each fault happened.
    pub played: BTreeMap<String, u64>,
    /// Results of a Kazoo fleet, if Kazoo clients ran.
    pub kazoo: Option<KazooFigures>,
    /// Times in which nodes did not measure.
    pub pauses: Pauses,
    pub(super) schedule: Schedule,
    pub(super) evidence: Evidence,
    pub(super) logs: Vec<(String, Vec<Line>)>,
}

impl Outcome {
    /// Writes all data into a folder: the schedule, the violations, the transactions that ZooKeeper committed, the
    /// requests to the API, and the output of each process.
    ///
    /// # Errors
    ///
    /// If the folder or a file cannot be created or written.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut text = format!("{}\n", self.schedule);
        for violation in &self.verdict.violations {
            let _ = writeln!(text, "{:?}: {}", violation.kind, violation.text);
        }
        self.verdict.notes.iter().for_each(|note| text.extend(["note: ", note, "\n"]));
        let _ = writeln!(
            text,
            "\n{:#?}\n{:#?}\nsettled: {}",
            self.played, self.verdict.figures, self.evidence.settled
        );
        fs::write(folder.join("verdict.txt"), text)?;
        let mut text = String::new();
        for transaction in &self.evidence.transactions {
            let crate::Transaction { zxid, session, time, changes } = transaction;
            let _ = write!(text, "{} {zxid:#x} {session:#x}", clock(*time));
            for change in changes {
                let _ = write!(text, " {}", words(change));
            }
            text.push('\n');
        }
        fs::write(folder.join("zookeeper.txt"), text)?;
        let mut text = String::new();
        for arrival in &self.evidence.arrivals {
            let _ = writeln!(text, "{} {arrival:?}", clock(arrival.time));
        }
        fs::write(folder.join("api.txt"), text)?;
        if let Some(held) = &self.evidence.held {
            let lines: Vec<String> = held.iter().map(|held| format!("{held:?}\n")).collect();
            fs::write(folder.join("held.txt"), lines.concat())?;
        }
        for (name, log) in &self.logs {
            let lines: Vec<&str> = log.iter().map(|line| line.text.as_str()).collect();
            fs::write(folder.join(format!("{name}.log")), lines.join("\n") + "\n")?;
        }
        Ok(())
    }
}

pub(super) fn words(change: &crate::Change) -> String {
    use crate::Change;
    let data = |data: &[u8]| String::from_utf8_lossy(data).chars().take(300).collect::<String>();
    match change {
        Change::Create { path, data: held, .. } => format!("create {path} {}", data(held)),
        Change::Set { path, data: held } => format!("set {path} {}", data(held)),
        Change::Delete { path } => format!("delete {path}"),
        Change::Check { path } => format!("check {path}"),
        Change::Opened => "session opened".into(),
        Change::Closed => "session closed".into(),
    }
}

/// Formats milliseconds since 1970 as the time of day, as the nodes log it.
pub(super) fn clock(millis: i64) -> String {
    let (seconds, millis) = (millis / 1_000, millis % 1_000);
    let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{millis:03}", seconds % 60)
}
