//! In lock-step, ZooKeeper's own leader may be killed in every cycle: nobody is blocked for longer than a period and the
//! reconnect, and nothing is lost. `cargo xtask chaos fleet --staged --sync barrier` does it for two minutes.
#![cfg(target_os = "linux")]

use std::path::Path;

use atalaya_testbed::chaos::{Cast, Pauses, Schedule, Theatre};

#[test]
fn in_lock_step_nobody_is_blocked_for_longer_than_a_period_and_the_reconnect() {
    let schedule = Schedule::leading_servers(4);
    let outcome =
        Theatre::open(Cast::Atalaya(Path::new(env!("CARGO_BIN_EXE_atalaya")).into())).play(&schedule);
    let Pauses { blocked, reconnects, stuck, .. } = &outcome.pauses;
    // On a busy machine the last one may not have its turn.
    assert!(outcome.played.get("ZooKeeper's leader killed").is_some_and(|killed| *killed >= 3));
    assert!(outcome.verdict.violations.is_empty(), "{:#?}", outcome.verdict.violations);
    assert!(!reconnects.is_empty(), "whoever was connected to one of them noticed");
    assert!(stuck.is_empty(), "{stuck:?}");
    // Who misses a cycle waits for two.
    let period = i64::try_from(schedule.period.as_millis()).unwrap();
    assert!(*blocked < period * 3 / 2, "{:?}", outcome.pauses);
}
