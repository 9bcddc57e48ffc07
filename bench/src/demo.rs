//! `atalaya demo` with thousands of nodes in one process: number of readings in each average, memory and processor
//! time.

use std::time::{Duration, Instant};

use atalaya_testbed::{Line, Process, Scratch, parent_death_command};

use super::Bench;
use super::proc;
use super::report::{self, Section};
use super::stats::{Sample, ThreeDigits};
use super::targets::Target;

/// Timeout in addition to the run time, for starting and stopping the nodes.
const START_AND_STOP: Duration = Duration::from_secs(90);
/// Interval at which memory and processor time are read.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Number of last averages that must include all nodes.
const LAST_AVERAGES: usize = 10;

struct Fleet {
    nodes: u32,
    period: u32,
    /// Run time in seconds: at least ten periods after all nodes have joined.
    time: u32,
}

#[derive(Default)]
struct DemoRun {
    /// Seconds until all nodes have published.
    all_published: Option<f64>,
    readings: Vec<f64>,
    /// Maximum resident memory in MiB; `None` if the demo ended immediately.
    peak: Option<f64>,
    /// Processor time in percent of one processor.
    share: Option<f64>,
    /// Error message if the demo did not end successfully.
    problem: Option<String>,
}

impl DemoRun {
    fn min_readings(&self) -> f64 {
        self.readings.iter().rev().take(LAST_AVERAGES).copied().reduce(f64::min).unwrap_or(f64::NAN)
    }
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Section>> {
    let fleet = |nodes, period, time| Fleet { nodes, period, time };
    let fleets = match bench.quick {
        false => [fleet(1_000, 1, 60), fleet(5_000, 5, 90)],
        true => [fleet(100, 1, 10), fleet(300, 1, 10)],
    };
    let mut runs = Vec::new();
    for fleet in &fleets {
        eprintln!("a demo of {} nodes for {} s", fleet.nodes, fleet.time);
        runs.push(run(bench, fleet));
    }
    Ok(vec![section(&fleets, &runs)])
}

fn run(bench: &Bench, fleet: &Fleet) -> DemoRun {
    // Run in a folder without a boards.toml.
    let folder = Scratch::new("demo");
    let mut command = parent_death_command(&bench.node);
    command.current_dir(folder.path()).args(["demo", "--plain", "--nodes", &fleet.nodes.to_string()]);
    command.args(["--sampling-period", &format!("{}s", fleet.period), "--for", &format!("{}s", fleet.time)]);
    let start = Instant::now();
    let mut demo = Process::spawn(command);
    let mut run = DemoRun::default();
    let end = Duration::from_secs(fleet.time.into()) + START_AND_STOP;
    while demo.is_running() && start.elapsed() < end {
        std::thread::sleep(POLL_INTERVAL);
        // The process may have ended already.
        if let (Ok(peak), Ok(used)) = (proc::peak(demo.pid()), proc::processor_time(demo.pid())) {
            run.peak = Some(peak);
            run.share = Some(used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0);
        }
    }
    run.problem = match demo.try_exit() {
        None => Some(format!("the demo did not end within {} s", end.as_secs())),
        Some(exit) if exit.success() => None,
        Some(exit) => {
            let lines: Vec<String> = demo.log().into_iter().map(|line| line.text).collect();
            let last = lines.iter().rfind(|text| !text.trim().is_empty()).map_or("", String::as_str);
            Some(format!("the demo ended with {exit}: {last}"))
        }
    };
    parse_output(&demo.log(), start, &mut run);
    run
}

/// Parses the output of a demo: log lines, then the summary.
fn parse_output(lines: &[Line], start: Instant, run: &mut DemoRun) {
    for line in lines {
        let text = line.text.trim();
        if text == "summary" {
            return;
        }
        if run.all_published.is_none() && text.contains("nodes publish") {
            run.all_published = Some(line.at.duration_since(start).as_secs_f64());
        }
        if text.contains("average") {
            let count =
                text.split_whitespace().find_map(|word| word.strip_prefix("count=")?.parse::<f64>().ok());
            run.readings.extend(count);
        }
    }
}

fn section(fleets: &[Fleet], runs: &[DemoRun]) -> Section {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: &dyn Fn(&DemoRun) -> String| {
        rows.push(report::row(name, runs.iter().map(value)));
    };
    row("time until all nodes have published, s", &|run| {
        format_number(run.all_published.unwrap_or(f64::NAN))
    });
    row("averages", &|run| run.readings.len().to_string());
    row("readings in an average: median (smallest – largest)", &|run| {
        if run.readings.is_empty() {
            return "–".into();
        }
        run.readings.iter().copied().collect::<Sample>().with_range()
    });
    row(&format!("  minimum of the last {LAST_AVERAGES}"), &|run| format_number(run.min_readings()));
    row("maximum resident memory, MiB", &|run| format_number(run.peak.unwrap_or(f64::NAN)));
    row("processor time, % of one processor", &|run| format_number(run.share.unwrap_or(f64::NAN)));

    let head =
        fleets.iter().map(|fleet| format!("{} nodes, {} s, for {} s", fleet.nodes, fleet.period, fleet.time));
    let problems = fleets.iter().zip(runs).filter_map(|(fleet, run)| {
        run.problem.as_ref().map(|problem| format!("{} nodes: {problem}", fleet.nodes))
    });
    let targets = fleets.iter().zip(runs).map(|(fleet, run)| {
        let what =
            format!("demo of {} nodes, readings in each of the last {LAST_AVERAGES} averages", fleet.nodes);
        let target = Target::at_least(&what, fleet.nodes.into(), "", run.min_readings());
        Target { result: format_number(run.min_readings()), ..target }
    });
    let memory = fleets.iter().zip(runs).filter(|(fleet, _)| fleet.nodes == 1_000).map(|(_, run)| {
        Target::at_most("demo of 1000 nodes, resident memory", 250.0, " MiB", run.peak.unwrap_or(f64::NAN))
    });
    Section {
        title: "A fleet in one process".into(),
        method: "`atalaya demo --plain`: the nodes, which share a few threads, the in-memory server and the API in one \
                 process. The head of the table has the number of nodes, their period, and the duration. Counted \
                 from its output; memory and processor time are the kernel's."
            .into(),
        head: report::row("", head),
        rows,
        notes: problems.collect(),
        targets: targets.chain(memory).collect(),
    }
}

/// Formats a number, or a dash for NaN.
fn format_number(value: f64) -> String {
    if value.is_nan() { "–".into() } else { ThreeDigits(value).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atalaya_testbed::Stream;

    #[test]
    fn demo_output_is_parsed() {
        let start = Instant::now();
        let text = "
            1.500  demo       all 3 nodes publish
            2.000  average    79.67 Cel count=3 min=75 max=85 cycle=1
            3.000  average    79.67 Cel count=2 min=75 max=85 cycle=2

            summary
            nodes: 3
            averages of all nodes: 1";
        let line = |text: &str| Line { at: start, stream: Stream::Stdout, text: text.to_owned() };
        let mut run = DemoRun::default();
        parse_output(&text.lines().map(line).collect::<Vec<_>>(), start, &mut run);
        assert_eq!(run.all_published, Some(0.0));
        assert_eq!((run.readings.len(), run.min_readings()), (2, 2.0));
    }
}
