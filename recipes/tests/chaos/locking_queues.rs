//! Locking queues: an entry has one holder, is consumed once, and is free again after its holder ended.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::{HeldEntry, LockingQueue, QueueError};
use proptest::prelude::*;

use crate::queues::{Fate, HASTE, fate};
use crate::runner::{ActFuture, Client, DEADLINE, Runner, Scenario};
use crate::schedule::{CLIENTS, try_schedules};

const PATH: &str = "/chaos/work";
const ENTRIES: &str = "/chaos/work/entries";
const TAKEN: &str = "/chaos/work/taken";
const MARKERS: &str = "/chaos/work__putters__";

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Put {
        in_haste: bool,
    },
    Take {
        in_haste: bool,
    },
    TakeWithin(Duration),
    Consume,
    Release,
    Drop,
    /// Replaces the client's `LockingQueue`.
    Renew,
}

/// An entry, identified by its number.
#[derive(Clone, Copy, Debug)]
struct Entry {
    put: Fate,
    consumed: Fate,
}

/// State of a client.
struct Held {
    number: usize,
    in_haste: bool,
    taken: HeldEntry,
}

/// Clients that work on one queue.
pub(crate) struct Workers {
    /// Two queue objects per client: with the default timeout and with a short one.
    queues: [Mutex<[Option<Arc<LockingQueue>>; 2]>; CLIENTS],
    slots: [Mutex<Option<Held>>; CLIENTS],
    entries: Mutex<Vec<Entry>>,
}

impl Workers {
    pub(crate) fn new() -> Workers {
        Workers { queues: Default::default(), slots: Default::default(), entries: Mutex::default() }
    }

    fn queue(&self, client: &Client, in_haste: bool) -> Arc<LockingQueue> {
        let make = || {
            let queue = LockingQueue::new(client.session.clone(), PATH);
            Arc::new(if in_haste { queue.with_timeout(HASTE) } else { queue })
        };
        self.queues[client.who].lock().unwrap()[usize::from(in_haste)].get_or_insert_with(make).clone()
    }

    async fn put(&self, queue: &LockingQueue, in_haste: bool) -> Result<(), String> {
        let number = {
            let mut entries = self.entries.lock().unwrap();
            entries.push(Entry { put: Fate::Open, consumed: Fate::Not });
            entries.len() - 1
        };
        let put = queue.put(number.to_string().as_bytes(), 100).await;
        self.entries.lock().unwrap()[number].put = fate(put, in_haste)?;
        Ok(())
    }

    async fn take(
        &self,
        take: impl Future<Output = Result<Option<HeldEntry>, QueueError>>,
        in_haste: bool,
    ) -> Result<Option<Held>, String> {
        let before = self.entries.lock().unwrap().clone();
        let taken = match take.await {
            Ok(Some(taken)) => taken,
            Ok(None) => return Ok(None),
            Err(error) => return fate(Err(error), in_haste).map(|_| None),
        };
        let number: usize = str::from_utf8(taken.data()).unwrap().parse().unwrap();
        let put = self.entries.lock().unwrap()[number].put;
        if put == Fate::Not || before.get(number).is_some_and(|entry| entry.consumed == Fate::Done) {
            return Err(format!("{number} is there, consumed or never put: {put:?}"));
        }
        Ok(Some(Held { number, in_haste, taken }))
    }

    async fn consume(&self, held: Held) -> Result<(), String> {
        let Held { number, in_haste, taken } = held;
        let before = std::mem::replace(&mut self.entries.lock().unwrap()[number].consumed, Fate::Open);
        let fate = match taken.consume().await {
            // Earlier attempts of other clients may have succeeded.
            Err(QueueError::NotHeld { .. }) => before,
            outcome => match fate(outcome, in_haste)? {
                Fate::Not => before,
                fate => fate,
            },
        };
        let consumed = &mut self.entries.lock().unwrap()[number].consumed;
        if before == Fate::Done && fate == Fate::Done && in_haste {
            return Err(format!("{number} is consumed twice"));
        }
        *consumed = match (*consumed, fate) {
            (Fate::Done, _) => Fate::Done,
            (_, fate) => fate,
        };
        Ok(())
    }
}

impl Scenario for Workers {
    type Act = Act;

    fn acts() -> BoxedStrategy<Act> {
        let haste = || prop_oneof![3 => Just(false), 1 => Just(true)];
        prop_oneof![
            8 => haste().prop_map(|in_haste| Act::Put { in_haste }),
            6 => haste().prop_map(|in_haste| Act::Take { in_haste }),
            2 => (0u64..40).prop_map(|ms| Act::TakeWithin(Duration::from_millis(ms))),
            3 => Just(Act::TakeWithin(DEADLINE * 10)),
            6 => Just(Act::Consume),
            2 => Just(Act::Release),
            2 => Just(Act::Drop),
            1 => Just(Act::Renew),
        ]
        .boxed()
    }

    fn act(self: &Arc<Self>, client: &Client, act: Act) -> Option<ActFuture> {
        let (this, who) = (self.clone(), client.who);
        let mut slot = self.slots[who].lock().unwrap();
        match act {
            Act::Drop => drop(slot.take()),
            _ if client.busy => {}
            Act::Put { in_haste } => {
                let queue = self.queue(client, in_haste);
                return Some(Box::pin(async move { this.put(&queue, in_haste).await }));
            }
            Act::Take { .. } | Act::TakeWithin(_) if slot.is_some() => {}
            Act::Take { in_haste } => {
                let queue = self.queue(client, in_haste);
                return Some(Box::pin(async move {
                    let held = this.take(queue.take(), in_haste).await?;
                    *this.slots[who].lock().unwrap() = held;
                    Ok(())
                }));
            }
            Act::TakeWithin(wait) => {
                let queue = self.queue(client, false);
                return Some(Box::pin(async move {
                    let held = this.take(queue.take_within(wait), false).await?;
                    *this.slots[who].lock().unwrap() = held;
                    Ok(())
                }));
            }
            Act::Consume => {
                let held = slot.take()?;
                return Some(Box::pin(async move { this.consume(held).await }));
            }
            Act::Release => {
                let held = slot.take()?;
                return Some(Box::pin(async move {
                    held.taken.release().await;
                    Ok(())
                }));
            }
            Act::Renew => *self.queues[who].lock().unwrap() = [None, None],
        }
        None
    }

    fn cancelled(&self, who: usize) {
        drop(self.slots[who].lock().unwrap().take());
    }

    fn look(&self) -> Result<(), String> {
        let holds = |who: &usize| {
            let slot = self.slots[*who].lock().unwrap();
            slot.as_ref().filter(|held| held.taken.holds()).map(|held| held.number)
        };
        let holders: Vec<usize> = (0..CLIENTS).filter(|who| holds(who).is_some()).collect();
        // The check takes time: only holders that still hold at its end held throughout.
        let mut held: Vec<usize> = holders.iter().filter_map(holds).collect();
        held.sort_unstable();
        held.windows(2)
            .all(|two| two[0] != two[1])
            .then_some(())
            .ok_or_else(|| format!("two hold one of {held:?}"))
    }

    /// Waiting takers get entries; entries without a holder become free; no znode is left.
    async fn final_checks(self: Arc<Self>, runner: &mut Runner<Self>) -> Result<(), String> {
        let last = LockingQueue::new(runner.observer.0.clone(), PATH);
        for _ in 0..CLIENTS {
            self.put(&last, false).await?;
        }
        runner.until_idle().await?;
        for slot in &self.slots {
            drop(slot.lock().unwrap().take());
        }
        while !last.is_empty().await.map_err(|error| error.to_string())? {
            let Some(held) = self.take(last.take_within(DEADLINE), false).await? else {
                return Err("an entry does not come back".into());
            };
            self.consume(held).await?;
        }
        let entries = self.entries.lock().unwrap().clone();
        let lost = |entry: &Entry| entry.put == Fate::Done && entry.consumed == Fate::Not;
        if let Some(number) = entries.iter().position(lost) {
            return Err(format!("{number} is lost"));
        }
        drop(last);
        self.queues.iter().for_each(|queues| *queues.lock().unwrap() = [None, None]);
        for place in [ENTRIES, TAKEN, MARKERS] {
            runner.until_empty(place).await?;
        }
        Ok(())
    }
}

#[test]
fn locking_queue_entry_has_one_holder_and_is_consumed_once() {
    try_schedules(Workers::new);
}
