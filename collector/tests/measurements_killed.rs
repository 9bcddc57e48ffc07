//! The collector is killed while nodes send measurements: every acknowledged sample is stored, exactly once and in order.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::sync::LazyLock;
use std::time::Duration;

use atalaya_collector::measurements::{Resolution, Selection, SeriesQuery};
use atalaya_collector::open_store;
use atalaya_testbed::Redis;
use common::child;
use common::open_to_all;
use jiff::Timestamp;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Number of kills.
const KILLS: usize = 8;
/// Number of nodes.
const NODES: usize = 4;
/// Number of samples in a batch.
const BATCH: i64 = 20;
/// Time of the first sample, in milliseconds since 1970: within the retention of samples.
static START: LazyLock<i64> = LazyLock::new(|| Timestamp::now().as_millisecond() - 86_400_000);

/// Not a test: the entry point of the process that `child::start` spawns.
#[tokio::test]
async fn collector() {
    child::serve(open_to_all()).await;
}

/// Returns the batch that begins with this number: it is the same each time.
fn batch(node: usize, first: i64) -> Value {
    let sample = |seq: i64| {
        json!({"seq": seq, "sensor": "s", "quantity": "q", "value": seq, "time_ms": *START + seq * 1_000,
            "clock": "synchronised"})
    };
    let samples: Vec<Value> = (first..first + BATCH).map(sample).collect();
    json!({"node": format!("n{node}"), "boot": "a", "samples": samples})
}

/// Sends batches of a node from `first` on until the collector does not answer. Returns the first number that was not
/// acknowledged, and the number of samples that were stored although their answer was lost.
async fn send(
    client: Client,
    url: String,
    node: usize,
    first: i64,
    sent: mpsc::UnboundedSender<()>,
) -> (i64, i64) {
    let (mut next, mut repeated) = (first, 0);
    while let Ok(answer) = client.post(&url).json(&batch(node, next)).send().await {
        let Ok(answer) = answer.json::<Value>().await else { break };
        let count = |name: &str| answer[name].as_i64().unwrap();
        assert_eq!(count("accepted") + count("repeated"), BATCH, "{answer}");
        assert!([0, BATCH].contains(&count("accepted")), "a batch is stored as a whole: {answer}");
        repeated += count("repeated");
        next += BATCH;
        let _ = sent.send(());
    }
    (next, repeated)
}

async fn kill_the_collector(name: &str) {
    let client = common::client().timeout(Duration::from_secs(30)).build().unwrap();
    let mut next = [0; NODES];
    let mut repeated = 0;
    for round in 0..KILLS {
        let (running, address) = child::start(name);
        let (sent, mut answers) = mpsc::unbounded_channel();
        let senders: Vec<_> = (0..NODES)
            .map(|node| {
                let url = format!("http://{address}/api/v1/measurements");
                tokio::spawn(send(client.clone(), url, node, next[node], sent.clone()))
            })
            .collect();
        drop(sent);
        for _ in 0..10 + round * 7 {
            answers.recv().await.expect("the collector answers");
        }
        drop(running);
        for (node, sender) in senders.into_iter().enumerate() {
            let (acknowledged, again) = sender.await.unwrap();
            next[node] = acknowledged;
            repeated += again;
        }
        let store = open_store(name).unwrap();
        for (node, acknowledged) in next.iter().enumerate() {
            let query = SeriesQuery {
                selections: vec![Selection { node: Some(format!("n{node}")), ..Selection::default() }],
                from: 0,
                to: i64::MAX / 2,
                resolution: Resolution::Samples,
                limit: 1_000_000,
                max_rows: 1_000_000,
            };
            let series = store.measurements().sample_series(query.clone()).await.unwrap();
            let rows = series.first().map(|series| series.rows.as_slice()).unwrap_or_default();
            let stored: Vec<i64> = rows.iter().map(|row| row.sample.as_ref().unwrap().1).collect();
            let count = i64::try_from(stored.len()).unwrap();
            assert_eq!(stored, (0..count).collect::<Vec<_>>(), "each once, in order");
            assert!(
                [0, BATCH].contains(&(count - acknowledged)),
                "{acknowledged} acknowledged, {count} stored"
            );
            let hours = Resolution::Step { length: 3_600_000, minutes_from: 0 };
            let sums =
                store.measurements().sample_series(SeriesQuery { resolution: hours, ..query }).await.unwrap();
            let summed: i64 = sums.iter().flat_map(|series| &series.rows).map(|row| row.count).sum();
            assert_eq!(summed, count, "the sums contain each sample once");
        }
        store.close().await;
    }
    println!("{next:?} acknowledged, {repeated} of them again after they were stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collector_with_a_file_is_killed_while_nodes_send_measurements() {
    let folder = tempfile::tempdir().unwrap();
    kill_the_collector(&format!("sqlite:{}", folder.path().join("reports.db").display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collector_with_redis_is_killed_while_nodes_send_measurements() {
    let server = Redis::with("appendonly yes\nappendfsync always");
    kill_the_collector(&server.url()).await;
}
