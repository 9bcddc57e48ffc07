//! The history of this node's sensors on its way to its consumers, which are the collector and outputs: every sample is
//! stored in a bounded file, the ring, and deleted when all consumers have it. It needs neither ZooKeeper nor the network
//! nor a consumer to take samples.
//!
//! ```text
//! sampler ─ Recorder ─ buffer in memory ─ keeper (thread) ─ ring (SQLite) ─┬─ sender ─ POST /api/v1/measurements
//!                                                                          └─ sender ─ output, for each of them
//! ```
//!
//! * A sample has a sequence number of this process's run (`boot`): together with fleet, node, sensor and quantity, it is
//!   the sample's key. A request that is repeated, because its answer was lost, has the same keys and values.
//! * Samples leave in the order in which they were taken, to each consumer independently of the others. [`forwarder`]
//!   decides which batch is sent and when, without I/O; [`sender`] does it.
//! * The keeper's thread is the only one that uses the file. While the file cannot be written, samples wait in memory;
//!   neither sampling nor the node's thread ever waits for the disk.
//! * Samples that were taken before the clock was set wait until it is, and are then corrected; see [`clock`].
//!
//! docs/storage.md describes what a crash, a power cut, and a full or damaged disk cost. Without `measurements_url` and
//! without outputs that send measurements, nothing here runs, and no file exists.

mod buffer;
mod clock;
mod collector;
mod consumer;
mod cursors;
mod forwarder;
mod keeper;
mod recorder;
mod ring;
mod sender;
mod sync_schedule;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tracing::warn;

pub(crate) use self::recorder::Recorder;

use self::buffer::{Buffer, MAX_BUFFERED};
use self::clock::Clock;
use self::keeper::{Command, Keeper};
use self::ring::Limits;
use self::sender::Destination;
use crate::metrics::HistoryMetrics;
use crate::model::node_id::NodeId;
use crate::outputs::Output;
use crate::process::state_dir::StateFile;
use crate::settings::Settings;

#[derive(Debug)]
pub(crate) struct History {
    node: NodeId,
    /// Receivers of the consumers, by the consumer's number.
    destinations: Vec<Destination>,
    recorder: Recorder,
    commands: mpsc::Sender<Command>,
    /// Notified when there may be samples to send.
    changed: watch::Receiver<()>,
    metrics: HistoryMetrics,
}

impl History {
    /// Starts the history, if `measurements_url` is set or an output sends measurements. Without a state file, samples are
    /// in memory only.
    pub(crate) fn start(
        node: &NodeId,
        settings: &Settings,
        state_file: Option<&StateFile>,
        outputs: &[Arc<Output>],
        metrics: HistoryMetrics,
    ) -> Option<History> {
        let collector = settings.measurements_url.clone().map(Destination::Collector);
        let outputs = outputs.iter().filter(|output| output.config.send.has_measurements());
        let outputs = outputs.cloned().map(Destination::Output);
        let destinations: Vec<_> = collector.into_iter().chain(outputs).collect();
        if destinations.is_empty() {
            return None;
        }
        let path = state_file.map(StateFile::ring);
        let limits = Limits {
            keep: settings.measurements_keep,
            max_size: settings.measurements_max_size,
            sync: settings.measurements_sync,
        };
        History::with(node, destinations, path, limits, metrics)
            .inspect_err(|error| {
                warn!("samples are neither stored nor sent: their thread cannot be started: {error}");
            })
            .ok()
    }

    fn with(
        node: &NodeId,
        destinations: Vec<Destination>,
        path: Option<PathBuf>,
        limits: Limits,
        metrics: HistoryMetrics,
    ) -> io::Result<History> {
        let buffer = Arc::new(Buffer::new(MAX_BUFFERED));
        let (notifier, changed) = watch::channel(());
        let (commands, received) = mpsc::channel();
        let clock: Clock = Arc::new(clock::now);
        let recorder = Recorder::new(buffer.clone(), commands.clone(), clock.clone());
        let names = destinations.iter().map(Destination::name_in_file).collect();
        metrics.add_consumers(destinations.iter().map(Destination::output));
        let keeper = Keeper::new((path, limits), names, buffer, clock, notifier, metrics.clone());
        std::thread::Builder::new().name("history".to_owned()).spawn(move || keeper.run(&received))?;
        Ok(History { node: node.clone(), destinations, recorder, commands, changed, metrics })
    }

    pub(crate) fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Stores and syncs the last samples, for at most `timeout`.
    pub(crate) async fn close(&self, timeout: Duration) {
        let (reply, closed) = oneshot::channel();
        let is_sent = self.commands.send(Command::Close(reply)).is_ok();
        if is_sent && tokio::time::timeout(timeout, closed).await.is_err() {
            warn!("the last samples may not be on the disk: it has not answered within {timeout:?}");
        }
    }
}

#[cfg(test)]
mod sender_tests;
