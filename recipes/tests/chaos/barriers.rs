//! Barriers: no waiter passes a generation that stays closed, and none stays behind an open barrier.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::session::{CreateMode, Write};
use atalaya_recipes::{Barrier, Error};
use proptest::prelude::*;

use crate::observer::Observer;
use crate::runner::{ActFuture, Client, Runner, Scenario};
use crate::schedule::{CLIENTS, try_schedules};

const PATH: &str = "/chaos/start";

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Wait,
    WaitWithin(Duration),
    /// Waits for one of the known generations, counted from the newest.
    WaitForGeneration(usize),
    Close,
    Open,
    /// Opens one of the known generations, counted from the newest.
    OpenGeneration(usize),
}

/// Clients that open, close and wait at one barrier.
#[derive(Default)]
pub(crate) struct Crowd {
    generations: Mutex<Vec<i64>>,
    waits: [AtomicBool; CLIENTS],
    /// The generation for which each client waits.
    behind: [Mutex<Option<i64>>; CLIENTS],
}

impl Crowd {
    fn generation(&self, back: usize) -> Option<i64> {
        self.generations.lock().unwrap().iter().rev().nth(back).copied()
    }

    fn knows(&self, generation: i64) {
        let mut generations = self.generations.lock().unwrap();
        if !generations.contains(&generation) {
            generations.push(generation);
        }
    }
}

/// Checks that a generation that is closed before and after `wait` was not passed in between.
async fn is_fair(
    observer: &Observer,
    what: &str,
    over: impl Future<Output = Result<bool, Error>>,
) -> Result<(), String> {
    let before = observer.czxid(PATH).await;
    let is_over = over.await.map_err(|error| error.to_string())?;
    if is_over && before.is_some() && observer.czxid(PATH).await == before {
        return Err(format!("{what}: over, though generation {before:?} was closed all the while"));
    }
    Ok(())
}

/// Checks that a generation that has ended is not closed again.
async fn is_past(
    observer: &Observer,
    what: &str,
    generation: i64,
    over: impl Future<Output = Result<(), Error>>,
) -> Result<(), String> {
    over.await.map_err(|error| error.to_string())?;
    match observer.czxid(PATH).await {
        Some(closed) if closed == generation => Err(format!("{what}: over, though {generation} is closed")),
        _ => Ok(()),
    }
}

impl Scenario for Crowd {
    type Act = Act;

    fn acts() -> BoxedStrategy<Act> {
        prop_oneof![
            8 => Just(Act::Wait),
            2 => (0u64..40).prop_map(|ms| Act::WaitWithin(Duration::from_millis(ms))),
            3 => (0..3_usize).prop_map(Act::WaitForGeneration),
            6 => Just(Act::Close),
            3 => Just(Act::Open),
            3 => (0..3_usize).prop_map(Act::OpenGeneration),
        ]
        .boxed()
    }

    fn act(self: &Arc<Self>, client: &Client, act: Act) -> Option<ActFuture> {
        if client.busy {
            return None;
        }
        let (this, observer) = (self.clone(), client.observer.clone());
        let barrier = Barrier::new(client.session.clone(), PATH);
        self.waits[client.who].store(false, Ordering::Relaxed);
        let waits = || self.waits[client.who].store(true, Ordering::Relaxed);
        Some(match act {
            Act::Wait => {
                waits();
                *self.behind[client.who].lock().unwrap() = None;
                Box::pin(async move {
                    is_fair(&observer, "wait", async { barrier.wait().await.map(|()| true) }).await
                })
            }
            Act::WaitWithin(time) => {
                Box::pin(async move { is_fair(&observer, "wait", barrier.wait_within(time)).await })
            }
            Act::WaitForGeneration(back) => {
                let generation = self.generation(back)?;
                waits();
                *self.behind[client.who].lock().unwrap() = Some(generation);
                Box::pin(async move {
                    is_past(&observer, "wait", generation, barrier.wait_for_generation(generation)).await
                })
            }
            Act::Close => Box::pin(async move {
                let closed = barrier.close().await.map_err(|error| error.to_string())?;
                this.knows(closed);
                Ok(())
            }),
            Act::Open => Box::pin(async move {
                is_fair(&observer, "open", async { barrier.open().await.map(|_| true) }).await
            }),
            Act::OpenGeneration(back) => {
                let generation = self.generation(back)?;
                let opened = async move { barrier.open_generation(generation).await.map(drop) };
                Box::pin(async move { is_past(&observer, "open", generation, opened).await })
            }
        })
    }

    /// Opening and closing complete; clients that waited before pass, and so do clients that start to wait now, once
    /// the barrier is open and not before.
    async fn final_checks(self: Arc<Self>, runner: &mut Runner<Self>) -> Result<(), String> {
        let this = self.clone();
        runner
            .until("only waiters are left", async |runner| {
                let waits = |who: usize| this.waits[who].load(Ordering::Relaxed);
                (0..CLIENTS).all(|who| waits(who) || !runner.is_busy(who)).then_some(())
            })
            .await?;
        let closed = runner.observer.czxid(PATH).await;
        let passed = async |runner: &mut Runner<Self>| {
            let missed =
                |who: &usize| this.behind[*who].lock().unwrap().is_some_and(|behind| Some(behind) != closed);
            (0..CLIENTS).filter(missed).all(|who| !runner.is_busy(who)).then_some(())
        };
        runner.until("those pass whose generation is over", passed).await?;
        let barrier = Barrier::new(runner.observer.0.clone(), PATH);
        for closed_again in [false, true] {
            let closed = barrier.close().await.map_err(|error| error.to_string())?;
            (0..CLIENTS).filter(|who| !runner.is_busy(*who)).collect::<Vec<_>>().into_iter().for_each(
                |who| {
                    runner.act(who, Act::Wait);
                },
            );
            runner
                .until("all of them have looked", async |runner| {
                    let waiting = (0..CLIENTS).filter(|who| runner.is_busy(*who)).count();
                    (runner.faults.stats().await.unwrap().watches >= waiting).then_some(())
                })
                .await?;
            if barrier.generation().await.map_err(|error| error.to_string())? != Some(closed) {
                return Err("a generation that is no longer opened is open".into());
            }
            if closed_again {
                // No client can read the barrier between the two.
                let open = Write::Delete { path: PATH, version: None };
                let close = Write::Create { path: PATH, data: b"", mode: CreateMode::Persistent };
                runner
                    .observer
                    .0
                    .connection()
                    .await
                    .multi(&[open, close])
                    .await
                    .map_err(|error| error.to_string())?;
            } else {
                barrier.open_generation(closed).await.map_err(|error| error.to_string())?;
            }
            runner.until_idle().await?;
            // No client that has passed has a watch any more, so a new watch is that of a new waiter.
            let unwatched = async |runner: &mut Runner<Self>| {
                (runner.faults.stats().await.unwrap().watches == 0).then_some(())
            };
            runner.until("nobody watches", unwatched).await?;
        }
        barrier.open().await.map_err(|error| error.to_string())?;
        match runner.observer.czxid(PATH).await {
            None => Ok(()),
            Some(_) => Err("it is closed although it was opened".into()),
        }
    }
}

#[test]
fn barrier_waiters_never_pass_early_or_stay_behind() {
    try_schedules(Crowd::default);
}
