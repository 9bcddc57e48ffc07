//! Transitions of one part: one execution target of a task, with its attempts. No I/O.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::model::task::record::{MAX_LOSSES, Outcome, Part, Result, State};
use crate::model::task::spec::{Promise, Spec};

/// Delay before the second attempt. It doubles with each further one.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// Maximum delay between two attempts, without jitter.
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// Reason why an assignment has ended without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The worker was gone before it claimed the assignment, so nothing was executed.
    Unclaimed,
    /// The worker claimed the assignment, and the session of the claim has ended.
    Claimed,
}

pub(super) fn assign(part: &mut Part, node: &str, now: i64) {
    part.state = State::Assigned;
    part.node = Some(node.to_owned());
    part.attempt += 1;
    part.assigned_at = Some(now);
    part.not_before = None;
}

pub(super) fn finish(part: &mut Part, state: State, reason: Option<String>, now: i64) {
    part.state = state;
    part.reason = reason;
    part.not_before = None;
    part.ended_at = Some(now);
}

/// Records the outcome of an execution.
pub(super) fn on_outcome(part: &mut Part, spec: &Spec, outcome: Outcome, now: i64) {
    let result = outcome.result;
    let reason = outcome.reason.clone();
    part.outcome = Some(outcome);
    match result {
        Result::Done => finish(part, State::Done, None, now),
        Result::Refused => finish(part, State::Failed, reason, now),
        Result::Interrupted if spec.promise == Promise::AtMostOnce => {
            let reason = "its worker stopped before it had ended, and it must not be started twice";
            finish(part, State::Lost, Some(reason.to_owned()), now);
        }
        Result::Interrupted => queue(part, "its worker stopped before it had ended"),
        Result::Failed | Result::TimedOut => {
            part.failures += 1;
            if part.failures < spec.allowed_failures() {
                part.state = State::Waiting;
                part.not_before = Some(now.saturating_add(backoff(part.failures)));
                part.reason = reason;
            } else {
                let state = if result == Result::Failed { State::Failed } else { State::TimedOut };
                finish(part, state, reason, now);
            }
        }
    }
}

/// Records that an assignment has ended without an outcome.
pub(super) fn on_loss(part: &mut Part, spec: &Spec, loss: Loss, now: i64) {
    let node = part.node.clone().unwrap_or_default();
    match (loss, spec.promise) {
        (Loss::Unclaimed, _) => {
            // Nothing was executed.
            part.attempt = part.attempt.saturating_sub(1);
            queue(part, &format!("worker {node} was gone before it started"));
        }
        (Loss::Claimed, Promise::AtMostOnce) => {
            let reason =
                format!("worker {node} was lost while it executed it, and it must not be started twice");
            finish(part, State::Lost, Some(reason), now);
        }
        (Loss::Claimed, Promise::AtLeastOnce) => {
            part.losses += 1;
            if part.losses < MAX_LOSSES {
                queue(part, &format!("worker {node} was lost while it executed it"));
            } else {
                let reason =
                    format!("{MAX_LOSSES} workers were lost while they executed it, the last one was {node}");
                finish(part, State::Failed, Some(reason), now);
            }
        }
    }
}

fn queue(part: &mut Part, reason: &str) {
    part.state = State::Queued;
    part.not_before = None;
    part.reason = Some(reason.to_owned());
}

/// Returns the delay after this number of failures, in milliseconds.
fn backoff(failures: u32) -> i64 {
    let delays = ExponentialBuilder::new()
        .with_min_delay(MIN_BACKOFF)
        .with_max_delay(MAX_BACKOFF)
        .without_max_times()
        .with_jitter();
    let index = usize::try_from(failures.saturating_sub(1).min(32)).unwrap_or(0);
    let delay = delays.build().nth(index).unwrap_or(MAX_BACKOFF);
    i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::spec::tests::spec;

    fn outcome(result: Result) -> Outcome {
        Outcome { result, reason: Some("exit code 1".into()), ..Outcome::default() }
    }

    fn assigned() -> Part {
        let mut part = Part::default();
        assign(&mut part, "1", 5);
        part
    }

    #[test]
    fn failed_part_waits_with_growing_delays_until_its_last_attempt() {
        let (spec, mut part) = (spec("calibrate"), assigned());
        on_outcome(&mut part, &spec, outcome(Result::Failed), 10_000);
        assert_eq!((part.state, part.failures, part.ended_at), (State::Waiting, 1, None));
        let first = part.not_before.unwrap() - 10_000;
        assert!((1_000..=2_000).contains(&first), "{first}");
        assign(&mut part, "1", 20_000);
        on_outcome(&mut part, &spec, outcome(Result::TimedOut), 20_000);
        let second = part.not_before.unwrap() - 20_000;
        assert!((2_000..=4_000).contains(&second), "{second}");
        assign(&mut part, "2", 30_000);
        on_outcome(&mut part, &spec, outcome(Result::Failed), 31_000);
        assert_eq!((part.state, part.attempt, part.ended_at), (State::Failed, 3, Some(31_000)));
        assert_eq!(part.reason.as_deref(), Some("exit code 1"));
        assert!(backoff(u32::MAX) <= 600_000);
    }

    #[test]
    fn at_most_once_has_no_second_attempt() {
        let spec = Spec { promise: Promise::AtMostOnce, ..spec("calibrate") };
        for result in [Result::Failed, Result::TimedOut, Result::Interrupted] {
            let mut part = assigned();
            on_outcome(&mut part, &spec, outcome(result), 10);
            assert!(part.state.is_final(), "{result:?}: {part:?}");
        }
        let mut part = assigned();
        on_loss(&mut part, &spec, Loss::Claimed, 10);
        assert_eq!(part.state, State::Lost);
        let mut part = assigned();
        on_loss(&mut part, &spec, Loss::Unclaimed, 10);
        assert_eq!((part.state, part.attempt), (State::Queued, 0), "nothing was executed");
    }

    #[test]
    fn task_that_loses_three_workers_is_not_assigned_again() {
        let (spec, mut part) = (spec("calibrate"), Part::default());
        for _ in 0..10 {
            assign(&mut part, "1", 5);
            on_loss(&mut part, &spec, Loss::Unclaimed, 10);
        }
        assert_eq!(part.losses, 0, "only claims are counted");
        for lost in 1..=3 {
            assert_eq!(part.state, State::Queued);
            assign(&mut part, "1", 5);
            on_loss(&mut part, &spec, Loss::Claimed, 10);
            assert_eq!(part.losses, lost);
        }
        assert_eq!(part.state, State::Failed);
        assert!(part.reason.unwrap().contains("3 workers were lost"));
    }

    #[test]
    fn interrupted_part_is_queued_again_without_a_failure() {
        let (spec, mut part) = (spec("calibrate"), assigned());
        on_outcome(&mut part, &spec, outcome(Result::Interrupted), 10);
        assert_eq!((part.state, part.failures, part.losses), (State::Queued, 0, 0));
    }
}
