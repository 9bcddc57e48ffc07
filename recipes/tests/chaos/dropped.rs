//! What is dropped after so many polls.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::stage::Doing;

/// What one does, dropped after so many polls.
pub(crate) struct Dropped {
    pub(crate) doing: Doing,
    pub(crate) left: usize,
    /// When it was polled last.
    pub(crate) polled: Arc<Mutex<Instant>>,
    /// Told when it was dropped before it was done.
    pub(crate) dropped: Arc<AtomicBool>,
}

impl Future for Dropped {
    type Output = Result<(), String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        *self.polled.lock().unwrap() = Instant::now();
        let polled = self.doing.as_mut().poll(context);
        self.left = self.left.saturating_sub(1);
        if polled.is_pending() && self.left == 0 {
            self.dropped.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        polled
    }
}
