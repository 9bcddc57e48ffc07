use proptest::prelude::*;

use super::*;

const START: BootMillis = 1_000_000;
const GRACE: Duration = Duration::from_secs(5);

fn lease(remaining: u64, timeout: u64) -> LocalLease {
    LocalLease {
        remaining: Duration::from_millis(remaining),
        session_timeout: Duration::from_millis(timeout),
    }
}

/// Returns the guardian of a command that was started with a full lease of a session timeout of 10 s.
fn guardian(run_for: u64) -> Guardian {
    let deadlines = LeaseDeadlines::of(lease(5_000, 10_000), START).unwrap();
    Guardian::new(deadlines, START + run_for, GRACE)
}

#[test]
fn deadlines_are_a_quarter_and_a_tenth_of_the_session_timeout_before_the_end_of_the_lease() {
    let deadlines = LeaseDeadlines::of(lease(5_000, 10_000), START).unwrap();
    assert_eq!(deadlines, LeaseDeadlines { term_at: START + 2_500, kill_at: START + 4_000 });
    assert_eq!(LeaseDeadlines::of(lease(2_500, 10_000), START), None);
    assert_eq!(LeaseDeadlines::of(LocalLease::default(), START), None);
}

#[test]
fn lease_that_is_not_renewed_ends_with_sigterm_and_sigkill() {
    let mut guardian = guardian(60_000);
    assert_eq!(guardian.step(START), Step::WaitUntil(START + 2_500));
    assert_eq!(guardian.step(START + 2_499), Step::WaitUntil(START + 2_500));
    assert_eq!(guardian.step(START + 2_500), Step::Terminate);
    assert_eq!(guardian.step(START + 2_500), Step::WaitUntil(START + 4_000));
    assert_eq!(guardian.step(START + 4_000), Step::Kill);
    assert_eq!(guardian.step(START + 4_001), Step::Kill, "until no process is left");
    assert_eq!(guardian.cause(), Some(Cause::LeaseEnding));
}

#[test]
fn renewed_lease_never_becomes_shorter() {
    let mut guardian = guardian(60_000);
    let renewed = LeaseDeadlines { term_at: START + 3_000, kill_at: START + 4_500 };
    guardian.on_line(&renewed.to_string(), START);
    for line in ["lease 1 1", "lease", "lease x y", "lease 1", "lease 1 2 3", "", "\u{0}"] {
        guardian.on_line(line, START);
    }
    assert_eq!(guardian.step(START + 2_999), Step::WaitUntil(START + 3_000));
}

#[test]
fn machine_that_was_suspended_past_the_lease_kills_at_once() {
    let mut guardian = guardian(60_000);
    assert_eq!(guardian.step(START + 3_600_000), Step::Kill);
    assert_eq!(guardian.cause(), Some(Cause::LeaseEnding));
}

#[test]
fn late_renewal_does_not_cancel_the_end() {
    let mut guardian = guardian(60_000);
    let renewed = LeaseDeadlines { term_at: START + 60_000, kill_at: START + 61_000 }.to_string();
    assert_eq!(guardian.step(START + 2_500), Step::Terminate);
    guardian.on_line(&renewed, START + 2_600);
    assert_eq!(guardian.step(START + 2_600), Step::WaitUntil(START + 4_000));
    assert_eq!(guardian.step(START + 4_000), Step::Kill);
    guardian.on_line(&renewed, START + 4_000);
    assert_eq!(guardian.step(START + 4_001), Step::Kill);
}

#[test]
fn time_limit_ends_with_sigterm_and_sigkill_after_the_grace_period() {
    let mut guardian = guardian(1_000);
    let renewed = LeaseDeadlines { term_at: START + 60_000, kill_at: START + 61_000 };
    guardian.on_line(&renewed.to_string(), START);
    assert_eq!(guardian.step(START), Step::WaitUntil(START + 1_000));
    assert_eq!(guardian.step(START + 1_000), Step::Terminate);
    assert_eq!(guardian.step(START + 1_001), Step::WaitUntil(START + 6_000));
    assert_eq!(guardian.step(START + 6_000), Step::Kill);
    assert_eq!(guardian.cause(), Some(Cause::TimedOut));
}

#[test]
fn lease_limits_the_grace_period_of_the_time_limit() {
    let mut guardian = guardian(1_000);
    assert_eq!(guardian.step(START + 1_000), Step::Terminate);
    assert_eq!(guardian.step(START + 1_000), Step::WaitUntil(START + 4_000));
    assert_eq!(guardian.step(START + 4_000), Step::Kill);
    assert_eq!(guardian.cause(), Some(Cause::TimedOut));
}

#[test]
fn stop_gives_a_grace_period_that_a_second_stop_shortens() {
    let mut guardian = guardian(60_000);
    guardian.on_line("stop 2000", START);
    assert_eq!(guardian.step(START), Step::Terminate);
    assert_eq!(guardian.step(START), Step::WaitUntil(START + 2_000));
    guardian.on_line("stop 100", START + 10);
    guardian.on_line("stop 9000", START + 10);
    assert_eq!(guardian.step(START + 10), Step::WaitUntil(START + 110));
    assert_eq!(guardian.step(START + 110), Step::Kill);
    assert_eq!(guardian.cause(), Some(Cause::Stopped));
    assert_eq!(stop_line(Duration::from_millis(2_000)), "stop 2000\n");
}

#[test]
fn end_of_the_worker_kills_at_once() {
    let mut guardian = guardian(60_000);
    guardian.on_line("stop 5000", START);
    assert_eq!(guardian.step(START), Step::Terminate);
    guardian.on_worker_gone();
    assert_eq!(guardian.step(START), Step::Kill);
}

#[test]
fn processes_that_the_command_leaves_get_sigterm_first() {
    let mut guardian = guardian(60_000);
    guardian.on_command_ended(START);
    guardian.on_command_ended(START + 1);
    assert_eq!(guardian.step(START), Step::Terminate);
    assert_eq!(guardian.step(START), Step::WaitUntil(START + 4_000), "the lease is shorter than the grace");
    assert_eq!(guardian.cause(), Some(Cause::Ended));
}

#[test]
fn report_is_found_among_other_lines() {
    let report = Report { cause: Cause::TimedOut, code: None, signal: Some(9) };
    let line = report.to_line();
    assert_eq!(line, "atalaya-report {\"cause\":\"timed-out\",\"code\":null,\"signal\":9}\n");
    assert_eq!(Report::find(&format!("running 1 test\n{line}rest")), Some(report));
    for wrong in ["", "atalaya-report", "atalaya-report {}", " atalaya-report {\"cause\":\"ended\"}"] {
        assert_eq!(Report::find(wrong), None, "{wrong}");
    }
}

proptest! {
    /// Whatever the worker writes and whenever it writes it, no process is left to run after the last lease that it
    /// has sent.
    #[test]
    fn guardian_kills_by_the_last_lease(
        events in prop::collection::vec((0u64..400, 0u8..5, 0u64..8_000), 0..50),
        run_for in 0u64..20_000,
    ) {
        let mut guardian = guardian(run_for);
        let (mut now, mut last_kill) = (START, START + 4_000);
        let (mut terminated, mut killing) = (false, false);
        for (after, kind, number) in events {
            now += after;
            match kind {
                0 => {
                    let deadlines = LeaseDeadlines { term_at: now + number, kill_at: now + number + 1_500 };
                    guardian.on_line(&deadlines.to_string(), now);
                    last_kill = last_kill.max(deadlines.kill_at);
                }
                1 => guardian.on_line(&format!("stop {number}"), now),
                2 if number < 100 => guardian.on_worker_gone(),
                3 if number < 500 => guardian.on_command_ended(now),
                _ => {}
            }
            match guardian.step(now) {
                Step::Kill => killing = true,
                Step::Terminate => {
                    prop_assert!(!terminated, "SIGTERM is sent once");
                    prop_assert!(!killing);
                    terminated = true;
                }
                Step::WaitUntil(time) => prop_assert!(time > now && time <= last_kill && !killing),
            }
        }
        prop_assert_eq!(guardian.step(now.max(last_kill)), Step::Kill);
        prop_assert!(guardian.cause().is_some());
    }
}
