use proptest::prelude::*;

use super::*;

const PERIOD: Duration = Duration::from_secs(1);
const ACCEPTED: Outcome = Outcome::Accepted;

fn ms(ms: u64) -> BootInstant {
    BootInstant::at(Duration::from_millis(ms))
}

fn failed() -> Outcome {
    Outcome::Failed("refused".into())
}

fn rejected() -> Outcome {
    Outcome::Rejected("404".into())
}

fn queue(reports: impl IntoIterator<Item = u64>) -> DeliveryQueue {
    let mut queue = DeliveryQueue::new(PERIOD);
    reports.into_iter().for_each(|report| queue.push((report, 0), 1));
    queue
}

/// Sends the next report at `now`, or as soon as it may be sent.
fn send(queue: &mut DeliveryQueue, mut now: BootInstant) -> (Key, BootInstant) {
    loop {
        match queue.next(now) {
            Next::Send(key) => return (key, now),
            Next::WaitUntil(until) => now = until,
            Next::Idle => panic!("nothing to send"),
        }
    }
}

#[test]
fn queue_sends_one_report_after_the_other_in_order() {
    let mut queue = queue([3, 1, 2]);
    for report in [1, 2, 3] {
        let (key, now) = send(&mut queue, ms(10 * report));
        assert_eq!((key, now), ((report, 0), ms(10 * report)));
        assert!(
            matches!(queue.next(now), Next::WaitUntil(_) | Next::Idle),
            "the previous report has no response"
        );
        assert_eq!(queue.on_outcome(key, ACCEPTED), (Some(Ok(())), None));
    }
    assert_eq!((queue.reports.len(), queue.next(ms(99))), (0, Next::Idle));
}

#[test]
fn queue_repeats_a_failed_report_before_newer_ones() {
    let mut queue = queue([1]);
    let (key, _) = send(&mut queue, ms(10));
    assert_eq!(queue.on_outcome(key, failed()), (None, Some(StateChange::Failing("refused".into()))));
    queue.push((2, 0), 1);
    assert!(matches!(queue.next(ms(20)), Next::WaitUntil(until) if until > ms(50) && until <= ms(210)));
    let (key, now) = send(&mut queue, ms(20));
    assert_eq!(key, (1, 0));
    assert_eq!(queue.on_outcome(key, failed()), (None, None), "already logged");
    let (key, later) = send(&mut queue, now);
    assert!(later > now);
    assert_eq!(key, (1, 0));
    assert_eq!(queue.on_outcome(key, ACCEPTED).1, Some(StateChange::Accepting { dropped: 0 }));
    assert_eq!(send(&mut queue, later).0, (2, 0));
}

#[test]
fn queue_ignores_the_timeout_of_a_request_that_is_older_than_an_accepted_one() {
    let mut queue = queue([1, 2, 3]);
    let sent: Vec<Key> = [0, 1_000, 2_000].map(|at| send(&mut queue, ms(at)).0).to_vec();
    assert_eq!(queue.on_outcome(sent[2], ACCEPTED), (Some(Ok(())), None));
    assert_eq!(queue.on_outcome(sent[0], failed()), (None, None), "sent before the API worked again");
    assert_eq!(send(&mut queue, ms(6_000)).0, sent[0], "soon: the API works");
    assert_eq!(queue.on_outcome(sent[0], failed()).1, Some(StateChange::Failing("refused".into())));
    assert_eq!(queue.on_outcome(sent[1], failed()), (None, None), "already logged");
}

#[test]
fn late_acceptance_of_an_older_request_does_not_end_a_failure() {
    let mut queue = queue([1, 2]);
    let [one, two] = [0, 1_000].map(|at| send(&mut queue, ms(at)).0);
    queue.on_outcome(two, failed());
    assert_eq!(queue.on_outcome(one, ACCEPTED), (Some(Ok(())), None), "the API refused a later request");
    assert_eq!(send(&mut queue, ms(2_000)).0, two);
    assert_eq!(queue.on_outcome(two, ACCEPTED).1, Some(StateChange::Accepting { dropped: 0 }));
}

#[test]
fn queue_rejects_a_report_after_some_tries_and_those_behind_it_after_one() {
    let mut queue = queue([1, 2]);
    let mut now = ms(0);
    for attempt in 1..=MAX_TRIES {
        let (key, sent) = send(&mut queue, now);
        now = sent;
        assert_eq!(key, (1, 0));
        let (settled, change) = queue.on_outcome(key, rejected());
        assert_eq!(settled, (attempt == MAX_TRIES).then(|| Err("404".into())));
        match attempt {
            1 => assert_eq!(change, Some(StateChange::Failing("404".into()))),
            MAX_TRIES => assert_eq!(change, Some(StateChange::Rejecting("404".into()))),
            _ => assert_eq!(change, None),
        }
    }
    let (key, now) = send(&mut queue, now);
    assert_eq!(queue.on_outcome(key, rejected()), (Some(Err("404".into())), None));
    // After an accepted report, a rejected one is tried several times again.
    queue.push((3, 0), 1);
    let (key, now) = send(&mut queue, now);
    assert_eq!(queue.on_outcome(key, ACCEPTED).1, Some(StateChange::Accepting { dropped: 0 }));
    queue.push((4, 0), 1);
    let (key, _) = send(&mut queue, now);
    assert_eq!(queue.on_outcome(key, rejected()).0, None);
}

#[test]
fn queue_does_not_send_removed_reports_and_counts_dropped_ones() {
    let mut queue = queue(1..=5);
    let (first, now) = send(&mut queue, ms(0));
    queue.on_outcome(first, failed());
    let (first, now) = send(&mut queue, now);
    assert!(queue.is_in_flight(first) && !queue.is_in_flight((2, 0)));
    queue.remove(first);
    assert_eq!(queue.on_outcome(first, ACCEPTED), (None, None), "the report was removed");
    queue.remove((2, 0));
    queue.dropped += 1;
    let (key, _) = send(&mut queue, now);
    assert_eq!(key, (3, 0));
    assert_eq!(queue.on_outcome(key, ACCEPTED).1, Some(StateChange::Accepting { dropped: 1 }));
}

#[test]
fn queue_repeats_aborted_requests() {
    let mut queue = queue([1]);
    let (key, now) = send(&mut queue, ms(0));
    queue.on_interrupted();
    assert_eq!(send(&mut queue, now).0, key);
}

#[test]
fn queue_does_not_send_reports_of_two_epochs_at_once() {
    let mut queue = queue([1]);
    queue.push((2, 0), 2);
    let (old, _) = send(&mut queue, ms(0));
    assert_eq!(queue.next(ms(60_000)), Next::Idle, "reports of the previous epoch come first");
    queue.on_outcome(old, ACCEPTED);
    assert_eq!(send(&mut queue, ms(60_000)).0, (2, 0));
}

fn forbidden() -> Outcome {
    Outcome::Doubtful(Doubt { reason: "403".into(), tries: MAX_TRIES, proofs: 1 })
}

/// Sends reports until `rounds` requests were made; returns the settled reports, in order, and the requests.
fn drive(
    queue: &mut DeliveryQueue,
    rounds: usize,
    answer: impl Fn(u64) -> Outcome,
) -> (Vec<(u64, FinalOutcome)>, Vec<u64>) {
    let (mut now, mut settled, mut requests) = (ms(0), Vec::new(), Vec::new());
    while requests.len() < rounds && !queue.reports.is_empty() {
        let (key, sent) = send(queue, now);
        now = sent;
        requests.push(key.0);
        settled.extend(queue.on_outcome(key, answer(key.0)).0.map(|settled| (key.0, settled)));
    }
    (settled, requests)
}

#[test]
fn queue_rejects_the_only_forbidden_report_and_delivers_those_behind_it() {
    let mut queue = queue(1..=5);
    let (settled, requests) =
        drive(&mut queue, 50, |report| if report == 2 { forbidden() } else { ACCEPTED });
    let rejected = (2, Err("403".into()));
    let accepted = |report| (report, Ok(()));
    assert_eq!(settled, [accepted(1), accepted(3), rejected, accepted(4), accepted(5)]);
    assert_eq!(requests, [1, 2, 2, 2, 3, 2, 4, 5], "three tries, one behind it, and the proof");
}

#[test]
fn queue_does_not_reject_a_report_because_requests_from_before_are_accepted_late() {
    let mut queue = queue(1..=4);
    let mut now = ms(0);
    for cycle in 1..=3 {
        let (key, sent) = send(&mut queue, now);
        assert_eq!(key, (cycle, 0));
        now = sent;
    }
    // The API fails from here on, and finishes the requests that it has.
    for accepted in 1..=3 {
        let (key, sent) = send(&mut queue, now);
        assert_eq!(key, (4, 0));
        assert_eq!(queue.on_outcome(key, forbidden()).0, None);
        assert_eq!(queue.on_outcome((accepted, 0), ACCEPTED).0, Some(Ok(())));
        now = sent;
    }
    let (key, now) = send(&mut queue, now);
    assert_eq!(queue.on_outcome(key, forbidden()).0, None);
    // A report that is sent after the refusal and accepted is the proof.
    queue.push((5, 0), 1);
    let (key, now) = send(&mut queue, now);
    assert_eq!(key, (5, 0));
    assert_eq!(queue.on_outcome(key, ACCEPTED).0, Some(Ok(())));
    let (key, _) = send(&mut queue, now);
    assert_eq!((key, queue.on_outcome(key, forbidden()).0), ((4, 0), Some(Err("403".into()))));
}

#[test]
fn queue_does_not_reject_a_report_because_a_later_one_was_accepted_before_the_refusal() {
    let mut queue = queue(1..=2);
    let (first, now) = send(&mut queue, ms(0));
    let (second, mut now) = send(&mut queue, now);
    assert_eq!(queue.on_outcome(second, ACCEPTED).0, Some(Ok(())));
    // Now the API begins to refuse all reports.
    assert_eq!(queue.on_outcome(first, forbidden()).0, None);
    for _ in 0..10 {
        let (key, sent) = send(&mut queue, now);
        assert_eq!((key, queue.on_outcome(key, forbidden()).0), (first, None));
        now = sent;
    }
}

#[test]
fn queue_passes_several_forbidden_reports_in_a_row() {
    let mut queue = queue(1..=6);
    let (settled, _) = drive(&mut queue, 100, |report| if report <= 4 { forbidden() } else { ACCEPTED });
    let accepted: Vec<u64> =
        settled.iter().filter(|(_, how)| *how == Ok(())).map(|(report, _)| *report).collect();
    assert_eq!((accepted, settled.len(), queue.reports.len()), (vec![5, 6], 6, 0));
}

#[test]
fn queue_rejects_nothing_while_all_reports_are_forbidden_and_keeps_the_order_afterwards() {
    let mut queue = queue(1..=4);
    let (settled, requests) = drive(&mut queue, 200, |_| forbidden());
    assert_eq!((settled, queue.reports.len()), (vec![], 4), "the token is wrong");
    assert!((1..=4).all(|report| requests.contains(&report)));
    let (settled, _) = drive(&mut queue, 200, |_| ACCEPTED);
    let late: Vec<u64> = settled[1..].iter().map(|(report, _)| *report).collect();
    assert_eq!(settled.len(), 4);
    assert!(late.is_sorted(), "after the first acceptance in order: {late:?}");
}

#[test]
fn queue_rejects_the_only_report_that_makes_the_api_fail() {
    let failing = || Outcome::Doubtful(Doubt { reason: "500".into(), tries: 12, proofs: 3 });
    let mut queue = queue(1..=9);
    let (settled, requests) = drive(&mut queue, 100, |report| if report == 1 { failing() } else { ACCEPTED });
    assert_eq!((settled.len(), queue.reports.len()), (9, 0));
    assert!(settled.contains(&(1, Err("500".into()))));
    assert_eq!(requests.iter().filter(|report| **report == 1).count(), 15);
}

#[test]
fn queue_rejects_invalid_reports_at_once_and_logs_each_reason_once() {
    let mut queue = queue(1..=3);
    let invalid = || Outcome::Invalid("it has no number".into());
    let (key, now) = send(&mut queue, ms(0));
    let rejected = || Some(Err("it has no number".into()));
    let change = Some(StateChange::Invalid("it has no number".into()));
    assert_eq!(queue.on_outcome(key, invalid()), (rejected(), change));
    let (key, now) = send(&mut queue, now);
    assert_eq!(queue.on_outcome(key, invalid()), (rejected(), None));
    let (key, _) = send(&mut queue, now);
    assert_eq!(queue.on_outcome(key, ACCEPTED), (Some(Ok(())), None), "the API never failed");
}

#[test]
fn queue_sends_lower_epochs_first_whatever_their_cycles() {
    let mut queue = DeliveryQueue::new(PERIOD);
    for (cycle, epoch) in [(1, 9), (5, 7), (6, 7), (7, 8)] {
        queue.push((cycle, 0), epoch);
    }
    let (_, requests) = drive(&mut queue, 9, |_| ACCEPTED);
    assert_eq!(requests, [5, 6, 7, 1]);
}

#[derive(Clone, Copy, Debug)]
enum Api {
    Works,
    Refuses,
    Hangs,
}

/// Simulates an API that goes through `phases` with their lengths in milliseconds, and works afterwards. Returns the
/// time at which it works, and the time of the first report after that.
fn simulate(period: Duration, phases: &[(Api, u64)]) -> (u64, u64) {
    let mut queue = DeliveryQueue::new(period);
    let (timeout, period) = (queue.timeout().as_millis() as u64, period.as_millis() as u64);
    let works_at: u64 = phases.iter().map(|(_, length)| length).sum();
    let mut hanging: Vec<(u64, Key)> = Vec::new();
    for now in 0..works_at + 60_000 {
        if now % period == 0 {
            queue.push((now, 0), 1);
        }
        let (over, rest): (Vec<_>, Vec<_>) = hanging.into_iter().partition(|(sent, _)| now >= sent + timeout);
        hanging = rest;
        for (_, key) in over {
            queue.on_outcome(key, Outcome::Failed("no answer".into()));
        }
        let mut until = 0;
        let phase = phases.iter().find(|(_, length)| {
            until += length;
            now < until
        });
        while let Next::Send(key) = queue.next(ms(now)) {
            match phase.map(|(api, _)| *api) {
                None => return (works_at, now),
                Some(Api::Works) => drop(queue.on_outcome(key, ACCEPTED)),
                Some(Api::Refuses) => drop(queue.on_outcome(key, failed())),
                Some(Api::Hangs) => hanging.push((now, key)),
            }
        }
    }
    (works_at, u64::MAX)
}

#[test]
fn queue_resumes_within_a_period_when_a_retry_coincides_with_a_timeout() {
    for (period, hangs) in [(1_167, 26_842), (1_307, 6_536), (1_007, 5_036)] {
        let (works_at, first) = simulate(Duration::from_millis(period), &[(Api::Hangs, hangs)]);
        let delay = first - works_at;
        assert!(delay <= period, "{delay} ms after the API works again, at a period of {period}");
    }
}

fn phase() -> impl Strategy<Value = (Api, u64)> {
    (prop_oneof![Just(Api::Works), Just(Api::Refuses), Just(Api::Hangs)], 1u64..30_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn queue_resumes_within_a_period_after_the_api_works_again(period in 100u64..6_000, phases in prop::collection::vec(phase(), 1..6)) {
        let (works_at, first) = simulate(Duration::from_millis(period), &phases);
        prop_assert!(first <= works_at + period + 1, "{} ms after the API works again", first - works_at);
    }

    /// Each report is accepted or rejected once, whatever the outcomes before.
    #[test]
    fn queue_loses_no_report_and_blocks_none(outcomes in prop::collection::vec(0u8..5, 0..200)) {
        let mut queue = DeliveryQueue::new(PERIOD);
        let (mut now, mut settled) = (0, Vec::new());
        for (report, outcome) in outcomes.iter().enumerate() {
            queue.push((report as u64, 0), 1);
            now += 1_000;
            while let Next::Send(key) = queue.next(ms(now)) {
                let outcome = match outcome {
                    0 => ACCEPTED,
                    1 => rejected(),
                    2 => forbidden(),
                    3 => Outcome::Invalid("no".into()),
                    _ => failed(),
                };
                if queue.on_outcome(key, outcome).0.is_some() { settled.push(key.0 as usize); }
                now += 10;
            }
        }
        let (rest, _) = drive(&mut queue, 4 * outcomes.len() + 2, |_| ACCEPTED);
        settled.extend(rest.iter().map(|(report, _)| *report as usize));
        settled.sort_unstable();
        prop_assert_eq!(settled, (0..outcomes.len()).collect::<Vec<_>>());
        prop_assert_eq!(queue.reports.len(), 0);
    }

    /// A strict queue sends a report only after all earlier ones are accepted or rejected, whatever happens to them.
    #[test]
    fn strict_queue_never_sends_a_report_before_an_earlier_one_has_its_final_outcome(
        outcomes in prop::collection::vec((0u8..4, 0u64..20_000), 1..100),
    ) {
        let mut queue = DeliveryQueue::new(PERIOD);
        queue.is_strict = true;
        let (mut now, mut next, mut unfinished) = (0, 0, BTreeSet::new());
        for (outcome, duration) in outcomes {
            for _ in 0..2 {
                queue.push((next, 0), 1);
                unfinished.insert(next);
                next += 1;
            }
            let (key, sent) = send(&mut queue, ms(now));
            prop_assert_eq!(Some(&key.0), unfinished.first());
            now = sent.since(ms(0)).as_millis() as u64 + duration;
            prop_assert_eq!(queue.next(ms(now)), Next::Idle, "one request at a time");
            let outcome = match outcome {
                0 => ACCEPTED,
                1 => rejected(),
                2 => Outcome::Invalid("no".into()),
                _ => failed(),
            };
            if queue.on_outcome(key, outcome).0.is_some() {
                unfinished.remove(&key.0);
            }
        }
    }
}
