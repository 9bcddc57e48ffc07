//! Killed at any point: what was acknowledged is there, once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use atalaya_collector::{Collector, Options, SqliteOptions, SqliteStore};
use common::full;
use reqwest::Client;
use tokio_util::sync::CancellationToken;

/// The file of the collector that this process is to be. Not set: it is the test.
const STORE: &str = "COLLECTOR_TEST_STORE";
/// How often it is killed.
const KILLS: u64 = 12;

/// Not a test of its own: what `killed_at_any_point` starts.
#[tokio::test]
async fn collector() {
    let Ok(path) = std::env::var(STORE) else { return };
    let store = SqliteStore::open(SqliteOptions::new(path)).unwrap();
    let collector = Collector::bind("127.0.0.1:0", Arc::new(store), Options::default()).await.unwrap();
    println!("\nlistens at {}", collector.address().unwrap());
    collector.run(CancellationToken::new()).await;
}

/// Is killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(path: &std::path::Path) -> (Running, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "collector", "--nocapture"])
        .env(STORE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let running = Running(child);
    let address = lines.map_while(Result::ok).find_map(|line| {
        line.strip_prefix("listens at ").map(|address| format!("http://{address}/api/v1/reports"))
    });
    (running, address.expect("it listens"))
}

/// Several clients send as nodes do, each report until it is accepted, while the collector is killed again and again: at a
/// moment that differs each time, after so many answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports.db");
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
    let mut acknowledged = 0_i64;
    let mut repeated = 0;
    for round in 0..KILLS {
        let (running, url) = start(&path);
        let (answered, mut answers) = tokio::sync::mpsc::unbounded_channel();
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                let (client, url, answered) = (client.clone(), url.clone(), answered.clone());
                // What was sent last before a kill is sent again first: whether it was kept, nobody knows.
                let first = acknowledged;
                tokio::spawn(async move {
                    for cycle in (first + sender..).step_by(8) {
                        #[allow(clippy::cast_precision_loss, reason = "small")]
                        let report = full(7, cycle % 3600, cycle as f64 + 0.5);
                        let report = serde_json::json!({"cycle": cycle, "epoch": 7, "mean": report["mean"]});
                        match client.post(&url).json(&report).send().await {
                            Ok(answer) if answer.status() == 201 || answer.status() == 200 => {
                                let _ = answered.send((cycle, answer.status() == 200));
                            }
                            Ok(answer) => panic!("{cycle}: {}", answer.text().await.unwrap()),
                            // It was killed.
                            Err(_) => return,
                        }
                    }
                })
            })
            .collect();
        drop(answered);
        let mut known = std::collections::BTreeSet::new();
        let mut running = Some(running);
        while let Some((cycle, again)) = answers.recv().await {
            known.insert(cycle);
            repeated += i64::from(again);
            if known.len() as u64 > 10 + round * 7 {
                running = None;
            }
        }
        assert!(running.is_none(), "the clients ended first");
        for sender in senders {
            sender.await.unwrap();
        }
        // All below the first that is not acknowledged are there once; of those above, the acknowledged ones.
        let kept = rusqlite::Connection::open(&path).unwrap();
        for cycle in &known {
            let (count, mean): (i64, f64) = kept
                .query_row("SELECT count(*), max(mean) FROM reports WHERE cycle = ?", [cycle], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .unwrap();
            #[allow(clippy::cast_precision_loss, reason = "small")]
            let expected = *cycle as f64 + 0.5;
            assert_eq!((count, mean), (1, expected), "cycle {cycle}, killed for the {round}th time");
        }
        while known.contains(&acknowledged) {
            acknowledged += 1;
        }
    }
    let kept = rusqlite::Connection::open(&path).unwrap();
    let (all, distinct): (i64, i64) = kept
        .query_row("SELECT count(*), count(DISTINCT cycle) FROM reports", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(all, distinct);
    assert!(all >= acknowledged && acknowledged > 100, "{all} kept, {acknowledged} in a row acknowledged");
    println!("{all} kept, {repeated} sent again after they were kept");
}
