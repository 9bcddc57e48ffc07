//! Lock-step mode while ZooKeeper's own leader is killed in every cycle: no node is blocked for longer than a period
//! and the reconnect, and nothing is lost. `cargo xtask chaos fleet --staged --sync barrier` runs this for two minutes.
#![cfg(target_os = "linux")]

use std::path::Path;

use atalaya_testbed::chaos::{Cluster, NodeProgram, Pauses, Schedule};

#[test]
fn lock_step_continues_after_each_kill_of_the_zookeeper_leader() {
    let schedule = Schedule::leading_servers(4);
    let outcome =
        Cluster::start(NodeProgram::Atalaya(Path::new(env!("CARGO_BIN_EXE_atalaya")).into())).run(&schedule);
    let Pauses { blocked, reconnects, stuck, .. } = &outcome.pauses;
    // On a busy machine, the last kill may not happen.
    assert!(outcome.injected.get("ZooKeeper's leader killed").is_some_and(|killed| *killed >= 3));
    assert!(outcome.findings.violations.is_empty(), "{:#?}", outcome.findings.violations);
    assert!(!reconnects.is_empty(), "the nodes at a killed server noticed");
    assert!(stuck.is_empty(), "{stuck:?}");
    // A node that misses a cycle waits for two.
    let period = i64::try_from(schedule.period.as_millis()).unwrap();
    assert!(*blocked < period * 3 / 2, "{:?}", outcome.pauses);
}
