//! Counters: each addition counts once, or at most once where its outcome was reported as unknown or it was cancelled.

use std::sync::{Arc, Mutex};

use atalaya_recipes::{Counter, CounterError, Session};
use proptest::prelude::*;

use crate::queues::{Fate, HASTE};
use crate::runner::{ActFuture, Client, Runner, Scenario};
use crate::schedule::{CLIENTS, try_schedules};

const PATH: &str = "/chaos/reports";
const MARKERS: &str = "/chaos/reports__adders__";
/// Each addition has its own digit to the base of 4, so each sum shows how often each addition counted.
const DIGITS: usize = 31;

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Add {
        in_haste: bool,
    },
    Get,
    /// Replaces the client's `Counter`; the old one is closed or dropped.
    Renew {
        close: bool,
    },
}

/// Clients that add to one counter.
pub(crate) struct Adders {
    is_exact: fn(usize) -> bool,
    /// Two counter objects per client: with the default timeout and with a short one.
    counters: [Mutex<[Option<Arc<Counter>>; 2]>; CLIENTS],
    fates: Mutex<Vec<Fate>>,
}

impl Adders {
    pub(crate) fn of(is_exact: fn(usize) -> bool) -> Adders {
        Adders { is_exact, counters: Default::default(), fates: Mutex::default() }
    }

    fn counter(&self, who: usize, session: &Session, in_haste: bool) -> Arc<Counter> {
        let make = || {
            let make = if (self.is_exact)(who) { Counter::exact } else { Counter::compatible };
            let counter = make(session.clone(), PATH);
            Arc::new(if in_haste { counter.with_timeout(HASTE) } else { counter })
        };
        self.counters[who].lock().unwrap()[usize::from(in_haste)].get_or_insert_with(make).clone()
    }

    /// Checks a sum that was read after the knowledge `before`.
    fn judge(&self, sum: i64, before: &[Fate]) -> Result<(), String> {
        let mut fates = self.fates.lock().unwrap();
        for place in 0..DIGITS {
            let times = sum >> (2 * place) & 3;
            let known = before.get(place);
            match (fates.get(place), times) {
                (Some(Fate::Done | Fate::Open), 1) => fates[place] = Fate::Done,
                (_, 0) if known != Some(&Fate::Done) => {}
                (now, _) => {
                    return Err(format!("addition {place} ({known:?}, {now:?}) counted {times} times"));
                }
            }
        }
        Ok(())
    }

    async fn add(&self, who: usize, counter: &Counter, in_haste: bool) -> Result<(), String> {
        let (before, place) = {
            let mut fates = self.fates.lock().unwrap();
            fates.push(Fate::Open);
            (fates.clone(), fates.len() - 1)
        };
        match counter.add(1 << (2 * place)).await {
            Ok(sum) => {
                self.fates.lock().unwrap()[place] = Fate::Done;
                let mut before = before;
                before[place] = Fate::Done;
                self.judge(sum, &before)
            }
            Err(CounterError::OutcomeUnknown { .. }) if in_haste || !(self.is_exact)(who) => Ok(()),
            Err(CounterError::Failed(error))
                if in_haste && error.is_connection_loss() | error.is_bad_version() =>
            {
                let known = std::mem::replace(&mut self.fates.lock().unwrap()[place], Fate::Not);
                if known == Fate::Done {
                    return Err(format!("addition {place} counted, and says that it failed: {error}"));
                }
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn get(&self, counter: &Counter) -> Result<(), String> {
        let before = self.fates.lock().unwrap().clone();
        let sum = counter.get().await.map_err(|error| error.to_string())?;
        self.judge(sum, &before)
    }
}

impl Scenario for Adders {
    type Act = Act;

    fn acts() -> BoxedStrategy<Act> {
        prop_oneof![
            12 => Just(Act::Add { in_haste: false }),
            4 => Just(Act::Add { in_haste: true }),
            2 => Just(Act::Get),
            2 => any::<bool>().prop_map(|close| Act::Renew { close }),
        ]
        .boxed()
    }

    fn act(self: &Arc<Self>, client: &Client, act: Act) -> Option<ActFuture> {
        if client.busy {
            return None;
        }
        let (this, who) = (self.clone(), client.who);
        match act {
            // Some digits are reserved for the final checks.
            Act::Add { .. } if self.fates.lock().unwrap().len() >= DIGITS - CLIENTS => None,
            Act::Add { in_haste } => {
                let counter = self.counter(who, &client.session, in_haste);
                Some(Box::pin(async move { this.add(who, &counter, in_haste).await }))
            }
            Act::Get => {
                let counter = self.counter(who, &client.session, false);
                Some(Box::pin(async move { this.get(&counter).await }))
            }
            Act::Renew { close } => {
                let counters = std::mem::take(&mut *self.counters[who].lock().unwrap());
                for counter in counters.into_iter().flatten().filter_map(Arc::into_inner) {
                    if close {
                        tokio::spawn(counter.close());
                    }
                }
                None
            }
        }
    }

    /// All additions complete; each client can add; the sum is right, and no dedup record is left after the counters
    /// are closed.
    async fn final_checks(self: Arc<Self>, runner: &mut Runner<Self>) -> Result<(), String> {
        runner.until_idle().await?;
        for who in 0..CLIENTS {
            let counter = self.counter(who, &runner.observer.0, false);
            self.add(who, &counter, false).await?;
        }
        self.get(&Counter::compatible(runner.observer.0.clone(), PATH)).await?;
        for counters in &self.counters {
            *counters.lock().unwrap() = [None, None];
        }
        runner.until_empty(MARKERS).await
    }
}

#[test]
fn exact_counter_is_exact() {
    try_schedules(|| Adders::of(|_| true));
}

#[test]
fn compatible_counter_reports_every_unknown_outcome() {
    try_schedules(|| Adders::of(|_| false));
}

#[test]
fn exact_and_compatible_counters_share_a_znode() {
    try_schedules(|| Adders::of(|who| who.is_multiple_of(2)));
}
