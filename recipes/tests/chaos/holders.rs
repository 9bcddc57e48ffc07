//! Locks, readers and writers, semaphores: never more hold than may, everyone gets a turn, nothing is left.

use atalaya_recipes::contenders::Naming;
use atalaya_recipes::{AcquireError, Guard, Lock, ReadLock, Semaphore, Session, WriteLock};

use crate::schedule::try_schedules;
use crate::stage::{How, Prize, play};

const LOCK: &str = "/chaos/lock";
const PLACES: u32 = 2;

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

struct Alone(Naming);

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
struct ReadersAndWriters;

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

struct Few;

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
    try_schedules(|deeds| play(Alone(Naming::Kazoo), deeds));
}

#[test]
fn one_holds_a_lock_as_curator_names_it() {
    try_schedules(|deeds| play(Alone(Naming::CuratorLock), deeds));
}

#[test]
fn readers_hold_together_and_writers_alone() {
    try_schedules(|deeds| play(ReadersAndWriters, deeds));
}

#[test]
fn as_many_hold_as_there_are_places() {
    try_schedules(|deeds| play(Few, deeds));
}
