//! The collector or its Redis is killed at any point: every acknowledged report is stored, exactly once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use atalaya_collector::open_store;
use atalaya_testbed::{Pauses, Redis};
use common::child::{self, Child};
use common::ledger::{Sent, judge, kept, send};
use common::open_to_all;
use reqwest::Client;
use tokio::sync::mpsc;

/// Number of kills.
const KILLS: usize = 12;
/// Number of concurrent clients.
const SENDERS: i64 = 8;
/// Maximum time until a report is accepted, over the restart of Redis.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(60);

/// Not a test: the entry point of the process that `start` spawns.
#[tokio::test]
async fn collector() {
    child::serve(open_to_all()).await;
}

/// Starts a collector, and returns the address of its route for reports.
fn start(store: &str) -> (Child, String) {
    let (child, address) = child::start(store);
    (child, format!("http://{address}/api/v1/reports"))
}

fn client() -> Client {
    common::client().timeout(Duration::from_secs(30)).build().unwrap()
}

/// Clients send concurrently, as nodes do, each report until it is accepted, while the collector is killed again and
/// again, each time after a different number of answers.
async fn kill_the_collector(name: &str) {
    let client = client();
    let mut acknowledged = BTreeSet::new();
    let mut repeated = 0;
    for round in 0..KILLS {
        let (running, url) = start(name);
        let (answered, mut answers) = mpsc::unbounded_channel();
        // Send the last report before the kill again first, because it is unknown whether it was stored.
        let first = (0..).find(|cycle| !acknowledged.contains(cycle)).unwrap();
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (client, url, answered) = (client.clone(), url.clone(), answered.clone());
                tokio::spawn(async move {
                    for cycle in (first + sender..).step_by(8) {
                        match send(&client, &url, cycle).await {
                            Sent::Nothing => return,
                            sent => drop(answered.send((cycle, sent))),
                        }
                    }
                })
            })
            .collect();
        drop(answered);
        let mut count = 0;
        let mut running = Some(running);
        while let Some((cycle, sent)) = answers.recv().await {
            assert_ne!(sent, Sent::Unavailable, "the store did not fail");
            acknowledged.insert(cycle);
            repeated += usize::from(sent == Sent::Repeated);
            count += 1;
            if count > 10 + round * 7 {
                running = None;
            }
        }
        assert!(running.is_none(), "the clients ended first");
        for sender in senders {
            sender.await.unwrap();
        }
        let store = open_store(name).unwrap();
        judge(&kept(&store).await, &acknowledged);
        store.close().await;
    }
    assert!(acknowledged.len() > 100);
    println!("{} acknowledged, {repeated} of them again after they were recorded", acknowledged.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collector_with_a_file_is_killed_at_any_point() {
    let folder = tempfile::tempdir().unwrap();
    kill_the_collector(&format!("sqlite:{}", folder.path().join("reports.db").display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collector_with_redis_is_killed_at_any_point() {
    let server = Redis::with("appendonly yes\nappendfsync always");
    kill_the_collector(&server.url()).await;
}

/// The reverse: one collector, and a Redis that is killed again and again while clients send. The collector reports
/// each failure, and works again without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_at_any_point() {
    let mut server = Redis::with("appendonly yes\nappendfsync always");
    let store = open_store(&server.url()).unwrap();
    let collector = common::run(Arc::clone(&store), open_to_all()).await;
    let enough = Arc::new(AtomicBool::new(false));
    // Clients wait until their last answer was processed, so the number of reports does not depend on the machine.
    let (answered, mut answers) = mpsc::channel(1);
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (url, answered, enough) =
                (collector.url("/api/v1/reports"), answered.clone(), Arc::clone(&enough));
            let client = client();
            tokio::spawn(async move {
                let mut cycle = sender;
                let mut pauses = Pauses::until(ACCEPT_TIMEOUT);
                while !enough.load(Ordering::Relaxed) {
                    let sent = send(&client, &url, cycle).await;
                    assert_ne!(sent, Sent::Nothing, "the collector is running");
                    let _ = answered.send((cycle, sent)).await;
                    if sent == Sent::Unavailable {
                        tokio::time::sleep(pauses.next().expect("the report is not accepted")).await;
                    } else {
                        cycle += SENDERS;
                        pauses = Pauses::until(ACCEPT_TIMEOUT);
                    }
                }
            })
        })
        .collect();
    drop(answered);
    let mut acknowledged = BTreeSet::new();
    let (mut failed, mut repeated) = (0, 0);
    for round in 0..KILLS {
        let mut down = false;
        let mut left = 10 + round * 7;
        // Redis is killed after this many successful answers, and restarted at the first failure.
        loop {
            let (cycle, sent) = answers.recv().await.unwrap();
            match sent {
                Sent::Unavailable if down => break,
                // Late answer: the report was sent before Redis was up again.
                Sent::Unavailable => failed += 1,
                sent => {
                    acknowledged.insert(cycle);
                    repeated += usize::from(sent == Sent::Repeated);
                    left = left.saturating_sub(1);
                    if left == 0 && !down {
                        server.kill();
                        down = true;
                    }
                }
            }
        }
        failed += 1;
        server.restart();
        judge(&kept(&open_store(&server.url()).unwrap()).await, &acknowledged);
    }
    enough.store(true, Ordering::Relaxed);
    while let Some((cycle, sent)) = answers.recv().await {
        if sent != Sent::Unavailable {
            acknowledged.insert(cycle);
        }
    }
    for sender in senders {
        sender.await.unwrap();
    }
    judge(&kept(&store).await, &acknowledged);
    assert!(failed >= KILLS && acknowledged.len() > 100);
    println!(
        "{} acknowledged, {failed} refused, {repeated} recorded with an unknown outcome",
        acknowledged.len()
    );
    collector.stop().await;
}
