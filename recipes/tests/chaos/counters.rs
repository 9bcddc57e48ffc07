//! Counters: every addition counts once, or not at all where it says so or was cancelled.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::{Counter, CounterError, Session};
use proptest::prelude::*;

use crate::schedule::{CROWD, try_schedules};
use crate::stage::{Doing, Person, Play, Stage};

const PATH: &str = "/chaos/reports";
const MARKERS: &str = "/chaos/reports__adders__";
/// Each addition has a digit of its own, to the base of 4: what counted how often can be read from every sum.
const DIGITS: usize = 31;
/// For whoever is in haste.
const HASTE: Duration = Duration::from_millis(30);

/// What is known of an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It may count, or may have, or may yet.
    Open,
    Counted,
    /// It has not counted and never will.
    Not,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Add {
        in_haste: bool,
    },
    Get,
    /// It goes on with another `Counter`, and closes the one that it has, or drops it.
    Renew {
        close: bool,
    },
}

/// Whoever adds to one counter.
pub(crate) struct Adders {
    is_exact: fn(usize) -> bool,
    /// Of each, the patient one and the one in haste.
    counters: [Mutex<[Option<Arc<Counter>>; 2]>; CROWD],
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

    /// A sum that was seen after `before` was known.
    fn judge(&self, sum: i64, before: &[Fate]) -> Result<(), String> {
        let mut fates = self.fates.lock().unwrap();
        for place in 0..DIGITS {
            let times = sum >> (2 * place) & 3;
            let known = before.get(place);
            match (fates.get(place), times) {
                (Some(Fate::Counted | Fate::Open), 1) => fates[place] = Fate::Counted,
                (_, 0) if known != Some(&Fate::Counted) => {}
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
                self.fates.lock().unwrap()[place] = Fate::Counted;
                let mut before = before;
                before[place] = Fate::Counted;
                self.judge(sum, &before)
            }
            Err(CounterError::OutcomeUnknown { .. }) if in_haste || !(self.is_exact)(who) => Ok(()),
            Err(CounterError::Failed(error))
                if in_haste && error.is_connection_loss() | error.is_bad_version() =>
            {
                let known = std::mem::replace(&mut self.fates.lock().unwrap()[place], Fate::Not);
                if known == Fate::Counted {
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

impl Play for Adders {
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

    fn act(self: &Arc<Self>, person: &Person, act: Act) -> Option<Doing> {
        if person.busy {
            return None;
        }
        let (this, who) = (self.clone(), person.who);
        match act {
            // Some digits are for the calm.
            Act::Add { .. } if self.fates.lock().unwrap().len() >= DIGITS - CROWD => None,
            Act::Add { in_haste } => {
                let counter = self.counter(who, &person.session, in_haste);
                Some(Box::pin(async move { this.add(who, &counter, in_haste).await }))
            }
            Act::Get => {
                let counter = self.counter(who, &person.session, false);
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

    /// All come to an end; everyone can add; the sum is right, and no marker is left once the counters are gone.
    async fn calm(self: Arc<Self>, stage: &mut Stage<Self>) -> Result<(), String> {
        stage.until_idle().await?;
        for who in 0..CROWD {
            let counter = self.counter(who, &stage.witness.0, false);
            self.add(who, &counter, false).await?;
        }
        self.get(&Counter::compatible(stage.witness.0.clone(), PATH)).await?;
        for counters in &self.counters {
            *counters.lock().unwrap() = [None, None];
        }
        stage.until_empty(MARKERS).await
    }
}

#[test]
fn an_exact_counter_is_exact() {
    try_schedules(|| Adders::of(|_| true));
}

#[test]
fn a_compatible_counter_is_never_silently_wrong() {
    try_schedules(|| Adders::of(|_| false));
}

#[test]
fn both_may_be_used_on_one_counter() {
    try_schedules(|| Adders::of(|who| who.is_multiple_of(2)));
}
