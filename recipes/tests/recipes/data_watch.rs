//! Data watches, children watches and caches: the newest state is reported, after a disconnect at the latest with the
//! next connection.

use std::future::Future;
use std::task::{Context, Waker};

use atalaya_recipes::session::CreateMode;
use atalaya_recipes::{CacheError, ChildrenCache, ChildrenWatch, Connection, DataWatch, WatchedData};
use tokio::sync::watch;

use crate::support::{DEADLINE, TestBed, soon};

const PATH: &str = "/watched";

async fn data(newest: &mut watch::Receiver<WatchedData>, expected: &str) {
    let seen =
        |now: &WatchedData| matches!(now, WatchedData::Present(data, _) if data == expected.as_bytes());
    soon(newest.wait_for(seen)).await.unwrap();
}

async fn put(connection: &Connection, path: &str, data: &str) {
    match connection.create(path, data.as_bytes(), CreateMode::Persistent).await {
        Err(error) if error.is_node_exists() => {
            connection.set(path, data.as_bytes(), None).await.unwrap();
        }
        result => {
            result.unwrap();
        }
    }
}

#[test]
fn data_watch_follows_from_create_to_delete_over_disconnects_and_sessions() {
    let bed = TestBed::memory();
    let (connection, session) = (bed.connection(), bed.session());
    let watch = DataWatch::new(session.clone(), PATH);
    let mut newest = watch.subscribe();
    bed.spawn(watch.run());
    bed.wait(async {
        let faults = bed.faults();
        soon(newest.wait_for(|now| *now == WatchedData::Missing)).await.unwrap();
        put(&connection, PATH, "1").await;
        data(&mut newest, "1").await;
        put(&connection, PATH, "2").await;
        data(&mut newest, "2").await;
        // While the watcher is disconnected.
        let old = session.connection().await;
        faults.refuse_connections(true);
        faults.disconnect(old.session_id()).await;
        old.lost().await;
        put(&connection, PATH, "3").await;
        faults.refuse_connections(false);
        data(&mut newest, "3").await;
        // While the watcher has no session.
        let old = session.connection().await;
        faults.expire(old.session_id()).await;
        put(&connection, PATH, "4").await;
        data(&mut newest, "4").await;
        put(&connection, PATH, "5").await;
        data(&mut newest, "5").await;
        connection.delete(PATH, None).await.unwrap();
        soon(newest.wait_for(|now| *now == WatchedData::Missing)).await.unwrap();
    });
}

/// Each value is read once, so the reported values are in order.
#[test]
fn data_watch_reports_changes_in_order_and_always_the_last() {
    let bed = TestBed::memory();
    let connection = bed.connection();
    let watch = DataWatch::new(bed.session(), PATH);
    let mut newest = watch.subscribe();
    bed.spawn(watch.run());
    let order = bed.spawn(async move {
        let mut last = -1;
        while last < 199 {
            newest.changed().await.unwrap();
            if let WatchedData::Present(data, _) = &*newest.borrow_and_update() {
                let now: i32 = std::str::from_utf8(data).unwrap().parse().unwrap();
                assert!(now > last, "{now} after {last}");
                last = now;
            }
        }
    });
    bed.wait(async {
        for number in 0..200 {
            put(&connection, PATH, &number.to_string()).await;
        }
        order.await.unwrap();
    });
}

#[test]
fn children_watch_reports_the_children() {
    let bed = TestBed::memory();
    let (connection, session) = (bed.connection(), bed.session());
    let watch = ChildrenWatch::new(session.clone(), PATH);
    let mut newest = watch.subscribe();
    bed.spawn(watch.run());
    bed.wait(async {
        put(&connection, PATH, "").await;
        put(&connection, &format!("{PATH}/b"), "").await;
        put(&connection, &format!("{PATH}/a"), "").await;
        soon(newest.wait_for(|now| *now == ["a", "b"])).await.unwrap();
        bed.faults().expire(session.connection().await.session_id()).await;
        connection.delete(&format!("{PATH}/a"), None).await.unwrap();
        soon(newest.wait_for(|now| *now == ["b"])).await.unwrap();
    });
}

#[test]
fn children_cache_holds_children_with_their_data() {
    let bed = TestBed::memory();
    let (connection, session) = (bed.connection(), bed.session());
    let cache = ChildrenCache::new(session.clone(), PATH);
    let mut newest = cache.subscribe();
    bed.spawn(cache.run());
    let mut is = async |expected: &[(&str, &str)]| {
        let same = |now: &atalaya_recipes::children_cache::Children| {
            let now = now.iter().map(|(name, (data, _))| (name.as_str(), data.as_slice()));
            now.eq(expected.iter().map(|(name, data)| (*name, data.as_bytes())))
        };
        soon(newest.wait_for(same)).await.unwrap();
    };
    let (a, b) = (format!("{PATH}/a"), format!("{PATH}/b"));
    bed.wait(async {
        let faults = bed.faults();
        put(&connection, PATH, "").await;
        put(&connection, &a, "1").await;
        put(&connection, &b, "2").await;
        is(&[("a", "1"), ("b", "2")]).await;
        put(&connection, &a, "3").await;
        is(&[("a", "3"), ("b", "2")]).await;
        let old = session.connection().await;
        faults.refuse_connections(true);
        faults.disconnect(old.session_id()).await;
        old.lost().await;
        put(&connection, &a, "4").await;
        connection.delete(&b, None).await.unwrap();
        faults.refuse_connections(false);
        is(&[("a", "4")]).await;
        faults.expire(session.connection().await.session_id()).await;
        connection.delete(&a, None).await.unwrap();
        put(&connection, &a, "5").await;
        put(&connection, &b, "6").await;
        is(&[("a", "5"), ("b", "6")]).await;
        for path in [&a, &b, &PATH.to_owned()] {
            connection.delete(path, None).await.unwrap();
        }
        is(&[]).await;
        put(&connection, PATH, "").await;
        put(&connection, &b, "7").await;
        is(&[("b", "7")]).await;
    });
}

/// A runtime waits at shutdown until each of its tasks yields, so a task that never yields would block it.
#[test]
fn children_cache_ends_with_its_runtime() {
    let bed = TestBed::memory();
    let connection = bed.connection();
    let cache = ChildrenCache::new(bed.session(), PATH);
    let mut newest = cache.subscribe();
    let mut keeping = Box::pin(cache.run());
    bed.wait(async {
        put(&connection, PATH, "").await;
        put(&connection, &format!("{PATH}/a"), "1").await;
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            error = &mut keeping => panic!("{error}"),
            reported = soon(newest.wait_for(|now| now.len() == 1)) => drop(reported.unwrap()),
        }
    });
    drop(runtime);
    let (given, way) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let poll_times = keeping.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let _ = given.send(poll_times.is_pending());
    });
    assert_eq!(way.recv_timeout(DEADLINE), Ok(true));
}

#[test]
fn children_cache_is_bounded() {
    let bed = TestBed::memory();
    let connection = bed.connection();
    bed.wait(async {
        put(&connection, PATH, "").await;
        for number in 0..4 {
            put(&connection, &format!("{PATH}/{number}"), "").await;
        }
        let error = ChildrenCache::new(connection.session().clone(), PATH).with_limit(3).run().await;
        assert!(matches!(error, CacheError::TooMany { found: 4, limit: 3, .. }), "{error}");
    });
}
