//! Queues: each entry is taken once, unless its taker was cancelled or reports an unknown outcome.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::{Queue, QueueError};
use proptest::prelude::*;

use crate::runner::{ActFuture, Client, DEADLINE, Runner, Scenario};
use crate::schedule::{CLIENTS, try_schedules};

const PATH: &str = "/chaos/jobs";
const MARKERS: &str = "/chaos/jobs__putters__";
pub(crate) const HASTE: Duration = Duration::from_millis(30);

/// Knowledge about a put, a take or an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It may have happened, or may still happen.
    Open,
    Done,
    /// It has not happened and will not.
    Not,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Put {
        priority: u16,
        in_haste: bool,
    },
    Take {
        in_haste: bool,
    },
    TakeWithin(Duration),
    /// Replaces the client's `Queue`; the old one is closed or dropped.
    Renew {
        close: bool,
    },
}

/// An entry, identified by its number.
#[derive(Clone, Copy, Debug)]
struct Entry {
    priority: u16,
    put: Fate,
    taken: bool,
}

/// Clients that put into one queue and take from it.
pub(crate) struct Workers {
    /// Two queue objects per client: with the default timeout and with a short one.
    queues: [Mutex<[Option<Arc<Queue>>; 2]>; CLIENTS],
    entries: Mutex<Vec<Entry>>,
    /// Number of takes with an unknown outcome; each may have removed an entry.
    open: Mutex<usize>,
}

impl Workers {
    pub(crate) fn new() -> Workers {
        Workers { queues: Default::default(), entries: Mutex::default(), open: Mutex::default() }
    }

    fn queue(&self, client: &Client, in_haste: bool) -> Arc<Queue> {
        let make = || {
            let queue = Queue::new(client.session.clone(), PATH);
            Arc::new(if in_haste { queue.with_timeout(HASTE) } else { queue })
        };
        self.queues[client.who].lock().unwrap()[usize::from(in_haste)].get_or_insert_with(make).clone()
    }

    async fn put(&self, queue: &Queue, priority: u16, in_haste: bool) -> Result<(), String> {
        let number = {
            let mut entries = self.entries.lock().unwrap();
            entries.push(Entry { priority, put: Fate::Open, taken: false });
            entries.len() - 1
        };
        let put = queue.put(number.to_string().as_bytes(), priority).await;
        let fate = fate(put, in_haste)?;
        let entry = &mut self.entries.lock().unwrap()[number];
        if fate == Fate::Not && entry.taken {
            return Err(format!("{number} was put, and says that it failed"));
        }
        entry.put = fate;
        Ok(())
    }

    /// Returns true if there was one.
    async fn take(
        &self,
        take: impl Future<Output = Result<Option<Vec<u8>>, QueueError>>,
        in_haste: bool,
    ) -> Result<Option<usize>, String> {
        *self.open.lock().unwrap() += 1;
        let value = match take.await {
            Ok(value) => value,
            Err(error) => {
                if fate(Err(error), in_haste)? == Fate::Not {
                    *self.open.lock().unwrap() -= 1;
                }
                return Ok(None);
            }
        };
        *self.open.lock().unwrap() -= 1;
        let Some(value) = value else { return Ok(None) };
        let number: usize = String::from_utf8(value).unwrap().parse().unwrap();
        let entry = &mut self.entries.lock().unwrap()[number];
        if entry.put == Fate::Not || std::mem::replace(&mut entry.taken, true) {
            return Err(format!("{number} was taken once more, or never put: {entry:?}"));
        }
        Ok(Some(number))
    }
}

/// Returns the knowledge after this outcome; an error if the outcome is a violation.
pub(crate) fn fate(outcome: Result<(), QueueError>, in_haste: bool) -> Result<Fate, String> {
    match outcome {
        Ok(()) => Ok(Fate::Done),
        Err(QueueError::OutcomeUnknown { .. }) if in_haste => Ok(Fate::Open),
        Err(QueueError::Failed(error))
            if in_haste && error.is_connection_loss() | error.is_no_node() | error.is_bad_version() =>
        {
            Ok(Fate::Not)
        }
        Err(error) => Err(error.to_string()),
    }
}

impl Scenario for Workers {
    type Act = Act;

    fn acts() -> BoxedStrategy<Act> {
        let haste = || prop_oneof![3 => Just(false), 1 => Just(true)];
        prop_oneof![
            10 => (0..3_u16, haste()).prop_map(|(priority, in_haste)| Act::Put { priority, in_haste }),
            5 => haste().prop_map(|in_haste| Act::Take { in_haste }),
            2 => (0u64..40).prop_map(|ms| Act::TakeWithin(Duration::from_millis(ms))),
            2 => Just(Act::TakeWithin(DEADLINE * 10)),
            2 => any::<bool>().prop_map(|close| Act::Renew { close }),
        ]
        .boxed()
    }

    fn act(self: &Arc<Self>, client: &Client, act: Act) -> Option<ActFuture> {
        if client.busy {
            return None;
        }
        let this = self.clone();
        match act {
            Act::Put { priority, in_haste } => {
                let queue = self.queue(client, in_haste);
                Some(Box::pin(async move { this.put(&queue, priority, in_haste).await }))
            }
            Act::Take { in_haste } => {
                let queue = self.queue(client, in_haste);
                Some(Box::pin(async move { this.take(queue.take(), in_haste).await.map(drop) }))
            }
            Act::TakeWithin(wait) => {
                let queue = self.queue(client, false);
                Some(Box::pin(async move { this.take(queue.take_within(wait), false).await.map(drop) }))
            }
            Act::Renew { close } => {
                let queues = std::mem::take(&mut *self.queues[client.who].lock().unwrap());
                for queue in queues.into_iter().flatten().filter_map(Arc::into_inner) {
                    if close {
                        tokio::spawn(queue.close());
                    }
                }
                None
            }
        }
    }

    /// Waiting takers get entries; all entries arrive in order; no znode is left after the queues are closed.
    async fn final_checks(self: Arc<Self>, runner: &mut Runner<Self>) -> Result<(), String> {
        let last = Queue::new(runner.observer.0.clone(), PATH);
        for _ in 0..CLIENTS {
            self.put(&last, 1, false).await?;
        }
        runner.until_idle().await?;
        let mut highest = 0;
        while let Some(number) = self.take(last.take(), false).await? {
            let priority = self.entries.lock().unwrap()[number].priority;
            if priority < highest {
                return Err(format!("{number} came after one of less priority"));
            }
            highest = priority;
        }
        let missing = |entry: &&Entry| entry.put == Fate::Done && !entry.taken;
        let (missing, open) =
            (self.entries.lock().unwrap().iter().filter(missing).count(), *self.open.lock().unwrap());
        if missing > open {
            return Err(format!("{missing} are lost, where {open} may have been taken"));
        }
        last.close().await;
        self.queues.iter().for_each(|queues| *queues.lock().unwrap() = [None, None]);
        runner.until_empty(PATH).await?;
        runner.until_empty(MARKERS).await
    }
}

#[test]
fn queue_entry_is_taken_once() {
    try_schedules(Workers::new);
}
