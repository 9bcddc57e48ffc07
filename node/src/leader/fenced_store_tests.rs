use super::*;
use crate::leader::delivery::outbox::Disposition;
use crate::leader::outbox_store;
use crate::leader::test_support::{as_leader, lead, server};
use crate::model::report::tests::cycle_report;

const FENCE: Fence = Fence { epoch: 7, cycle: 41, skipped: None };

/// Acquires the fence as the leader of a fleet without outputs.
async fn take_over(leadership: &Leadership, clock: &mut ServerClock, min_epoch: Option<i64>) -> Takeover {
    FencedStore::acquire(leadership, clock, None, min_epoch, &[&OutboxPaths::api()]).await.unwrap()
}

async fn acquire(leadership: &Leadership) -> FencedStore {
    take_over(leadership, &mut ServerClock::default(), None).await.store
}

async fn reload(store: &mut FencedStore, leadership: &Leadership) -> Option<Vec<BTreeSet<u64>>> {
    store.reload(leadership, &[&OutboxPaths::api()]).await.unwrap()
}

fn report_path(cycle: u64) -> String {
    OutboxPaths::api().report(cycle)
}

async fn commit(
    store: &mut FencedStore,
    leadership: &Leadership,
    report: &CycleReport,
) -> Result<i64, CommitError> {
    let paths = OutboxPaths::api();
    let commit = CycleCommit { report: Some(report), outboxes: &[(&paths, None)], ..CycleCommit::default() };
    store.commit(leadership, &mut ServerClock::default(), commit).await
}

fn next_report(store: &FencedStore) -> CycleReport {
    let fence = store.next_fence();
    cycle_report(fence.epoch, fence.cycle, None)
}

#[tokio::test]
async fn fenced_store_acquire_starts_with_the_clock_and_increments_the_epoch() {
    as_leader(async |leadership| {
        let mut clock = ServerClock::default();
        let first = take_over(&leadership, &mut clock, None).await;
        let now = clock.now(BootInstant::now()).unwrap();
        assert!((first.store.fence.epoch - now / 1000).abs() < 10, "{:?}", first.store.fence);
        assert_eq!((first.store.fence.cycle, first.last_cycle), (0, None));
        let (data, stat) = leadership.connection().get(fence::PATH).await.unwrap();
        assert_eq!(Fence::parse(&data).unwrap(), first.store.fence);
        let second = take_over(&leadership, &mut clock, None).await;
        assert_eq!(second.store.fence.epoch, first.store.fence.epoch + 1);
        assert_eq!(second.last_cycle, Some(stat.mtime));
        let min_epoch = Some(second.store.fence.epoch + 5);
        let third = take_over(&leadership, &mut clock, min_epoch).await;
        assert_eq!(third.store.fence.epoch, second.store.fence.epoch + 6);
    })
    .await;
}

#[tokio::test]
async fn fenced_store_commit_writes_fence_and_report_in_one_transaction() {
    as_leader(async |leadership| {
        let mut store = acquire(&leadership).await;
        let report = next_report(&store);
        let zxid = commit(&mut store, &leadership, &report).await.unwrap();
        let connection = leadership.connection();
        let (data, fence_stat) = connection.get(fence::PATH).await.unwrap();
        assert_eq!((Fence::parse(&data).unwrap().cycle, fence_stat.mzxid), (1, zxid));
        let (data, report_stat) = connection.get(&report_path(1)).await.unwrap();
        assert_eq!((CycleReport::parse(&data, 1).unwrap(), report_stat.mzxid), (report, zxid));
        // An occupied path rejects the whole transaction.
        connection.ensure(&report_path(2)).await.unwrap();
        let report = next_report(&store);
        let error = commit(&mut store, &leadership, &report).await.unwrap_err();
        assert!(matches!(error, CommitError::Rejected(WriteOp::Report, _)), "{error:?}");
        let (data, _) = connection.get(fence::PATH).await.unwrap();
        assert_eq!((Fence::parse(&data).unwrap().cycle, store.fence.cycle), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn fenced_store_commit_fails_without_the_own_election_znode() {
    let server = server().await;
    // The election deletes the znode when the leader's future returns.
    let (leadership, mut store) = lead(&server, async |leadership| {
        let store = acquire(&leadership).await;
        (leadership, store)
    })
    .await;
    let report = next_report(&store);
    let error = commit(&mut store, &leadership, &report).await.unwrap_err();
    assert!(matches!(error, CommitError::Fenced), "{error:?}");
}

#[tokio::test]
async fn fenced_store_commit_fails_and_reload_returns_none_after_another_takeover() {
    as_leader(async |leadership| {
        let mut deposed = acquire(&leadership).await;
        acquire(&leadership).await;
        let report = next_report(&deposed);
        let error = commit(&mut deposed, &leadership, &report).await.unwrap_err();
        assert!(matches!(error, CommitError::Rejected(WriteOp::Fence, _)), "{error:?}");
        assert_eq!(reload(&mut deposed, &leadership).await, None);
    })
    .await;
}

#[tokio::test]
async fn fenced_store_reload_finds_a_commit_with_an_unknown_outcome() {
    as_leader(async |leadership| {
        let mut store = acquire(&leadership).await;
        let mut unconfirmed = store;
        let report = next_report(&store);
        let zxid = commit(&mut unconfirmed, &leadership, &report).await.unwrap();
        assert_eq!(reload(&mut store, &leadership).await, Some(vec![BTreeSet::from([1])]));
        assert_eq!((store.fence.cycle, store.last_cycle_zxid), (1, zxid));
        let report = next_report(&store);
        commit(&mut store, &leadership, &report).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn fenced_store_commit_releases_the_barrier_and_starts_the_next_generation() {
    as_leader(async |leadership| {
        let mut store = acquire(&leadership).await;
        let mut clock = ServerClock::default();
        let empty =
            |open_barrier| CycleCommit { open_barrier, close_barrier: true, ..CycleCommit::default() };
        let error = store.commit(&leadership, &mut clock, empty(true)).await.unwrap_err();
        assert!(matches!(error, CommitError::Rejected(WriteOp::OpenBarrier, _)), "{error:?}");
        for open_barrier in [false, true] {
            let zxid = store.commit(&leadership, &mut clock, empty(open_barrier)).await.unwrap();
            let stat = leadership.connection().stat(barrier::PATH).await.unwrap().unwrap();
            assert_eq!(stat.czxid, zxid);
        }
        assert_eq!(store.fence.cycle, 0, "a cycle without a report has no number");
    })
    .await;
}

#[tokio::test]
async fn outbox_store_finish_moves_rejected_reports_and_can_be_repeated() {
    as_leader(async |leadership| {
        let mut store = acquire(&leadership).await;
        let report = next_report(&store);
        commit(&mut store, &leadership, &report).await.unwrap();
        let paths = OutboxPaths::api();
        let (connection, rejected_path) = (leadership.connection(), paths.rejected_report(1));
        let finish = async |disposition: &Disposition| {
            outbox_store::finish(&leadership, &paths, 1, disposition).await.unwrap()
        };
        let rejected = Disposition::Rejected(CycleReport { reason: Some("400".into()), ..report.clone() });
        finish(&rejected).await;
        finish(&rejected).await;
        assert_eq!(connection.stat(&report_path(1)).await.unwrap(), None);
        // Data that is not a report does not replace a rejected report.
        connection.ensure(&report_path(1)).await.unwrap();
        finish(&Disposition::Undeliverable(b"garbage".to_vec())).await;
        let (data, _) = connection.get(&rejected_path).await.unwrap();
        assert_eq!(CycleReport::parse(&data, 1).unwrap().reason.as_deref(), Some("400"));
        assert_eq!(connection.stat(&report_path(1)).await.unwrap(), None);
        finish(&Disposition::Delivered).await;
    })
    .await;
}

#[test]
fn fenced_store_skips_a_cycle_whose_path_stays_occupied() {
    let mut store = FencedStore {
        fencing_token: 1,
        fence: FENCE,
        version: 0,
        last_cycle_zxid: 0,
        occupied: None,
        skipped: 0,
    };
    for _ in 1..MAX_OCCUPIED {
        store.on_occupied("/atalaya/reports/42");
        assert_eq!(store.next_fence().cycle, 42, "a report there may still be moved");
    }
    store.on_occupied("/atalaya/reports/42");
    assert_eq!(store.next_fence().cycle, 43);
    // The path of the next cycle is occupied as well.
    (0..MAX_OCCUPIED).for_each(|_| store.on_occupied("/atalaya/reports/42"));
    assert_eq!(store.next_fence().cycle, 44);
    store.fence = store.next_fence();
    assert_eq!(store.next_fence().cycle, 45);
}

#[test]
fn fenced_store_ignores_a_fence_that_is_a_day_ahead_of_every_clock() {
    let stat = |seconds: i64| crate::fleet_status::tests::stat(1_000 * seconds, 1_000 * seconds);
    let parsed = |epoch, written, created| {
        let data = Fence { epoch, ..FENCE }.data();
        parse_plausible(&data, &stat(written), created * 1_000).map(|fence| fence.epoch)
    };
    let now = 1_795_000_000;
    assert_eq!(parsed(now, now, now), Some(now));
    assert_eq!(parsed(now + 86_000, now, now), Some(now + 86_000));
    assert_eq!(parsed(now + 86_400, now, now), None);
    assert_eq!(parsed(now, now, now - 300 * 86_400), Some(now), "a clock that was set back");
    assert_eq!(parsed(now, 5, 7), Some(now), "a clock that was never set");
    assert_eq!(parsed(i64::MAX, 5, 7), None);
}
