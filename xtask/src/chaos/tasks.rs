//! `cargo xtask chaos tasks`: runs the schedules of tasks, and prints the results.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use atalaya_testbed::chaos::tasks::{Cluster, Counts, Outcome, Programs, Schedule, Violation};
use atalaya_testbed::install::{self, Part};

use super::{Arguments, build_with_fail_points, keep, name};
use crate::parallel::run_all;

const SCHEDULES: u64 = 1_000;

/// Maximum number of violations of a schedule that are printed.
const SHOWN: usize = 6;

#[derive(Default)]
struct Total {
    done: usize,
    injected: BTreeMap<&'static str, u64>,
    counts: Counts,
    /// Number of violations, and of schedules with one, by kind.
    violations: BTreeMap<Violation, (u64, u64)>,
    failed: Vec<u64>,
    undecided: Vec<u64>,
    ended: u64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    ensure!(cfg!(target_os = "linux"), "processes are stopped and killed by signals: this needs Linux");
    install::ensure(&[Part::Java, Part::ZooKeeper, Part::Python]).context("tasks need more than Rust")?;
    let programs = arguments.programs;
    let binary = if programs == Programs::Python { PathBuf::new() } else { build_with_fail_points()? };
    let seeds = arguments.seeds(SCHEDULES);
    let begin = Instant::now();
    let mut total = Total::default();
    let start = || Cluster::start(programs, &binary);
    let work = |cluster: &mut Cluster, seed: &u64| {
        let (schedule, begin) = (Schedule::of(*seed), Instant::now());
        (cluster.run(&schedule), begin.elapsed().as_secs_f64())
    };
    run_all(arguments.jobs.into(), &seeds, start, work, |seed, (outcome, seconds)| {
        report(&mut total, *seed, &outcome, seconds, (seeds.len(), arguments));
    })?;
    print_summary(&total, begin);
    Ok(if total.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Adds the outcome of a schedule to the total, and prints it.
fn report(
    total: &mut Total,
    seed: u64,
    outcome: &Outcome,
    seconds: f64,
    (of, arguments): (usize, &Arguments),
) {
    let (findings, programs) = (&outcome.findings, name(arguments.programs));
    total.done += 1;
    total.counts += findings.counts;
    total.ended += outcome.ended;
    for (fault, times) in &outcome.injected {
        *total.injected.entry(fault).or_default() += times;
    }
    let mut kinds: BTreeMap<Violation, u64> = BTreeMap::new();
    for (kind, _) in &findings.violations {
        *kinds.entry(*kind).or_default() += 1;
    }
    for (kind, times) in kinds {
        let (all, schedules) = total.violations.entry(kind).or_default();
        *all += times;
        *schedules += 1;
    }
    let result = match (&findings.violations[..], &findings.undecided[..]) {
        ([], []) => "good",
        ([], _) => "undecided: the machine was too slow",
        _ => "VIOLATED",
    };
    let Counts { tasks, results, starts, abandoned, leaders } = findings.counts;
    eprintln!(
        "{}/{of}: schedule {seed}: {tasks} tasks, {starts} starts, {results} results, {abandoned} abandoned, {leaders} leaders, \
         longest delay {} ms, {seconds:.1} s: {result}",
        total.done, outcome.history.stall
    );
    if result != "good" {
        if findings.violations.is_empty() { &mut total.undecided } else { &mut total.failed }.push(seed);
        for (kind, text) in findings.violations.iter().chain(&findings.undecided).take(SHOWN) {
            eprintln!("  {kind}: {text}");
        }
        eprintln!("  again: cargo xtask chaos tasks --programs {programs} --replay {seed}");
        keep(&format!("tasks-{programs}-{seed}"), |folder| outcome.keep(folder));
    }
}

fn print_summary(total: &Total, begin: Instant) {
    let Total { done, injected, counts, violations, failed, undecided, ended } = total;
    eprintln!("\n{done} schedules in {:.0} s", begin.elapsed().as_secs_f64());
    for (fault, times) in injected {
        eprintln!("  {times:6} {fault}");
    }
    let Counts { tasks, results, starts, abandoned, leaders } = counts;
    eprintln!(
        "  {tasks} tasks, {starts} starts, {results} with one result, {abandoned} ended with their client, {leaders} leaders; \
         {ended} processes ended by themselves"
    );
    for (kind, (times, schedules)) in violations {
        eprintln!("  {kind}: {times} times in {schedules} schedules");
    }
    eprintln!(
        "  {} good, {} undecided {undecided:?}, {} violated {failed:?}",
        done - undecided.len() - failed.len(),
        undecided.len(),
        failed.len()
    );
}
