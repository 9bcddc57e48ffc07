//! `cargo xtask chaos tasks`: runs the schedules of tasks, and prints the results.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use atalaya_testbed::chaos::seed_of;
use atalaya_testbed::chaos::tasks::{Figures, Outcome, Problem, Schedule, Stage};
use atalaya_testbed::install::Part;
use atalaya_testbed::target_dir;

use super::{Arguments, Programs, fleet};
use xtask::cargo::require;

/// Default number of schedules.
const SCHEDULES: u64 = 1_000;

/// Maximum number of violations of a schedule that are printed.
const SHOWN: usize = 6;

/// Results of all schedules.
#[derive(Default)]
struct Total {
    done: usize,
    played: BTreeMap<&'static str, u64>,
    figures: Figures,
    /// Number of violations, and of schedules with one, by kind.
    violations: BTreeMap<Problem, (u64, u64)>,
    failed: Vec<u64>,
    undecided: Vec<u64>,
    ended: u64,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    use atalaya_testbed::chaos::tasks::Programs as Cast;
    ensure!(cfg!(target_os = "linux"), "processes are stopped and killed by signals: this needs Linux");
    require(&[Part::Java, Part::ZooKeeper, Part::Python]).context("tasks need more than Rust")?;
    let programs = match arguments.programs {
        Programs::Native => Cast::Native,
        Programs::Classic => Cast::Classic,
        Programs::Python => Cast::Python,
    };
    let binary = match &arguments.binary {
        _ if programs == Cast::Python => PathBuf::new(),
        Some(binary) => binary.canonicalize().with_context(|| format!("there is no {}", binary.display()))?,
        None => fleet::build()?,
    };
    let seeds = match arguments.replay {
        Some(seed) => vec![seed],
        None => {
            let seed = arguments.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 32);
            let count = arguments.schedules.unwrap_or(SCHEDULES);
            eprintln!("{count} schedules, --seed {seed}");
            (0..count).map(|number| seed_of(seed, number)).collect()
        }
    };
    let begin = Instant::now();
    let (next, total) = (AtomicUsize::new(0), Mutex::new(Total::default()));
    thread::scope(|scope| -> anyhow::Result<()> {
        let jobs = usize::from(arguments.jobs).min(seeds.len());
        let work = || {
            let mut stage = Stage::open(programs, &binary);
            while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                let (schedule, begin) = (Schedule::of(*seed), Instant::now());
                let outcome = stage.play(&schedule);
                let seconds = begin.elapsed().as_secs_f64();
                let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                tell(&mut total, &schedule, &outcome, seconds, (seeds.len(), arguments));
            }
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        match workers.into_iter().filter_map(|worker| worker.join().err()).count() {
            0 => Ok(()),
            panicked => bail!("{panicked} of {jobs} jobs could not go on, see above"),
        }
    })?;
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary(&total, begin);
    Ok(if total.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(
    total: &mut Total,
    schedule: &Schedule,
    outcome: &Outcome,
    seconds: f64,
    (of, arguments): (usize, &Arguments),
) {
    let (seed, judgement) = (schedule.seed, &outcome.judgement);
    total.done += 1;
    total.figures.add(judgement.figures);
    total.ended += outcome.ended;
    for (what, times) in &outcome.played {
        *total.played.entry(what).or_default() += times;
    }
    let mut kinds: BTreeMap<Problem, u64> = BTreeMap::new();
    for (problem, _) in &judgement.violations {
        *kinds.entry(*problem).or_default() += 1;
    }
    for (problem, times) in kinds {
        let (all, schedules) = total.violations.entry(problem).or_default();
        *all += times;
        *schedules += 1;
    }
    let verdict = match (&judgement.violations[..], &judgement.undecided[..]) {
        ([], []) => "good",
        ([], _) => "undecided: the machine was too slow",
        _ => "VIOLATED",
    };
    let Figures { tasks, results, starts, abandoned, leaders } = judgement.figures;
    eprintln!(
        "{}/{of}: schedule {seed}: {tasks} tasks, {starts} starts, {results} results, {abandoned} abandoned, {leaders} leaders, \
         longest delay {} ms, {seconds:.1} s: {verdict}",
        total.done, outcome.evidence.stall
    );
    let is_good = verdict == "good";
    if is_good && !arguments.keep {
        return;
    }
    let name = format!("tasks-{:?}-{seed}", arguments.programs).to_lowercase();
    if !is_good {
        if judgement.violations.is_empty() { &mut total.undecided } else { &mut total.failed }.push(seed);
        for (problem, text) in judgement.violations.iter().chain(&judgement.undecided).take(SHOWN) {
            eprintln!("  {problem}: {text}");
        }
        let programs = format!("{:?}", arguments.programs).to_lowercase();
        eprintln!("  again: cargo xtask chaos tasks --programs {programs} --replay {seed}");
    }
    keep(outcome, &target_dir().join("chaos").join(name));
}

fn keep(outcome: &Outcome, folder: &Path) {
    // Delete the files that an earlier run left for this schedule.
    let _ = std::fs::remove_dir_all(folder);
    match outcome.keep(folder) {
        Ok(()) => eprintln!("  all of it: {}", folder.display()),
        Err(error) => eprintln!("  cannot keep it in {}: {error}", folder.display()),
    }
}

fn summary(total: &Total, begin: Instant) {
    let Total { done, played, figures, violations, failed, undecided, ended } = total;
    eprintln!("\n{done} schedules in {:.0} s", begin.elapsed().as_secs_f64());
    for (what, times) in played {
        eprintln!("  {times:6} {what}");
    }
    let Figures { tasks, results, starts, abandoned, leaders } = figures;
    eprintln!(
        "  {tasks} tasks, {starts} starts, {results} with one result, {abandoned} ended with their client, {leaders} leaders; \
         {ended} processes ended by themselves"
    );
    for (problem, (times, schedules)) in violations {
        eprintln!("  {problem}: {times} times in {schedules} schedules");
    }
    eprintln!(
        "  {} good, {} undecided {undecided:?}, {} violated {failed:?}",
        done - undecided.len() - failed.len(),
        undecided.len(),
        failed.len()
    );
}
