//! How the background tasks of a session are spawned.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use spawns_core::{Spawn, Task};
use tokio::runtime::Handle;

/// Spawns the background tasks of a session: its own, those of the recipes that use it, and those of the client library.
/// Only the tasks of the relay, which pass on bytes, are spawned directly.
///
/// A program with many sessions can thus stop or end the tasks of each one separately.
#[derive(Clone)]
pub struct Spawner(Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>);

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Spawner").finish_non_exhaustive()
    }
}

impl Spawner {
    /// Returns a spawner that passes each task to `spawn`, which may be called outside a runtime.
    pub fn new(spawn: impl Fn(BoxFuture<'static, ()>) + Send + Sync + 'static) -> Spawner {
        Spawner(Arc::new(spawn))
    }

    /// Returns a spawner for the current runtime.
    ///
    /// # Panics
    /// Panics outside a Tokio runtime.
    pub(super) fn current() -> Spawner {
        let runtime = Handle::current();
        Spawner::new(move |task| drop(runtime.spawn(task)))
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        (self.0)(Box::pin(Scoped { spawner: self.clone(), task: Box::pin(task) }));
    }
}

/// For the client library, which spawns its tasks by `spawns-core`.
impl Spawn for Spawner {
    fn spawn(&self, task: Task) {
        let Task { future, .. } = task;
        Spawner::spawn(self, Box::into_pin(future));
    }
}

/// Task whose own tasks are spawned by the same spawner.
struct Scoped {
    spawner: Spawner,
    task: BoxFuture<'static, ()>,
}

impl Future for Scoped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Scoped { spawner, task } = &mut *self;
        let _scope = spawns_core::enter(spawner);
        task.as_mut().poll(cx)
    }
}
