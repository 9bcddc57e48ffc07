//! Standard output: [`print`] for commands that end by themselves, and [`StdoutThread`] for
//! commands that run until a signal. Its thread does the writing, so that a pipe that is not read or a paused
//! terminal cannot delay the shutdown.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::commands::exit::Failure;
use crate::process::stdout;

/// Maximum time for writing the last output.
const FINAL_WRITE_TIMEOUT: Duration = Duration::from_millis(500);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

type Job = (Vec<u8>, oneshot::Sender<io::Result<bool>>);

/// Writes `text` to stdout. A closed pipe (`| head`) is not an error.
pub(super) fn print(text: &[u8]) -> Result<(), Failure> {
    stdout::write(text).map(drop).map_err(Failure::io)
}

/// Returns JSON values, each in a line.
pub(super) fn json_lines(values: impl IntoIterator<Item = Value>) -> String {
    values.into_iter().map(|value| format!("{value}\n")).collect()
}

pub(super) struct StdoutThread(mpsc::Sender<Job>);

impl StdoutThread {
    pub(super) fn start() -> Result<StdoutThread, Failure> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let write = move || {
            for (text, reply) in queue {
                // The caller may have stopped waiting.
                let _ = reply.send(stdout::write(&text));
            }
        };
        thread::Builder::new().name("stdout".to_owned()).spawn(write).map_err(Failure::internal)?;
        Ok(StdoutThread(jobs))
    }

    fn send(&self, text: Vec<u8>) -> oneshot::Receiver<io::Result<bool>> {
        let (reply, written) = oneshot::channel();
        // If the thread has ended, `reply` is dropped and the caller receives an error.
        let _ = self.0.send((text, reply));
        written
    }

    /// Writes `text` and waits until it is written. Returns false if the pipe is closed (`| head -1`).
    ///
    /// # Cancellation safety
    /// The text is written as soon as stdout takes it, even if the future is dropped.
    pub(super) async fn print(&self, text: impl Into<Vec<u8>>) -> Result<bool, Failure> {
        let ended = |_| Failure::internal(anyhow!("the thread that writes to stdout has ended unexpectedly"));
        self.send(text.into()).await.map_err(ended)?.map_err(Failure::io)
    }

    /// Writes the last output. Waits at most 500 ms.
    pub(super) fn finish(&self, text: impl Into<Vec<u8>>) {
        let mut written = self.send(text.into());
        let start = Instant::now();
        while matches!(written.try_recv(), Err(oneshot::error::TryRecvError::Empty))
            && start.elapsed() < FINAL_WRITE_TIMEOUT
        {
            thread::sleep(POLL_INTERVAL);
        }
    }
}
