use std::collections::BTreeMap;

use super::super::core::Inputs;
use super::super::core_tests::{core, id, step as commit, submit};
use super::*;
use crate::metrics::tests::assert_contains;
use crate::model::task::record::Result as TaskResult;
use crate::model::task::spec::tests::spec;
use crate::model::task::spec::{Promise, Rollout, Spec, Target};

const ACTION: &str = "status";

fn done(number: u32, nodes: &[&str], result: TaskResult) -> Inputs {
    let outcome = Outcome { result, duration_ms: 1_500, ..Outcome::default() };
    let done = nodes.iter().map(|node| ((id(number), (*node).to_owned()), Some(outcome.clone())));
    Inputs { done: done.collect::<BTreeMap<_, _>>(), ..Inputs::default() }
}

/// Commits a step and counts its changes.
fn step(core: &mut Core, publisher: &mut Publisher<'_>, now: i64, inputs: &Inputs) {
    publisher.committed(&commit(core, now, inputs), now);
}

#[tokio::test]
async fn metrics_count_waits_runs_and_ends_once() {
    let (metrics, overview) = (TaskMetrics::enabled(), OverviewSender::default());
    let mut publisher = Publisher::new(&metrics, &overview);
    let mut core = core(&["1"]);
    step(&mut core, &mut publisher, 2_000, &submit([(1, spec(ACTION)), (2, spec(ACTION))]));
    assert_contains(
        metrics.registry(),
        &[
            r#"atalaya_tasks_ended_total{action="status",state="done"} 0"#,
            "atalaya_task_wait_seconds_count 1",
            "atalaya_task_wait_seconds_sum 2.0",
        ],
    );
    let stats = core.stats(7_000, BootInstant::now());
    assert_eq!((stats.live, stats.free_slots), ([1, 0, 1], 0));
    assert_eq!(
        stats.waiting.unwrap().0,
        Duration::from_secs(7),
        "the second task waits since its submission"
    );
    step(&mut core, &mut publisher, 8_000, &done(1, &["1"], TaskResult::Done));
    step(&mut core, &mut publisher, 9_000, &done(2, &["1"], TaskResult::Failed));
    assert_contains(
        metrics.registry(),
        &[
            r#"atalaya_tasks_ended_total{action="status",state="done"} 1"#,
            "atalaya_task_run_seconds_count 2",
            "atalaya_task_run_seconds_sum 3.0",
            "atalaya_tasks_failed_total 0",
        ],
    );
    let stats = core.stats(9_000, BootInstant::now());
    assert_eq!(
        (stats.live, stats.waiting, stats.free_slots),
        ([0, 1, 0], None, 1),
        "a backoff is not a wait"
    );
    assert!(core.stats(900_000, BootInstant::now()).waiting.is_some(), "its next attempt is due");
}

#[tokio::test]
async fn metrics_count_lost_executions_and_stopped_rollouts() {
    let (metrics, overview) = (TaskMetrics::enabled(), OverviewSender::default());
    let mut publisher = Publisher::new(&metrics, &overview);
    let mut core = core(&["1", "2", "3"]);
    let once = Spec { promise: Promise::AtMostOnce, ..spec(ACTION) };
    let all = Spec { to: Target::All, ..once.clone() };
    let batches = Rollout::parse_batches("1").unwrap();
    let rollout = Rollout { batches, pause_ms: 0, stop_after: 1 };
    let rollout = Spec { rollout: Some(rollout), ..all.clone() };
    step(&mut core, &mut publisher, 1_000, &submit([(1, all)]));
    step(&mut core, &mut publisher, 2_000, &done(1, &["1", "2"], TaskResult::Interrupted));
    step(&mut core, &mut publisher, 3_000, &done(1, &["3"], TaskResult::Done));
    assert_contains(metrics.registry(), &["atalaya_tasks_lost_total 2", "atalaya_tasks_failed_total 1"]);
    step(&mut core, &mut publisher, 4_000, &submit([(2, rollout)]));
    assert_eq!(core.stats(5_000, BootInstant::now()).waiting, None, "later batches do not wait for a node");
    step(&mut core, &mut publisher, 5_000, &done(2, &["1"], TaskResult::Failed));
    step(&mut core, &mut publisher, 6_000, &Inputs::default());
    assert_contains(metrics.registry(), &["atalaya_rollouts_stopped_total 1", "atalaya_tasks_lost_total 2"]);
    let shown = core.overview();
    let counts: Vec<_> = shown.tasks.iter().map(|task| (task.done, task.failed, task.all)).collect();
    assert_eq!((shown.live, counts), (0, vec![(0, 1, 3), (1, 2, 3)]), "the newest first");
}

#[tokio::test]
async fn overview_has_at_most_twenty_tasks_and_is_withdrawn_with_the_leadership() {
    let (metrics, overview) = (TaskMetrics::enabled(), OverviewSender::default());
    let mut publisher = Publisher::new(&metrics, &overview);
    let mut core = core(&["1"]);
    let submitted = (1..=30).map(|number| (number, spec(ACTION)));
    step(&mut core, &mut publisher, 1_000, &submit(submitted));
    publisher.publish(&core, 1_000);
    let shown = overview.borrow().clone().unwrap();
    assert_eq!((shown.live, shown.tasks.len()), (30, MAX_TASKS));
    assert_eq!((shown.tasks[0].state, shown.tasks[0].node.as_deref()), (State::Assigned, Some("1")));
    // Within a second nothing is published again.
    step(&mut core, &mut publisher, 1_100, &done(1, &["1"], TaskResult::Done));
    publisher.publish(&core, 1_100);
    assert_eq!(overview.borrow().as_ref().unwrap().live, 30);
    publisher.due().await;
    publisher.publish(&core, 2_000);
    assert_eq!(overview.borrow().as_ref().unwrap().live, 29);
    drop(publisher);
    assert_eq!((overview.borrow().is_none(), metrics.stats()), (true, None));
}
