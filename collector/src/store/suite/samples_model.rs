//! Comparison of the measurements of a store with those of the store in memory, over random sequences of operations.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::samples::{START, batch, prune, raw};
use super::*;
use crate::measurements::{
    ClockState, HOUR, MINUTE, Resolution, Retention, SampleBatch, SampleOutcome, Selection, SeriesQuery,
};

#[derive(Clone, Debug)]
enum Operation {
    Add(SampleBatch),
    Prune(Retention),
    Forget(String),
}

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const BOOTS: [&str; 3] = ["a", "b", "c"];

fn batches() -> impl Strategy<Value = SampleBatch> {
    // Values are halves, so that their sums are the same in any order.
    let sample = (0..3_usize, 0..60_i64, 0..5 * HOUR, 0..8_u8, 0..8_i64);
    let samples = prop::collection::vec(sample, 1..30);
    (0..3_usize, 0..3_usize, samples, any::<bool>(), 0..5 * HOUR).prop_map(
        |(node, boot, mut samples, sorted, received)| {
            if sorted {
                samples.sort_by_key(|sample| sample.1);
            }
            let plain: Vec<_> = samples
                .iter()
                .map(|&(sensor, seq, time, half, _)| (sensor, seq, time, f64::from(half) / 2.0))
                .collect();
            let mut batch = batch(NODES[node], BOOTS[boot], &plain);
            for (sample, (.., clock)) in batch.samples.iter_mut().zip(samples) {
                sample.clock =
                    if clock < 6 { ClockState::Synchronised } else { ClockState::of_number(clock - 5) };
            }
            SampleBatch { received: START + received, ..batch }
        },
    )
}

fn operations() -> impl Strategy<Value = Operation> {
    let edge = || prop::option::of((0..5 * HOUR).prop_map(|time| START + time));
    prop_oneof![
        12 => batches().prop_map(Operation::Add),
        1 => (0..3_usize).prop_map(|node| Operation::Forget(NODES[node].to_owned())),
        1 => (edge(), edge(), edge()).prop_map(|(samples, minutes, hours)| Operation::Prune(Retention { samples, minutes, hours })),
    ]
}

fn queries() -> impl Strategy<Value = SeriesQuery> {
    let length = prop::sample::select(vec![0, MINUTE, 7 * MINUTE, HOUR, 3 * HOUR]);
    let nodes = prop::collection::vec(0..3_usize, 1..4);
    (nodes, 0..5 * HOUR, 0..5 * HOUR, length, 0..6_i64, prop::sample::select(vec![3, 100_000])).prop_map(
        |(nodes, from, span, length, edge, limit)| {
            let selections = nodes.into_iter().flat_map(|node| raw(NODES[node]).selections).collect();
            let resolution = match length {
                0 => Resolution::Samples,
                length => Resolution::Step { length, minutes_from: START + edge * HOUR },
            };
            SeriesQuery {
                selections,
                from: START + from,
                to: START + from + span,
                resolution,
                limit,
                ..raw("")
            }
        },
    )
}

/// After any sequence of operations, of which some are repeated because their answer was lost, the store returns the
/// same as the store in memory; and every accepted sample was accepted once.
pub(in crate::store) async fn samples_agree_with_the_memory_store(store: &impl Store) {
    let memory = MemoryStore::new();
    let (own, model) = (store.measurements(), memory.measurements());
    let mut runner = TestRunner::deterministic();
    for round in 0..150 {
        match operations().new_tree(&mut runner).unwrap().current() {
            Operation::Add(batch) => {
                let expected = model.add_samples(batch.clone()).await.unwrap();
                assert_eq!(own.add_samples(batch.clone()).await.unwrap(), expected, "round {round}");
                if round % 3 == 0 {
                    let expected = model.add_samples(batch.clone()).await.unwrap();
                    assert!(!expected.contains(&SampleOutcome::Accepted));
                    assert_eq!(own.add_samples(batch).await.unwrap(), expected, "round {round}, again");
                }
            }
            Operation::Prune(retention) => {
                prune(store, retention).await;
                prune(&memory, retention).await;
            }
            Operation::Forget(node) => {
                let expected = model.forget_node("f".to_owned(), node.clone()).await.unwrap();
                assert_eq!(own.forget_node("f".to_owned(), node).await.unwrap(), expected, "round {round}");
            }
        }
        let query = queries().new_tree(&mut runner).unwrap().current();
        let expected = model.sample_series(query.clone()).await.unwrap();
        assert_eq!(own.sample_series(query.clone()).await.unwrap(), expected, "round {round}: {query:?}");
        let all = Selection::default;
        let expected = model.latest_samples(all(), 100).await.unwrap();
        assert_eq!(own.latest_samples(all(), 100).await.unwrap(), expected, "round {round}");
        assert_eq!(own.sample_fleets().await.unwrap(), model.sample_fleets().await.unwrap(), "round {round}");
    }
}
