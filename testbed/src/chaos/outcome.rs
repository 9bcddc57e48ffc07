//! The outcome of one schedule, and its files in a folder, for analysis.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::check_report::CheckReport;
use super::files::{self, clock};
use super::history::History;
use super::kazoo_counts::KazooCounts;
use super::pauses::Pauses;
use super::schedule::Schedule;
use crate::process::Line;

pub struct Outcome {
    /// Violations found by the checker and by the runner.
    pub findings: CheckReport,
    /// Number of times that each fault happened.
    pub injected: BTreeMap<String, u64>,
    pub kazoo: Option<KazooCounts>,
    /// Times in which nodes did not measure.
    pub pauses: Pauses,
    pub(super) schedule: Schedule,
    pub(super) history: History,
    pub(super) logs: Vec<(String, Vec<Line>)>,
}

impl Outcome {
    /// Writes all data into a folder: the schedule, the violations, the transactions that ZooKeeper committed, the
    /// requests to the API, and the output of each process.
    pub fn keep(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut text = format!("{}\n", self.schedule);
        for violation in &self.findings.violations {
            let _ = writeln!(text, "{:?}: {}", violation.kind, violation.text);
        }
        self.findings.notes.iter().for_each(|note| text.extend(["note: ", note, "\n"]));
        let _ = writeln!(
            text,
            "\n{:#?}\n{:#?}\nsettled: {}",
            self.injected, self.findings.counts, self.history.settled
        );
        fs::write(folder.join("findings.txt"), text)?;
        files::write_transactions(folder, &self.history.transactions)?;
        let arrivals = self.history.arrivals.iter();
        files::write_lines(folder, "api.txt", arrivals.map(|it| format!("{} {it:?}", clock(it.time))))?;
        if let Some(stored) = &self.history.stored {
            files::write_lines(folder, "held.txt", stored.iter().map(|report| format!("{report:?}")))?;
        }
        files::write_logs(folder, &self.logs)
    }
}
