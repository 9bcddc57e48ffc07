//! `cargo xtask chaos fleet`: builds the node with its fail points, runs the schedules, and prints the results.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use atalaya_testbed::chaos::{
    Cluster, Counts, Fault, FaultKind, KazooCounts, NodeProgram, Outcome, POINTS, Pauses, Receiver, Schedule,
    ScheduledFault, Violation,
};
use atalaya_testbed::install::{self, Part};
use atalaya_testbed::{Kazoo, Security};

use super::{Arguments, build_with_fail_points, keep, name};
use crate::parallel::run_all;

const SCHEDULES: u64 = 200;

/// Number of ZooKeeper leaders to kill, one in each cycle: two minutes in total.
const LEADERS_KILLED: u64 = 24;

/// Maximum number of violations of a kind that are printed.
const SHOWN: usize = 4;

#[derive(Default)]
struct Total {
    injected: BTreeMap<String, u64>,
    counts: Counts,
    kazoo: Option<KazooCounts>,
    failed: Vec<u64>,
    done: usize,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    ensure!(cfg!(target_os = "linux"), "fleets are stopped and killed by signals: this needs Linux");
    install::ensure(&[Part::Java, Part::ZooKeeper]).context("a fleet needs more than Rust")?;
    let security = arguments.secure.then(|| Arc::new(Security::new()));
    let program = match arguments.kazoo {
        true => NodeProgram::Kazoo(Kazoo::ready()),
        false => NodeProgram::Atalaya(build_with_fail_points()?),
    };
    let lock_step = (arguments.sync != "both").then_some(arguments.sync == "barrier");
    ensure_parts(arguments.receiver)?;
    let schedules = schedules(arguments, lock_step, arguments.receiver);
    let begin = Instant::now();
    let mut total = Total::default();
    let start = || match &security {
        Some(security) => Cluster::start_secured(program.clone(), Arc::clone(security)),
        None => Cluster::start(program.clone()),
    };
    let work = |cluster: &mut Cluster, schedule: &Schedule| {
        let begin = Instant::now();
        (cluster.run(schedule), begin.elapsed().as_secs_f64())
    };
    run_all(arguments.jobs.into(), &schedules, start, work, |schedule, (outcome, seconds)| {
        report(&mut total, schedule, &outcome, seconds, (schedules.len(), arguments));
    })?;
    print_summary(&total, begin);
    Ok(if total.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ensure_parts(receiver: Receiver) -> anyhow::Result<()> {
    let part = match receiver {
        Receiver::Testbed | Receiver::Sqlite => return Ok(()),
        Receiver::Redis => Part::Redis,
        Receiver::Influxdb => Part::Influxdb,
        Receiver::Prometheus => Part::Prometheus,
        Receiver::Mqtt => Part::Mosquitto,
    };
    install::ensure(&[part]).context("the receiver needs more than Rust")
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
    let kinds: BTreeSet<FaultKind> = match &arguments.faults[..] {
        // Kazoo's programs give no guarantees for other faults.
        [] if arguments.kazoo => FaultKind::BASIC.into(),
        // Other clients disturb the outbox of the API, which a fleet with an output does not have.
        [] if receiver.is_output() => FaultKind::BASIC.into_iter().chain([FaultKind::Stderr]).collect(),
        [] => FaultKind::ALL.into(),
        kinds => kinds.iter().copied().collect(),
    };
    let schedule = |seed| Schedule::of(seed, lock_step).to(receiver).with(&kinds);
    arguments.seeds(SCHEDULES).into_iter().map(schedule).collect()
}

/// Adds the outcome of a schedule to the total, and prints it.
fn report(
    total: &mut Total,
    schedule: &Schedule,
    outcome: &Outcome,
    seconds: f64,
    (of, arguments): (usize, &Arguments),
) {
    total.done += 1;
    let (counts, done) = (outcome.findings.counts.clone(), total.done);
    total.counts.add(&counts);
    for (fault, times) in &outcome.injected {
        *total.injected.entry(fault.clone()).or_default() += times;
    }
    if let [ScheduledFault { fault: Fault::LeadingServer, .. }, ..] = &schedule.faults[..] {
        print_pauses(&outcome.pauses, schedule);
    }
    if let Some(kazoo) = &outcome.kazoo {
        *total.kazoo.get_or_insert_default() += kazoo.clone();
        eprintln!("{done}/{of}: {schedule}  Kazoo: {kazoo}");
        return;
    }
    let (seed, violations) = (schedule.seed, &outcome.findings.violations);
    let Counts { reports, measurements, repeats, longest_delay, .. } = counts;
    eprintln!(
        "{done}/{of}: schedule {seed}: {reports} reports of {measurements} measurements, {repeats} repeats, longest delay \
         {longest_delay} ms, {seconds:.1} s: {}",
        if violations.is_empty() { "good" } else { "VIOLATED" }
    );
    if !violations.is_empty() {
        total.failed.push(seed);
        eprint!("{schedule}");
        let mut shown: BTreeMap<Violation, usize> = BTreeMap::new();
        for violation in violations {
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
        let kinds: Vec<_> = schedule.kinds.iter().map(ToString::to_string).collect();
        let is_all = kinds.len() == FaultKind::ALL.len();
        let faults = if is_all { String::new() } else { format!(" --faults {}", kinds.join(",")) };
        let secure = if arguments.secure { " --secure" } else { "" };
        let receiver = name(arguments.receiver);
        eprintln!(
            "  again: cargo xtask chaos fleet --sync {sync} --receiver {receiver}{faults}{secure} --replay {seed}"
        );
        keep(&seed.to_string(), |folder| outcome.keep(folder));
    }
}

/// Prints how the deaths of ZooKeeper's leaders affected a fleet.
fn print_pauses(pauses: &Pauses, schedule: &Schedule) {
    let Pauses { longest, blocked, reconnects, stuck } = pauses;
    let mut times = reconnects.clone();
    times.sort_unstable();
    eprintln!(
        "  {} of {} nodes stuck at the end; longest time between two measurements of a node {longest} ms, of which with all \
         nodes connected {blocked} ms, at a period of {:?}",
        stuck.len(),
        schedule.nodes,
        schedule.period
    );
    if let (Some(median), Some(max)) = (times.get(times.len() / 2), times.last()) {
        eprintln!("  {} connections lost, back after {median} ms (median), {max} ms at most", times.len());
    }
}

fn print_summary(total: &Total, begin: Instant) {
    let Total { injected, counts, kazoo, failed, done } = total;
    eprintln!("\n{done} schedules in {:.0} s", begin.elapsed().as_secs_f64());
    for (fault, times) in injected {
        eprintln!("  {times:6} {fault}");
    }
    if let Some(kazoo) = kazoo {
        eprintln!("  Kazoo: {kazoo}");
        return;
    }
    eprintln!("{counts}");
    match failed.len() {
        0 => eprintln!("  nothing lost, nothing twice"),
        count => eprintln!("  {count} of them VIOLATED: {failed:?}"),
    }
}
