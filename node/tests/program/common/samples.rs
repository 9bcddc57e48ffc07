//! Samples that a node has taken, from its log, and those that a collector has stored.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

#[allow(unused_imports, reason = "not all programs of tests use it")]
pub use atalaya_testbed::sample_log::{InFile, LOG_FILTER};
use atalaya_testbed::{Collector, Process, eventually};
use serde_json::Value;

use super::DEADLINE;

/// One run of a node.
pub struct Run {
    /// Series and value of each sample, in the order of their sequence numbers.
    samples: Vec<(String, f64)>,
    /// Number of samples that must be stored.
    needed: usize,
}

/// A sample that the collector has stored.
struct Stored {
    boot: String,
    seq: usize,
    value: f64,
}

/// Series and values of samples, by their sequence numbers.
type BySeq<'a> = BTreeMap<usize, (&'a str, f64)>;

/// Samples of a collector, by series.
pub struct Series(BTreeMap<String, Vec<Stored>>);

/// Numbers of samples that the collector does not have.
#[derive(Debug, Default)]
pub struct Missing {
    /// Oldest ones.
    pub oldest: usize,
    /// Last ones of killed runs.
    pub last_moments: usize,
}

/// Returns boards.toml with a board `many`, which has this number of sensors.
pub fn boards(sensors: usize) -> String {
    let mut text = "[boards.many]\nbackend = \"sim\"\nsensors = [\n".to_owned();
    for sensor in 0..sensors {
        writeln!(text, "  {{ name = \"s{sensor}\", chip = \"random\" }},").unwrap();
    }
    text + "]\n"
}

/// Returns series and value of the samples that a node with several sensors has taken.
fn taken(node: &Process) -> Vec<(String, f64)> {
    let mut taken = Vec::new();
    for line in node.log() {
        let Some((_, pack)) = line.text.split_once("measured measurement=") else { continue };
        // The last line of a killed process may be cut.
        let Ok(pack) = serde_json::from_str::<Value>(pack) else { continue };
        for record in pack.as_array().unwrap() {
            let (name, value) = (record["n"].as_str().unwrap(), record["v"].as_f64().unwrap());
            taken.push((name.to_owned(), value));
        }
    }
    taken
}

/// Returns the number of samples that a node has taken.
pub fn count(node: &Process) -> usize {
    taken(node).len()
}

#[track_caller]
pub fn wait_for_samples(node: &Process, wanted: usize, deadline: Duration) {
    eventually(&format!("{wanted} samples"), deadline, || (count(node) >= wanted).then_some(()));
}

impl Run {
    /// Returns the run of a process until now. All of its samples must be stored.
    pub fn so_far(node: &Process) -> Run {
        let samples = taken(node);
        Run { needed: samples.len(), samples }
    }

    /// Kills a process. Those of its samples must be stored that it has written into its file.
    pub fn until_killed(node: &mut Process) -> Run {
        node.kill9();
        Run { needed: InFile::of(node).stored, samples: taken(node) }
    }

    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Returns true if these are stored samples of this run.
    fn has_taken(&self, stored: &BySeq<'_>) -> bool {
        let known = stored.range(..=self.samples.len());
        known.clone().next().is_some()
            && known.into_iter().all(|(seq, (name, value))| {
                let (taken, number) = &self.samples[seq - 1];
                taken == name && number == value
            })
    }
}

impl Series {
    /// Reads all samples of a node; `None` if the collector does not answer.
    pub fn read(collector: &Collector, node: &str) -> Option<Series> {
        let path = format!("/api/v1/measurements?node={node}&resolution=raw&limit=20000");
        let answer = collector.try_get(&path, None, DEADLINE).ok()?;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        let series = body["series"].as_array().unwrap().iter().map(|series| {
            assert!(series["next"].is_null(), "all samples are in one answer");
            let name = ["sensor", "quantity"].map(|name| series[name].as_str().unwrap()).join("/");
            let rows = series["rows"].as_array().unwrap().iter().map(|row| Stored {
                boot: row["boot"].as_str().unwrap().to_owned(),
                seq: usize::try_from(row["seq"].as_u64().unwrap()).unwrap(),
                value: row["value"].as_f64().unwrap(),
            });
            (name, rows.collect())
        });
        Some(Series(series.collect()))
    }

    /// Waits until the collector has the samples of a running node.
    #[track_caller]
    pub fn wait_for(collector: &Collector, node: &str, run: &Run, deadline: Duration) -> Series {
        eventually(&format!("all samples of node {node}"), deadline, || {
            let series = Series::read(collector, node)?;
            let runs = series.by_run();
            let (_, last) = runs.last()?;
            let is_complete = last.keys().next_back().is_some_and(|seq| *seq >= run.needed);
            (is_complete && run.has_taken(last)).then_some(())?;
            drop(runs);
            Some(series)
        })
    }

    /// Returns the samples of each run by their sequence numbers, the runs in their order. Checks that each series has
    /// each sample once and in order.
    fn by_run(&self) -> Vec<(&str, BySeq<'_>)> {
        let mut runs: Vec<(&str, BySeq<'_>)> = Vec::new();
        for (name, samples) in &self.0 {
            let (mut position, mut last) = (0, ("", 0));
            for Stored { boot, seq, value } in samples {
                let known = runs.iter().position(|(run, _)| run == boot);
                let run = known.unwrap_or_else(|| {
                    // Only the first or last run may be so short that it is not in the first series.
                    let at = if last.0.is_empty() { 0 } else { position + 1 };
                    runs.insert(at, (boot, BTreeMap::new()));
                    at
                });
                assert!(run >= position, "{name}: run {boot} comes after a later one");
                assert!(last.0 != boot || *seq > last.1, "{name}: {seq} of {boot} is not in order");
                assert!(runs[run].1.insert(*seq, (name, *value)).is_none(), "{seq} of {boot} is there twice");
                (position, last) = (run, (boot.as_str(), *seq));
            }
        }
        runs
    }

    /// Checks that the collector has the samples of these runs of a node, each once and in order, and none of them is
    /// missing between others. Returns the number of those that are missing at the beginning, and at the ends of runs.
    #[track_caller]
    pub fn check(&self, runs: &[Run]) -> Missing {
        let mut missing = Missing::default();
        let mut next = 0;
        for (number, (boot, stored)) in self.by_run().into_iter().enumerate() {
            let of_run = runs[next..].iter().position(|run| run.has_taken(&stored));
            let Some(skipped) = of_run else { panic!("run {boot} has samples that were not taken") };
            // Of a running process, some series may have been read a moment later than others.
            let stored: Vec<_> = stored.range(..=runs[next + skipped].len()).collect();
            let (first, last) = (*stored[0].0, *stored[stored.len() - 1].0);
            assert_eq!(last - first + 1, stored.len(), "samples of run {boot} are missing");
            let earlier = &runs[next..next + skipped];
            let skipped_samples: usize = earlier.iter().map(Run::len).sum();
            if number == 0 {
                missing.oldest = skipped_samples + first - 1;
            } else {
                assert!(
                    earlier.iter().all(|run| run.needed == 0),
                    "{skipped} runs are missing before {boot}"
                );
                assert_eq!(first, 1, "the first samples of run {boot} are missing");
                missing.last_moments += skipped_samples;
            }
            let run = &runs[next + skipped];
            assert!(last >= run.needed, "run {boot} ends at {last}, not at {} at least", run.needed);
            missing.last_moments += run.len().saturating_sub(last);
            next += skipped + 1;
        }
        assert_eq!(next, runs.len(), "the last runs are missing");
        missing
    }
}
