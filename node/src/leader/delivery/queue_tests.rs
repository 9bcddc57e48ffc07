use proptest::prelude::*;

use super::*;

const PERIOD: Duration = Duration::from_secs(1);
const ACCEPTED: Outcome = Outcome::Accepted;

fn ms(ms: u64) -> BootInstant {
    BootInstant::at(Duration::from_millis(ms))
}

fn failed() -> Outcome {
    Outcome::CommitError("refused".into())
}

fn rejected() -> Outcome {
    Outcome::Rejected("404".into())
}

fn courier(reports: impl IntoIterator<Item = u64>) -> DeliveryQueue<u64> {
    let mut courier = DeliveryQueue::new(PERIOD);
    reports.into_iter().for_each(|report| courier.push((report, 0), 1, report));
    courier
}

/// Sends the next one at `now`, or as soon as it may be sent.
fn send(courier: &mut DeliveryQueue<u64>, mut now: BootInstant) -> (Key, BootInstant) {
    loop {
        match courier.next(now) {
            Next::Send(key, report) => {
                assert_eq!(key.0, report);
                return (key, now);
            }
            Next::Wait(until) => now = until,
            Next::Idle => panic!("nothing to send"),
        }
    }
}

#[test]
fn one_after_the_other_in_order() {
    let mut courier = courier([3, 1, 2]);
    for report in [1, 2, 3] {
        let (key, now) = send(&mut courier, ms(10 * report));
        assert_eq!((key, now), ((report, 0), ms(10 * report)));
        assert!(matches!(courier.next(now), Next::Wait(_) | Next::Idle), "the one before has no answer");
        assert_eq!(courier.done(key, ACCEPTED), (Some(Settled::Accepted), None));
    }
    assert_eq!((courier.waiting(), courier.next(ms(99))), (0, Next::Idle));
}

#[test]
fn a_failed_report_is_sent_again_before_newer_ones() {
    let mut courier = courier([1]);
    let (key, _) = send(&mut courier, ms(10));
    assert_eq!(courier.done(key, failed()), (None, Some(News::Failing("refused".into()))));
    courier.push((2, 0), 1, 2);
    assert!(matches!(courier.next(ms(20)), Next::Wait(until) if until > ms(50) && until <= ms(210)));
    let (key, now) = send(&mut courier, ms(20));
    assert_eq!(key, (1, 0));
    assert_eq!(courier.done(key, failed()), (None, None), "known already");
    let (key, later) = send(&mut courier, now);
    assert!(later > now);
    assert_eq!((key, courier.done(key, ACCEPTED).1), ((1, 0), Some(News::Accepting { dropped: 0 })));
    assert_eq!(send(&mut courier, later).0, (2, 0));
}

#[test]
fn an_old_request_that_times_out_says_nothing_of_an_api_that_has_accepted_since() {
    let mut courier = courier([1, 2, 3]);
    let sent: Vec<Key> = [0, 1_000, 2_000].map(|at| send(&mut courier, ms(at)).0).to_vec();
    assert_eq!(courier.done(sent[2], ACCEPTED), (Some(Settled::Accepted), None));
    assert_eq!(courier.done(sent[0], failed()), (None, None), "sent before the API was back");
    assert_eq!(send(&mut courier, ms(6_000)).0, sent[0], "soon: the API works");
    assert_eq!(courier.done(sent[0], failed()).1, Some(News::Failing("refused".into())));
    assert_eq!(courier.done(sent[1], failed()), (None, None), "known already");
}

#[test]
fn a_rejected_report_is_set_aside_after_some_tries_and_those_behind_it_after_one() {
    let mut courier = courier([1, 2]);
    let mut now = ms(0);
    for attempt in 1..=TRIES {
        let (key, sent) = send(&mut courier, now);
        now = sent;
        assert_eq!(key, (1, 0));
        let (settled, news) = courier.done(key, rejected());
        assert_eq!(settled, (attempt == TRIES).then(|| Settled::Rejected("404".into())));
        match attempt {
            1 => assert_eq!(news, Some(News::Failing("404".into()))),
            TRIES => assert_eq!(news, Some(News::Rejecting("404".into()))),
            _ => assert_eq!(news, None),
        }
    }
    let (key, now) = send(&mut courier, now);
    assert_eq!(courier.done(key, rejected()), (Some(Settled::Rejected("404".into())), None));
    // Once something was accepted, a rejection is worth some tries again.
    courier.push((3, 0), 1, 3);
    let (key, now) = send(&mut courier, now);
    assert_eq!(courier.done(key, ACCEPTED).1, Some(News::Accepting { dropped: 0 }));
    courier.push((4, 0), 1, 4);
    let (key, _) = send(&mut courier, now);
    assert_eq!(courier.done(key, rejected()).0, None);
}

#[test]
fn what_is_forgotten_is_not_sent_and_what_was_dropped_is_told() {
    let mut courier = courier(1..=5);
    let (first, now) = send(&mut courier, ms(0));
    courier.done(first, failed());
    let (first, now) = send(&mut courier, now);
    assert!(courier.is_under_way(first) && !courier.is_under_way((2, 0)));
    courier.forget(first, false);
    assert_eq!(courier.done(first, ACCEPTED), (None, None), "it tells nothing any more");
    courier.forget((2, 0), true);
    let (key, _) = send(&mut courier, now);
    assert_eq!((key, courier.done(key, ACCEPTED).1), ((3, 0), Some(News::Accepting { dropped: 1 })));
}

#[test]
fn what_was_cut_off_is_sent_again() {
    let mut courier = courier([1]);
    let (key, now) = send(&mut courier, ms(0));
    courier.interrupted();
    assert_eq!(send(&mut courier, now).0, key);
}

#[test]
fn epochs_do_not_mix() {
    let mut courier = courier([1]);
    courier.push((2, 0), 2, 2);
    let (old, _) = send(&mut courier, ms(0));
    assert_eq!(
        courier.next(ms(60_000)),
        Next::Idle,
        "a leader has nothing to report before the one before it"
    );
    courier.done(old, ACCEPTED);
    assert_eq!(send(&mut courier, ms(60_000)).0, (2, 0));
}

fn forbidden() -> Outcome {
    Outcome::Doubtful(Doubt { reason: "403".into(), tries: TRIES, proofs: 1 })
}

/// Sends reports until `rounds` requests were made; returns the settled reports, in order, and the requests.
fn drive(
    courier: &mut DeliveryQueue<u64>,
    rounds: usize,
    answer: impl Fn(u64) -> Outcome,
) -> (Vec<(u64, Settled)>, Vec<u64>) {
    let (mut now, mut settled, mut requests) = (ms(0), Vec::new(), Vec::new());
    while requests.len() < rounds && courier.waiting() > 0 {
        let (key, sent) = send(courier, now);
        now = sent;
        requests.push(key.0);
        settled.extend(courier.done(key, answer(key.0)).0.map(|settled| (key.0, settled)));
    }
    (settled, requests)
}

#[test]
fn courier_sets_a_report_aside_that_alone_is_forbidden_and_delivers_those_behind_it() {
    let mut courier = courier(1..=5);
    let (settled, requests) =
        drive(&mut courier, 50, |report| if report == 2 { forbidden() } else { ACCEPTED });
    let aside = (2, Settled::Rejected("403".into()));
    let accepted = |report| (report, Settled::Accepted);
    assert_eq!(settled, [accepted(1), accepted(3), aside, accepted(4), accepted(5)]);
    assert_eq!(requests, [1, 2, 2, 2, 3, 2, 4, 5], "three tries, one behind it, and the proof");
}

#[test]
fn courier_gets_past_several_forbidden_reports_in_a_row() {
    let mut courier = courier(1..=6);
    let (settled, _) = drive(&mut courier, 100, |report| if report <= 4 { forbidden() } else { ACCEPTED });
    let accepted: Vec<u64> =
        settled.iter().filter(|(_, how)| *how == Settled::Accepted).map(|(report, _)| *report).collect();
    assert_eq!((accepted, settled.len(), courier.waiting()), (vec![5, 6], 6, 0));
}

#[test]
fn courier_rejects_nothing_while_every_report_is_forbidden_and_keeps_the_order_afterwards() {
    let mut courier = courier(1..=4);
    let (settled, requests) = drive(&mut courier, 200, |_| forbidden());
    assert_eq!((settled, courier.waiting()), (vec![], 4), "it is the token");
    assert!((1..=4).all(|report| requests.contains(&report)));
    let (settled, _) = drive(&mut courier, 200, |_| ACCEPTED);
    let late: Vec<u64> = settled[1..].iter().map(|(report, _)| *report).collect();
    assert_eq!(settled.len(), 4);
    assert!(late.is_sorted(), "after the first acceptance in order: {late:?}");
}

#[test]
fn courier_sets_a_report_aside_that_alone_makes_the_api_fail() {
    let failing = || Outcome::Doubtful(Doubt { reason: "500".into(), tries: 12, proofs: 3 });
    let mut courier = courier(1..=9);
    let (settled, requests) =
        drive(&mut courier, 100, |report| if report == 1 { failing() } else { ACCEPTED });
    assert_eq!((settled.len(), courier.waiting()), (9, 0));
    assert!(settled.contains(&(1, Settled::Rejected("500".into()))));
    assert_eq!(requests.iter().filter(|report| **report == 1).count(), 15);
}

#[test]
fn courier_settles_an_invalid_report_at_once_and_says_so_once() {
    let mut courier = courier(1..=3);
    let invalid = || Outcome::Invalid("it has no number".into());
    let (key, now) = send(&mut courier, ms(0));
    let rejected = || Some(Settled::Rejected("it has no number".into()));
    let news = Some(News::Invalid("it has no number".into()));
    assert_eq!(courier.done(key, invalid()), (rejected(), news));
    let (key, now) = send(&mut courier, now);
    assert_eq!(courier.done(key, invalid()), (rejected(), None));
    let (key, _) = send(&mut courier, now);
    assert_eq!(courier.done(key, ACCEPTED), (Some(Settled::Accepted), None), "it never failed");
}

#[test]
fn courier_sends_lower_epochs_first_whatever_their_cycles() {
    let mut courier = DeliveryQueue::new(PERIOD);
    for (cycle, epoch) in [(1, 9), (5, 7), (6, 7), (7, 8)] {
        courier.push((cycle, 0), epoch, cycle);
    }
    let (_, requests) = drive(&mut courier, 9, |_| ACCEPTED);
    assert_eq!(requests, [5, 6, 7, 1]);
}

#[derive(Clone, Copy, Debug)]
enum Api {
    Works,
    Refuses,
    Hangs,
}

/// Plays an API through `phases`, each so many milliseconds long, after which it works; gives when it began to work
/// and when the first report got through after that.
fn play(period: Duration, phases: &[(Api, u64)]) -> (u64, u64) {
    let mut courier = DeliveryQueue::new(period);
    let (timeout, period) = (courier.timeout().as_millis() as u64, period.as_millis() as u64);
    let back: u64 = phases.iter().map(|(_, length)| length).sum();
    let mut hanging: Vec<(u64, Key)> = Vec::new();
    for now in 0..back + 60_000 {
        if now % period == 0 {
            courier.push((now, 0), 1, now);
        }
        let (over, rest): (Vec<_>, Vec<_>) = hanging.into_iter().partition(|(sent, _)| now >= sent + timeout);
        hanging = rest;
        for (_, key) in over {
            courier.done(key, Outcome::CommitError("no answer".into()));
        }
        let mut until = 0;
        let phase = phases.iter().find(|(_, length)| {
            until += length;
            now < until
        });
        while let Next::Send(key, _) = courier.next(ms(now)) {
            match phase.map(|(api, _)| *api) {
                None => return (back, now),
                Some(Api::Works) => drop(courier.done(key, ACCEPTED)),
                Some(Api::Refuses) => drop(courier.done(key, failed())),
                Some(Api::Hangs) => hanging.push((now, key)),
            }
        }
    }
    (back, u64::MAX)
}

#[test]
fn reports_resume_in_time_when_a_retry_falls_on_a_timeout() {
    for (period, hangs) in [(1_167, 26_842), (1_307, 6_536), (1_007, 5_036)] {
        let (back, first) = play(Duration::from_millis(period), &[(Api::Hangs, hangs)]);
        assert!(first <= back + period, "{} ms after the return, at a period of {period}", first - back);
    }
}

fn phase() -> impl Strategy<Value = (Api, u64)> {
    (prop_oneof![Just(Api::Works), Just(Api::Refuses), Just(Api::Hangs)], 1u64..30_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn reports_resume_within_a_period_of_the_apis_return(period in 100u64..6_000, phases in prop::collection::vec(phase(), 1..6)) {
        let (back, first) = play(Duration::from_millis(period), &phases);
        prop_assert!(first <= back + period + 1, "{} ms after the return", first - back);
    }

    /// Whatever the outcomes, each report is accepted or rejected once, or still waits, and sending never ends.
    #[test]
    fn nothing_is_lost_and_nothing_stuck(outcomes in prop::collection::vec(0u8..5, 0..200)) {
        let mut courier = DeliveryQueue::new(PERIOD);
        let (mut now, mut settled) = (0, Vec::new());
        for (report, outcome) in outcomes.iter().enumerate() {
            courier.push((report as u64, 0), 1, report);
            now += 1_000;
            while let Next::Send(key, report) = courier.next(ms(now)) {
                let outcome = match outcome {
                    0 => ACCEPTED,
                    1 => rejected(),
                    2 => forbidden(),
                    3 => Outcome::Invalid("no".into()),
                    _ => failed(),
                };
                if courier.done(key, outcome).0.is_some() { settled.push(report); }
                now += 10;
            }
        }
        for _ in 0..4 * outcomes.len() + 2 {
            now += 5_000;
            while let Next::Send(key, report) = courier.next(ms(now)) {
                if courier.done(key, ACCEPTED).0.is_some() { settled.push(report); }
                now += 10;
            }
        }
        settled.sort_unstable();
        prop_assert_eq!(settled, (0..outcomes.len()).collect::<Vec<_>>());
        prop_assert_eq!(courier.waiting(), 0);
    }
}
