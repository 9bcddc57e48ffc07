//! Control of a node's thread from outside: it can stop the thread like SIGSTOP stops a process, and end it like
//! SIGKILL.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// State that is requested of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Command {
    #[default]
    Run,
    /// Stop the next time that the thread waits for anything.
    Hang,
    /// End, even while the thread is stopped. Final.
    Exit,
}

/// Control of one thread.
#[derive(Debug, Default)]
pub(super) struct ThreadControl {
    command: Mutex<Command>,
    /// Wakes the thread in its runtime.
    changed: Notify,
    /// Wakes the thread while it hangs.
    released: Condvar,
}

impl ThreadControl {
    fn lock(&self) -> MutexGuard<'_, Command> {
        // No code panics while it holds the lock.
        self.command.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn send(&self, command: Command) {
        let mut current = self.lock();
        if *current != Command::Exit {
            *current = command;
        }
        drop(current);
        self.changed.notify_one();
        self.released.notify_all();
    }

    /// Blocks the whole thread while the node is stopped, and completes when it is killed. Must be polled together
    /// with the node, before it.
    pub(super) async fn killed(&self) {
        while self.block_while_stopped() {
            self.changed.notified().await;
        }
    }

    /// Returns true if the thread may continue, false if it must end.
    fn block_while_stopped(&self) -> bool {
        let mut command = self.lock();
        while *command == Command::Hang {
            command = self.released.wait(command).unwrap_or_else(PoisonError::into_inner);
        }
        *command == Command::Run
    }
}
