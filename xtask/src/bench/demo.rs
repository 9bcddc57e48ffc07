//! `atalaya demo` with a great many nodes in one process: whether all of them get a turn, and what it takes.

use std::time::{Duration, Instant};

use atalaya_testbed::{Line, Process, Scratch, guarded};

use super::Bench;
use super::figures::{Aim, Sample, Section, Short};
use super::proc;

/// Beyond the time that it is told to run for: starting and ending so many nodes.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// The averages at the end that have to be of all nodes.
const LAST: usize = 10;

struct Fleet {
    nodes: u32,
    /// Seconds.
    period: u32,
    /// How long it runs, in seconds: ten periods and more when all are there.
    time: u32,
}

/// What came out.
#[derive(Default)]
struct Outcome {
    /// Seconds until all nodes had published.
    whole: Option<f64>,
    /// Readings in each average.
    counts: Vec<f64>,
    /// Its own summary.
    summary: Vec<(String, String)>,
    /// MiB; none where it ended at once.
    peak: Option<f64>,
    /// Percent of one processor.
    share: Option<f64>,
    /// How it ended, where not well.
    problem: Option<String>,
}

impl Outcome {
    /// The fewest readings in one of the last averages.
    fn fewest(&self) -> f64 {
        self.counts.iter().rev().take(LAST).copied().reduce(f64::min).unwrap_or(f64::NAN)
    }

    fn said(&self, key: &str) -> String {
        let found = self.summary.iter().find(|(name, _)| name == key);
        found.map_or_else(|| "–".into(), |(_, value)| value.clone())
    }
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Section>> {
    let fleet = |nodes, period, time| Fleet { nodes, period, time };
    let fleets = match bench.quick {
        false => [fleet(1_000, 1, 60), fleet(5_000, 5, 90)],
        true => [fleet(100, 1, 10), fleet(300, 1, 10)],
    };
    let mut outcomes = Vec::new();
    for fleet in &fleets {
        eprintln!("a demo of {} nodes for {} s", fleet.nodes, fleet.time);
        outcomes.push(run(bench, fleet));
    }
    Ok(vec![section(&fleets, &outcomes)])
}

fn run(bench: &Bench, fleet: &Fleet) -> Outcome {
    // A folder without a boards.toml.
    let folder = Scratch::new("demo");
    let mut command = guarded(&bench.node);
    command.current_dir(folder.path()).args(["demo", "--plain", "--nodes", &fleet.nodes.to_string()]);
    command.args(["--sampling-period", &format!("{}s", fleet.period), "--for", &format!("{}s", fleet.time)]);
    let start = Instant::now();
    let mut demo = Process::spawn(command);
    let mut outcome = Outcome::default();
    let end = Duration::from_secs(fleet.time.into()) + PATIENCE;
    while demo.is_running() && start.elapsed() < end {
        std::thread::sleep(LOOK);
        // The last look may come too late.
        if let (Ok(peak), Ok(used)) = (proc::peak(demo.pid()), proc::processor_time(demo.pid())) {
            outcome.peak = Some(peak);
            outcome.share = Some(used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0);
        }
    }
    outcome.problem = match demo.try_exit() {
        None => Some(format!("it did not end within {} s", end.as_secs())),
        Some(exit) if exit.success() => None,
        Some(exit) => {
            let said: Vec<String> = demo.log().into_iter().map(|line| line.text).collect();
            let last = said.iter().rfind(|text| !text.trim().is_empty()).map_or("", String::as_str);
            Some(format!("it ended with {exit}: {last}"))
        }
    };
    read(&demo.log(), start, &mut outcome);
    outcome
}

/// What it says: averages, and what it came to.
fn read(lines: &[Line], start: Instant, outcome: &mut Outcome) {
    let mut at_the_end = false;
    for line in lines {
        let text = line.text.trim();
        if at_the_end {
            let pair = text.split_once(": ");
            outcome.summary.extend(pair.map(|(key, value)| (key.to_owned(), value.trim().to_owned())));
            continue;
        }
        at_the_end = text == "summary";
        if outcome.whole.is_none() && text.contains("nodes publish") {
            outcome.whole = Some(line.at.duration_since(start).as_secs_f64());
        }
        if text.contains("average") {
            outcome.counts.extend(count(text));
        }
    }
}

/// The number behind `count=`.
fn count(text: &str) -> Option<f64> {
    text.split_whitespace().find_map(|word| word.strip_prefix("count=")?.parse().ok())
}

fn section(fleets: &[Fleet], outcomes: &[Outcome]) -> Section {
    let mut rows = Vec::new();
    let mut row = |name: &str, of: &dyn Fn(&Outcome) -> String| {
        rows.push([name.to_owned()].into_iter().chain(outcomes.iter().map(of)).collect::<Vec<_>>());
    };
    row("all nodes have published after, s", &|outcome| shown(outcome.whole.unwrap_or(f64::NAN)));
    row("averages", &|outcome| outcome.counts.len().to_string());
    row("readings in an average: median (smallest – largest)", &|outcome| {
        if outcome.counts.is_empty() {
            return "–".into();
        }
        let mut counts = Sample::default();
        counts.extend(outcome.counts.iter().copied());
        format!("**{}** ({})", Short(counts.median()), counts.range())
    });
    row(&format!("  the fewest in the last {LAST}"), &|outcome| shown(outcome.fewest()));
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in outcomes.iter().flat_map(|outcome| &outcome.summary) {
        // Counted here as well.
        if !keys.contains(&key) && !["nodes", "averages"].contains(&key.as_str()) {
            keys.push(key);
        }
    }
    for key in keys {
        row(key, &|outcome| outcome.said(key));
    }
    row("resident memory at most, MiB", &|outcome| shown(outcome.peak.unwrap_or(f64::NAN)));
    row("processor, % of one", &|outcome| shown(outcome.share.unwrap_or(f64::NAN)));

    let head =
        fleets.iter().map(|fleet| format!("{} nodes, {} s, for {} s", fleet.nodes, fleet.period, fleet.time));
    let problems = fleets.iter().zip(outcomes).filter_map(|(fleet, outcome)| {
        outcome.problem.as_ref().map(|problem| format!("{} nodes: {problem}", fleet.nodes))
    });
    let aims = fleets.iter().zip(outcomes).map(|(fleet, outcome)| {
        let what = format!("demo of {} nodes, readings in each of the last {LAST} averages", fleet.nodes);
        let aim = Aim::at_least(&what, fleet.nodes.into(), "", outcome.fewest());
        Aim { came_out: shown(outcome.fewest()), ..aim }
    });
    let memory = fleets.iter().zip(outcomes).filter(|(fleet, _)| fleet.nodes == 1_000).map(|(_, outcome)| {
        Aim::at_most("demo of 1000 nodes, resident memory", 250.0, " MiB", outcome.peak.unwrap_or(f64::NAN))
    });
    Section {
        title: "A fleet in one process".into(),
        method: "`atalaya demo --plain`: the nodes, each with a thread of its own, the server in memory and the API in \
                 one process. The head says how many nodes, their period, and for how long. Counted from what it \
                 prints; memory and processor time are the kernel's."
            .into(),
        head: [String::new()].into_iter().chain(head).collect(),
        rows,
        notes: problems.collect(),
        aims: aims.chain(memory).collect(),
    }
}

/// A number, or that there is none.
fn shown(value: f64) -> String {
    if value.is_nan() { "–".into() } else { Short(value).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atalaya_testbed::Stream;

    #[test]
    fn what_a_demo_prints_is_understood() {
        let start = Instant::now();
        let text = "
            1.500  demo       all 3 nodes publish
            2.000  average    79.67 Cel count=3 min=75 max=85 cycle=1
            3.000  average    79.67 Cel count=2 min=75 max=85 cycle=2

            summary
            nodes: 3
            averages of all nodes: 1";
        let line = |text: &str| Line { at: start, stream: Stream::Stdout, text: text.to_owned() };
        let mut outcome = Outcome::default();
        read(&text.lines().map(line).collect::<Vec<_>>(), start, &mut outcome);
        assert_eq!(outcome.whole, Some(0.0));
        assert_eq!((outcome.counts.len(), outcome.fewest()), (2, 2.0));
        assert_eq!(
            (outcome.said("averages of all nodes").as_str(), outcome.said("lost").as_str()),
            ("1", "–")
        );
    }
}
