//! `cargo xtask chaos fleet`: builds the node with its fault points, runs the schedules, and prints the results.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use atalaya_testbed::chaos::{
    Act, Cast, FaultKind, FaultKinds, Figures, KazooFigures, Kind, POINTS, Pauses, Receiver, Schedule,
    Theatre, What, seed_of,
};
use atalaya_testbed::install::Part;
use atalaya_testbed::{Kazoo, Security, target_dir};

use super::{Arguments, Sync};
use xtask::cargo::{cargo, require};

/// Default number of schedules.
const SCHEDULES: u64 = 200;

/// Number of ZooKeeper leaders to kill, one in each cycle: two minutes in total.
const LEADERS_KILLED: u64 = 24;

/// Maximum number of violations of a kind that are printed.
const SHOWN: usize = 4;

/// Results of all schedules.
#[derive(Default)]
struct Total {
    played: BTreeMap<String, u64>,
    figures: Figures,
    kazoo: Option<KazooFigures>,
    failed: Vec<u64>,
    done: usize,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    ensure!(
        cfg!(target_os = "linux"),
        "fleets are stopped and killed by signals, and end with us: this needs Linux"
    );
    require(&[Part::Java, Part::ZooKeeper]).context("a fleet needs more than Rust")?;
    let security = arguments.secure.then(|| Arc::new(Security::new()));
    let cast = match &arguments.binary {
        _ if arguments.kazoo => Cast::Kazoo(Kazoo::ready()),
        Some(binary) => {
            Cast::Atalaya(binary.canonicalize().with_context(|| format!("there is no {}", binary.display()))?)
        }
        None => Cast::Atalaya(build()?),
    };
    let lock_step = match arguments.sync {
        Sync::Free => Some(false),
        Sync::Barrier => Some(true),
        Sync::Both => None,
    };
    let receiver = match arguments.receiver {
        super::Receiver::Testbed => Receiver::Testbed,
        super::Receiver::Sqlite => Receiver::Sqlite,
        super::Receiver::Redis => Receiver::Redis,
    };
    let schedules = schedules(arguments, lock_step, receiver);
    let begin = Instant::now();
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Total::default());
    let folder = target_dir().join("chaos");
    thread::scope(|scope| -> anyhow::Result<()> {
        let jobs = usize::from(arguments.jobs).min(schedules.len());
        let work = || {
            let mut theatre = match &security {
                Some(security) => Theatre::open_secured(cast.clone(), Arc::clone(security)),
                None => Theatre::open(cast.clone()),
            };
            while let Some(schedule) = schedules.get(next.fetch_add(1, Ordering::Relaxed)) {
                play(&mut theatre, schedule, &total, (&folder, schedules.len(), arguments));
            }
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let panicked = workers.into_iter().filter_map(|worker| worker.join().err()).count();
        if panicked > 0 {
            bail!("{panicked} of {jobs} jobs could not go on, see above");
        }
        Ok(())
    })?;
    let Ok(total) = total.into_inner() else { bail!("a job ended in the middle of its report") };
    summary(&total, begin);
    Ok(if total.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn schedules(arguments: &Arguments, lock_step: Option<bool>, receiver: Receiver) -> Vec<Schedule> {
    if arguments.staged {
        let paces = lock_step.map_or(vec![false, true], |lock_step| vec![lock_step]);
        let of = |pace| {
            let steps = POINTS.into_iter().map(move |point| Schedule::dying(point, true, pace));
            [Schedule::outage(pace), Schedule::stops(pace)].into_iter().chain(steps)
        };
        let in_step = paces.contains(&true).then(|| Schedule::leading_servers(LEADERS_KILLED));
        return paces.into_iter().flat_map(of).chain(in_step).collect();
    }
    let kinds: FaultKinds = match &arguments.faults[..] {
        // Kazoo's programs give no guarantees for other faults.
        [] if arguments.kazoo => FaultKind::BASIC.into_iter().collect(),
        [] => FaultKinds::default(),
        kinds => kinds.iter().copied().collect(),
    };
    let schedule = |seed| Schedule::of(seed, lock_step).to(receiver).with(&kinds);
    if let Some(seed) = arguments.replay {
        return vec![schedule(seed)];
    }
    let seed = arguments.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 32);
    let count = arguments.schedules.unwrap_or(SCHEDULES);
    eprintln!("{count} schedules, --seed {seed}");
    (0..count).map(|number| schedule(seed_of(seed, number))).collect()
}

pub(super) fn build() -> anyhow::Result<PathBuf> {
    let words = ["build", "--package", "atalaya", "--bin", "atalaya", "--features", "fault-points"];
    let status = cargo().args(words).status().context("cannot run cargo")?;
    ensure!(status.success(), "the node does not build, see above");
    let built = target_dir().join("debug/atalaya");
    // Copy the program, because the next build without fault points overwrites it.
    let kept = target_dir().join("chaos/atalaya");
    let folder = target_dir().join("chaos");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    std::fs::copy(&built, &kept)
        .with_context(|| format!("copy {} to {}", built.display(), kept.display()))?;
    Ok(kept)
}

fn play(
    theatre: &mut Theatre,
    schedule: &Schedule,
    total: &Mutex<Total>,
    (folder, of, arguments): (&Path, usize, &Arguments),
) {
    let begin = Instant::now();
    let outcome = theatre.play(schedule);
    // A thread that panics leaves no partial update in the total, so a poisoned lock can be used.
    let mut total = total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    total.done += 1;
    let (figures, done) = (outcome.verdict.figures.clone(), total.done);
    total.figures.add(&figures);
    for (what, times) in &outcome.played {
        *total.played.entry(what.clone()).or_default() += times;
    }
    if let [Act { what: What::LeadingServer, .. }, ..] = &schedule.acts[..] {
        tell(&outcome.pauses, schedule);
    }
    if let Some(kazoo) = &outcome.kazoo {
        total.kazoo.get_or_insert_default().add(kazoo);
        let KazooFigures { averages, lost, twice, stale, measurements, counted, ended } = kazoo;
        eprintln!(
            "{done}/{of}: {schedule}  Kazoo: of {averages} averages {lost} lost, {twice} twice, {stale} stale; the counter says \
             {counted} of {measurements} measurements; {ended} processes ended by themselves"
        );
        return;
    }
    let seed = schedule.seed;
    let Figures { reports, measurements, repeats, longest_delay, .. } = figures;
    eprintln!(
        "{done}/{of}: schedule {seed}: {reports} reports of {measurements} measurements, {repeats} repeats, longest delay \
         {longest_delay} ms, {:.1} s: {}",
        begin.elapsed().as_secs_f64(),
        if outcome.verdict.violations.is_empty() { "good" } else { "VIOLATED" }
    );
    let is_good = outcome.verdict.violations.is_empty();
    if !is_good {
        total.failed.push(seed);
        eprint!("{schedule}");
        let mut shown: BTreeMap<Kind, usize> = BTreeMap::new();
        for violation in &outcome.verdict.violations {
            let times = shown.entry(violation.kind).or_default();
            *times += 1;
            if *times <= SHOWN {
                eprintln!("  {:?}: {}", violation.kind, violation.text);
            }
        }
        for (kind, times) in shown.into_iter().filter(|(_, times)| *times > SHOWN) {
            eprintln!("  {kind:?}: and {} more", times - SHOWN);
        }
        let sync = if schedule.lock_step { "barrier" } else { "free" };
        let receiver = match schedule.receiver {
            Receiver::Testbed => "",
            Receiver::Sqlite => " --receiver collector:sqlite",
            Receiver::Redis => " --receiver collector:redis",
        };
        let faults =
            if schedule.kinds.is_all() { String::new() } else { format!(" --faults {}", schedule.kinds) };
        let secure = if arguments.secure { " --secure" } else { "" };
        eprintln!("  again: cargo xtask chaos fleet --sync {sync}{receiver}{faults}{secure} --replay {seed}");
    }
    if is_good && !arguments.keep {
        return;
    }
    let folder = folder.join(seed.to_string());
    // Delete the files that an earlier run left for this schedule.
    let _ = std::fs::remove_dir_all(&folder);
    match outcome.keep(&folder) {
        Ok(()) => eprintln!("  all of it: {}", folder.display()),
        Err(error) => eprintln!("  cannot keep it in {}: {error}", folder.display()),
    }
}

/// Prints how the deaths of ZooKeeper's leaders affected a fleet.
fn tell(pauses: &Pauses, schedule: &Schedule) {
    let Pauses { longest, blocked, reconnects, stuck } = pauses;
    let mut times = reconnects.clone();
    times.sort_unstable();
    let (median, most) = (times.get(times.len() / 2), times.last());
    eprintln!(
        "  of {} nodes {} were stuck in the end; longest time between two measurements of one {longest} ms, of which with \
         everybody connected {blocked} ms, at a period of {:?}",
        schedule.nodes,
        stuck.len(),
        schedule.period
    );
    if let (Some(median), Some(most)) = (median, most) {
        eprintln!("  {} connections lost, back after {median} ms (median), {most} ms at most", times.len());
    }
}

fn summary(total: &Total, begin: Instant) {
    let Total { played, figures, kazoo, failed, done } = total;
    eprintln!("\n{done} schedules in {:.0} s", begin.elapsed().as_secs_f64());
    for (what, times) in played {
        eprintln!("  {times:6} {what}");
    }
    if let Some(KazooFigures { averages, lost, twice, stale, measurements, counted, ended }) = kazoo {
        eprintln!(
            "  Kazoo: {averages} averages, {lost} of them lost, {twice} kept twice, {stale} stale requests"
        );
        eprintln!(
            "  {measurements} measurements, the counters say {counted} together; {ended} processes ended by themselves"
        );
        return;
    }
    let Figures { epochs, reports, measurements, requests, .. } = figures;
    let Figures {
        repeats,
        turned_away,
        refused,
        out_of_order,
        longest_delay,
        late,
        undecided,
        missed,
        again,
        poisoned,
        set_aside,
        warnings,
        recovery,
        ..
    } = figures;
    eprintln!(
        "  {epochs} leaders, {measurements} measurements, {reports} reports, {requests} requests to the API"
    );
    eprintln!(
        "  {turned_away} requests that it did not keep, {repeats} that it had, {refused} refused as a deposed leader's, {out_of_order} out of order, {late} after a \
         successor was elected"
    );
    eprintln!(
        "  longest delay {longest_delay} ms; {undecided} averages that could not be looked through; in lock-step {missed} without \
         a measurement that was there, and {again} measurements beside another in their generation"
    );
    eprintln!(
        "  {poisoned} reports of other clients in the outbox, {set_aside} set aside; at most {warnings} warnings of a process within \
         10 s; longest recovery {recovery} ms"
    );
    match failed.len() {
        0 => eprintln!("  nothing lost, nothing twice"),
        count => eprintln!("  {count} of them VIOLATED: {failed:?}"),
    }
}
