//! Locks, readers and writers, semaphores: never more hold than may, everyone gets a turn, nothing is left.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{AcquireError, Guard, Lock, ReadLock, Semaphore, Session, WriteLock};
use proptest::prelude::*;

use crate::schedule::{CROWD, try_schedules};
use crate::stage::{Doing, Person, Play, Stage};

const LOCK: &str = "/chaos/lock";
const PLACES: u32 = 2;

/// What is contended for.
pub(crate) trait Prize: Send + Sync + 'static {
    /// Acquires it for contender `who`, in one way or another.
    fn acquire(
        &self,
        session: Session,
        who: usize,
        how: How,
    ) -> impl Future<Output = Result<Option<Guard>, AcquireError>> + Send;
    /// Whether these contenders may hold it at once.
    fn allows(&self, holders: &[usize]) -> bool;
    /// Where znodes of contenders are; in the end there are none.
    fn places(&self) -> &'static [&'static str];
    /// Whether whoever acquires later always has a higher fencing token.
    fn in_order(&self) -> bool;
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Wait,
    Within(Duration),
    Try,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Acquire(How),
    /// It gives back what it has, and waits for the confirmation.
    Release,
    /// It drops what it has.
    Drop,
}

/// Whoever contends for a prize, and what each of them has.
pub(crate) struct Holders<P> {
    prize: P,
    slots: [Mutex<Option<Guard>>; CROWD],
    highest: Mutex<i64>,
}

impl<P: Prize> Holders<P> {
    pub(crate) fn of(prize: P) -> Holders<P> {
        Holders { prize, slots: Default::default(), highest: Mutex::default() }
    }

    fn has(&self, who: usize, guard: Guard) -> Result<(), String> {
        let mut highest = self.highest.lock().unwrap();
        if self.prize.in_order() && guard.holds() && guard.fencing_token() <= *highest {
            return Err(format!("it got the fence {} after {highest}", guard.fencing_token()));
        }
        *highest = guard.fencing_token().max(*highest);
        *self.slots[who].lock().unwrap() = Some(guard);
        Ok(())
    }
}

impl<P: Prize> Play for Holders<P> {
    type Act = Act;

    fn acts() -> BoxedStrategy<Act> {
        prop_oneof![
            10 => Just(Act::Acquire(How::Wait)),
            3 => (0u64..40).prop_map(|ms| Act::Acquire(How::Within(Duration::from_millis(ms)))),
            4 => Just(Act::Acquire(How::Try)),
            4 => Just(Act::Release),
            4 => Just(Act::Drop),
        ]
        .boxed()
    }

    fn act(self: &Arc<Self>, person: &Person, act: Act) -> Option<Doing> {
        let who = person.who;
        match act {
            Act::Acquire(how) => {
                if person.busy || self.slots[who].lock().unwrap().is_some() {
                    return None;
                }
                let (this, session) = (self.clone(), person.session.clone());
                Some(Box::pin(async move {
                    match this.prize.acquire(session, who, how).await {
                        Ok(Some(guard)) => this.has(who, guard),
                        Ok(None) => Ok(()),
                        // Of a try: no connection, or no answer in time.
                        Err(AcquireError::Refused(error)) if error.is_connection_loss() => Ok(()),
                        Err(error) => Err(error.to_string()),
                    }
                }))
            }
            Act::Release => {
                if let Some(guard) = self.slots[who].lock().unwrap().take() {
                    // Whether it is confirmed depends on what befalls it meanwhile.
                    tokio::spawn(async move { guard.release().await });
                }
                None
            }
            Act::Drop => {
                drop(self.slots[who].lock().unwrap().take());
                None
            }
        }
    }

    fn cancelled(&self, who: usize) {
        drop(self.slots[who].lock().unwrap().take());
    }

    /// Counts who holds at this very moment.
    fn look(&self) -> Result<(), String> {
        let holds = |who: &usize| self.slots[*who].lock().unwrap().as_ref().is_some_and(Guard::holds);
        let holders: Vec<usize> = (0..CROWD).filter(holds).collect();
        // Time goes by: only who still does has held while the last one was looked at.
        let holders: Vec<usize> = holders.into_iter().filter(holds).collect();
        self.prize.allows(&holders).then_some(()).ok_or_else(|| format!("{holders:?} hold at once"))
    }

    /// Everyone gets a turn, also who has waited since before, and then nothing is left.
    async fn calm(self: Arc<Self>, stage: &mut Stage<Self>) -> Result<(), String> {
        let mut served = [false; CROWD];
        let this = self.clone();
        let all = stage.until("everyone had a turn", async |stage| {
            for (who, served) in served.iter_mut().enumerate() {
                *served |= this.slots[who].lock().unwrap().take().is_some();
                if !*served && !stage.is_busy(who) {
                    stage.act(who, Act::Acquire(How::Wait));
                }
            }
            (served == [true; CROWD]).then_some(())
        });
        all.await
            .map_err(|what| format!("{what}: somebody waits though nobody holds; served: {served:?}"))?;
        for place in self.prize.places() {
            stage.until_empty(place).await?;
        }
        Ok(())
    }
}

/// `acquire` in one of the three ways.
macro_rules! acquire {
    ($what:expr, $how:expr) => {
        match $how {
            How::Wait => $what.acquire().await.map(Some),
            How::Within(patience) => $what.acquire_within(patience).await,
            How::Try => $what.try_acquire().await,
        }
    };
}

pub(crate) struct Alone(pub(crate) Naming);

impl Prize for Alone {
    async fn acquire(&self, session: Session, who: usize, how: How) -> Result<Option<Guard>, AcquireError> {
        acquire!(Lock::with_naming(session, LOCK, who.to_string(), self.0), how)
    }

    fn allows(&self, holders: &[usize]) -> bool {
        holders.len() <= 1
    }

    fn places(&self) -> &'static [&'static str] {
        &[LOCK]
    }

    fn in_order(&self) -> bool {
        true
    }
}

/// The even ones read, the odd ones write.
pub(crate) struct ReadersAndWriters;

impl Prize for ReadersAndWriters {
    async fn acquire(&self, session: Session, who: usize, how: How) -> Result<Option<Guard>, AcquireError> {
        if who.is_multiple_of(2) {
            acquire!(ReadLock::new(session, LOCK, who.to_string()), how)
        } else {
            acquire!(WriteLock::new(session, LOCK, who.to_string()), how)
        }
    }

    fn allows(&self, holders: &[usize]) -> bool {
        holders.len() <= 1 || holders.iter().all(|who| who.is_multiple_of(2))
    }

    fn places(&self) -> &'static [&'static str] {
        &[LOCK]
    }

    fn in_order(&self) -> bool {
        false
    }
}

pub(crate) struct Few;

impl Prize for Few {
    async fn acquire(&self, session: Session, who: usize, how: How) -> Result<Option<Guard>, AcquireError> {
        acquire!(Semaphore::new(session, "/chaos/pool", who.to_string(), PLACES), how)
    }

    fn allows(&self, holders: &[usize]) -> bool {
        holders.len() <= PLACES as usize
    }

    fn places(&self) -> &'static [&'static str] {
        &["/chaos/pool", "/chaos/pool-__lock__"]
    }

    fn in_order(&self) -> bool {
        false
    }
}

#[test]
fn one_holds_a_lock() {
    try_schedules(|| Holders::of(Alone(Naming::Kazoo)));
}

#[test]
fn one_holds_a_lock_as_curator_names_it() {
    try_schedules(|| Holders::of(Alone(Naming::CuratorLock)));
}

#[test]
fn readers_hold_together_and_writers_alone() {
    try_schedules(|| Holders::of(ReadersAndWriters));
}

#[test]
fn as_many_hold_as_there_are_places() {
    try_schedules(|| Holders::of(Few));
}
