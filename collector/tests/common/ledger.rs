//! Records acknowledgements to a client, and checks that they were kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use atalaya_collector::store::{Filter, Page};
use atalaya_collector::{FleetName, Store};
use reqwest::{Client, StatusCode};

/// Outcome of sending a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Stored now.
    Recorded,
    /// Stored earlier.
    Repeated,
    /// The store fails, and the collector reports it.
    Unavailable,
    /// No answer.
    Nothing,
}

/// Sends the report of this cycle, which is the same each time.
pub async fn send(client: &Client, url: &str, cycle: i64) -> Sent {
    let report = serde_json::json!({"epoch": 7, "cycle": cycle, "mean": cycle as f64 + 0.5});
    let Ok(answer) = client.post(url).json(&report).send().await else { return Sent::Nothing };
    match answer.status() {
        StatusCode::CREATED => Sent::Recorded,
        StatusCode::OK => Sent::Repeated,
        StatusCode::SERVICE_UNAVAILABLE => {
            let after = answer.headers()["retry-after"].to_str().unwrap().parse::<u32>().unwrap();
            assert!(after >= 1);
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
            Sent::Unavailable
        }
        other => panic!("{cycle}: {other}: {:?}", answer.text().await),
    }
}

/// Returns the number of stored reports per cycle, and checks that each is stored as it was sent.
pub async fn kept(store: &Arc<dyn Store>) -> BTreeMap<i64, usize> {
    let mut cycles = BTreeMap::new();
    let mut id = 0;
    loop {
        let records = store.since(&FleetName::default(), id, 1_000).await.unwrap();
        let Some(last) = records.last() else { break };
        id = last.id;
        for record in &records {
            let cycle = record.report.cycle.unwrap();
            let mean = cycle as f64 + 0.5;
            assert_eq!(record.report.mean, mean, "cycle {cycle}");
            *cycles.entry(cycle).or_default() += 1;
        }
    }
    let all = Page { filter: Filter::default(), after: None, newest_first: false, limit: 1_000_000 };
    // More reports may have arrived in the meantime.
    assert!(store.page(all).await.unwrap().len() >= cycles.values().sum(), "each is found by its time");
    cycles
}

/// Checks that all acknowledged reports are stored, and none of them twice.
pub fn judge(kept: &BTreeMap<i64, usize>, acknowledged: &BTreeSet<i64>) {
    let lost: Vec<_> = acknowledged.iter().filter(|cycle| !kept.contains_key(cycle)).collect();
    let twice: Vec<_> = kept.iter().filter(|(_, count)| **count > 1).collect();
    assert!(lost.is_empty() && twice.is_empty(), "lost: {lost:?}, twice: {twice:?}");
}
