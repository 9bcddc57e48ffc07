//! Standard output of commands that run until a signal ends them. A thread writes, so that a pipe that is not read,
//! or a terminal that is paused, does not keep the command from ending.

use std::io::{self, ErrorKind, Write as _};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::sync::oneshot;

use crate::commands::exit::Failure;

/// Maximum time for the last output.
const END: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);

type Job = (Vec<u8>, oneshot::Sender<io::Result<()>>);

/// Writes to stdout from a thread of its own.
pub(super) struct Printer {
    jobs: mpsc::Sender<Job>,
}

impl Printer {
    pub(super) fn start() -> Result<Printer, Failure> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let write = move || {
            for (text, reply) in queue {
                let mut out = io::stdout().lock();
                // The caller may have stopped waiting.
                let _ = reply.send(out.write_all(&text).and_then(|()| out.flush()));
            }
        };
        thread::Builder::new().name("stdout".to_owned()).spawn(write).map_err(Failure::internal)?;
        Ok(Printer { jobs })
    }

    fn send(&self, text: Vec<u8>) -> oneshot::Receiver<io::Result<()>> {
        let (reply, answer) = oneshot::channel();
        // Without a thread the reply is dropped, and that is an answer, too.
        let _ = self.jobs.send((text, reply));
        answer
    }

    /// Writes `text` and waits until it is written. Returns false if its reader has gone away (`| head -1`).
    ///
    /// # Cancellation safety
    /// The text is written as soon as stdout takes it, even if the future is dropped.
    pub(super) async fn print(&self, text: impl Into<Vec<u8>>) -> Result<bool, Failure> {
        match self.send(text.into()).await {
            Ok(Err(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Ok(done) => done.map(|()| true).map_err(Failure::io),
            Err(_) => Err(Failure::internal(anyhow!("the thread that writes to stdout has ended"))),
        }
    }

    /// Writes the last output, and waits for half a second at most.
    #[cfg_attr(not(feature = "demo"), expect(dead_code, reason = "builds without the demo take no screen"))]
    pub(super) fn conclude(&self, text: impl Into<Vec<u8>>) {
        let mut answer = self.send(text.into());
        let begin = Instant::now();
        while matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty)) && begin.elapsed() < END {
            thread::sleep(PAUSE);
        }
    }
}
