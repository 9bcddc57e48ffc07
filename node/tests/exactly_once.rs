//! Fleets under faults: no average is lost, and none is delivered twice or by a deposed leader; `/counter` equals the
//! number of measurements. The requests that the API received and ZooKeeper's own log are compared.
//!
//! A collector holds each committed report once, and no other, whatever is killed.
//!
//! Tasks under faults: each has one result, and is never executed twice at a time.
//!
//! Samples; `cargo xtask chaos fleet` and `cargo xtask chaos tasks` run hundreds of schedules.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use atalaya_testbed::chaos::tasks::{self, Programs};
use atalaya_testbed::chaos::{Cluster, FaultKind, NodeProgram, Outcome, POINTS, Receiver, Schedule, seed_of};
use atalaya_testbed::{Security, target_dir};

#[track_caller]
fn run(cluster: &mut Cluster, schedule: &Schedule) -> Outcome {
    let outcome = cluster.run(schedule);
    if !outcome.findings.violations.is_empty() {
        let folder = target_dir().join("chaos").join(format!("test-{}", std::process::id()));
        let kept = outcome.keep(&folder);
        panic!("{schedule}{:#?}\nall of it: {} {kept:?}", outcome.findings.violations, folder.display());
    }
    outcome
}

fn program() -> NodeProgram {
    NodeProgram::Atalaya(Path::new(env!("CARGO_BIN_EXE_atalaya")).into())
}

fn cluster() -> Cluster {
    Cluster::start(program())
}

/// Leaders are killed, or frozen for two session timeouts, at each step; every other fleet is in lock-step mode.
fn at_each_step(stops: bool) {
    let mut cluster = cluster();
    for (number, point) in POINTS.into_iter().enumerate() {
        let outcome = run(&mut cluster, &Schedule::dying(point, stops, (number % 2 == 0) ^ stops));
        let what = format!("{} at {point}", if stops { "stopped" } else { "died" });
        assert!(outcome.injected.contains_key(&what), "no process {what}: {:?}", outcome.injected);
        assert!(outcome.findings.counts.reports >= 3, "{:?}", outcome.findings.counts);
    }
}

#[test]
fn leader_that_dies_at_any_step_of_a_cycle_loses_no_report() {
    at_each_step(false);
}

#[test]
fn leader_that_freezes_at_any_step_of_a_cycle_loses_no_report() {
    at_each_step(true);
}

#[test]
fn fleet_delivers_each_report_once_under_random_faults() {
    let mut cluster = cluster();
    let random = RandomState::new().build_hasher().finish() >> 32;
    let known = [813_437_409_709, 433_022_255_681].map(|seed| Schedule::of(seed, None));
    // All kinds of faults.
    let drawn = Schedule::of(seed_of(random, 0), None).with(&FaultKind::ALL.into());
    for schedule in known.into_iter().chain([drawn]) {
        println!("{schedule}");
        run(&mut cluster, &schedule);
    }
}

/// A sample of the faults that other ZooKeeper clients and a lost standard error cause, with seeds that contain most of
/// them.
#[test]
fn fleet_recovers_from_lost_stderr_squatters_refusals_and_poisoned_data() {
    const HOSTILE: [FaultKind; 5] =
        [FaultKind::Stderr, FaultKind::Znodes, FaultKind::Acl, FaultKind::Outbox, FaultKind::Measurements];
    let mut cluster = cluster();
    let kinds = HOSTILE.into_iter().collect();
    for seed in [752_331_569_010, 940_778_137_641] {
        let schedule = Schedule::of(seed, None).with(&kinds);
        println!("{schedule}");
        run(&mut cluster, &schedule);
    }
}

/// Encrypted connections, identities and ACLs weaken none of the promises.
#[test]
fn secured_fleet_delivers_each_report_once_under_random_faults() {
    let mut cluster = Cluster::start_secured(program(), Arc::new(Security::new()));
    let random = RandomState::new().build_hasher().finish() >> 32;
    for seed in [940_778_137_641, seed_of(random, 0)] {
        let schedule = Schedule::of(seed, None).with(&FaultKind::ALL.into());
        println!("{schedule}");
        run(&mut cluster, &schedule);
    }
}

/// The receiver is a real collector, which is killed, frozen and stopped, like its store.
fn a_collector_holds_each_report_once(receiver: Receiver, seeds: [u64; 2]) {
    let mut cluster = cluster();
    let random = RandomState::new().build_hasher().finish() >> 32;
    for seed in seeds.into_iter().chain([seed_of(random, 0)]) {
        let schedule = Schedule::of(seed, None).to(receiver);
        println!("{schedule}");
        let outcome = run(&mut cluster, &schedule);
        let happened = |what: &str| outcome.injected.keys().any(|fault| fault.starts_with(what));
        assert!(happened("collector") || happened("Redis"), "{:?}", outcome.injected);
    }
}

#[test]
fn collector_with_sqlite_holds_each_report_once() {
    a_collector_holds_each_report_once(Receiver::Sqlite, [75_405_487_785, 520_740_349_663]);
}

#[test]
fn collector_with_redis_holds_each_report_once() {
    a_collector_holds_each_report_once(Receiver::Redis, [281_320_166_145, 223_852_446_536]);
}

/// Schedules in which leaders, workers and clients are killed and stopped, and connections and replies are lost.
#[test]
fn task_has_one_result_and_is_not_executed_twice_at_a_time_under_faults() {
    let run_schedules = |programs: Programs, numbers: &[u64]| {
        let mut cluster = tasks::Cluster::start(programs, Path::new(env!("CARGO_BIN_EXE_atalaya")));
        for number in numbers {
            let schedule = tasks::Schedule::of(seed_of(17, *number));
            let outcome = cluster.run(&schedule);
            let findings = &outcome.findings;
            if !findings.violations.is_empty() {
                let folder = target_dir().join("chaos").join(format!("test-tasks-{}", schedule.seed));
                let kept = outcome.keep(&folder);
                panic!("{schedule}{findings:#?}\nall of it: {} {kept:?}", folder.display());
            }
            if !findings.undecided.is_empty() {
                println!("undecided, the machine was too slow: {schedule}{findings:#?}");
            }
            assert!(findings.counts.starts >= 3, "{findings:?}");
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| run_schedules(Programs::Native, &[0, 1]));
        scope.spawn(|| run_schedules(Programs::Native, &[2, 3]));
        scope.spawn(|| run_schedules(Programs::Classic, &[0, 1]));
    });
}
