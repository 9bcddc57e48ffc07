//! A future that is dropped after a number of polls.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::runner::ActFuture;

/// An act that is dropped after `left` polls.
pub(crate) struct DropAfterPolls {
    pub(crate) doing: ActFuture,
    pub(crate) left: usize,
    pub(crate) polled: Arc<Mutex<Instant>>,
    /// Set when the future is dropped before it completes.
    pub(crate) dropped: Arc<AtomicBool>,
}

impl Future for DropAfterPolls {
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
