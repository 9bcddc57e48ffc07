use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use atalaya_config::{AggregateMode, Quorum};
use tracing::field::Field;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::*;
use crate::leader::evaluation::ValueConfig;
use crate::leader::outbox_store::OutboxPaths;
use crate::leader::test_support::{as_leader, handles};
use crate::model::details::Withheld;
use crate::model::fence;
use crate::model::fence::Fence;
use crate::model::leader_state::tests::leader_state;

const PARENT: &str = "/mediciones";

fn config(sync: SyncMode, counting: CounterMode) -> LeaderConfig {
    let url = "http://127.0.0.1:9/".parse().unwrap();
    let api = crate::leader::delivery::api_client::Api::new(
        &"1".parse().unwrap(),
        url,
        atalaya_config::ApiMethod::Get,
    );
    let period = Duration::from_secs(1);
    LeaderConfig {
        period,
        api: Some(api),
        sync,
        release: BarrierRelease::Complete,
        counting,
        values: ValueConfig::default(),
    }
}

/// Parts of a leader that a [`CycleRunner`] borrows.
struct Parts {
    handles: LeaderHandles,
    store: FencedStore,
    clock: ServerClock,
    members: Members,
    outboxes: Vec<SharedOutbox>,
    backoff: Backoff,
    without_average: bool,
    findings_log: FindingsLog,
}

impl Parts {
    /// Acquires the fence, and writes the measurement 80 for node 1.
    async fn new(leadership: &Leadership, config: LeaderConfig) -> Parts {
        Parts::with(leadership, handles(watch::channel(config).1)).await
    }

    async fn with(leadership: &Leadership, handles: LeaderHandles) -> Parts {
        let connection = leadership.connection();
        connection.ensure(&format!("{PARENT}/1")).await.unwrap();
        connection.set(&format!("{PARENT}/1"), b"80", None).await.unwrap();
        let mut clock = ServerClock::default();
        let store = FencedStore::acquire(leadership, &mut clock, None, None, &[&OutboxPaths::api()])
            .await
            .unwrap()
            .store;
        let mut members = Members::default();
        members.update(PARENT, vec!["1".into()]);
        let outboxes = SharedOutbox::all(&handles);
        Parts {
            handles,
            store,
            clock,
            members,
            outboxes,
            backoff: Backoff::default(),
            without_average: false,
            findings_log: FindingsLog::default(),
        }
    }

    fn runner<'a>(&'a mut self, leadership: &'a Leadership) -> CycleRunner<'a> {
        CycleRunner {
            config: self.handles.config.borrow().clone(),
            handles: &self.handles,
            leadership,
            store: &mut self.store,
            clock: &mut self.clock,
            members: &mut self.members,
            outboxes: &self.outboxes,
            backoff: &mut self.backoff,
            without_average: &mut self.without_average,
            findings_log: &mut self.findings_log,
            groups: watch::channel(Groups::default()).1,
            snapshot: watch::channel(None).0,
            barrier: None,
            counter: None,
            counter_reader: CounterReader::default(),
            wrong_znodes: WrongZnodeReporter::default(),
        }
    }
}

const COMMITTED: CycleOutcome = CycleOutcome::Done(CycleResult::Committed);

#[tokio::test]
async fn cycle_commits_the_average_and_adds_it_to_the_outbox() {
    as_leader(async |leadership| {
        let mut parts = Parts::new(&leadership, config(SyncMode::Free, CounterMode::PerNode)).await;
        let mut runner = parts.runner(&leadership);
        assert_eq!(runner.run_cycle().await, COMMITTED);
        assert_eq!(runner.run_cycle().await, COMMITTED);
        assert_eq!(parts.outboxes[0].lock().await.waiting(), 2);
        let connection = leadership.connection();
        let (data, _) = connection.get(&OutboxPaths::api().report(2)).await.unwrap();
        let report = CycleReport::parse(&data, 2).unwrap();
        assert_eq!((report.averages[0].mean, report.averages[0].count), (80.0, 1));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        assert!((report.time.as_second() - now).abs() < 60, "{}", report.time);
    })
    .await;
}

#[cfg(feature = "output-webhook")]
#[tokio::test]
async fn cycle_writes_the_average_to_the_outbox_of_each_output_in_one_transaction() {
    as_leader(async |leadership| {
        let without_api = LeaderConfig { api: None, ..config(SyncMode::Free, CounterMode::PerNode) };
        for config in [config(SyncMode::Free, CounterMode::PerNode), without_api] {
            let has_api = config.api.is_some();
            let outputs = crate::leader::test_support::outputs(&["a", "b"]);
            let handles = LeaderHandles { outputs, ..handles(watch::channel(config).1) };
            let mut parts = Parts::with(&leadership, handles).await;
            // Another client has deleted an outbox since, or it did not exist.
            assert_eq!(parts.runner(&leadership).run_cycle().await, CycleOutcome::Retry);
            assert_eq!(parts.runner(&leadership).run_cycle().await, COMMITTED);
            let (connection, cycle) = (leadership.connection(), parts.store.fence.cycle);
            let (_, fence) = connection.get(fence::PATH).await.unwrap();
            let data = connection.get(&OutboxPaths::of_output("a").report(cycle)).await.unwrap().0;
            for (outbox, is_used) in parts.outboxes.iter().zip([has_api, true, true]) {
                let found = connection.get_opt(&outbox.paths.report(cycle)).await.unwrap();
                assert_eq!(
                    found.map(|(data, stat)| (data, stat.mzxid)),
                    is_used.then(|| (data.clone(), fence.mzxid))
                );
                assert_eq!(outbox.lock().await.waiting(), usize::from(is_used));
            }
            for paths in [OutboxPaths::of_output("a"), OutboxPaths::of_output("b")] {
                connection.delete(&paths.report(cycle), None).await.unwrap();
                connection.delete(&paths.reports, None).await.unwrap();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn cycle_without_a_usable_measurement_is_empty_and_keeps_its_number() {
    as_leader(async |leadership| {
        let mut parts = Parts::new(&leadership, config(SyncMode::Free, CounterMode::PerNode)).await;
        leadership.connection().set(&format!("{PARENT}/1"), b"garbage", None).await.unwrap();
        assert_eq!(parts.runner(&leadership).run_cycle().await, CycleOutcome::Done(CycleResult::Empty));
        assert_eq!(parts.store.fence.cycle, 0);
    })
    .await;
}

/// Records the levels of the log lines about missing averages. A slow machine causes others.
struct LogLevels(Arc<Mutex<Vec<Level>>>);

impl<S: Subscriber> Layer<S> for LogLevels {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut is_about_averages = false;
        event.record(&mut |field: &Field, value: &dyn std::fmt::Debug| {
            let text = format!("{value:?}");
            is_about_averages |= field.name() == "message"
                && (text.starts_with("no average in this cycle")
                    || text.starts_with("cycles have an average"));
        });
        if is_about_averages {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
    }
}

#[tokio::test]
async fn cycles_without_an_average_warn_once_and_the_next_average_is_logged() {
    as_leader(async |leadership| {
        let mut parts = Parts::new(&leadership, config(SyncMode::Free, CounterMode::PerNode)).await;
        let (path, levels) = (format!("{PARENT}/1"), Arc::<Mutex<Vec<Level>>>::default());
        let layer = LogLevels(levels.clone());
        // While there is only one subscriber, tracing asks the one of the thread that logs a line first whether the line
        // is of interest. That may be the thread of another test, which has none. With a second one, it asks all.
        let _second = tracing::Dispatch::new(tracing_subscriber::registry());
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        for (data, expected) in [
            ("80", &[][..]),
            ("garbage", &[Level::WARN]),
            ("garbage", &[Level::DEBUG]),
            ("80", &[Level::INFO]),
            ("80", &[]),
            ("garbage", &[Level::WARN]),
        ] {
            leadership.connection().set(&path, data.as_bytes(), None).await.unwrap();
            parts.runner(&leadership).run_cycle().await;
            assert_eq!(std::mem::take(&mut *levels.lock().unwrap()), expected);
        }
    })
    .await;
}

#[tokio::test]
async fn cycle_is_retried_when_another_client_writes_the_counter_and_counts_new_measurements() {
    as_leader(async |leadership| {
        let mut parts = Parts::new(&leadership, config(SyncMode::Free, CounterMode::PerCycle)).await;
        let mut runner = parts.runner(&leadership);
        assert_eq!(runner.run_cycle().await, COMMITTED);
        let connection = leadership.connection();
        assert_eq!(connection.get("/counter").await.unwrap().0, b"1");
        connection.set("/counter", b"10", None).await.unwrap();
        connection.set(&format!("{PARENT}/1"), b"81", None).await.unwrap();
        assert_eq!(runner.run_cycle().await, CycleOutcome::Retry);
        assert_eq!(runner.run_cycle().await, COMMITTED);
        assert_eq!(connection.get("/counter").await.unwrap().0, b"11");
    })
    .await;
}

#[tokio::test]
async fn cycle_is_retried_when_another_program_opens_or_closes_the_barrier() {
    as_leader(async |leadership| {
        let mut parts = Parts::new(&leadership, config(SyncMode::Barrier, CounterMode::PerNode)).await;
        let mut runner = parts.runner(&leadership);
        runner.find_or_close_barrier().await.unwrap();
        let connection = leadership.connection();
        connection.delete(PATH, None).await.unwrap();
        assert_eq!(runner.run_cycle().await, CycleOutcome::Retry);
        connection.ensure(PATH).await.unwrap();
        assert_eq!(runner.run_cycle().await, CycleOutcome::Retry);
        assert_eq!(runner.run_cycle().await, COMMITTED);
        let stat = connection.stat(PATH).await.unwrap().unwrap();
        assert_eq!(runner.barrier.unwrap().generation, Some(stat.czxid));
    })
    .await;
}

#[tokio::test]
async fn cycle_waits_for_all_members_to_publish_in_the_generation_of_the_barrier() {
    as_leader(async |leadership| {
        let mut parts = Parts::new(&leadership, config(SyncMode::Barrier, CounterMode::PerNode)).await;
        let mut runner = parts.runner(&leadership);
        runner.find_or_close_barrier().await.unwrap();
        assert!(!runner.all_have_published().await, "node 1 has published before the barrier was closed");
        leadership.connection().set(&format!("{PARENT}/1"), b"81", None).await.unwrap();
        assert!(runner.all_have_published().await);
        assert_eq!(runner.run_cycle().await, COMMITTED);
        assert!(!runner.all_have_published().await, "the next generation has begun");
        barrier::open_leftover(&leadership, &mut runner.wrong_znodes).await;
        assert!(leadership.connection().stat(PATH).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn cycle_reloads_the_fence_after_another_takeover_and_retries_without_an_outbox() {
    as_leader(async |leadership| {
        let mut parts = Parts::new(&leadership, config(SyncMode::Free, CounterMode::PerNode)).await;
        let connection = leadership.connection();
        connection.delete(&OutboxPaths::api().reports, None).await.unwrap();
        assert_eq!(parts.runner(&leadership).run_cycle().await, CycleOutcome::Retry);
        assert_eq!(parts.runner(&leadership).run_cycle().await, COMMITTED);
        let foreign = Fence { epoch: parts.store.fence.epoch + 1, cycle: 1, skipped: None };
        connection.set(fence::PATH, &foreign.data(), None).await.unwrap();
        assert_eq!(parts.runner(&leadership).run_cycle().await, CycleOutcome::ReloadFence);
    })
    .await;
}

/// Writes a measurement of each node from 1 on.
async fn write_fleet(leadership: &Leadership, parts: &mut Parts, values: &[&str]) {
    let connection = leadership.connection();
    for (node, value) in (1..).zip(values) {
        let path = format!("{PARENT}/{node}");
        connection.ensure(&path).await.unwrap();
        connection.set(&path, value.as_bytes(), None).await.unwrap();
    }
    parts.members.update(PARENT, connection.children(PARENT).await.unwrap());
}

#[tokio::test]
async fn cycle_withholds_values_below_the_quorum_until_it_is_changed_or_reached() {
    as_leader(async |leadership| {
        let mut settings = config(SyncMode::Free, CounterMode::PerNode);
        settings.values.quorum = Some(Quorum::Nodes(3));
        let mut parts = Parts::new(&leadership, settings).await;
        parts.handles.state.send_replace(Some(leader_state()));
        write_fleet(&leadership, &mut parts, &["80", "82", "NaN"]).await;
        let before = parts.store.fence.cycle;
        assert_eq!(parts.runner(&leadership).run_cycle().await, CycleOutcome::Done(CycleResult::Withheld));
        assert_eq!((parts.store.fence.cycle, parts.outboxes[0].lock().await.waiting()), (before, 0));
        let findings = parts.handles.state.borrow().as_ref().unwrap().findings.clone().unwrap();
        assert_eq!(findings.withheld, [Withheld { unit: None, value: 81.0, nodes: 2, needed: 3 }]);

        let mut runner = parts.runner(&leadership);
        runner.config.values.quorum = Some(Quorum::Percent(60.0));
        assert_eq!(runner.run_cycle().await, COMMITTED, "2 of 3 nodes");
        write_fleet(&leadership, &mut parts, &["80", "82", "84"]).await;
        assert_eq!(parts.runner(&leadership).run_cycle().await, COMMITTED);
        assert_eq!(parts.handles.state.borrow().as_ref().unwrap().findings, None);
    })
    .await;
}

#[tokio::test]
async fn cycle_in_lock_step_opens_the_barrier_although_its_value_is_withheld() {
    as_leader(async |leadership| {
        let mut settings = config(SyncMode::Barrier, CounterMode::PerNode);
        settings.values.quorum = Some(Quorum::Nodes(2));
        let mut parts = Parts::new(&leadership, settings).await;
        let mut runner = parts.runner(&leadership);
        runner.find_or_close_barrier().await.unwrap();
        let generation = runner.barrier.as_ref().unwrap().generation;
        assert_eq!(runner.run_cycle().await, CycleOutcome::Done(CycleResult::Withheld));
        assert!(runner.barrier.as_ref().unwrap().generation > generation);
    })
    .await;
}

#[tokio::test]
async fn cycle_reports_the_chosen_value_with_groups_and_outliers() {
    as_leader(async |leadership| {
        let mut settings = config(SyncMode::Free, CounterMode::PerNode);
        settings.values.aggregate = AggregateMode::Median;
        let mut parts = Parts::new(&leadership, settings).await;
        write_fleet(&leadership, &mut parts, &["20", "21", "22", "85", "40"]).await;
        let mut runner = parts.runner(&leadership);
        let groups = [("5".to_owned(), "roof".to_owned())].into();
        runner.groups = watch::channel(Groups::new(groups)).1;
        assert_eq!(runner.run_cycle().await, COMMITTED);
        let cycle = parts.store.fence.cycle;
        let data = leadership.connection().get(&OutboxPaths::api().report(cycle)).await.unwrap().0;
        let report = CycleReport::parse(&data, cycle).unwrap();
        let average = &report.averages[0];
        assert_eq!((average.mean, average.arithmetic_mean(), average.count), (22.0, 37.6, 5));
        let details = average.details.as_ref().unwrap();
        assert_eq!(details.outliers.iter().map(|outlier| outlier.node.as_str()).collect::<Vec<_>>(), ["4"]);
        assert_eq!((details.groups[0].group.as_str(), details.groups[0].value), ("roof", 40.0));
    })
    .await;
}
