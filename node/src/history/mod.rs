//! The history of this node's sensors on its way to the collector: every sample is stored in a bounded file, the ring,
//! and deleted when the collector has it. It needs neither ZooKeeper nor the network nor the collector to take samples.
//!
//! ```text
//! sampler ─ Recorder ─ buffer in memory ─ keeper (thread) ─ ring (SQLite) ─ sender ─ POST /api/v1/measurements
//! ```
//!
//! * A sample has a sequence number of this process's run (`boot`): together with fleet, node, sensor and quantity, it is
//!   the sample's key. A request that is repeated, because its answer was lost, has the same keys and values.
//! * Samples leave in the order in which they were taken. [`forwarder`] decides which batch is sent and when, without I/O;
//!   [`sender`] does it.
//! * The keeper's thread is the only one that uses the file. While the file cannot be written, samples wait in memory;
//!   neither sampling nor the node's thread ever waits for the disk.
//! * Samples that were taken before the clock was set wait until it is, and are then corrected; see [`clock`].
//!
//! docs/storage.md describes what a crash, a power cut, and a full or damaged disk cost. Without `measurements_url`
//! nothing here runs, and no file exists.

mod buffer;
mod clock;
mod forwarder;
mod keeper;
mod recorder;
mod ring;
mod sender;

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use reqwest::Url;
use tokio::sync::{Notify, oneshot};
use tracing::warn;

pub(crate) use self::recorder::Recorder;

use self::buffer::Buffer;
use self::clock::Clock;
use self::keeper::{Command, Keeper};
use self::ring::Limits;
use crate::metrics::HistoryMetrics;
use crate::model::node_id::NodeId;
use crate::process::state_dir::StateFile;
use crate::settings::Settings;

/// A running history.
#[derive(Debug)]
pub(crate) struct History {
    node: NodeId,
    url: Url,
    recorder: Recorder,
    commands: mpsc::Sender<Command>,
    /// Notified when there may be samples to send.
    changed: Arc<Notify>,
    metrics: HistoryMetrics,
}

impl History {
    /// Starts the history, if `measurements_url` is set. Without a state file, samples are in memory only.
    pub(crate) fn start(
        node: &NodeId,
        settings: &Settings,
        state_file: Option<&StateFile>,
        metrics: HistoryMetrics,
    ) -> Option<History> {
        let url = settings.measurements_url.clone()?;
        let path = state_file.map(StateFile::ring);
        let limits = Limits {
            keep: settings.measurements_keep,
            max_size: settings.measurements_max_size,
            sync: settings.measurements_sync,
        };
        let (buffer, changed) = (Arc::new(Buffer::default()), Arc::new(Notify::new()));
        let (commands, received) = mpsc::channel();
        let clock: Clock = Arc::new(clock::now);
        let recorder = Recorder::new(buffer.clone(), commands.clone(), clock.clone(), metrics.clone());
        let keeper = Keeper::new(path, limits, buffer, clock, changed.clone(), metrics.clone());
        if let Err(error) = start_thread(keeper, received) {
            warn!("no samples are sent to the collector: their thread cannot be started: {error}");
            return None;
        }
        Some(History { node: node.clone(), url, recorder, commands, changed, metrics })
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

fn start_thread(keeper: Keeper, commands: mpsc::Receiver<Command>) -> io::Result<()> {
    std::thread::Builder::new().name("history".to_owned()).spawn(move || keeper.run(&commands))?;
    Ok(())
}
