use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tracing::field::Field;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::*;
use crate::leader::test_support::{as_leader, handles};
use crate::model::fence;
use crate::model::fence::Fence;

const PARENT: &str = "/mediciones";

fn config(sync: SyncMode, counting: CounterMode) -> LeaderConfig {
    let url = "http://127.0.0.1:9/".parse().unwrap();
    let api = crate::leader::delivery::api_client::Api::new(
        &"1".parse().unwrap(),
        url,
        atalaya_config::ApiMethod::Get,
    );
    let period = Duration::from_secs(1);
    LeaderConfig { period, api: Some(api), sync, release: BarrierRelease::Complete, counting }
}

/// Parts of a leader that a [`CycleRunner`] borrows.
struct Parts {
    handles: LeaderHandles,
    store: FencedStore,
    clock: ServerClock,
    members: Members,
    outbox: SharedOutbox,
    backoff: Backoff,
    without_average: bool,
}

impl Parts {
    /// Acquires the fence, and writes the measurement 80 for node 1.
    async fn new(leadership: &Leadership, config: LeaderConfig) -> Parts {
        let connection = leadership.connection();
        connection.ensure(&format!("{PARENT}/1")).await.unwrap();
        connection.set(&format!("{PARENT}/1"), b"80", None).await.unwrap();
        let mut clock = ServerClock::default();
        let store = FencedStore::acquire(leadership, &mut clock, None, None).await.unwrap().store;
        let handles = handles(watch::channel(config).1);
        let mut members = Members::default();
        members.update(PARENT, vec!["1".into()]);
        let outbox = SharedOutbox::new(&handles);
        Parts { handles, store, clock, members, outbox, backoff: Backoff::default(), without_average: false }
    }

    fn runner<'a>(&'a mut self, leadership: &'a Leadership) -> CycleRunner<'a> {
        CycleRunner {
            config: self.handles.config.borrow().clone(),
            handles: &self.handles,
            leadership,
            store: &mut self.store,
            clock: &mut self.clock,
            members: &mut self.members,
            outbox: &self.outbox,
            backoff: &mut self.backoff,
            without_average: &mut self.without_average,
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
        assert_eq!(parts.outbox.lock().await.waiting(), 2);
        let connection = leadership.connection();
        let (data, _) = connection.get(&format!("{}/2", outbox_store::PATH)).await.unwrap();
        let report = CycleReport::parse(&data, 2).unwrap();
        assert_eq!((report.averages[0].mean, report.averages[0].count), (80.0, 1));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        assert!((report.time.as_second() - now).abs() < 60, "{}", report.time);
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
        connection.delete(outbox_store::PATH, None).await.unwrap();
        assert_eq!(parts.runner(&leadership).run_cycle().await, CycleOutcome::Retry);
        assert_eq!(parts.runner(&leadership).run_cycle().await, COMMITTED);
        let foreign = Fence { epoch: parts.store.fence.epoch + 1, cycle: 1, skipped: None };
        connection.set(fence::PATH, &foreign.data(), None).await.unwrap();
        assert_eq!(parts.runner(&leadership).run_cycle().await, CycleOutcome::ReloadFence);
    })
    .await;
}
