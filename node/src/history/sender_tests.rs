//! Several consumers at once: their tasks, the keeper's thread and its file together.

use std::time::Duration;

use atalaya_hal::{Quantity, Reading};
use tokio::sync::watch;

use super::ring::tests::limits;
use super::*;
use crate::metrics::HistoryStats;
use crate::model::sample::Batch;
use crate::outputs::Outcome;

const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Accept,
    /// Does not answer.
    Hang,
    Fail,
    /// Refuses every request.
    Refuse,
}

/// Receiver of samples with faults.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) name: String,
    mode: watch::Sender<Mode>,
    /// Sequence numbers in order of arrival.
    received: watch::Sender<Vec<i64>>,
}

impl Receiver {
    fn new(name: &str, mode: Mode) -> Arc<Receiver> {
        let (mode, received) = (watch::Sender::new(mode), watch::Sender::default());
        Arc::new(Receiver { name: name.to_owned(), mode, received })
    }

    pub(super) async fn send_samples(&self, batch: &Batch) -> Outcome {
        let mode = *self.mode.borrow();
        match mode {
            Mode::Accept => {
                let seqs = batch.samples.iter().map(|sample| sample.seq);
                self.received.send_modify(|received| received.extend(seqs));
                Outcome::Accepted(Vec::new())
            }
            Mode::Hang => {
                let _ = self.mode.subscribe().wait_for(|mode| *mode != Mode::Hang).await;
                Outcome::Failed("it did not answer".to_owned())
            }
            Mode::Fail => Outcome::Failed("503".to_owned()),
            Mode::Refuse => Outcome::Refused("400".to_owned()),
        }
    }

    /// Waits until samples up to this one have arrived.
    async fn wait_for(&self, seq: i64) -> Vec<i64> {
        let mut received = self.received.subscribe();
        let arrived = received.wait_for(|received| received.last().is_some_and(|last| *last >= seq));
        let arrived = tokio::time::timeout(DEADLINE, arrived).await;
        arrived.unwrap_or_else(|_| panic!("{}: sample {seq} has not arrived", self.name)).unwrap().clone()
    }
}

fn start(receivers: &[Arc<Receiver>], path: PathBuf) -> Arc<History> {
    let destinations = receivers.iter().cloned().map(Destination::Test).collect();
    let node = "1".parse().unwrap();
    Arc::new(History::with(&node, destinations, Some(path), limits(), HistoryMetrics::default()).unwrap())
}

fn record(history: &History, samples: i64) {
    let reading = Reading::new(Quantity::Temperature, 20.0).unwrap();
    (0..samples).for_each(|_| history.recorder.record(&[("s", reading)]));
}

/// Waits until the metrics are like this.
async fn wait_for_stats(history: &History, condition: impl Fn(&HistoryStats) -> bool) {
    let wait = async {
        while !history.metrics.stats().is_some_and(|stats| condition(&stats)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("the metrics change in time");
}

/// Three consumers are away for an hour at one sample a second, compressed into seconds.
#[tokio::test]
async fn consumers_get_every_sample_at_once_while_others_hang_fail_and_refuse() {
    const HOUR: i64 = 3_600;
    let folder = tempfile::tempdir().unwrap();
    let good = [Receiver::new("first", Mode::Accept), Receiver::new("second", Mode::Accept)];
    let away = [Mode::Hang, Mode::Fail, Mode::Refuse].map(|mode| Receiver::new(&format!("{mode:?}"), mode));
    let all: Vec<_> = away.iter().chain(&good).cloned().collect();
    let history = start(&all, folder.path().join("ring"));
    let (_settings, settings) = watch::channel(Settings::default());
    let running = history.clone();
    let forwarding = tokio::spawn(async move { running.forward(settings).await });
    for round in 1..=6 {
        record(&history, HOUR / 6);
        for receiver in &good {
            // Only the pause of one second between requests is before this.
            receiver.wait_for(round * HOUR / 6).await;
        }
        assert!(away.iter().all(|receiver| receiver.received.borrow().is_empty()));
    }
    for receiver in &good {
        assert_eq!(*receiver.received.borrow(), (1..=HOUR).collect::<Vec<_>>(), "in order, each once");
    }
    wait_for_stats(&history, |stats| {
        let waiting = stats.consumers.iter().map(|consumer| consumer.samples + consumer.refused);
        waiting.eq([3_600, 3_600, 3_600, 0, 0])
    })
    .await;
    assert_eq!(history.metrics.stats().unwrap().problems().len(), 2, "one has no answer yet");
    // They come back, and get everything.
    away.iter().for_each(|receiver| drop(receiver.mode.send_replace(Mode::Accept)));
    for receiver in &away {
        let received = receiver.wait_for(HOUR).await;
        assert!(received.is_sorted_by(|earlier, later| earlier < later));
    }
    wait_for_stats(&history, |stats| stats.consumers.iter().all(|consumer| consumer.samples == 0)).await;
    let stats = history.metrics.stats().unwrap();
    for (receiver, stats) in all.iter().zip(&stats.consumers) {
        let received = receiver.received.borrow().len() as u64;
        assert_eq!((received, received + stats.refused), (stats.delivered, 3_600), "{}", receiver.name);
        assert!(stats.refused == 0 || receiver.name == "Refuse");
        assert_eq!((stats.dropped, stats.problem.as_ref()), ([0; 4], None));
    }
    forwarding.abort();
}

#[tokio::test]
async fn consumers_continue_after_a_restart_where_each_was() {
    let folder = tempfile::tempdir().unwrap();
    let receivers = [Receiver::new("near", Mode::Accept), Receiver::new("away", Mode::Fail)];
    for (run, expected) in [(1, 1), (2, 2)] {
        let history = start(&receivers, folder.path().join("ring"));
        let (_settings, settings) = watch::channel(Settings::default());
        let running = history.clone();
        let forwarding = tokio::spawn(async move { running.forward(settings).await });
        record(&history, 10);
        if run == 2 {
            receivers[1].mode.send_replace(Mode::Accept);
        }
        let is_near_done = |stats: &HistoryStats| stats.consumers[0].delivered == 10;
        let is_away_done = |stats: &HistoryStats| run == 1 || stats.consumers[1].delivered == 20;
        wait_for_stats(&history, |stats| is_near_done(stats) && is_away_done(stats)).await;
        history.close(DEADLINE).await;
        forwarding.abort();
        let runs = |runs| (0..runs).flat_map(|_| 1..=10).collect::<Vec<i64>>();
        assert_eq!(*receivers[0].received.borrow(), runs(expected));
        assert_eq!(*receivers[1].received.borrow(), runs(if run == 1 { 0 } else { 2 }));
    }
}
