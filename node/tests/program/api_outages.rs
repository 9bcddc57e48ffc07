//! API outages: cycles continue at their period, and reports resume within a period.

use std::time::{Duration, Instant};

use atalaya_testbed::{ApiMode, Process};

use crate::common::{DEADLINE, Fleet, report_from, wait_for_requests, wait_until};

on_both!(
    cycles_continue_while_the_api_refuses_connections,
    cycles_continue_while_the_api_hangs,
    cycles_continue_while_the_api_answers_500,
    api_that_is_slow_by_three_periods_gets_every_report_once,
    api_that_answers_404_sees_each_report
);

/// Maximum delay of an average on a busy machine. A leader that waited for the API would be later.
const LATE: Duration = Duration::from_millis(500);

/// Returns the number of averages that a leader has computed, from its log.
fn averages(node: &Process) -> Vec<Instant> {
    node.log().iter().filter(|line| line.text.contains(" average cycle=")).map(|line| line.at).collect()
}

fn lines(node: &Process, words: &str) -> usize {
    node.log().iter().filter(|line| line.text.contains(words)).count()
}

/// Lets the API fail for eight cycles and recover.
fn survives(fleet: &Fleet, mode: ApiMode, complaint: &str) {
    let one = fleet.leader("1", &[]);
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
    fleet.api.set(mode);
    one.wait_for_line(complaint, DEADLINE);
    let begin = averages(&one).len();
    wait_until("eight more averages", || averages(&one).len() >= begin + 8);
    let during = &averages(&one)[begin..begin + 8];
    for pair in during.windows(2) {
        let apart = pair[1] - pair[0];
        assert!(apart < fleet.pace.period + LATE, "the cycle was held up: {apart:?}");
    }
    assert_eq!(lines(&one, complaint), 1, "said once");
    let back = Instant::now();
    fleet.api.set(ApiMode::Accept);
    report_from(&fleet.api, "1", back, fleet.pace.period + Duration::from_millis(300));
    one.wait_for_line("accepts reports again", DEADLINE);
    // Each average arrives in the end.
    let total = averages(&one).len();
    wait_for_requests(&fleet.api, "all averages", total, |request| request.answered == Some(200));
}

fn cycles_continue_while_the_api_refuses_connections(fleet: Fleet) {
    survives(&fleet, ApiMode::Refuse, "cannot connect");
}

fn cycles_continue_while_the_api_hangs(fleet: Fleet) {
    survives(&fleet, ApiMode::Hang, "no answer within");
}

fn cycles_continue_while_the_api_answers_500(fleet: Fleet) {
    survives(&fleet, ApiMode::Status(500), "500 Internal Server Error");
}

fn api_that_is_slow_by_three_periods_gets_every_report_once(fleet: Fleet) {
    fleet.api.set(ApiMode::Slow(fleet.pace.period * 3));
    let one = fleet.leader("1", &[]);
    let answered = |request: &&atalaya_testbed::Recorded| request.answered == Some(200);
    let requests =
        fleet.api.wait_for("six slow answers", DEADLINE, |all| all.iter().filter(answered).count() >= 6);
    for pair in averages(&one).windows(2) {
        assert!(pair[1] - pair[0] < fleet.pace.period + LATE, "the cycle was held up");
    }
    let mut keys: Vec<_> =
        requests.iter().map(|request| request.header("Idempotency-Key").unwrap()).collect();
    let sent = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), sent, "a report was sent twice although nothing failed");
    assert_eq!(lines(&one, "does not accept reports"), 0);
}

fn api_that_answers_404_sees_each_report(fleet: Fleet) {
    // As `python -m http.server 8000` does: 404 for every request.
    fleet.api.set(ApiMode::Status(404));
    let one = fleet.leader("1", &[]);
    let requests = fleet.api.wait_for("eight requests", DEADLINE, |all| all.len() >= 8);
    let mut keys: Vec<_> =
        requests.iter().map(|request| request.header("Idempotency-Key").unwrap()).collect();
    // The first report is tried three times, because a proxy may have answered. Each further report is tried once.
    assert_eq!(keys[..3], [keys[0]; 3]);
    keys.dedup();
    assert_eq!(keys.len(), requests.len() - 2);
    assert_eq!(lines(&one, "rejects reports"), 1, "said once");
    // Rejected reports are kept.
    let probe = fleet.probe();
    let cycle = keys[0].split('-').nth(1).unwrap();
    let aside = atalaya_testbed::eventually("the first is set aside", DEADLINE, || {
        let data = probe.get(&format!("/atalaya/aside/{cycle}"));
        data.and_then(|(data, _)| serde_json::from_slice::<serde_json::Value>(&data).ok())
    });
    assert_eq!(aside["reason"], "it answers 404 Not Found");
    assert_eq!(aside["averages"][0]["count"], 1);
}
