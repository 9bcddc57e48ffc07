//! Queues: what was put is taken once, unless whoever took it was cancelled or says that it does not know.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::{Queue, QueueError};
use proptest::prelude::*;

use crate::schedule::{CROWD, try_schedules};
use crate::stage::{Doing, Person, Play, SOON, Stage};

const PATH: &str = "/chaos/jobs";
const MARKERS: &str = "/chaos/jobs__putters__";
/// For whoever is in haste.
const HASTE: Duration = Duration::from_millis(30);

/// What is known of putting, or of taking, an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It may have been done, or may yet be.
    Open,
    Done,
    /// It has not been done and never will be.
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
    /// It goes on with another `Queue`, and closes the one that it has, or drops it.
    Renew {
        close: bool,
    },
}

/// An entry, told by its number.
#[derive(Clone, Copy, Debug)]
struct Entry {
    priority: u16,
    put: Fate,
    taken: bool,
}

/// Whoever puts into one queue and takes from it.
pub(crate) struct Workers {
    /// Of each, the patient one and the one in haste.
    queues: [Mutex<[Option<Arc<Queue>>; 2]>; CROWD],
    entries: Mutex<Vec<Entry>>,
    /// Takings of which it is not known, and will not be, whether they took one: each may have taken one away.
    open: Mutex<usize>,
}

impl Workers {
    pub(crate) fn new() -> Workers {
        Workers { queues: Default::default(), entries: Mutex::default(), open: Mutex::default() }
    }

    fn queue(&self, person: &Person, in_haste: bool) -> Arc<Queue> {
        let make = || {
            let queue = Queue::new(person.session.clone(), PATH);
            Arc::new(if in_haste { queue.with_timeout(HASTE) } else { queue })
        };
        self.queues[person.who].lock().unwrap()[usize::from(in_haste)].get_or_insert_with(make).clone()
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

    /// Whether there was one.
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

/// What is known once this has come out; an error if that must not be.
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

impl Play for Workers {
    type Act = Act;

    fn acts() -> BoxedStrategy<Act> {
        let haste = || prop_oneof![3 => Just(false), 1 => Just(true)];
        prop_oneof![
            10 => (0..3_u16, haste()).prop_map(|(priority, in_haste)| Act::Put { priority, in_haste }),
            5 => haste().prop_map(|in_haste| Act::Take { in_haste }),
            2 => (0u64..40).prop_map(|ms| Act::TakeWithin(Duration::from_millis(ms))),
            2 => Just(Act::TakeWithin(SOON * 10)),
            2 => any::<bool>().prop_map(|close| Act::Renew { close }),
        ]
        .boxed()
    }

    fn act(self: &Arc<Self>, person: &Person, act: Act) -> Option<Doing> {
        if person.busy {
            return None;
        }
        let this = self.clone();
        match act {
            Act::Put { priority, in_haste } => {
                let queue = self.queue(person, in_haste);
                Some(Box::pin(async move { this.put(&queue, priority, in_haste).await }))
            }
            Act::Take { in_haste } => {
                let queue = self.queue(person, in_haste);
                Some(Box::pin(async move { this.take(queue.take(), in_haste).await.map(drop) }))
            }
            Act::TakeWithin(wait) => {
                let queue = self.queue(person, false);
                Some(Box::pin(async move { this.take(queue.take_within(wait), false).await.map(drop) }))
            }
            Act::Renew { close } => {
                let queues = std::mem::take(&mut *self.queues[person.who].lock().unwrap());
                for queue in queues.into_iter().flatten().filter_map(Arc::into_inner) {
                    if close {
                        tokio::spawn(queue.close());
                    }
                }
                None
            }
        }
    }

    /// Whoever waits gets something; all that was put comes, in order; nothing is left once the queues are gone.
    async fn calm(self: Arc<Self>, stage: &mut Stage<Self>) -> Result<(), String> {
        let last = Queue::new(stage.witness.0.clone(), PATH);
        for _ in 0..CROWD {
            self.put(&last, 1, false).await?;
        }
        stage.until_idle().await?;
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
        stage.until_empty(PATH).await?;
        stage.until_empty(MARKERS).await
    }
}

#[test]
fn what_was_put_is_taken_once() {
    try_schedules(Workers::new);
}
