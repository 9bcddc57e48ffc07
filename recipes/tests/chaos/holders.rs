//! Locks, read-write locks, semaphores: never too many holders, each contender acquires in turn, and no znode is left.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{AcquireError, Guard, Lock, ReadWriteLock, Semaphore, Session};
use proptest::prelude::*;

use crate::runner::{ActFuture, Client, Runner, Scenario};
use crate::schedule::{CLIENTS, try_schedules};

const LOCK: &str = "/chaos/lock";
const PLACES: u32 = 2;

/// A resource for which clients contend.
pub(crate) trait Prize: Send + Sync + 'static {
    /// Paths with znodes of contenders, which are empty at the end.
    const PLACES: &'static [&'static str] = &[LOCK];
    /// True if each later holder has a higher fencing token.
    const IN_ORDER: bool = false;

    /// Acquires it for contender `who`, in one of three ways.
    fn acquire(
        &self,
        session: Session,
        who: usize,
        how: How,
    ) -> impl Future<Output = Result<Option<Guard>, AcquireError>> + Send;
    /// Returns true if these contenders may hold it at the same time.
    fn allows(&self, holders: &[usize]) -> bool;
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
    /// Releases the guard and waits for the confirmation.
    Release,
    Drop,
}

/// Clients that contend for a resource, and their guards.
pub(crate) struct Holders<P> {
    prize: P,
    slots: [Mutex<Option<Guard>>; CLIENTS],
    highest: Mutex<i64>,
}

impl<P: Prize> Holders<P> {
    pub(crate) fn of(prize: P) -> Holders<P> {
        Holders { prize, slots: Default::default(), highest: Mutex::default() }
    }

    fn has(&self, who: usize, guard: Guard) -> Result<(), String> {
        let mut highest = self.highest.lock().unwrap();
        if P::IN_ORDER && guard.holds() && guard.fencing_token() <= *highest {
            return Err(format!("it got the fence {} after {highest}", guard.fencing_token()));
        }
        *highest = guard.fencing_token().max(*highest);
        *self.slots[who].lock().unwrap() = Some(guard);
        Ok(())
    }
}

impl<P: Prize> Scenario for Holders<P> {
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

    fn act(self: &Arc<Self>, client: &Client, act: Act) -> Option<ActFuture> {
        let who = client.who;
        match act {
            Act::Acquire(how) => {
                if client.busy || self.slots[who].lock().unwrap().is_some() {
                    return None;
                }
                let (this, session) = (self.clone(), client.session.clone());
                Some(Box::pin(async move {
                    match this.prize.acquire(session, who, how).await {
                        Ok(Some(guard)) => this.has(who, guard),
                        Ok(None) => Ok(()),
                        // A try may fail without a connection or a reply.
                        Err(AcquireError::Refused(error)) if error.is_connection_loss() => Ok(()),
                        Err(error) => Err(error.to_string()),
                    }
                }))
            }
            Act::Release => {
                if let Some(guard) = self.slots[who].lock().unwrap().take() {
                    // Faults decide whether the release is confirmed.
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

    /// Checks the holders of this moment.
    fn look(&self) -> Result<(), String> {
        let holds = |who: &usize| self.slots[*who].lock().unwrap().as_ref().is_some_and(Guard::holds);
        let holders: Vec<usize> = (0..CLIENTS).filter(holds).collect();
        // The check takes time: only guards that still hold at its end held throughout.
        let holders: Vec<usize> = holders.into_iter().filter(holds).collect();
        self.prize.allows(&holders).then_some(()).ok_or_else(|| format!("{holders:?} hold at once"))
    }

    /// Each contender acquires, those that were queued before too; then no znode is left.
    async fn final_checks(self: Arc<Self>, runner: &mut Runner<Self>) -> Result<(), String> {
        let mut served = [false; CLIENTS];
        let this = self.clone();
        let all = runner.until("everyone had a turn", async |runner| {
            for (who, served) in served.iter_mut().enumerate() {
                *served |= this.slots[who].lock().unwrap().take().is_some();
                if !*served && !runner.is_busy(who) {
                    runner.act(who, Act::Acquire(How::Wait));
                }
            }
            (served == [true; CLIENTS]).then_some(())
        });
        all.await
            .map_err(|what| format!("{what}: a contender waits without a holder; served: {served:?}"))?;
        for place in P::PLACES {
            runner.until_empty(place).await?;
        }
        Ok(())
    }
}

/// Calls `acquire` in one of the three ways.
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
    const IN_ORDER: bool = true;

    async fn acquire(&self, session: Session, who: usize, how: How) -> Result<Option<Guard>, AcquireError> {
        acquire!(Lock::with_naming(session, LOCK, who.to_string(), self.0), how)
    }

    fn allows(&self, holders: &[usize]) -> bool {
        holders.len() <= 1
    }
}

/// Even numbers read, odd numbers write.
pub(crate) struct ReadersAndWriters;

impl Prize for ReadersAndWriters {
    async fn acquire(&self, session: Session, who: usize, how: How) -> Result<Option<Guard>, AcquireError> {
        if who.is_multiple_of(2) {
            acquire!(ReadWriteLock::new(session, LOCK, who.to_string()).read_lock(), how)
        } else {
            acquire!(ReadWriteLock::new(session, LOCK, who.to_string()).write_lock(), how)
        }
    }

    fn allows(&self, holders: &[usize]) -> bool {
        holders.len() <= 1 || holders.iter().all(|who| who.is_multiple_of(2))
    }
}

pub(crate) struct Few;

impl Prize for Few {
    const PLACES: &'static [&'static str] = &["/chaos/pool", "/chaos/pool-__lock__"];

    async fn acquire(&self, session: Session, who: usize, how: How) -> Result<Option<Guard>, AcquireError> {
        acquire!(Semaphore::new(session, "/chaos/pool", who.to_string(), PLACES), how)
    }

    fn allows(&self, holders: &[usize]) -> bool {
        holders.len() <= PLACES as usize
    }
}

#[test]
fn lock_has_one_holder() {
    try_schedules(|| Holders::of(Alone(Naming::Kazoo)));
}

#[test]
fn lock_with_curator_names_has_one_holder() {
    try_schedules(|| Holders::of(Alone(Naming::CuratorLock)));
}

#[test]
fn read_locks_are_shared_and_write_locks_exclusive() {
    try_schedules(|| Holders::of(ReadersAndWriters));
}

#[test]
fn semaphore_has_at_most_n_holders() {
    try_schedules(|| Holders::of(Few));
}
