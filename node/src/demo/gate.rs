//! The hand on a node's thread: it can stop the thread as SIGSTOP stops a process, and end it as SIGKILL does.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// What the thread is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Run,
    Hang,
    Die,
}

/// One for each life of a node.
#[derive(Debug, Default)]
pub(super) struct Gate {
    order: Mutex<Order>,
    /// Wakes the thread in its runtime.
    bell: Notify,
    /// Wakes the thread where it hangs.
    released: Condvar,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Order> {
        // Nothing panics while it holds the lock.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, order: Order) {
        let mut now = self.lock();
        // Nobody comes back from the dead.
        if *now != Order::Die {
            *now = order;
        }
        drop(now);
        self.bell.notify_one();
        self.released.notify_all();
    }

    /// Stops the thread, as soon as it waits for anything.
    pub(super) fn hang(&self) {
        self.give(Order::Hang);
    }

    /// Lets it go on.
    pub(super) fn release(&self) {
        self.give(Order::Run);
    }

    /// Ends it, also where it hangs.
    pub(super) fn kill(&self) {
        self.give(Order::Die);
    }

    /// To be polled beside the node, and before it: blocks the whole thread while the node is to hang, completes when it
    /// is to die.
    pub(super) async fn watch(&self) {
        while self.may_go_on() {
            self.bell.notified().await;
        }
    }

    /// Returns when the node is not to hang, and whether it may live.
    fn may_go_on(&self) -> bool {
        let mut order = self.lock();
        while *order == Order::Hang {
            order = self.released.wait(order).unwrap_or_else(PoisonError::into_inner);
        }
        *order == Order::Run
    }
}
